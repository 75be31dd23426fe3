//! System images, beside snapshots.

use hetzner_sim::Scenario;
use serde_json::{Value, json};

use crate::{Api, wanted};

#[test]
fn a_name_stands_for_the_image_of_the_servers_architecture() {
    let api = Api::new(Scenario::default());
    for (kind, architecture) in [("cx53", "x86"), ("cax11", "arm")] {
        for name in ["ubuntu-24.04", "debian-12", "debian-13"] {
            let query = format!("/images?type=system&name={name}&architecture={architecture}");
            let found = api.get(&query)["images"].clone();
            assert_eq!(found.as_array().unwrap().len(), 1, "{query}");
            assert_eq!(
                (&found[0]["image_size"], &found[0]["status"]),
                (&Value::Null, &json!("available"))
            );
            let server = format!("s-{kind}-{}", name.replace('.', "-"));
            let id = api.server(&server, &json!({ "server_type": kind, "image": name }));
            let used = api.get(&format!("/servers/{id}"))["server"]["image"]["id"].clone();
            assert_eq!(used, found[0]["id"]);
            api.ok("DELETE", &format!("/servers/{id}"), &Value::Null);
        }
    }
    let images =
        |query: &str| api.get(&format!("/images?{query}"))["images"].as_array().unwrap().len();
    assert_eq!(images("type=system&name=ubuntu-24.04"), 2);
    assert_eq!(images("type=system"), 6);
    assert_eq!(images("type=snapshot"), 1);
    assert_eq!(images("name=ubuntu-22.04"), 0);
    let unknown = wanted("s", &json!({ "image": "ubuntu-22.04" }));
    api.refused("POST", "/servers", &unknown, (422, "invalid_input"));
    api.refused("DELETE", "/images/501", &Value::Null, (403, "forbidden"));
    // Nobody pays for them.
    let lines = api.simulator.shared().ledger().0.lines;
    assert_eq!(lines.iter().filter(|line| line.to.is_none()).count(), 1);
}
