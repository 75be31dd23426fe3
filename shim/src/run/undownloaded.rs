//! What cargo on a server could not download, from the end of its output, and what to do about
//! it. Only the hint is made here: cargo's own report is the error.

use burst_protocol::message::Ending;

use super::output_tail::OutputTail;

/// Bytes at the end of the output in which cargo's report is looked for.
const TAIL_BYTES: usize = 4096;

/// What cargo says where it cannot reach crates.io.
const CRATES_IO: [&str; 2] =
    ["failed to download from `https://index.crates.io/", "https://static.crates.io/"];

/// What cargo says where it cannot reach a git repository, or has no token for a registry.
const OTHERS: [&str; 4] = [
    "failed to clone into: ",
    "failed to fetch into: ",
    "authenticated registries require a credential-provider",
    "please run `cargo login",
];

/// The hint for a run that has ended so, if cargo has failed for want of a download.
pub(super) fn hint(output: &OutputTail, ending: Ending) -> Option<&'static str> {
    /// cargo's own errors.
    const FAILED: Ending = Ending::Exited(101);
    let text = output.last(TAIL_BYTES);
    // Behind cargo's last error nothing else is written.
    let report = &text[text.rfind("error: ")?..];
    let has = |words: &[&str]| words.iter().any(|words| report.contains(words));
    if ending != FAILED || !report.contains("Caused by:") {
        None
    } else if has(&OTHERS) {
        Some(
            "packages of git repositories and private registries are downloaded on this machine, \
                 where their credentials are: run `cargo update` or `cargo fetch` here, then the \
                 command again",
        )
    } else if has(&CRATES_IO) {
        Some(
            "the server cannot reach crates.io: try again, or run `cargo vendor`, whose packages \
                 are sent with the sources",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(text: &str, ending: Ending) -> Option<&'static str> {
        let mut tail = OutputTail::default();
        // In pieces, behind much else.
        for _ in 0..1000 {
            tail.add(b"   Compiling something\n");
        }
        text.as_bytes().chunks(7).for_each(|piece| tail.add(piece));
        super::hint(&tail, ending)
    }

    const NO_ROUTE: &str = "    Updating crates.io index\nwarning: spurious network error (1 try \
        remaining): [6] Could not resolve hostname\nerror: failed to get `itoa` as a dependency \
        of package `app v0.1.0 (/w)`\n\nCaused by:\n  download of config.json failed\n\nCaused \
        by:\n  failed to download from `https://index.crates.io/config.json`\n\nCaused by:\n  [6] \
        Could not resolve hostname (Could not resolve host: index.crates.io)\n";

    #[test]
    fn reports_of_downloads_that_failed_have_a_hint() {
        let failed = Ending::Exited(101);
        assert!(hint(NO_ROUTE, failed).unwrap().starts_with("the server cannot reach crates.io"));
        let git = "error: failed to load source for dependency `a`\n\nCaused by:\n  unable to update \
                   https://h/a#fe25d05c\n\nCaused by:\n  failed to clone into: /h/git/db/a-3b95\n";
        let token = "error: failed to get `a` as a dependency of package `b`\n\nCaused by:\n  no \
                     token found for `p`, please run `cargo login --registry p`\n";
        for text in [git, token] {
            assert!(hint(text, failed).unwrap().contains("run `cargo update`"), "{text}");
        }
    }

    #[test]
    fn other_runs_have_none() {
        assert_eq!(hint(NO_ROUTE, Ending::Exited(0)), None);
        assert_eq!(hint(NO_ROUTE, Ending::Exited(1)), None);
        let other =
            "please run `cargo login`\nerror: could not compile `a` (bin \"a\")\n\nCaused by:\n";
        assert_eq!(hint(other, Ending::Exited(101)), None);
        assert_eq!(hint("", Ending::Exited(101)), None);
    }
}
