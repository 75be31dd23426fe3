//! How a project file may set a setting. Pure.
//!
//! A project file comes from a repository, and a build can write it. So it may set only what
//! costs and sends no more than the user's own settings; anything else needs the user's trust
//! ([`trust`](super::trust)), and a limit is never raised by it.
//!
//! Prices are not known here, so only an equal value or a part of the user's own counts as
//! no dearer.

use super::name_pattern::is_pattern;
use super::port_forward::PortForward;

/// The rule of a setting whose values are of type `T`.
pub(super) enum ProjectRule<T> {
    /// With any value: none costs or sends more than another.
    Free,
    /// Not at all: it says where secrets are or go, or whom to trust.
    Refused,
    /// Not above the user's own value: it is a limit.
    Lowers {
        /// Whether the second value is above the first, which is the user's own.
        exceeds: fn(&T, &T) -> bool,
    },
    /// With trust where it goes beyond the user's own value.
    Trusted {
        /// What needs trust, for the documentation.
        needs: &'static str,
        /// The part of the second value that goes beyond the first, which is the user's
        /// own; `None` if there is none.
        beyond: fn(&T, &T) -> Option<T>,
    },
}

/// What a rule says of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement<T> {
    /// It holds.
    Holds,
    /// It never holds: it raises a limit.
    Raises,
    /// It holds if the file is trusted, for this part of it.
    Asks(T),
}

impl<T> ProjectRule<T> {
    /// Judges the value `with` the project file by the value of the other layers, the
    /// user's `own`.
    pub(super) fn judge(&self, own: &T, with: &T) -> Judgement<T> {
        match self {
            // A layer with a refused key is not made.
            Self::Free | Self::Refused => Judgement::Holds,
            Self::Lowers { exceeds } if exceeds(own, with) => Judgement::Raises,
            Self::Lowers { .. } => Judgement::Holds,
            Self::Trusted { beyond, .. } => {
                beyond(own, with).map_or(Judgement::Holds, Judgement::Asks)
            }
        }
    }

    /// Whether no project file may hold the setting.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused)
    }

    /// The rule for users; `None` where every value is allowed.
    pub(super) fn documented(&self) -> Option<String> {
        match self {
            Self::Free => None,
            Self::Refused => Some("Not allowed in a project file".into()),
            Self::Lowers { .. } => Some("A project file can only lower it".into()),
            Self::Trusted { needs, .. } => Some(format!("A project file needs trust for {needs}")),
        }
    }
}

impl ProjectRule<u64> {
    /// More costs more.
    pub(super) const NOT_LARGER: Self = Self::Trusted {
        needs: "a larger value than your own",
        beyond: |own, with| (with > own).then_some(*with),
    };
}

impl<T: Copy + PartialEq> ProjectRule<T> {
    /// Each value can cost more, or allow more, than the others.
    pub(super) const NOT_OTHER: Self = Self::Trusted {
        needs: "another value than your own",
        beyond: |own, with| (with != own).then_some(*with),
    };
}

impl<T: PartialOrd> ProjectRule<Option<T>> {
    /// An amount of money or time that may be spent; without one there is no limit.
    pub(super) const LOWERS: Self = Self::Lowers {
        exceeds: |own, with| match (own, with) {
            (Some(own), Some(with)) => with > own,
            (Some(_), None) => true,
            (None, _) => false,
        },
    };
}

impl ProjectRule<Vec<PortForward>> {
    /// Programs here that connect to a port talk to a program of a build then.
    pub(super) const NO_PORT: Self = Self::Trusted {
        needs: "a port that your own list lacks",
        beyond: |own, with| {
            let added: Vec<_> = with.iter().filter(|port| !own.contains(port)).copied().collect();
            (!added.is_empty()).then_some(added)
        },
    };
}

impl ProjectRule<Vec<String>> {
    /// The first item is preferred, so only a shortened list surely costs no more.
    pub(super) const BEGINNING: Self = Self::Trusted {
        needs: "anything but the beginning of your own list",
        beyond: |own, with| (!own.starts_with(with)).then(|| with.clone()),
    };

    /// Every item adds to what is spent or sent.
    pub(super) const NO_ADDITION: Self = Self::Trusted {
        needs: "an item that your own list lacks",
        beyond: |own, with| additions(own, with, |_| true),
    };

    /// Only variables of a build.
    pub(super) const VARIABLES: Self = Self::Trusted {
        needs: "names other than RUST* and CARGO_*, and for credentials",
        beyond: |own, with| additions(own, with, |name| !is_of_build(name)),
    };

    /// Only patterns that leave files out.
    pub(super) const EXCLUDES: Self = Self::Trusted {
        needs: "a pattern that begins with `!`",
        beyond: |own, with| additions(own, with, |pattern| pattern.starts_with('!')),
    };
}

/// The items of `with` that `own` lacks and for which `counts` holds; `None` if none.
fn additions(own: &[String], with: &[String], counts: fn(&str) -> bool) -> Option<Vec<String>> {
    let found: Vec<String> =
        with.iter().filter(|item| !own.contains(item) && counts(item)).cloned().collect();
    (!found.is_empty()).then_some(found)
}

