//! The text of cargo's configuration without credentials. Pure.
//!
//! `[env]` is what a project gives to its builds and stays, but for the tokens of registries. In
//! all other values, and in keys, URLs lose their passwords.

use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use super::url_password::without_password;

/// The keys of a registry that are secrets.
const SECRETS: [&str; 2] = ["token", "secret-key"];

/// The text of a configuration without credentials, otherwise unchanged; `None` if it has
/// none, or is no TOML, which cargo would not read either.
pub(super) fn without_credentials(text: &[u8]) -> Option<Vec<u8>> {
    let Ok(mut document) = String::from_utf8_lossy(text).parse::<DocumentMut>() else {
        return without_secret_lines(text);
    };
    let mut removed = false;
    for (name, item) in document.iter_mut() {
        let Some(table) = item.as_table_like_mut() else { continue };
        removed |= match name.get() {
            "registry" => clean_registry(table),
            "registries" => clean_each(table),
            "credential-alias" => clean_aliases(table),
            "http" => clean_proxy(table),
            "env" => remove_keys(table, is_token_variable),
            _ => false,
        };
    }
    for (name, item) in document.iter_mut() {
        // A build may need the password of a database.
        removed |= name.get() != "env" && clean_urls(item);
    }
    removed.then(|| document.to_string().into_bytes())
}

/// A text that is not TOML without the lines that may hold a secret: cargo may not read the
/// file, so that the mistake goes unnoticed.
fn without_secret_lines(text: &[u8]) -> Option<Vec<u8>> {
    let is_secret = |line: &&[u8]| {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let has_word = |word: &&str| line.contains(*word);
        ["token", "secret", "credential", "password"].iter().any(has_word)
            || without_password(&line).is_some()
    };
    let kept: Vec<&[u8]> =
        text.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_secret(line)).collect();
    let kept = kept.concat();
    (kept.len() < text.len()).then_some(kept)
}

fn clean_each(registries: &mut dyn TableLike) -> bool {
    let mut removed = false;
    for (_, registry) in registries.iter_mut() {
        removed |= registry.as_table_like_mut().is_some_and(clean_registry);
    }
    removed
}

fn clean_registry(registry: &mut dyn TableLike) -> bool {
    let mut removed = remove_keys(registry, |key| SECRETS.contains(&key));
    if registry.get("credential-provider").is_some_and(has_arguments) {
        registry.remove("credential-provider");
        removed = true;
    }
    let providers = registry.get_mut("global-credential-providers").and_then(Item::as_array_mut);
    removed | providers.is_some_and(clean_providers)
}

fn clean_aliases(aliases: &mut dyn TableLike) -> bool {
    let with_arguments: Vec<String> = aliases
        .iter()
        .filter(|(_, provider)| has_arguments(provider))
        .map(|(name, _)| name.to_owned())
        .collect();
    with_arguments.iter().for_each(|name| drop(aliases.remove(name)));
    !with_arguments.is_empty()
}

fn clean_providers(providers: &mut Array) -> bool {
    let before = providers.len();
    providers.retain(|provider| !provider.as_str().is_some_and(is_command_line));
    providers.len() < before
}

/// Whether a credential provider is called with arguments, which may be secrets.
fn has_arguments(provider: &Item) -> bool {
    match provider.as_value() {
        Some(Value::Array(words)) => words.len() > 1,
        Some(Value::String(text)) => is_command_line(text.value()),
        _ => false,
    }
}

fn is_command_line(provider: &str) -> bool {
    provider.trim().contains(char::is_whitespace)
}

/// Removes user name and password from the proxy's URL, which may be a host alone.
fn clean_proxy(http: &mut dyn TableLike) -> bool {
    let Some(proxy) = http.get("proxy").and_then(Item::as_str) else { return false };
    let (scheme, rest) = match proxy.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), proxy),
    };
    let Some((_, host)) = rest.rsplit_once('@') else { return false };
    let cleaned = format!("{scheme}{host}");
    http.insert("proxy", toml_edit::value(cleaned));
    true
}

/// Removes the passwords from all URLs in an item and below it.
fn clean_urls(item: &mut Item) -> bool {
    match item {
        Item::None => false,
        Item::Value(value) => clean_value(value),
        Item::Table(table) => clean_table(table),
        Item::ArrayOfTables(tables) => {
            tables.iter_mut().fold(false, |removed, table| clean_table(table) | removed)
        }
    }
}

fn clean_value(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let Some(cleaned) = without_password(text.value()) else { return false };
            let decor = text.decor().clone();
            *value = Value::from(cleaned);
            *value.decor_mut() = decor;
            true
        }
        Value::Array(values) => {
            values.iter_mut().fold(false, |removed, value| clean_value(value) | removed)
        }
        Value::InlineTable(table) => clean_table(table),
        _ => false,
    }
}

/// `[patch]` has URLs as keys.
fn clean_table(table: &mut dyn TableLike) -> bool {
    let keys: Vec<(String, Option<String>)> =
        table.iter().map(|(key, _)| (key.to_owned(), without_password(key))).collect();
    let mut removed = false;
    for (key, cleaned) in keys {
        removed |= table.get_mut(&key).is_some_and(clean_urls);
        if let Some(cleaned) = cleaned
            && let Some(item) = table.remove(&key)
        {
            table.insert(&cleaned, item);
            removed = true;
        }
    }
    removed
}

