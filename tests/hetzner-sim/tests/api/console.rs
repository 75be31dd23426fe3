//! Changes by hand, and faults that a scenario injects into actions and quotas.

use std::io::{Read, Write};
use std::net::TcpStream;

use hetzner_sim::scenario::{Quota, Snapshot};
use hetzner_sim::{ActionFault, ActionFaultKind, Fault, FaultKind, Scenario};
use serde_json::{Value, json};

use crate::{Api, wanted};

fn attach_fault(kind: ActionFaultKind) -> Scenario {
    let fault = ActionFault { command: "attach_volume".into(), times: Some(1), kind };
    Scenario { action_faults: vec![fault], ..Scenario::default() }
}

#[test]
fn an_attachment_fails_by_whichever_call() {
    let api = Api::new(attach_fault(ActionFaultKind::Fails { code: "action_failed".into() }));
    let volume = api.volume("v");
    let answer = api.ok("POST", "/servers", &wanted("s", &json!({ "volumes": [volume] })));
    let actions = answer["next_actions"].as_array().unwrap();
    let attach = actions.iter().find(|action| action["command"] == "attach_volume").unwrap();
    let failed = api.outcome(&json!({ "action": attach }));
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("error"), &json!("action_failed"))
    );
    assert_eq!(api.get(&format!("/volumes/{volume}"))["volume"]["server"], Value::Null);
    // Once only.
    let attach = json!({ "server": answer["server"]["id"] });
    let again = api.ok("POST", &format!("/volumes/{volume}/actions/attach"), &attach);
    assert_eq!(api.outcome(&again)["status"], "success");
    assert_eq!(api.get(&format!("/volumes/{volume}"))["volume"]["server"], answer["server"]["id"]);
}

#[test]
fn an_attachment_is_undone_later() {
    let api = Api::new(attach_fault(ActionFaultKind::Undone { after_secs: 60.0 }));
    let (server, volume) = (api.server("s", &json!({})), api.volume("v"));
    let path = format!("/volumes/{volume}");
    let attach = format!("{path}/actions/attach");
    let answer = api.ok("POST", &attach, &json!({ "server": server }));
    assert_eq!(api.outcome(&answer)["status"], "success");
    assert_eq!(api.get(&path)["volume"]["server"], server);
    api.simulator.shared().advance(61.0);
    assert_eq!(api.outcome(&answer)["status"], "success");
    assert_eq!(api.get(&path)["volume"]["server"], Value::Null);
    api.ok("POST", &attach, &json!({ "server": server }));
    api.simulator.shared().advance(3600.0);
    assert_eq!(api.get(&path)["volume"]["server"], server);
}

#[test]
fn somebody_deletes_and_detaches_by_hand() {
    let api = Api::new(Scenario::default());
    let volumes = [api.volume("a"), api.volume("b")];
    let server = api.server("s", &json!({ "volumes": volumes }));
    let by_hand = |what: &str, id: u64| {
        api.simulator.request("POST", &format!("/control/{what}"), &json!({ "id": id })).0
    };
    let on = |id: u64| api.get(&format!("/volumes/{id}"))["volume"]["server"].clone();
    assert_eq!(by_hand("detach_volume", volumes[0]), 200);
    assert_eq!((on(volumes[0]), on(volumes[1])), (Value::Null, json!(server)));
    assert_eq!(by_hand("delete_volume", volumes[1]), 200);
    let gone = format!("/volumes/{}", volumes[1]);
    api.refused("GET", &gone, &Value::Null, (404, "not_found"));
    assert_eq!(by_hand("delete_server", server), 200);
    let gone = format!("/servers/{server}");
    api.refused("GET", &gone, &Value::Null, (404, "not_found"));
    assert_eq!(by_hand("delete_server", server), 404);
    let open = api.simulator.shared().ledger().0.lines;
    let open: Vec<u64> = open.iter().filter(|line| line.to.is_none()).map(|line| line.id).collect();
    assert_eq!(open, [1001, volumes[0]]);
}

#[test]
fn places_and_quotas_are_full() {
    let quota = Quota { primary_ips: Some(3), ..Quota::default() };
    let volumes_full_in = vec!["hel1".to_owned()];
    let api = Api::new(Scenario { quota, volumes_full_in, ..Scenario::default() });
    let volume = |place: &str| json!({ "name": place, "size": 10, "location": place });
    let full = (422, "no_space_left_in_location");
    api.refused("POST", "/volumes", &volume("hel1"), full);
    api.ok("POST", "/volumes", &volume("fsn1"));
    api.server("one", &json!({}));
    let (status, answer) = api.call("POST", "/servers", &wanted("two", &json!({})));
    assert_eq!(status, 403);
    assert_eq!(answer["error"]["code"], "resource_limit_exceeded");
    assert_eq!(answer["error"]["details"]["limits"][0]["name"], "primary_ip_limit");
    api.server("two", &json!({ "public_net": { "enable_ipv4": false } }));
}

#[test]
fn an_image_that_is_larger_than_the_disk_is_refused() {
    let api = Api::new(Scenario {
        snapshots: vec![Snapshot { disk_gb: 80, ..Default::default() }],
        ..Scenario::default()
    });
    let small = wanted("s", &json!({ "server_type": "cx23" }));
    let message = api.refused("POST", "/servers", &small, (422, "invalid_input"));
    assert_eq!(message, "image disk is bigger than server type disk");
    api.server("s", &json!({ "server_type": "cx33" }));
}

#[test]
fn an_endpoint_never_answers_until_it_is_released() {
    let kind = FaultKind::Hold { applied: false };
    let silent = Fault { method: None, route: None, call: None, times: None, kind };
    let api = Api::new(Scenario { faults: vec![silent], ..Scenario::default() });
    let mut stream = TcpStream::connect(api.simulator.address()).unwrap();
    write!(stream, "GET /v1/servers HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (_, held) = api.simulator.request("GET", "/control/held", &Value::Null);
    assert_eq!(held, 0);
    stream.set_nonblocking(true).unwrap();
    let waits = stream.read(&mut [0]).unwrap_err();
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    api.simulator.request("POST", "/control/release", &Value::Null);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}
