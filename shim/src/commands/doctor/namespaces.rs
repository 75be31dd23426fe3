//! Whether runs on this machine see a project at its own path, and AppArmor's profile for it.
//!
//! Without namespaces they run in the agent's own directory: messages and programs hold that path.
//! Ubuntu lets only programs with a profile use the namespaces of unprivileged users.

use std::path::Path;

use super::check::Check;

/// The profile, for a program that `cargo install` has installed.
const PROFILE: &str = include_str!("../../../apparmor/cargo-burst");

/// The path in it.
const INSTALLED: &str = "@{HOME}/.cargo/bin/cargo-burst";

/// The name of the profile.
const PROFILE_NAME: &str = "cargo-burst";

/// What this machine says of namespaces. Each limit is absent where the kernel has it not.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespaces {
    /// Whether they can be made; `None` if that was not found out in time.
    pub(super) work: Option<bool>,
    /// Whether this is root.
    pub(super) is_root: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns`
    pub(super) apparmor_restricts: Option<u64>,
    /// AppArmor's label of this process, such as `unconfined`.
    pub(super) apparmor_label: Option<String>,
    /// `kernel.unprivileged_userns_clone`
    pub(super) unprivileged: Option<u64>,
    /// `user.max_user_namespaces`
    pub(super) most: Option<u64>,
}

/// Runs see a project at its own path.
pub(super) fn namespaces(found: &Namespaces) -> Check {
    const NAME: &str = "namespaces";
    const OTHERWISE: &str = "runs on this machine are in the agent's own directory, whose path \
                             messages and programs then hold";
    const AGENT: &str = "then `cargo burst down`: the next command starts an agent with it";
    match found.work {
        Some(true) => {
            return Check::ok(NAME, "runs on this machine see a project at its own path");
        }
        None => return Check::skipped(NAME, "the helper that makes them has not ended in time"),
        Some(false) => {}
    }
    let (why, cure) = if found.is_root {
        (
            "this machine allows no namespaces, not even to root",
            "in a container, run it with the right CAP_SYS_ADMIN".to_owned(),
        )
    } else if found.unprivileged == Some(0) {
        (
            "the kernel allows no user namespaces (kernel.unprivileged_userns_clone = 0)",
            format!("`sudo sysctl kernel.unprivileged_userns_clone=1`, {AGENT}"),
        )
    } else if found.most == Some(0) {
        (
            "the kernel allows no user namespaces (user.max_user_namespaces = 0)",
            format!("`sudo sysctl user.max_user_namespaces=10000`, {AGENT}"),
        )
    } else if found.apparmor_restricts == Some(1) && !is_labelled(found) {
        (
            "AppArmor keeps programs without a profile from user namespaces \
             (kernel.apparmor_restrict_unprivileged_userns = 1)",
            format!(
                "install the profile: `cargo burst doctor --apparmor-profile | sudo tee \
                 /etc/apparmor.d/{PROFILE_NAME} && sudo apparmor_parser -r \
                 /etc/apparmor.d/{PROFILE_NAME}`, {AGENT}"
            ),
        )
    } else {
        (
            "this machine allows no user namespaces, as many containers",
            "in a container, allow them by its security profile, or run it as root with the right \
             CAP_SYS_ADMIN"
                .to_owned(),
        )
    };
    Check::warning(NAME, format!("{why}: {OTHERWISE}"), cure)
}

/// Whether this process has our profile: its label is the name, and the mode in parentheses.
fn is_labelled(found: &Namespaces) -> bool {
    let label = found.apparmor_label.as_deref().unwrap_or_default();
    label.split_whitespace().next() == Some(PROFILE_NAME)
}

/// The profile for the program at this path.
pub(super) fn profile(program: &Path, home: Option<&Path>) -> String {
    let is_installed = home.is_some_and(|home| home.join(".cargo/bin/cargo-burst") == program);
    if is_installed {
        return PROFILE.to_owned();
    }
    PROFILE.replace(INSTALLED, &quoted(&program.to_string_lossy()))
}

/// A path as AppArmor takes it literally: in quotes, special characters escaped.
fn quoted(path: &str) -> String {
    let mut text = String::from("\"");
    for character in path.chars() {
        if "\\\"*?[]{}^".contains(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::check::State;

    fn of_ubuntu() -> Namespaces {
        Namespaces {
            work: Some(false),
            apparmor_restricts: Some(1),
            apparmor_label: Some("unconfined".into()),
            most: Some(1000),
            unprivileged: Some(1),
            is_root: false,
        }
    }

    #[test]
    fn what_works_is_ok_whatever_the_kernel_says() {
        let found = Namespaces { work: Some(true), ..of_ubuntu() };
        assert_eq!(namespaces(&found).state, State::Ok);
        let found = Namespaces { work: None, ..of_ubuntu() };
        assert_eq!(namespaces(&found).state, State::Skipped);
    }

    #[test]
    fn the_restriction_of_ubuntu_is_cured_by_the_profile() {
        let check = namespaces(&of_ubuntu());
        assert_eq!(check.state, State::Warning);
        assert!(check.finding.contains("kernel.apparmor_restrict_unprivileged_userns = 1"));
        let step = check.next_step.unwrap();
        assert!(
            step.contains("--apparmor-profile | sudo tee /etc/apparmor.d/cargo-burst"),
            "{step}"
        );
        // With the profile something else is in the way.
        let label = Some("cargo-burst (unconfined)".to_owned());
        let check = namespaces(&Namespaces { apparmor_label: label, ..of_ubuntu() });
        assert!(!check.next_step.unwrap().contains("apparmor_parser"));
    }

    #[test]
    fn each_limit_of_the_kernel_has_its_own_cure() {
        let cure = |found: Namespaces| {
            let check = namespaces(&found);
            assert_eq!(check.state, State::Warning);
            check.next_step.unwrap()
        };
        let cured = cure(Namespaces { unprivileged: Some(0), ..of_ubuntu() });
        assert!(cured.contains("kernel.unprivileged_userns_clone=1"), "{cured}");
        let cured = cure(Namespaces { most: Some(0), ..of_ubuntu() });
        assert!(cured.contains("user.max_user_namespaces=10000"), "{cured}");
        let cured = cure(Namespaces { apparmor_restricts: None, ..of_ubuntu() });
        assert!(cured.starts_with("in a container, allow them"), "{cured}");
        let cured = cure(Namespaces { is_root: true, ..of_ubuntu() });
        assert!(cured.starts_with("in a container, run it"), "{cured}");
    }

    #[test]
    fn the_profile_is_for_the_program_that_prints_it() {
        let home = Path::new("/home/me");
        let installed = profile(Path::new("/home/me/.cargo/bin/cargo-burst"), Some(home));
        assert_eq!(installed, PROFILE);
        assert!(
            PROFILE.contains(&format!("profile {PROFILE_NAME} {INSTALLED} flags=(unconfined)"))
        );
        let other = profile(Path::new("/opt/a b/[x]/cargo-burst"), Some(home));
        assert!(
            other.contains(r#"profile cargo-burst "/opt/a b/\[x\]/cargo-burst" flags="#),
            "{other}"
        );
        assert!(!other.contains(INSTALLED));
    }
}