/// Whether an environment variable is the token of a registry.
fn is_token_variable(name: &str) -> bool {
    name.starts_with("CARGO_REGISTR") && (name.ends_with("_TOKEN") || name.ends_with("_SECRET_KEY"))
}

fn remove_keys(table: &mut dyn TableLike, is_removed: impl Fn(&str) -> bool) -> bool {
    let keys: Vec<String> =
        table.iter().map(|(key, _)| key.to_owned()).filter(|key| is_removed(key)).collect();
    keys.iter().for_each(|key| drop(table.remove(key)));
    !keys.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> Option<String> {
        without_credentials(text.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn secrets_are_removed_and_everything_else_stays_as_it_is() {
        let text = "# ours\n[build]\njobs   = 2\n\n[registry]\ntoken = 'a'\ndefault = 'x'\n\
             [registries.x]\nindex = 'i' # here\ntoken = 'b'\nsecret-key = 'c'\n\
             [registries]\ny = { index = 'j', token = 'd' }\n";
        let sent = "# ours\n[build]\njobs   = 2\n\n[registry]\ndefault = 'x'\n\
             [registries.x]\nindex = 'i' # here\n[registries]\ny = { index = 'j'}\n";
        assert_eq!(cleaned(text).as_deref(), Some(sent));
        assert_eq!(cleaned("registry.token = 'a'\nbuild.jobs = 2\n").unwrap(), "build.jobs = 2\n");
    }

    #[test]
    fn providers_with_arguments_proxies_and_variables_are_cleaned() {
        let providers = "[registry]\n\
             global-credential-providers = ['cargo:token', 'pass --key k']\n\
             [registries.a]\ncredential-provider = ['mine', '--secret', 's']\n\
             [registries.b]\ncredential-provider = 'cargo:libsecret'\n\
             [credential-alias]\nmine = 'prog secret'\nplain = ['prog']\n";
        let sent = cleaned(providers).unwrap();
        assert_eq!(
            sent,
            "[registry]\nglobal-credential-providers = ['cargo:token']\n[registries.a]\n\
             [registries.b]\ncredential-provider = 'cargo:libsecret'\n\
             [credential-alias]\nplain = ['prog']\n"
        );
        let proxy = |url: &str| cleaned(&format!("[http]\nproxy = '{url}'\n"));
        let sent = Some("[http]\nproxy = \"host:80\"\n".to_owned());
        assert_eq!(proxy("me:pa@ss@host:80"), sent);
        assert_eq!(proxy("host:80"), None);
        assert_eq!(
            cleaned("[env]\nCARGO_REGISTRIES_X_TOKEN = 's'\nAPI = 'kept'\n").unwrap(),
            "[env]\nAPI = 'kept'\n"
        );
    }

    #[test]
    fn urls_lose_their_passwords_wherever_they_are() {
        let text = "[http]\nproxy = 'https://me:pa@ss@host:80'\ncainfo = 'https://me:s@h' # ours\n\
             [registries]\nx = { index = 'sparse+https://me:s@h/', y = ['https://me:s@h'] }\n\
             [source.mirror]\nregistry = \"https://me:\\u0073@h/i\"\n\
             [[tables]]\ngit = 'ssh://git:s@h/r'\n\
             [patch.'https://me:s@h/r']\nz = { git = 'https://h/z' }\n\
             [env]\nDATABASE_URL = 'postgres://me:kept@h/d'\n";
        let sent = "[http]\nproxy = \"https://host:80\"\ncainfo = \"https://h\" # ours\n\
             [registries]\nx = { index = \"sparse+https://h/\", y = [\"https://h\"] }\n\
             [source.mirror]\nregistry = \"https://h/i\"\n\
             [[tables]]\ngit = \"ssh://git@h/r\"\n\
             [patch.\"https://h/r\"]\nz = { git = 'https://h/z' }\n\
             [env]\nDATABASE_URL = 'postgres://me:kept@h/d'\n";
        assert_eq!(cleaned(text).as_deref(), Some(sent));
        // No TOML.
        let text = "[source\nregistry = 'https://me:s@h'\nreplace-with = 'x'\n";
        assert_eq!(cleaned(text).unwrap(), "[source\nreplace-with = 'x'\n");
    }

    #[test]
    fn a_text_without_secrets_is_left_alone() {
        for text in ["# kept\n[build]\njobs = 2\n", "[registry\nindex = 'a'", "token = 'a'\n"] {
            assert_eq!(cleaned(text), None);
        }
        assert_eq!(without_credentials(b"\xff"), None);
    }

    #[test]
    fn a_text_that_is_not_toml_loses_the_lines_with_secrets() {
        let text = "[registry\nTOKEN = 'a'\nindex = 'i'\n";
        assert_eq!(cleaned(text), Some("[registry\nindex = 'i'\n".to_owned()));
    }
}
