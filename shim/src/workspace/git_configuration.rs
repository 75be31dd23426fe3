//! The configuration with which git is asked in a copy of a git directory ([`super::git_copy`]):
//! the settings of the repository that change what git says, and none that names a file, a program
//! or another configuration. Pure.

/// The settings of the section `core` that change what git says.
const CORE: [&str; 7] = [
    "core.repositoryformatversion",
    "core.filemode",
    "core.symlinks",
    "core.ignorecase",
    "core.autocrlf",
    "core.eol",
    "core.abbrev",
];

/// Writes one file of the configuration from a list of all settings; none if one of them can lead
/// elsewhere, or if it changes how a repository is read in a way that cannot be repeated.
pub(super) fn written(listed: &[u8]) -> Option<String> {
    let mut text = String::new();
    let is_plain = |value: &str| {
        value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    for setting in listed.split(|byte| *byte == 0) {
        let Ok(setting) = std::str::from_utf8(setting) else { continue };
        // Without a value it is true.
        let (key, value) = setting.split_once('\n').unwrap_or((setting, "true"));
        match key.split_once('.') {
            Some(("extensions", name)) => {
                if !is_plain(name) || !is_plain(value) {
                    return None;
                }
                text += &format!("[extensions]\n\t{name} = {value}\n");
            }
            Some(("core", name)) if CORE.contains(&key) && is_plain(value) => {
                text += &format!("[core]\n\t{name} = {value}\n");
            }
            _ if key == "remote.origin.url" && !value.contains(['"', '\\', '\n']) => {
                text += &format!("[remote \"origin\"]\n\turl = \"{value}\"\n");
            }
            _ => {}
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_lead_nowhere_are_kept() {
        let listed = b"core.eol\nlf\0core.filemode\0core.attributesfile\n/x\0core.abbrev\n1/2\0\
                       remote.origin.url\nhttps://h/x y\0\
                       extensions.other-one\ntrue\0";
        let expected = "[core]\n\teol = lf\n[core]\n\tfilemode = true\n\
                        [remote \"origin\"]\n\turl = \"https://h/x y\"\n\
                        [extensions]\n\tother-one = true\n";
        assert_eq!(written(listed).as_deref(), Some(expected));
        assert_eq!(written(b"extensions.refstorage\nfiles:///x\0"), None);
    }
}
