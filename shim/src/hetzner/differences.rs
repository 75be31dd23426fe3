//! What is up, and the settings do not ask for: a server of another type or in another location,
//! a volume of another size. Such a server is used all the same, and the user is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use burst_hcloud::volume::Volume;

use super::naming::ProjectKey;
use super::request::ServerRequest;
use super::server::ServerSummary;

/// What was told of each project by this process: each difference once, until it changes.
#[derive(Debug, Default)]
pub(super) struct ToldDifferences(Mutex<BTreeMap<ProjectKey, Vec<String>>>);

impl ToldDifferences {
    /// What is to be told now to a command that uses this server and volume.
    pub(super) fn news(
        &self,
        request: &ServerRequest,
        server: &ServerSummary,
        volume: &Volume,
    ) -> Vec<String> {
        let is = (server.server_type.as_str(), server.location.as_str());
        let of_server = of_server(is, &request.server_types, &request.regions);
        let all: Vec<String> = of_server.into_iter().chain(of_volume(volume, request)).collect();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.insert(request.project.clone(), all.clone()).unwrap_or_default();
        all.into_iter().filter(|text| !before.contains(text)).collect()
    }
}

/// What to say of a server, given the settings; `None` if they list its type and location.
pub(crate) fn of_server(
    (server_type, location): (&str, &str),
    types: &[String],
    regions: &[String],
) -> Option<String> {
    let lists = |list: &[String], name: &str| list.iter().any(|one| one == name);
    let wanted = match (lists(types, server_type), lists(regions, location)) {
        (true, true) => return None,
        (false, true) => types.join(" or "),
        (true, false) => regions.join(" or "),
        (false, false) => format!("{} in {}", types.join(" or "), regions.join(" or ")),
    };
    Some(format!(
        "the server is a {server_type} in {location}, the settings ask for {wanted}: after `cargo \
         burst down` the next command creates that one"
    ))
}

fn of_volume(volume: &Volume, request: &ServerRequest) -> Option<String> {
    let (has, wanted) = (volume.size, request.volume_gb);
    (has != wanted as f64).then(|| {
        format!(
            "the project's volume has {has} GB, the settings ask for {wanted} GB: after `cargo \
             burst down --with-volumes` the next command creates that one, with empty caches"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn request(server_type: &str, volume_gb: u64) -> ServerRequest {
        let (regions, server_types) =
            (vec!["hel1".into()], vec!["cx53".into(), server_type.into()]);
        ServerRequest { regions, server_types, volume_gb, ..ServerRequest::of_tests() }
    }

    #[test]
    fn each_difference_is_told_once_until_it_changes() {
        let server_type = "cpx52".to_owned();
        let server =
            ServerSummary { server_type, location: "hel1".into(), created: 0, hourly: 0.0 };
        let volume = serde_json::json!({
            "id": 1, "name": "v", "created": "2026-01-01T00:00:00Z", "location": {"name": "hel1"},
            "size": 10, "linux_device": "/dev/v",
        });
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let told = ToldDifferences::default();
        let news = |request: &ServerRequest| told.news(request, &server, &volume);
        let of_type = "the server is a cpx52 in hel1, the settings ask for cx53 or cpx62: after \
                       `cargo burst down` the next command creates that one";
        let of_size = "the project's volume has 10 GB, the settings ask for 200 GB: after `cargo \
                       burst down --with-volumes` the next command creates that one, with empty \
                       caches";
        assert_eq!(news(&request("cpx52", 10)), [""; 0]);
        assert_eq!(news(&request("cpx62", 10)), [of_type]);
        assert_eq!(news(&request("cpx62", 200)), [of_size]);
        assert_eq!(news(&request("cpx62", 200)), [""; 0]);
        assert_eq!(news(&request("cpx52", 10)), [""; 0]);
        assert_eq!(news(&request("cpx62", 10)), [of_type]);
        let other = ServerRequest { project: ProjectKey::of(Path::new("/b")), ..request("a", 10) };
        assert_eq!(news(&other).len(), 1);
        let elsewhere =
            of_server(("cpx52", "hel1"), &["cpx52".into()], &["fsn1".into(), "nbg1".into()]);
        assert!(elsewhere.unwrap().contains("ask for fsn1 or nbg1: after"));
    }
}
