//! The keys that settings have: names, kinds, and how layers combine.

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A string that is never shown.
    Secret,
    /// A string or a list of strings.
    Texts,
    /// A whole number, not negative.
    Number,
}

impl Kind {
    /// For error messages.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "a string",
            Self::Texts => "a string or a list of strings",
            Self::Number => "a whole number",
        }
    }
}

/// A key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in files.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Whether the lists of all layers add up; else the highest layer wins.
    pub additive: bool,
    /// Its environment variable.
    pub variable: &'static str,
}

/// All keys.
pub const KEYS: [Key; 10] = [
    Key { name: "hetzner_token", kind: Kind::Secret, additive: false, variable: "HCLOUD_TOKEN" },
    Key { name: "region", kind: Kind::Texts, additive: false, variable: "CARGO_BURST_REGION" },
    Key {
        name: "server_type",
        kind: Kind::Text,
        additive: false,
        variable: "CARGO_BURST_SERVER_TYPE",
    },
    Key {
        name: "keep_alive_secs",
        kind: Kind::Number,
        additive: false,
        variable: "CARGO_BURST_KEEP_ALIVE_SECS",
    },
    Key {
        name: "volume_keep_alive_secs",
        kind: Kind::Number,
        additive: false,
        variable: "CARGO_BURST_VOLUME_KEEP_ALIVE_SECS",
    },
    Key {
        name: "volume_gb",
        kind: Kind::Number,
        additive: false,
        variable: "CARGO_BURST_VOLUME_GB",
    },
    Key {
        name: "forward_env",
        kind: Kind::Texts,
        additive: true,
        variable: "CARGO_BURST_FORWARD_ENV",
    },
    Key {
        name: "extra_excludes",
        kind: Kind::Texts,
        additive: true,
        variable: "CARGO_BURST_EXTRA_EXCLUDES",
    },
    Key { name: "unexclude", kind: Kind::Texts, additive: true, variable: "CARGO_BURST_UNEXCLUDE" },
    Key {
        name: "compression",
        kind: Kind::Text,
        additive: false,
        variable: "CARGO_BURST_COMPRESSION",
    },
];

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The right name that is nearest to a wrong one, if any is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let near = |key: &&Key| strsim::jaro_winkler(name, key.name) >= 0.8;
    let best = KEYS.iter().filter(near).max_by(|a, b| {
        let (a, b) = (strsim::jaro_winkler(name, a.name), strsim::jaro_winkler(name, b.name));
        a.total_cmp(&b)
    });
    best.map(|key| key.name)
}
