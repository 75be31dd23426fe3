//! Credentials in cargo's files, which never leave this machine.
//!
//! cargo reads `.cargo/config.toml` in every directory above the one it runs in, so such files
//! are cleaned wherever they are in a tree; `.cargo/credentials.toml` is left out. `[env]` of a
//! configuration is what a project gives to its builds and is sent, but for the tokens of
//! registries. In all other values, and in keys, URLs lose their passwords. A symbolic link is
//! followed inside the tree, since its target is what cargo reads.

use std::collections::BTreeSet;
use std::io;

use burst_protocol::tree::{Directory, File, Node};
use burst_protocol::{Digest, FileName, RelativePath};
use burst_sync::SyncError;
use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use super::url_password::without_password;

/// The directory of cargo's configuration in each directory.
const CARGO: &[u8] = b".cargo";

/// The names of files in it that hold nothing but credentials.
const CREDENTIALS: [&[u8]; 2] = [b"credentials", b"credentials.toml"];

/// The keys of a registry that are secrets.
const SECRETS: [&str; 2] = ["token", "secret-key"];

/// The longest chain of symbolic links that is followed.
const LINKS_MAX: usize = 8;

/// Cargo's files in a tree.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Files that may hold credentials beside other things.
    configurations: BTreeSet<RelativePath>,
    /// Files and links that hold nothing else.
    credentials: BTreeSet<RelativePath>,
}

/// Whether a file is one of cargo's that holds nothing but credentials.
pub(crate) fn is_credentials(path: &RelativePath) -> bool {
    let in_cargo = path.parent().is_some_and(|parent| parent.split().1 == CARGO);
    in_cargo && CREDENTIALS.contains(&path.split().1)
}

/// Removes credentials from a tree below `/`: files of credentials leave it, configurations get the
/// content that is returned with their paths. `read` reads a file of at most so many bytes.
/// `cargo_home` is cargo's home, if it lies in the tree; `named` are configurations that need not
/// lie in a `.cargo`.
pub(super) fn remove(
    tree: &mut Directory,
    cargo_home: Option<&RelativePath>,
    named: &[RelativePath],
    read: impl Fn(&RelativePath, u64) -> io::Result<Vec<u8>>,
) -> Result<Vec<(RelativePath, Vec<u8>)>, SyncError> {
    let found = find(tree, cargo_home, named);
    for path in &found.credentials {
        tree.remove(path)?;
    }
    let mut cleaned = Vec::new();
    for path in found.configurations {
        let Some(file) = tree.file(&path).copied() else { continue };
        let text = read(&path, file.size).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SyncError::Changed(path.absolute()),
            _ => SyncError::Read { path: path.absolute(), source },
        })?;
        if let Some(text) = without_credentials(&text) {
            let (size, digest) = (text.len() as u64, Digest::of(&text));
            tree.put(&path, Node::File(File { size, digest, ..file }))?;
            cleaned.push((path, text));
        }
    }
    Ok(cleaned)
}

fn find(tree: &Directory, cargo_home: Option<&RelativePath>, named: &[RelativePath]) -> Found {
    let mut found = Found::default();
    let mut search = Search { tree, found: &mut found };
    search.below(tree, None);
    if let Some(home) = cargo_home
        && let Some(Node::Directory(directory)) = tree.get(home)
    {
        search.cargos(directory, home);
    }
    let named = named.iter().filter_map(|path| search.follow(path.clone()));
    let named: Vec<RelativePath> = named.collect();
    found.configurations.extend(named);
    found
}

struct Search<'a> {
    tree: &'a Directory,
    found: &'a mut Found,
}

