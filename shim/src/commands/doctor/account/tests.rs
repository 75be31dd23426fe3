use super::*;
use crate::commands::doctor::check::State;
use crate::hetzner::examination::{ExaminedImage, ExaminedServer};

fn access() -> Access {
    Access {
        url: "https://api.example/v1".into(),
        is_unencrypted: false,
        proxies: Vec::new(),
        token_origin: "the environment variable HCLOUD_TOKEN".into(),
    }
}

fn examined(change: impl FnOnce(&mut Examination)) -> Account {
    let mut found = Examination::empty();
    change(&mut found);
    Account::Examined(Box::new(found))
}

fn kind(name: &str, cpu_type: &str, architecture: &str) -> ServerType {
    ServerType {
        name: name.into(),
        cores: 16.0,
        memory: 32.0,
        disk: 320.0,
        architecture: architecture.into(),
        cpu_type: cpu_type.into(),
        deprecated: false,
        deprecation: None,
        prices: Vec::new(),
        locations: Vec::new(),
    }
}

fn image_of(id: u64, architecture: &str, agent_version: Option<&str>) -> ExaminedImage {
    let agent_version = agent_version.map(str::to_owned);
    ExaminedImage { id, architecture: architecture.into(), age_secs: 7200, agent_version }
}

fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "cannot ask", "do this").cause("why")
}

#[test]
fn without_an_answer_each_check_says_why_it_is_skipped() {
    for (account, why) in [
        (Account::NoSettings, "the settings cannot be read"),
        (Account::NoToken, "no token is set: cargo runs on this machine"),
        (Account::Silent(Duration::from_secs(8)), "the API has not answered"),
        (Account::Failed(error(ErrorKind::Api)), "the API has not answered"),
        (Account::Failed(error(ErrorKind::Token)), "the token is refused"),
    ] {
        for check in [rights(&account), quota(&account, &[]), image(&account, &[])] {
            assert_eq!((check.state, check.finding.as_str()), (State::Skipped, why));
        }
    }
}

#[test]
fn the_endpoint_answers_also_if_it_refuses_the_token() {
    let state = |account: &Account| endpoint(account, &access()).state;
    assert_eq!(state(&Account::NoToken), State::Skipped);
    assert_eq!(state(&Account::Failed(error(ErrorKind::Token))), State::Ok);
    assert_eq!(state(&Account::Failed(error(ErrorKind::Api))), State::Error(ErrorKind::Api));
    let silent = Account::Silent(Duration::from_secs(8));
    let proxied = Access { proxies: vec!["HTTPS_PROXY"], ..access() };
    let check = endpoint(&silent, &proxied);
    assert_eq!(check.state, State::Error(ErrorKind::Api));
    assert_eq!(
        check.finding,
        "https://api.example/v1 has not answered within 8 s; a proxy is set in HTTPS_PROXY"
    );
    let answered = examined(|found| found.latency = Duration::from_millis(31));
    let check = endpoint(&answered, &access());
    assert_eq!(check.finding, "https://api.example/v1 answers a call in 31 ms");
    let unencrypted = Access { is_unencrypted: true, ..access() };
    assert_eq!(endpoint(&answered, &unencrypted).state, State::Warning);
}

#[test]
fn a_refused_token_is_named_with_its_place() {
    let check = token(&Account::Failed(error(ErrorKind::Token)), &access());
    assert_eq!(check.state, State::Error(ErrorKind::Token));
    assert_eq!(check.finding, "cannot ask: why (set in the environment variable HCLOUD_TOKEN)");
    assert_eq!(check.next_step.as_deref(), Some("do this"));
    assert_eq!(token(&Account::Failed(error(ErrorKind::Api)), &access()).state, State::Skipped);
    assert_eq!(token(&examined(|_| {}), &access()).state, State::Ok);
    assert_eq!(token(&Account::NoToken, &access()).state, State::Skipped);
}

#[test]
fn a_token_that_may_only_read_is_an_error() {
    assert_eq!(rights(&examined(|_| {})).state, State::Ok);
    let readonly = examined(|found| found.write = Err(error(ErrorKind::Token)));
    assert_eq!(rights(&readonly).state, State::Error(ErrorKind::Token));
}

#[test]
fn dedicated_cores_alone_are_a_warning() {
    let account = examined(|found| {
        found.types = vec![kind("ccx43", "dedicated", "x86"), kind("cpx62", "shared", "x86")];
        found.servers = vec![ExaminedServer {
            name: "s".into(),
            is_of_this_machine: true,
            running_at: None,
            age_secs: 0,
        }];
    });
    let check = |names: &[&str]| {
        quota(&account, &Vec::from_iter(names.iter().map(|one| (*one).to_owned())))
    };
    assert_eq!(check(&["ccx43"]).state, State::Warning);
    assert_eq!(check(&["ccx43", "cpx62"]).state, State::Ok);
    let unknown = check(&["typo"]);
    assert_eq!(
        unknown.finding,
        "the API tells no limits; 1 server and 0 volumes of cargo-burst exist"
    );
}

#[test]
fn there_is_an_image_for_each_architecture() {
    let account = |images: Vec<ExaminedImage>| {
        examined(|found| {
            found.types = vec![kind("cpx62", "shared", "x86"), kind("cax41", "shared", "arm")];
            found.images = images;
        })
    };
    let types = |names: &[&str]| Vec::from_iter(names.iter().map(|one| (*one).to_owned()));
    let none = image(&account(Vec::new()), &types(&["cpx62"]));
    assert_eq!(none.state, State::Error(ErrorKind::NoImage));
    assert_eq!(none.finding, "there is no image for x86 to create a server from");
    let x86 = account(vec![image_of(7, "x86", Some(VERSION))]);
    let check = image(&x86, &types(&["cpx62"]));
    assert_eq!(check.state, State::Ok);
    assert_eq!(check.finding, format!("7 for x86, created 2 h ago, agent {VERSION}"));
    assert_eq!(image(&x86, &types(&["cax41"])).state, State::Error(ErrorKind::NoImage));
    let check = image(&x86, &types(&["cpx62", "cax41"]));
    assert_eq!(check.state, State::Warning);
    assert!(check.finding.ends_with("none for arm, which a type in `server_type` needs"));
    // A type that the API does not know needs none.
    assert_eq!(image(&x86, &types(&["typo"])).state, State::Ok);
}

#[test]
fn the_agent_of_the_newest_image_counts() {
    let check = |versions: &[Option<&str>]| {
        let images = versions.iter().map(|version| image_of(7, "x86", *version));
        image(&examined(|found| found.images = images.collect()), &[])
    };
    assert_eq!(check(&[None]).state, State::Ok);
    assert!(check(&[None]).finding.ends_with("no label tells its agent's version"));
    assert_eq!(check(&[Some("0.0.9")]).state, State::Warning);
    assert_eq!(check(&[Some(VERSION), Some("0.0.9")]).state, State::Ok);
}
