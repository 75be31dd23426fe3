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
    /// Yes or no.
    Flag,
    /// An amount of money, not negative.
    Amount,
}

impl Kind {
    /// For error messages.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "a string",
            Self::Texts => "a string or a list of strings",
            Self::Number => "a whole number",
            Self::Flag => "true or false",
            Self::Amount => "an amount such as 40 or 12.5",
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
    /// Whether a project's file may not have it: it says where secrets are, or go.
    pub private: bool,
    /// Its environment variable.
    pub variable: &'static str,
}

/// All keys.
pub const KEYS: [Key; 14] = [
    Key::new("hetzner_token", Kind::Secret, "HCLOUD_TOKEN").private(),
    Key::new("hetzner_endpoint", Kind::Text, "HCLOUD_ENDPOINT").private(),
    Key::new("region", Kind::Texts, "CARGO_BURST_REGION"),
    Key::new("server_type", Kind::Texts, "CARGO_BURST_SERVER_TYPE"),
    Key::new("keep_alive_secs", Kind::Number, "CARGO_BURST_KEEP_ALIVE_SECS"),
    Key::new("keep_paid_hour", Kind::Flag, "CARGO_BURST_KEEP_PAID_HOUR"),
    Key::new("volume_keep_alive_secs", Kind::Number, "CARGO_BURST_VOLUME_KEEP_ALIVE_SECS"),
    Key::new("volume_gb", Kind::Number, "CARGO_BURST_VOLUME_GB"),
    Key::new("dead_man_switch", Kind::Flag, "CARGO_BURST_DEAD_MAN_SWITCH"),
    Key::new("monthly_budget", Kind::Amount, "CARGO_BURST_MONTHLY_BUDGET"),
    Key::new("forward_env", Kind::Texts, "CARGO_BURST_FORWARD_ENV").adding_up(),
    Key::new("extra_excludes", Kind::Texts, "CARGO_BURST_EXTRA_EXCLUDES").adding_up(),
    Key::new("unexclude", Kind::Texts, "CARGO_BURST_UNEXCLUDE").adding_up(),
    Key::new("compression", Kind::Text, "CARGO_BURST_COMPRESSION"),
];

impl Key {
    const fn new(name: &'static str, kind: Kind, variable: &'static str) -> Self {
        Self { name, kind, additive: false, private: false, variable }
    }

    const fn adding_up(mut self) -> Self {
        self.additive = true;
        self
    }

    const fn private(mut self) -> Self {
        self.private = true;
        self
    }
}

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
