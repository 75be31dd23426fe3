//! The simulator over plain HTTP, as a client that is not ours sees it. Each test ends with a
//! check that every response matched the published schemas.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "these are tests: a panic is how they fail"
)]

mod actions;
mod console;
mod firewalls;
mod images;
mod networks;
mod primary_ips;
mod protection;
mod servers;

use hetzner_sim::{Options, Scenario, Simulator};
use serde_json::{Value, json};

const TOKEN: &str = "a-token";

/// A simulator and a client of it.
struct Api {
    simulator: Simulator,
}

impl Api {
    /// Actions take no time unless the scenario says so.
    fn new(mut scenario: Scenario) -> Self {
        scenario.action_secs.insert("default".into(), 0.0);
        Self { simulator: Simulator::start(Options::new(TOKEN, scenario)).unwrap() }
    }

    /// Makes a request of the API; returns status and body.
    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.simulator.request(method, &format!("/v1{path}"), body)
    }

    /// Makes a request that must succeed; returns the body.
    #[track_caller]
    fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }

    fn get(&self, path: &str) -> Value {
        self.ok("GET", path, &Value::Null)
    }

    /// Makes a request that must be refused; checks status and code and returns the message.
    #[track_caller]
    fn refused(&self, method: &str, path: &str, body: &Value, expected: (u16, &str)) -> String {
        let (status, answer) = self.call(method, path, body);
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{method} {path}: {answer}");
        answer["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Creates a server of the first snapshot, with more fields; returns its id.
    #[track_caller]
    fn server(&self, name: &str, more: &Value) -> u64 {
        let answer = self.ok("POST", "/servers", &wanted(name, more));
        answer["server"]["id"].as_u64().unwrap()
    }

    #[track_caller]
    fn volume(&self, name: &str) -> u64 {
        let wanted = json!({ "name": name, "size": 10, "location": "fsn1" });
        self.ok("POST", "/volumes", &wanted)["volume"]["id"].as_u64().unwrap()
    }

    /// The status of the action that a response began, by now.
    #[track_caller]
    fn outcome(&self, answer: &Value) -> Value {
        let id = answer["action"]["id"].as_u64().unwrap();
        self.get(&format!("/actions/{id}"))["action"].clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.simulator.shared().violations(), Vec::<String>::new());
        }
    }
}

/// The body of a request for a server, with more fields.
fn wanted(name: &str, more: &Value) -> Value {
    let mut body =
        json!({ "name": name, "server_type": "cx53", "image": 1001, "location": "fsn1" });
    for (field, value) in more.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}