/// Whether a variable configures cargo, rustc or a program of a build, and holds no
/// credential; for a pattern, whether each variable does that it can stand for. Registries and
/// proxies are left out: their URLs may contain a password.
fn is_of_build(name: &str) -> bool {
    const PREFIXES: [&str; 2] = ["RUST", "CARGO_"];
    // All that a pattern with such a beginning can stand for is harmless.
    const PATTERNS: [&str; 5] =
        ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_UNSTABLE_", "RUST_TEST_"];
    const CREDENTIALS: [&str; 8] =
        ["TOKEN", "SECRET", "PASS", "AUTH", "CREDENTIAL", "KEY", "REGISTR", "PROXY"];
    let upper = name.to_ascii_uppercase();
    let prefixes = if is_pattern(name) { PATTERNS.as_slice() } else { &PREFIXES };
    prefixes.iter().any(|prefix| name.starts_with(prefix))
        && !CREDENTIALS.iter().any(|word| upper.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    /// The part that needs trust.
    fn asked(rule: &ProjectRule<Vec<String>>, own: &[&str], with: &[&str]) -> Vec<String> {
        match rule.judge(&list(own), &list(with)) {
            Judgement::Holds => Vec::new(),
            Judgement::Raises => panic!("a list is no limit"),
            Judgement::Asks(part) => part,
        }
    }

    #[test]
    fn a_larger_number_needs_trust() {
        let judge = |own, with| ProjectRule::<u64>::NOT_LARGER.judge(&own, &with);
        assert_eq!(judge(200, 201), Judgement::Asks(201));
        assert_eq!([judge(200, 200), judge(200, 10)], [Judgement::Holds; 2]);
    }

    #[test]
    fn another_switch_needs_trust() {
        let judge = |own, with| ProjectRule::<bool>::NOT_OTHER.judge(&own, &with);
        assert_eq!(judge(true, false), Judgement::Asks(false));
        assert_eq!(judge(false, true), Judgement::Asks(true));
        assert_eq!([judge(true, true), judge(false, false)], [Judgement::Holds; 2]);
    }

    #[test]
    fn a_limit_is_only_lowered() {
        let judge = |own, with| ProjectRule::<Option<f64>>::LOWERS.judge(&own, &with);
        assert_eq!(judge(Some(40.0), Some(40.5)), Judgement::Raises);
        assert_eq!(judge(Some(40.0), None), Judgement::Raises);
        assert_eq!(judge(Some(40.0), Some(40.0)), Judgement::Holds);
        assert_eq!(judge(Some(40.0), Some(20.0)), Judgement::Holds);
        assert_eq!(judge(None, Some(1000.0)), Judgement::Holds);
    }

    #[test]
    fn only_the_beginning_of_the_own_list_needs_no_trust() {
        let own = ["cx53", "cpx62"];
        let asked = |with: &[&str]| asked(&ProjectRule::BEGINNING, &own, with);
        assert_eq!(asked(&["cx53", "cpx62"]), [""; 0]);
        assert_eq!(asked(&["cx53"]), [""; 0]);
        assert_eq!(asked(&["cpx62"]), ["cpx62"]);
        assert_eq!(asked(&["cpx62", "cx53"]), ["cpx62", "cx53"]);
        assert_eq!(asked(&["cx53", "cpx62", "ccx63"]), ["cx53", "cpx62", "ccx63"]);
    }

    #[test]
    fn an_item_that_the_own_list_lacks_needs_trust() {
        let asked = |with: &[&str]| asked(&ProjectRule::NO_ADDITION, &["hel1", "fsn1"], with);
        assert_eq!(asked(&["fsn1", "hel1"]), [""; 0]);
        assert_eq!(asked(&["fsn1", "ash"]), ["ash"]);
    }

    #[test]
    fn only_variables_of_a_build_need_no_trust() {
        let asked = |names: &[&str]| asked(&ProjectRule::VARIABLES, &["MINE"], names);
        let of_build = ["RUSTFLAGS", "RUST_LOG", "RUSTC_WRAPPER", "CARGO_PROFILE_*", "RUST_TEST_*"];
        assert_eq!(asked(&of_build), [""; 0]);
        assert_eq!(asked(&["MINE", "RUST_LOG"]), [""; 0]);
        let others = [
            "AWS_SECRET_ACCESS_KEY",
            "CARGO",
            "cargo_term_color",
            "MY_RUSTFLAGS",
            "CARGO_REGISTRY_TOKEN",
            "CARGO_REGISTRIES_MINE_TOKEN",
            "CARGO_REGISTRIES_MINE_SECRET_KEY",
            "CARGO_REGISTRIES_MINE_INDEX",
            "CARGO_REGISTRY_CREDENTIAL_PROVIDER",
            "CARGO_HTTP_PROXY",
            "RUST_token",
            "RUSTFS_PASS",
            "RUST*",
            "CARGO_*",
            "*",
        ];
        assert_eq!(asked(&others), others);
        assert_eq!(asked(&["RUST_LOG", "DATABASE_URL"]), ["DATABASE_URL"]);
    }

    #[test]
    fn a_pattern_that_sends_files_needs_trust() {
        let asked = |patterns: &[&str]| asked(&ProjectRule::EXCLUDES, &["!/mine"], patterns);
        assert_eq!(asked(&["*.bin", "/data", "\\!a", "!/mine"]), [""; 0]);
        assert_eq!(asked(&["*.bin", "!.git/", "!.env"]), ["!.git/", "!.env"]);
    }
}
