//! Settings: layers of files, environment and flags, resolved once a command.
//!
//! The built-in defaults are a documented file of the same format
//! (`defaults.toml`) and go through the same parser. Lists that add up keep the
//! order of the layers, lowest first, without repetitions.

mod key;
mod layer;

use std::io;
use std::path::{Path, PathBuf};

use burst_hcloud::Token;
pub use key::{KEYS, Kind};
pub use layer::{Layer, Origin, Place, Value};

/// The built-in defaults, which are also their documentation.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// The project's file, below the workspace root.
pub const PROJECT_FILE: &str = ".config/cargo-burst.toml";

/// Names that are never forwarded: with the client's values the other end would
/// not work, or tell lies.
const REFUSED: [&str; 17] = [
    "PATH",
    "HOME",
    "CARGO_TARGET_DIR",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "CARGO",
    "RUSTC",
    "RUSTDOC",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "TMPDIR",
    "PWD",
    "HCLOUD_TOKEN",
    "HCLOUD_ENDPOINT",
    "CARGO_BURST_INSIDE",
];

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file that exists cannot be read.
    #[error("cannot read the settings in `{}`", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// Why.
        message: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{key}`")]
    UnknownKey {
        /// Where.
        place: Place,
        /// Which.
        key: String,
        /// The right name that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong type.
    #[error("{place}: `{key}` must be {expected}")]
    WrongType {
        /// Where.
        place: Place,
        /// Which.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A value that is none of those allowed.
    #[error("`{key}` must be one of {allowed}, not {value:?} ({origin})")]
    WrongValue {
        /// Which.
        key: &'static str,
        /// What may stand there.
        allowed: &'static str,
        /// What stands there.
        value: String,
        /// Where it comes from.
        origin: String,
    },
    /// What stands where a token should.
    #[error("`hetzner_token` is not usable ({origin})")]
    NoToken {
        /// Where it comes from.
        origin: String,
        /// Why.
        source: burst_hcloud::token::NotAToken,
    },
    /// An environment variable of the wrong type.
    #[error("the environment variable {variable} must be {expected}")]
    WrongVariable {
        /// Which.
        variable: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// What others must not decide or read, in a file that is shared.
    #[error("{place}: `{key}` does not belong into a project's file, which others read and write")]
    PrivateInProject {
        /// Where.
        place: Place,
        /// Which.
        key: &'static str,
    },
    /// A file with a token that other users can read or write.
    #[error("`{}` holds a token, and other users can read or write it", path.display())]
    ReadableByOthers {
        /// Which.
        path: PathBuf,
    },
}

impl From<SettingsError> for crate::error::Error {
    fn from(error: SettingsError) -> Self {
        let hint = settings_hint(&error);
        Self::new(crate::error::ErrorKind::Settings, "the settings cannot be used", hint)
            .caused_by(&error)
    }
}

fn settings_hint(error: &SettingsError) -> String {
    match error {
        SettingsError::UnknownKey { nearest: Some(nearest), .. } => {
            format!("did you mean `{nearest}`?")
        }
        SettingsError::PrivateInProject { key, .. } => {
            let variable = variable_of(key);
            format!(
                "move it to ~/.config/cargo-burst/config.toml or to {variable}; if a token was \
                 committed, revoke it"
            )
        }
        SettingsError::ReadableByOthers { path } => {
            format!("`chmod 600 {}`; if others may have read the token, revoke it", path.display())
        }
        SettingsError::NoToken { .. } => {
            "make one in the Hetzner console: project, Security, API tokens, Read & Write".into()
        }
        SettingsError::Unreadable { path, .. } => format!("make `{}` readable", path.display()),
        _ => "`cargo burst config --defaults` shows every key with its meaning".into(),
    }
}

/// Whether large contents are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not between two programs on one machine.
    Auto,
    /// On every link.
    Always,
    /// On none.
    Never,
}

/// One effective value and its origins, for `cargo burst config`.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The key.
    pub key: &'static str,
    /// The value as it would stand in a file; a secret is hidden.
    pub shown: String,
    /// Where it comes from; several for lists that add up.
    pub origins: Vec<Origin>,
}

/// All settings of one command.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Hetzner token, if there is one.
    pub hetzner_token: Option<Token>,
    /// See `defaults.toml`, as for the others.
    pub region: Vec<String>,
    /// Where the Hetzner API is.
    pub hetzner_endpoint: String,
    /// Server types.
    pub server_type: Vec<String>,
    /// Seconds.
    pub keep_alive_secs: u64,
    /// Whether an idle server is kept until its paid hour is nearly over.
    pub keep_paid_hour: bool,
    /// Whether the server deletes itself when nobody looks after it.
    pub dead_man_switch: bool,
    /// Money that servers may cost in a calendar month; none: no limit.
    pub monthly_budget: Option<f64>,
    /// Seconds.
    pub volume_keep_alive_secs: u64,
    /// GB.
    pub volume_gb: u64,
    /// Names of variables.
    pub forward_env: Vec<String>,
    /// Patterns.
    pub extra_excludes: Vec<String>,
    /// Default excludes to drop.
    pub unexclude: Vec<String>,
    /// Of large contents.
    pub compression: Compression,
    /// What holds and why.
    pub effective: Vec<Effective>,
}

/// The environment variable of a key.
pub fn variable_of(name: &str) -> &'static str {
    key::find(name).map_or("the environment", |key| key.variable)
}

/// The user's own file: `$XDG_CONFIG_HOME/cargo-burst/config.toml`.
pub fn user_file(config_home: &Path) -> PathBuf {
    config_home.join("cargo-burst/config.toml")
}

impl Settings {
    /// Reads all layers below the command line and resolves them.
    pub fn load(
        config_home: &Path,
        workspace: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut layers = vec![Layer::parse(Origin::Default, Path::new("defaults.toml"), DEFAULTS)?];
        let user = user_file(config_home);
        layers.extend(Layer::file(Origin::User(user.clone()), &user)?);
        if let Some(workspace) = workspace {
            let project = workspace.join(PROJECT_FILE);
            layers.extend(Layer::file(Origin::Project(project.clone()), &project)?);
        }
        layers.extend(Layer::environment(variable)?);
        Self::resolve(&layers)
    }

    /// Combines layers, the lowest first.
    pub fn resolve(layers: &[Layer]) -> Result<Self, SettingsError> {
        let combined = Combined::of(layers);
        let compression = match combined.text("compression").as_str() {
            "auto" => Compression::Auto,
            "always" => Compression::Always,
            "never" => Compression::Never,
            other => {
                return Err(SettingsError::WrongValue {
                    key: "compression",
                    allowed: "\"auto\", \"always\", \"never\"",
                    value: other.to_owned(),
                    origin: combined.origin("compression"),
                });
            }
        };
        Ok(Self {
            hetzner_token: combined.token()?,
            hetzner_endpoint: combined.text("hetzner_endpoint"),
            region: combined.texts("region"),
            server_type: combined.texts("server_type"),
            keep_alive_secs: combined.number("keep_alive_secs"),
            keep_paid_hour: combined.value("keep_paid_hour") != Some(&Value::Flag(false)),
            dead_man_switch: combined.value("dead_man_switch") == Some(&Value::Flag(true)),
            monthly_budget: match combined.value("monthly_budget") {
                Some(Value::Amount(amount)) => amount.parse().ok(),
                _ => None,
            },
            volume_keep_alive_secs: combined.number("volume_keep_alive_secs"),
            volume_gb: combined.number("volume_gb"),
            forward_env: combined.texts("forward_env"),
            extra_excludes: combined.texts("extra_excludes"),
            unexclude: combined.texts("unexclude"),
            compression,
            effective: combined.effective(),
        })
    }

    /// Where the value of a key comes from.
    pub fn origin_of(&self, key: &str) -> String {
        let held = self.effective.iter().find(|held| held.key == key);
        held.and_then(|held| held.origins.last()).map(ToString::to_string).unwrap_or_default()
    }

    /// Splits names into those that may be forwarded and those that are refused.
    pub fn forwardable<'a>(
        names: impl IntoIterator<Item = &'a str>,
    ) -> (Vec<&'a str>, Vec<&'a str>) {
        names.into_iter().partition(|name| !REFUSED.contains(name))
    }
}

struct Combined(Vec<(&'static str, Value, Vec<Origin>)>);

impl Combined {
    fn of(layers: &[Layer]) -> Self {
        let mut combined = Vec::new();
        for key in &KEYS {
            let mut held: Option<(Value, Vec<Origin>)> = None;
            for layer in layers {
                let Some(value) = layer.values.get(key.name) else { continue };
                let origin = layer.origin.clone();
                match (&mut held, value, key.additive) {
                    (Some((Value::Texts(all), origins)), Value::Texts(more), true) => {
                        if !more.is_empty() {
                            if all.is_empty() {
                                origins.clear();
                            }
                            origins.push(origin);
                        }
                        for item in more {
                            if !all.contains(item) {
                                all.push(item.clone());
                            }
                        }
                    }
                    _ => held = Some((value.clone(), vec![origin])),
                }
            }
            if let Some((value, origins)) = held {
                combined.push((key.name, value, origins));
            }
        }
        Self(combined)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, ..)| *key == name).map(|(_, value, _)| value)
    }

    fn origin(&self, name: &str) -> String {
        let origins = self.0.iter().find(|(key, ..)| *key == name).map(|(.., origins)| origins);
        origins.and_then(|origins| origins.last()).map(ToString::to_string).unwrap_or_default()
    }

    fn text(&self, name: &str) -> String {
        match self.value(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn texts(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Some(Value::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn token(&self) -> Result<Option<Token>, SettingsError> {
        let Some(Value::Text(text)) = self.value("hetzner_token") else { return Ok(None) };
        let origin = self.origin("hetzner_token");
        Token::parse(text).map(Some).map_err(|source| SettingsError::NoToken { origin, source })
    }

    fn number(&self, name: &str) -> u64 {
        match self.value(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    fn effective(&self) -> Vec<Effective> {
        let shown = |key: &str, value: &Value| match value {
            _ if KEYS.iter().any(|known| known.name == key && known.kind == Kind::Secret) => {
                "\"(set, not shown)\"".to_owned()
            }
            Value::Text(text) => format!("{text:?}"),
            Value::Texts(texts) => format!("{texts:?}"),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Amount(amount) => amount.clone(),
        };
        self.0
            .iter()
            .map(|(key, value, origins)| Effective {
                key,
                shown: shown(key, value),
                origins: origins.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Result<Layer, SettingsError> {
        Layer::parse(Origin::User("u.toml".into()), Path::new("u.toml"), text)
    }

    fn project(text: &str) -> Result<Layer, SettingsError> {
        Layer::parse(Origin::Project("p.toml".into()), Path::new("p.toml"), text)
    }

    fn defaults() -> Layer {
        Layer::parse(Origin::Default, Path::new("d.toml"), DEFAULTS).unwrap()
    }

    #[test]
    fn every_key_has_its_default_in_the_documented_file() {
        let defaults = defaults();
        for key in &KEYS {
            assert!(
                defaults.values.contains_key(key.name)
                    || DEFAULTS.contains(&format!("# {} =", key.name)),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn higher_layers_win_and_lists_add_up() {
        let variables = |name: &str| match name {
            "CARGO_BURST_FORWARD_ENV" => Some("B, C".to_owned()),
            "CARGO_BURST_VOLUME_GB" => Some("7".to_owned()),
            _ => None,
        };
        let mut layers = vec![
            defaults(),
            user("region = 'hel1'\nvolume_gb = 50\nforward_env = ['A']\nhetzner_token = 'x'")
                .unwrap(),
            project("region = ['nbg1', 'ash']\nforward_env = ['B']").unwrap(),
        ];
        layers.extend(Layer::environment(variables).unwrap());
        let settings = Settings::resolve(&layers).unwrap();
        assert_eq!(settings.region, ["nbg1", "ash"]);
        assert_eq!(settings.volume_gb, 7);
        assert_eq!(settings.forward_env, ["A", "B", "C"]);
        let token = settings.effective.iter().find(|held| held.key == "hetzner_token").unwrap();
        assert_eq!(token.shown, "\"(set, not shown)\"");
        assert!(!format!("{settings:?}").contains("\"x\""));
    }

    #[test]
    fn errors_name_line_key_and_the_right_name() {
        let error = user("volume_gb = 1\n\nkeep_alive_sec = 3").unwrap_err();
        assert_eq!(error.to_string(), "u.toml, line 3: unknown key `keep_alive_sec`");
        assert!(matches!(
            error,
            SettingsError::UnknownKey { nearest: Some("keep_alive_secs"), .. }
        ));
        let error = user("volume_gb = 'big'").unwrap_err();
        assert_eq!(error.to_string(), "u.toml, line 1: `volume_gb` must be a whole number");
        let error = user("\nregion = [1]").unwrap_err();
        assert!(error.to_string().starts_with("u.toml, line 2: `region` must be"));
        let error = user("a = = 1").unwrap_err();
        assert!(error.to_string().starts_with("u.toml, line 1: "), "{error}");
        let error = project("hetzner_token = 'x'").unwrap_err();
        assert!(matches!(error, SettingsError::PrivateInProject { .. }));
        assert!(user("volume_gb = -1").is_err());
    }

    #[test]
    fn what_would_break_the_other_end_is_refused() {
        let (kept, refused) = Settings::forwardable(["RUST_LOG", "PATH", "HOME"]);
        assert_eq!((kept, refused), (vec!["RUST_LOG"], vec!["PATH", "HOME"]));
    }
}
