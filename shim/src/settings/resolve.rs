//! The value of one setting out of all layers, with its origins, and what of the project
//! file holds.

use std::path::PathBuf;

use super::kind::{Kind, Overlay, Shown};
use super::layer::Layer;
use super::origin::{Origin, Raw};
use super::project_rule::{Judgement, ProjectRule};
use super::request::Request;
use crate::error::Error;

/// The value of a setting and its origins, for `cargo burst config`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Effective {
    /// The key.
    pub(crate) key: &'static str,
    /// The value; a secret is not in it.
    pub(crate) shown: Shown,
    /// The origins, lowest layer first: none if it is unset, several only for lists that
    /// add up.
    pub(crate) origins: Vec<Origin>,
    /// What the project file would make of it, if that does not hold.
    pub(crate) withheld: Option<Withheld>,
}

/// The value that a setting would have if the project file could set it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Withheld {
    /// The value.
    pub(crate) shown: Shown,
    /// The project file.
    pub(crate) path: PathBuf,
    /// Why it does not hold.
    pub(crate) reason: Reason,
}

/// Why a value of a project file does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It goes beyond the user's own value, and the file is not trusted.
    Untrusted,
    /// It raises a limit, which no project file can.
    Limit,
}

impl Effective {
    /// A setting that no layer has.
    pub(super) fn default(key: &'static str, shown: Shown) -> Self {
        let origins = match shown {
            Shown::Unset { .. } => Vec::new(),
            Shown::Hidden | Shown::Value(_) => vec![Origin::Default],
        };
        Self { key, shown, origins, withheld: None }
    }
}

/// All settings of one command, while they are resolved.
pub(super) struct Resolution<'l> {
    /// The layers, the lowest first.
    pub(super) layers: &'l [Layer<'l>],
    /// Whether the user trusts the project file.
    pub(super) is_trusted: bool,
    /// The settings that have been resolved.
    pub(super) effective: Vec<Effective>,
    /// What the project file sets beyond the user's own values, trusted or not.
    pub(super) requests: Vec<Request>,
}

impl<'l> Resolution<'l> {
    /// Resolves one setting. Every value is checked, also one that a higher layer replaces
    /// or that does not hold.
    pub(super) fn value<K: Kind>(
        &mut self,
        key: &'static str,
        kind: &K,
        default: &K::Value,
        rule: &ProjectRule<K::Value>,
    ) -> Result<K::Value, Error> {
        let all = folded(key, kind, default, self.layers.iter())?;
        let Some(path) = self.project_with(key) else { return Ok(self.hold(key, kind, all, None)) };
        let others = self.layers.iter().filter(|layer| layer.project().is_none());
        let own = folded(key, kind, default, others)?;
        let reason = match rule.judge(&own.value, &all.value) {
            Judgement::Holds => None,
            Judgement::Raises => Some(Reason::Limit),
            Judgement::Asks(part) => {
                let (asked, own) = (kind.shown(&part), kind.shown(&own.value));
                self.requests.push(Request { key, asked, own });
                (!self.is_trusted).then_some(Reason::Untrusted)
            }
        };
        let Some(reason) = reason else { return Ok(self.hold(key, kind, all, None)) };
        let withheld = Withheld { shown: kind.shown(&all.value), path, reason };
        Ok(self.hold(key, kind, own, Some(withheld)))
    }

    /// Takes down the value that holds.
    fn hold<K: Kind>(
        &mut self,
        key: &'static str,
        kind: &K,
        Folded { value, origins }: Folded<K::Value>,
        withheld: Option<Withheld>,
    ) -> K::Value {
        self.effective.push(Effective { key, shown: kind.shown(&value), origins, withheld });
        value
    }

    /// The project file, if it has the key.
    fn project_with(&self, key: &str) -> Option<PathBuf> {
        let has_key = |layer: &&Layer<'_>| layer.values.contains_key(key);
        self.layers.iter().filter(has_key).find_map(|layer| Some(layer.project()?.to_owned()))
    }
}

/// A value out of several layers.
struct Folded<T> {
    value: T,
    origins: Vec<Origin>,
}

/// Puts the values of layers, lowest first, over the default.
fn folded<'l, K: Kind>(
    key: &'static str,
    kind: &K,
    default: &K::Value,
    layers: impl Iterator<Item = &'l Layer<'l>>,
) -> Result<Folded<K::Value>, Error> {
    let mut value = default.clone();
    let mut origins = Effective::default(key, kind.shown(&value)).origins;
    for layer in layers {
        let Some((subject, raw)) = layer.values.get(key) else { continue };
        let higher = match raw {
            Raw::Toml(raw) => kind.read_toml(raw, subject)?,
            Raw::Text(text) => kind.read_text(text, subject)?,
        };
        match kind.overlay(&mut value, higher) {
            Overlay::Replaced => origins = vec![layer.origin.clone()],
            Overlay::Extended => origins.push(layer.origin.clone()),
            Overlay::Unchanged => {}
        }
    }
    Ok(Folded { value, origins })
}
