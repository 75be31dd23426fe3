//! Parsing of request paths.

/// The parsed method and path of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The HTTP method.
    pub(crate) method: String,
    /// The kind of resource, such as `servers`.
    pub(crate) kind: String,
    /// The id of a resource.
    pub(crate) id: Option<u64>,
    /// The verb of `/actions/VERB`.
    pub(crate) verb: Option<String>,
    /// Whether it ends with `/actions`: the actions of a resource, or of all of a kind.
    pub(crate) lists_actions: bool,
}

/// The simulated kinds of resources.
const KINDS: [&str; 12] = [
    "servers",
    "volumes",
    "firewalls",
    "images",
    "actions",
    "locations",
    "server_types",
    "pricing",
    "datacenters",
    "ssh_keys",
    "primary_ips",
    "networks",
];

impl Route {
    /// Parses a path below `/v1`; `None` if the API does not have it.
    pub(crate) fn parse(method: &str, path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/")?;
        let parts: Vec<&str> = rest.split('/').collect();
        let kind = parts.first().filter(|kind| KINDS.contains(*kind))?;
        let (id, rest) = match parts.get(1) {
            Some(&"actions") | None => (None, &parts[1..]),
            Some(text) => (Some(text.parse().ok()?), &parts[2..]),
        };
        let (verb, lists_actions) = match (id, rest) {
            (_, []) => (None, false),
            (_, ["actions"]) => (None, true),
            (Some(_), ["actions", verb]) => (Some((*verb).to_owned()), false),
            _ => return None,
        };
        Some(Self { method: method.to_owned(), kind: (*kind).to_owned(), id, verb, lists_actions })
    }

    /// The operation as the schemas name it, such as `GET /servers/{id}`.
    pub(crate) fn operation(&self) -> String {
        format!("{} {}", self.method, self.path())
    }

    /// The path with its variables.
    pub(crate) fn path(&self) -> String {
        let mut path = format!("/{}", self.kind);
        if self.id.is_some() {
            path.push_str("/{id}");
        }
        if self.lists_actions {
            path.push_str("/actions");
        }
        if let Some(verb) = &self.verb {
            path.push_str(&format!("/actions/{verb}"));
        }
        path
    }

    /// The name of one resource of the kind, such as `server`.
    pub(crate) fn resource(&self) -> &'static str {
        match self.kind.as_str() {
            "servers" => "server",
            "volumes" => "volume",
            "firewalls" => "firewall",
            "images" => "image",
            "actions" => "action",
            "locations" => "location",
            "ssh_keys" => "ssh_key",
            "primary_ips" => "primary_ip",
            "networks" => "network",
            _ => "server_type",
        }
    }

    /// Whether the API has removed the endpoint.
    pub(crate) fn is_gone(&self) -> bool {
        self.kind == "datacenters"
    }
}
