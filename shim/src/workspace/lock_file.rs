//! The packages that `Cargo.lock` names. One that is missing, or that cargo would not read, names
//! none.

use std::path::Path;

use toml::{Table, Value};

use super::manifest;

/// A package of a lock file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Locked {
    pub(super) name: String,
    pub(super) version: String,
    /// Absent for a path.
    pub(super) source: Option<String>,
}

/// All packages that the lock file of a workspace root names, unused patches included.
pub(super) fn locked_in(root: &Path) -> Vec<Locked> {
    locked(&manifest::table(&root.join("Cargo.lock")).unwrap_or_default())
}

/// All packages of a lock file. Pure.
fn locked(lock: &Table) -> Vec<Locked> {
    let unused = lock.get("patch").and_then(|patch| patch.get("unused"));
    let packages = [lock.get("package"), unused].into_iter().flatten();
    let packages = packages.filter_map(Value::as_array).flatten();
    let text = |package: &Value, key| Some(package.get(key)?.as_str()?.to_owned());
    let locked = |package| {
        let (name, version) = (text(package, "name")?, text(package, "version")?);
        Some(Locked { name, version, source: text(package, "source") })
    };
    packages.filter_map(locked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_unused_patches_are_found() {
        let lock = "version = 4\n[[package]]\nname = 'own'\nversion = '1.0.0'\n\
                    [[package]]\nname = 'a'\nversion = '2.0.0'\nsource = 'git+https://a#11'\n\
                    [[patch.unused]]\nname = 'b'\nversion = '3.0.0'\n";
        let package = |name: &str, version: &str, source: Option<&str>| {
            let (name, version) = (name.into(), version.into());
            Locked { name, version, source: source.map(Into::into) }
        };
        let expected = [
            package("own", "1.0.0", None),
            package("a", "2.0.0", Some("git+https://a#11")),
            package("b", "3.0.0", None),
        ];
        assert_eq!(locked(&lock.parse().unwrap()), expected);
        assert_eq!(locked(&Table::new()), []);
    }
}
