//! Layers of settings: a file, or an environment variable. A layer holds values as they
//! are written, under known keys; their kinds check them when they are resolved.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use toml::de::DeTable;

use super::error::{invalid, nearest};
use super::key::Key;
use super::origin::{Origin, Raw, Subject};
use super::variables::check_names;
use crate::error::Error;

/// The values of one source.
#[derive(Clone, Debug)]
pub(super) struct Layer<'t> {
    /// The source.
    pub(super) origin: Origin,
    /// The values by the names of their keys.
    pub(super) values: BTreeMap<&'static str, (Subject, Raw<'t>)>,
}

/// A settings file as it is on disk.
#[derive(Debug)]
pub(super) struct File {
    /// Its text.
    text: String,
    /// Its permission bits.
    mode: u32,
}

impl File {
    /// Reads a file; none if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        use std::os::unix::fs::MetadataExt;
        let read = || -> io::Result<(Vec<u8>, u32)> {
            let found = std::fs::metadata(path)?;
            if !found.is_file() && !found.is_dir() {
                // Reading a pipe or a device might never end.
                return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
            }
            let mut file = std::fs::File::open(path)?;
            let mode = file.metadata()?.mode();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((bytes, mode))
        };
        let name = path.display();
        let (bytes, mode) = match read() {
            Ok(read) => read,
            Err(error) => {
                let unreadable = invalid(format!("cannot read the settings in `{name}`"));
                return match error.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                    ErrorKind::IsADirectory => {
                        Err(invalid(format!("`{name}` is a directory, not a settings file"))
                            .with_hint(format!("rename or remove `{name}`")))
                    }
                    ErrorKind::PermissionDenied => Err(unreadable
                        .caused_by(&error)
                        .with_hint(format!("make `{name}` readable for your user"))),
                    _ => Err(unreadable
                        .caused_by(&error)
                        .with_hint(format!("check the file system that holds `{name}`"))),
                };
            }
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = line_of(error.as_bytes(), error.utf8_error().valid_up_to());
            invalid(format!("{name}:{line}: the file is not UTF-8"))
                .with_hint(format!("save `{name}` as UTF-8"))
        })?;
        Ok(Some(Self { text, mode }))
    }

    /// Its bytes.
    pub(super) const fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The file as a layer. `origin` is [`Origin::User`] or [`Origin::Project`], with the
    /// same path.
    pub(super) fn layer(
        &self,
        origin: Origin,
        path: &Path,
        keys: &'static [Key],
    ) -> Result<Layer<'_>, Error> {
        const OTHERS: u32 = 0o077;
        let layer = Layer::parse(origin, path, &self.text, keys)?;
        let has_secret = keys.iter().any(|key| key.secret && layer.values.contains_key(key.name));
        if has_secret && self.mode & OTHERS != 0 {
            let name = path.display();
            return Err(invalid(format!(
                "`{name}` holds a token, but other users can read or write the file"
            ))
            .with_hint(format!(
                "run `chmod 600 {name}`; if other users may have read the token, revoke it"
            )));
        }
        Ok(layer)
    }
}

impl<'t> Layer<'t> {
    /// The project file, if this is one.
    pub(super) fn project(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Project(path) => Some(path),
            Origin::Default | Origin::User(_) | Origin::Environment(_) => None,
        }
    }

    /// Reads the text of a file.
    pub(super) fn parse(
        origin: Origin,
        path: &Path,
        text: &'t str,
        keys: &'static [Key],
    ) -> Result<Self, Error> {
        let line = |offset: usize| line_of(text.as_bytes(), offset);
        let table = DeTable::parse(text).map_err(|error| {
            let line = line(error.span().map_or(0, |span| span.start));
            invalid(format!("{}:{line}: {}", path.display(), error.message()))
        })?;
        let mut values = BTreeMap::new();
        for (name, value) in table.into_inner() {
            let line = line(name.span().start);
            let key = known(name.get_ref(), path, line, keys)?;
            let subject = Subject::Line { path: path.to_owned(), line, key: key.name };
            if key.is_of_user && matches!(origin, Origin::Project(_)) {
                return Err(misplaced(key, &subject));
            }
            values.insert(key.name, (subject, Raw::Toml(value.into_inner())));
        }
        Ok(Self { origin, values })
    }

    /// Reads the environment, one layer a variable. A variable that is set to nothing
    /// counts as not set.
    pub(super) fn environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        keys: &'static [Key],
    ) -> Result<Vec<Self>, Error> {
        let variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
        check_names(variables.keys(), keys)?;
        let mut layers = Vec::new();
        for key in keys {
            let value = variables.get(std::ffi::OsStr::new(key.variable));
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            let Some(text) = value.to_str() else {
                return Err(invalid(format!("`{}` is not valid UTF-8", key.variable)));
            };
            let raw = (Subject::Variable(key.variable), Raw::Text(text.to_owned()));
            layers.push(Self {
                origin: Origin::Environment(key.variable),
                values: [(key.name, raw)].into(),
            });
        }
        Ok(layers)
    }
}

/// The key of a name in a file.
fn known(
    name: &str,
    path: &Path,
    line: usize,
    keys: &'static [Key],
) -> Result<&'static Key, Error> {
    keys.iter().find(|key| key.name == name).ok_or_else(|| {
        let shown = name.escape_debug();
        let error = invalid(format!("{}:{line}: unknown key `{shown}`", path.display()));
        match nearest(name, keys.iter().map(|key| (key.name, key.name))) {
            Some(nearest) => error.with_hint(format!("did you mean `{nearest}`?")),
            None => error,
        }
    })
}

/// The error for a key of the user's in a project file, which others read and write.
fn misplaced(key: &Key, subject: &Subject) -> Error {
    let committed = if key.secret { "; revoke the token if it was committed" } else { "" };
    invalid(format!("{subject} is not allowed in a project file, only in your user config"))
        .with_hint(format!(
            "move it to your user config (usually ~/.config/cargo-burst/config.toml) or set \
             `{}`{committed}",
            key.variable
        ))
}

/// The line, from 1, of a position in a text.
fn line_of(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
