//! The user config as `init` writes it: with mode 0600, and other settings in it are kept.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use burst_hcloud::Token;
use toml_edit::{Array, DocumentMut, TomlError, value};

use crate::atomic_file;
use crate::directories::unusable;
use crate::error::{Error, ErrorKind};

/// What is written.
pub(super) struct Choices<'a> {
    /// The token.
    pub(super) token: &'a Token,
    /// Server types, in the order of preference.
    pub(super) server_types: &'a [String],
    /// Locations, likewise.
    pub(super) regions: &'a [String],
    /// `dead_man_switch`; `None` if it was not asked: then it stays as it is.
    pub(super) dead_man_switch: Option<bool>,
}

/// Writes the user config at `path`.
pub(super) fn write(path: &Path, choices: &Choices<'_>) -> Result<(), Error> {
    let failed = |source| unusable("write", path, &source);
    let directory = path.parent().unwrap_or(path);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|source| unusable("read", path, &source))?,
    };
    let text = with_choices(&text, choices).map_err(|error| {
        let hint = format!("correct `{}`, or move it away", path.display());
        Error::new(ErrorKind::Settings, format!("`{}` is not valid TOML", path.display()), hint)
            .caused_by(&error)
    })?;
    atomic_file::write(path, text.as_bytes(), 0o600).map_err(failed)
}

fn with_choices(text: &str, choices: &Choices<'_>) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    document["hetzner_token"] = value(choices.token.reveal());
    document["server_type"] = match choices.server_types {
        [one] => value(one),
        several => value(several.iter().map(String::as_str).collect::<Array>()),
    };
    document["region"] = value(choices.regions.iter().map(String::as_str).collect::<Array>());
    if let Some(dead_man_switch) = choices.dead_man_switch {
        document["dead_man_switch"] = value(dead_man_switch);
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_entered_and_the_rest_stays() {
        let token = Token::parse("secret").unwrap();
        let [one, other] = ["cx53".to_owned(), "cpx62".to_owned()];
        let written = |text, server_types: &[String], dead_man_switch| {
            let regions = &["hel1".to_owned()];
            let choices = Choices { token: &token, server_types, regions, dead_man_switch };
            with_choices(text, &choices).unwrap()
        };
        assert_eq!(
            written("", std::slice::from_ref(&one), None),
            "hetzner_token = \"secret\"\nserver_type = \"cx53\"\nregion = [\"hel1\"]\n"
        );
        assert_eq!(
            written("# mine\nvolume_gb = 50\nregion = 'x'\n", &[one, other], Some(true)),
            "# mine\nvolume_gb = 50\nregion = [\"hel1\"]\nhetzner_token = \"secret\"\n\
             server_type = [\"cx53\", \"cpx62\"]\ndead_man_switch = true\n"
        );
    }
}