impl Search<'_> {
    /// Looks for directories `.cargo`. Paths are made only for directories: most entries are
    /// files.
    fn below(&mut self, directory: &Directory, at: Option<&RelativePath>) {
        for (name, node) in directory.entries() {
            let is_cargos = name.as_bytes() == CARGO;
            match node {
                Node::Directory(below) => {
                    let Some(path) = join(at, name) else { continue };
                    if is_cargos {
                        self.cargos(below, &path);
                    }
                    self.below(below, Some(&path));
                }
                Node::Link(_) if is_cargos => {
                    let Some(target) = join(at, name).and_then(|path| self.follow(path)) else {
                        continue;
                    };
                    if let Some(Node::Directory(below)) = self.tree.get(&target) {
                        self.cargos(below, &target);
                    }
                }
                Node::Link(_) | Node::File(_) => {}
            }
        }
    }

    /// Notes the files of a directory `.cargo`.
    fn cargos(&mut self, directory: &Directory, at: &RelativePath) {
        for (name, node) in directory.entries() {
            let Some(path) = join(Some(at), name) else { continue };
            let is_credentials = CREDENTIALS.contains(&name.as_bytes());
            let is_configuration =
                name.as_bytes() == b"config" || name.as_bytes().ends_with(b".toml");
            if matches!(node, Node::Directory(_)) || !(is_credentials || is_configuration) {
                continue;
            }
            if is_credentials {
                self.found.credentials.insert(path.clone());
            }
            // The target of a link may have a name of any kind.
            if let Some(target) = self.follow(path)
                && !self.found.credentials.contains(&target)
            {
                self.found.configurations.insert(target);
            }
        }
    }

    /// The path behind symbolic links; none if it leaves the tree.
    fn follow(&self, mut path: RelativePath) -> Option<RelativePath> {
        for _ in 0..LINKS_MAX {
            let Some(Node::Link(target)) = self.tree.get(&path) else { return Some(path) };
            let mut names: Vec<&[u8]> = path.names().collect();
            names.pop();
            if target.as_bytes().starts_with(b"/") {
                names.clear();
            }
            for name in target.as_bytes().split(|byte| *byte == b'/') {
                match name {
                    b"" | b"." => {}
                    b".." => drop(names.pop()?),
                    name => names.push(name),
                }
            }
            path = RelativePath::new(&names.join(&b'/')).ok()?;
        }
        None
    }
}

fn join(at: Option<&RelativePath>, name: &FileName) -> Option<RelativePath> {
    match at {
        Some(at) => at.join(name).ok(),
        None => Some(name.clone().into()),
    }
}

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
    use std::collections::HashMap;

    use burst_protocol::tree::{FileMode, LinkTarget};

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

    #[test]
    fn files_are_cleaned_wherever_cargo_reads_them() {
        let path = |text: &str| RelativePath::new(text.as_bytes()).unwrap();
        let secret = b"[registry]\ntoken = 'a'\n".as_slice();
        let (size, digest) = (secret.len() as u64, Digest::of(secret));
        let file = Node::File(File { size, digest, mode: FileMode::REGULAR });
        let link = |to: &str| Node::Link(LinkTarget::new(to.as_bytes()).unwrap());
        let mut tree = Directory::new();
        for name in [
            ".cargo/config.toml",
            ".cargo/credentials.toml",
            "member/.cargo/config",
            "member/.cargo/credentials",
            "member/.cargo/included.toml",
            "shared/cargo.cfg",
            "linked/config.toml",
            "home/credentials.toml",
            "config.toml",
            "ci/cargo.toml",
        ] {
            tree.put(&path(name), file.clone()).unwrap();
        }
        tree.put(&path("other/.cargo/config.toml"), link("../../shared/./cargo.cfg")).unwrap();
        tree.put(&path("third/.cargo"), link("../linked")).unwrap();
        tree.put(&path("fourth/.cargo/config.toml"), link("/etc/cargo.toml")).unwrap();
        let read = |_: &RelativePath, most: u64| {
            assert_eq!(most, size);
            Ok(secret.to_vec())
        };
        let texts = remove(&mut tree, Some(&path("home")), &[path("ci/cargo.toml")], read).unwrap();
        let texts: HashMap<RelativePath, Vec<u8>> = texts.into_iter().collect();
        for name in [
            ".cargo/config.toml",
            "member/.cargo/config",
            "member/.cargo/included.toml",
            "shared/cargo.cfg",
            "linked/config.toml",
            "ci/cargo.toml",
        ] {
            assert_eq!(texts[&path(name)], b"[registry]\n", "{name}");
            assert_eq!(tree.file(&path(name)).unwrap().digest, Digest::of(b"[registry]\n"));
        }
        assert_eq!(texts.len(), 6);
        for gone in
            [".cargo/credentials.toml", "member/.cargo/credentials", "home/credentials.toml"]
        {
            assert_eq!(tree.get(&path(gone)), None, "{gone}");
        }
        assert_eq!(tree.get(&path("config.toml")), Some(&file));
    }
}
