//! The client of the Hetzner API against the simulator of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use burst_hcloud::firewall::{NewFirewall, Rule};
use burst_hcloud::retry::Retries;
use burst_hcloud::server::{NewPublicNet, NewServer, ServerStatus};
use burst_hcloud::volume::NewVolume;
use burst_hcloud::{Client, Code, Error, Id, Labels, Made, Selector, Token};
use hetzner_sim::scenario::{Access, Quota, Requests, Stock};
use hetzner_sim::{Fault, FaultKind, Options, Scenario, Simulator};

const TOKEN: &str = "a-token";

fn client_of(simulator: &Simulator, token: &str) -> Client {
    client_with(simulator, token, 15_000)
}

/// A client whose attempts, and their retries, may take so long.
fn client_with(simulator: &Simulator, token: &str, millis: u64) -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    let [base, cap, attempt] = [1, 5, millis].map(Duration::from_millis);
    let retries = Retries { base, cap, max: 5, attempt, within: attempt + cap };
    let token = Token::parse(token).unwrap();
    Client::new(&simulator.endpoint(), &token, retries, Arc::new(|| 0.5)).unwrap()
}

fn simulator(scenario: Scenario) -> (Simulator, Client) {
    let simulator = Simulator::start(Options::new(TOKEN, scenario)).unwrap();
    let client = client_of(&simulator, TOKEN);
    (simulator, client)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn labels(role: &str) -> Labels {
    [("managed-by", "cargo-burst"), ("role", role)].map(|(k, v)| (k.into(), v.into())).into()
}

fn new_server(image: Id, name: &str) -> NewServer {
    NewServer {
        name: name.into(),
        server_type: "cx53".into(),
        location: "fsn1".into(),
        image,
        volumes: Vec::new(),
        labels: labels("server"),
        user_data: "secret".into(),
        automount: false,
        ssh_keys: Vec::new(),
        public_net: NewPublicNet { enable_ipv4: true, enable_ipv6: true },
    }
}

fn new_volume(name: &str, location: &str) -> NewVolume {
    NewVolume { name: name.into(), size: 10, location: location.into(), labels: labels("volume") }
}

async fn image(client: &Client) -> Id {
    let selector = Selector::equals("cargo-burst.role", "image");
    client.snapshots(&selector).await.unwrap()[0].id
}

const SOON: Duration = Duration::from_secs(20);

fn fault(method: &str, route: &str, kind: FaultKind) -> Fault {
    let (method, route) = (Some(method.into()), Some(route.into()));
    Fault { method, route, call: None, times: Some(1), kind }
}

#[test]
fn a_server_with_volume_and_firewall_lives_and_dies() {
    let (simulator, client) = simulator(Scenario::default());
    block_on(async {
        let ours = labels("server");
        let firewall = NewFirewall {
            name: "f".into(),
            labels: labels("firewall"),
            rules: vec![Rule::udp(7777)],
            apply_to: vec![Selector::equals("role", "server")],
        };
        let made = client.create_firewall(&firewall, &labels("firewall")).await.unwrap();
        assert_eq!(made.resource().rules, [Rule::udp(7777)]);
        let described = Rule { description: Some("a note".into()), ..Rule::tcp(7777) };
        let rules = [Rule::udp(7777), described];
        let set = client.set_firewall_rules(made.resource().id, &rules).await.unwrap();
        client.wait(set, SOON).await.unwrap();
        let found = client.firewalls(&Selector::equals("role", "firewall")).await.unwrap();
        assert_eq!(found[0].rules, rules);
        let volume = client.create_volume(&new_volume("v", "fsn1"), &labels("volume")).await;
        let (volume, actions) = volume.unwrap().into_parts();
        client.wait(actions, SOON).await.unwrap();
        let mut new = new_server(image(&client).await, "s");
        new.volumes = vec![volume.id];
        let (server, actions) = client.create_server(&new, &ours).await.unwrap().into_parts();
        assert_eq!(server.status, ServerStatus::Initializing);
        assert_eq!(actions.len(), 3);
        client.wait(actions, SOON).await.unwrap();
        let server = client.server(server.id).await.unwrap().unwrap();
        assert_eq!(server.status, ServerStatus::Running);
        assert_eq!(server.volumes, [volume.id]);
        let refused = client.delete_volume(volume.id).await.unwrap_err();
        assert_eq!(refused.code(), Some(&Code::ResourceInUse));
        let mut labels = server.labels.clone();
        labels.insert("last-use".into(), "1".into());
        client.label_server(server.id, &labels).await.unwrap();
        let found = client.servers(&Selector::equals("last-use", "1")).await.unwrap();
        assert_eq!(found.len(), 1);
        let actions = client.delete_server(server.id).await.unwrap();
        client.wait(actions, SOON).await.unwrap();
        assert!(client.server(server.id).await.unwrap().is_none());
        // What is gone is deleted.
        assert!(client.delete_server(server.id).await.unwrap().is_empty());
        client.delete_volume(volume.id).await.unwrap();
        client.delete_volume(volume.id).await.unwrap();
    });
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
    assert_eq!(simulator.shared().ledger().1.server_hours, 1);
}

#[test]
fn lost_answers_are_adopted_and_strangers_are_not() {
    let lost = [
        FaultKind::Drop { applied: true },
        FaultKind::Answer { status: 502, code: None, applied: true },
        FaultKind::Answer { status: 504, code: Some("timeout".into()), applied: true },
        FaultKind::Answer { status: 500, code: Some("server_error".into()), applied: true },
    ];
    for kind in lost {
        let faults = ["/servers", "/volumes", "/firewalls"];
        let faults = faults.map(|route| fault("POST", route, kind.clone())).to_vec();
        let (simulator, client) = simulator(Scenario { faults, ..Scenario::default() });
        block_on(async {
            let image = image(&client).await;
            let server = client.create_server(&new_server(image, "s"), &labels("server")).await;
            assert!(matches!(server, Ok(Made::Adopted(_))), "{kind:?}: {server:?}");
            let volume = client.create_volume(&new_volume("v", "fsn1"), &labels("volume")).await;
            assert!(matches!(volume, Ok(Made::Adopted(_))), "{kind:?}: {volume:?}");
            let other = client.create_volume(&new_volume("v", "fsn1"), &labels("other")).await;
            assert!(matches!(other, Err(Error::Taken { .. })), "{other:?}");
        });
        assert_eq!(simulator.shared().ledger().0.lines.len(), 4, "{kind:?}");
    }
}

#[test]
fn what_was_not_done_fails_or_is_done_again() {
    let gone = fault("POST", "/volumes", FaultKind::Drop { applied: false });
    let gateway = FaultKind::Answer { status: 502, code: None, applied: false };
    let faults = vec![gone, fault("POST", "/volumes", gateway)];
    let (simulator, client) = simulator(Scenario { faults, ..Scenario::default() });
    block_on(async {
        // A closed connection is retried by no official client.
        let dropped = client.create_volume(&new_volume("v", "fsn1"), &labels("volume")).await;
        assert!(matches!(dropped, Err(Error::Unreachable { .. })), "{dropped:?}");
        let again = client.create_volume(&new_volume("v", "fsn1"), &labels("volume")).await;
        assert!(matches!(again, Ok(Made::Created(..))), "{again:?}");
    });
    let posts = simulator.shared().calls();
    assert_eq!(posts.iter().filter(|call| call.method == "POST").count(), 3);
}

#[test]
fn lists_are_read_to_their_last_page() {
    let quota = Quota { volumes: 200, ..Quota::default() };
    let (simulator, client) = simulator(Scenario { quota, ..Scenario::default() });
    block_on(async {
        for number in 0..123 {
            let new = new_volume(&format!("v{number}"), "hel1");
            client.create_volume(&new, &labels("volume")).await.unwrap();
        }
        let selector = Selector::equals("role", "volume").and("managed-by", "cargo-burst");
        let all = client.volumes(&selector).await.unwrap();
        let names: HashSet<_> = all.iter().map(|volume| volume.name.clone()).collect();
        assert_eq!((all.len(), names.len()), (123, 123));
        assert!(client.volumes(&Selector::equals("role", "x")).await.unwrap().is_empty());
    });
    assert_eq!(simulator.shared().violations(), Vec::<String>::new());
}

#[test]
fn refusals_are_told_apart() {
    let scenario = Scenario {
        tokens: [("read".into(), Access::ReadOnly), ("old".into(), Access::Revoked)].into(),
        stock: vec![Stock { server_type: Some("cx53".into()), there: false, ..Stock::default() }],
        quota: Quota { dedicated_cores: 0, ..Quota::default() },
        ..Scenario::default()
    };
    let (simulator, client) = simulator(scenario);
    block_on(async {
        let image = image(&client).await;
        let code = async |client: &Client, new: &NewServer| {
            let refused = client.create_server(new, &labels("server")).await.unwrap_err();
            assert!(!format!("{refused:?} {refused}").contains("secret"), "{refused:?}");
            assert!(refused.to_string().contains("correlation id sim-"), "{refused}");
            refused.code().cloned().unwrap()
        };
        let mut new = new_server(image, "s");
        assert_eq!(code(&client, &new).await, Code::ResourceUnavailable);
        new.server_type = "ccx63".into();
        assert_eq!(code(&client, &new).await, Code::ResourceLimitExceeded);
        new.server_type = "nothing".into();
        assert_eq!(code(&client, &new).await, Code::InvalidInput);
        new.server_type = "cax41".into();
        assert_eq!(code(&client, &new).await, Code::InvalidInput);
        new.server_type = "cpx52".into();
        new.user_data = "x".repeat((32 << 10) + 1);
        assert_eq!(code(&client, &new).await, Code::InvalidInput);
        let reader = client_of(&simulator, "read");
        assert!(reader.servers(&Selector::default()).await.unwrap().is_empty());
        new.user_data.clear();
        assert_eq!(code(&reader, &new).await, Code::TokenReadonly);
        for token in ["old", "never"] {
            let refused = client_of(&simulator, token).pricing().await.unwrap_err();
            assert_eq!(refused.code(), Some(&Code::Unauthorized));
        }
    });
}

#[test]
fn a_token_that_may_only_read_does_not_keep_another_one_from_writing() {
    let tokens = [("read".into(), Access::ReadOnly), ("old".into(), Access::Revoked)].into();
    let (simulator, client) = simulator(Scenario { tokens, ..Scenario::default() });
    let authorization = |client: &Client| client.deletion_of_server(Id(7)).1[0].1.clone();
    let preferred = authorization(&client);
    block_on(async {
        client.add_token(&Token::parse("read").unwrap());
        client.check_write().await.unwrap();
        assert_eq!(authorization(&client), preferred);
        // Nor where it comes first, behind one that is rejected.
        for token in ["read", "old"] {
            client.prefer_token(&Token::parse(token).unwrap());
        }
        client.create_volume(&new_volume("v", "fsn1"), &labels("volume")).await.unwrap();
        assert_eq!(authorization(&client), preferred);
        assert!(!client.has_token(&Token::parse("old").unwrap()));
        let reader = client_of(&simulator, "read");
        let refused = reader.check_write().await.unwrap_err();
        assert_eq!(refused.code(), Some(&Code::TokenReadonly));
    });
}

#[test]
fn the_rate_limit_is_waited_for() {
    // The bucket fills by virtual time, which runs fast here.
    let requests = Requests { burst: 3.0, per_second: 1.0 };
    let (simulator, client) = simulator(Scenario { requests, rate: 2000.0, ..Scenario::default() });
    block_on(async {
        for _ in 0..12 {
            client.pricing().await.unwrap();
        }
    });
    let refused = simulator.shared().calls();
    assert!(refused.iter().all(|call| matches!(call.status, Some(200 | 429))), "{refused:?}");
}

#[test]
fn actions_that_fail_or_never_end_are_errors() {
    let fails = FaultKind::ActionFails { code: "action_failed".into() };
    let action_secs = [("create_volume".to_owned(), 3600.0)].into();
    let faults = vec![fault("POST", "/servers", fails)];
    let (simulator, client) = simulator(Scenario { faults, action_secs, ..Scenario::default() });
    block_on(async {
        let new = new_server(image(&client).await, "s");
        let made = client.create_server(&new, &labels("server")).await.unwrap();
        let failed = client.wait(made.into_parts().1, SOON).await.unwrap_err();
        assert!(matches!(&failed, Error::Action { code, .. } if code == "action_failed"));
        let volume = client.create_volume(&new_volume("v", "fsn1"), &labels("volume")).await;
        let (volume, actions) = volume.unwrap().into_parts();
        let locked = client.delete_volume(volume.id).await.unwrap_err();
        assert_eq!(locked.code(), Some(&Code::Locked));
        let waited = client.wait(actions, Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(waited, Error::ActionDeadline { .. }), "{waited}");
        simulator.shared().advance(3601.0);
        client.delete_volume(volume.id).await.unwrap();
        // The API's clock is an hour ahead of ours.
        let ahead = client.now().as_second() - burst_hcloud::Timestamp::now().as_second();
        assert!((3590..3620).contains(&ahead), "{ahead}");
    });
}

/// An endpoint that accepts connections and never answers: a call is tried twice.
#[test]
fn a_silent_endpoint_ends_a_call() {
    let kind = FaultKind::Hold { applied: false };
    let faults = vec![Fault { method: None, route: None, call: None, times: None, kind }];
    let (simulator, _) = simulator(Scenario { faults, ..Scenario::default() });
    let client = client_with(&simulator, TOKEN, 300);
    let failed = block_on(client.server_types()).unwrap_err();
    assert!(matches!(failed, Error::Unreachable { timed_out: true, .. }), "{failed:?}");
    assert_eq!(simulator.shared().calls().len(), 2);
}
