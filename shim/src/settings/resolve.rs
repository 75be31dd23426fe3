//! The value of one setting out of all layers, with its origins.

use super::kind::{Kind, Overlay, Shown};
use super::layer::Layer;
use super::origin::{Origin, Raw};
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
}

impl Effective {
    /// A setting that no layer has.
    pub(super) fn default(key: &'static str, shown: Shown) -> Self {
        let origins = match shown {
            Shown::Unset { .. } => Vec::new(),
            Shown::Hidden | Shown::Value(_) => vec![Origin::Default],
        };
        Self { key, shown, origins }
    }
}

/// Puts the values of all layers, lowest first, over the default. Every value is checked,
/// also one that a higher layer replaces.
pub(super) fn resolve<K: Kind>(
    key: &'static str,
    kind: &K,
    default: K::Value,
    layers: &[Layer<'_>],
    effective: &mut Vec<Effective>,
) -> Result<K::Value, Error> {
    let mut value = default;
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
    effective.push(Effective { key, shown: kind.shown(&value), origins });
    Ok(value)
}
