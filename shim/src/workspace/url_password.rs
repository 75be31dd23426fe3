//! Passwords in URLs. Pure.
//!
//! URLs are recognised as the parser of cargo does: upper and lower case are the same in a scheme,
//! and behind `http:` and `https:` there is a host whatever the number of slashes, of both kinds.

/// A text in which no URL has a password; `None` if that is so already. Over HTTP the user goes,
/// too, since it may be a token; ssh needs the user.
pub(super) fn without_password(text: &str) -> Option<String> {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_changed = false;
    while let Some(at) = rest.find(':') {
        let is_http = is_http(scheme(&rest[..at]));
        let is_slash = |letter: char| letter == '/' || is_http && letter == '\\';
        let behind = &rest[at + 1..];
        let slashes = behind.len() - behind.trim_start_matches(is_slash).len();
        if slashes < 2 && !is_http {
            cleaned.push_str(&rest[..=at]);
            rest = behind;
            continue;
        }
        let (before, behind) = rest.split_at(at + 1 + slashes);
        cleaned.push_str(before);
        let (kept, host) = user_and_host(is_http, behind);
        is_changed |= kept.len() + host.len() < behind.len();
        cleaned.push_str(&kept);
        rest = host;
    }
    cleaned.push_str(rest);
    is_changed.then_some(cleaned)
}

/// The scheme at the end of a text, without the `sparse+` and the like of cargo.
fn scheme(before: &str) -> &str {
    before.rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default()
}

fn is_http(scheme: &str) -> bool {
    ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http))
}

/// What stays of the user in front of a host, with `@`, and the text that begins with the host.
fn user_and_host(is_http: bool, behind: &str) -> (String, &str) {
    let is_end = |letter: char| {
        let ends = matches!(letter, '/' | '?' | '#' | '"' | '\'');
        ends || letter.is_whitespace() || is_http && letter == '\\'
    };
    let end = behind.find(is_end).unwrap_or(behind.len());
    let Some(at) = behind[..end].rfind('@') else { return (String::new(), behind) };
    let (user, host) = (&behind[..at], &behind[at + 1..]);
    let kept = match user.split_once(':') {
        _ if is_http => String::new(),
        Some((name, _)) => format!("{name}@"),
        None => format!("{user}@"),
    };
    (kept, host)
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn only_the_password_goes_and_over_http_the_user() {
        for (text, expected) in [
            ("https://me:s@host/path", Some("https://host/path")),
            ("https://me:a@b@host:80", Some("https://host:80")),
            ("https://token@host/", Some("https://host/")),
            ("sparse+https://me:s@host/", Some("sparse+https://host/")),
            ("sparse+HTTPS://me:s@host/", Some("sparse+HTTPS://host/")),
            ("https:/me:s@host/", Some("https:/host/")),
            ("https:\\\\me:s@host\\a@b", Some("https:\\\\host\\a@b")),
            ("SSH://git:s@host/x", Some("SSH://git@host/x")),
            ("ssh://git:s@host/x", Some("ssh://git@host/x")),
            ("curl https://a:b@c/ ssh://d:e@f 'g@h'", Some("curl https://c/ ssh://d@f 'g@h'")),
            ("ssh://git@host/x", None),
            ("git@host:path/x", None),
            ("https: a@b", None),
            ("https://host/a@b:c", None),
            ("host:80", None),
            ("a:b c@d", None),
            ("", None),
        ] {
            assert_eq!(without_password(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_user_is_left_over_http(
            cargos in "(|sparse\\+|registry\\+|git\\+)",
            scheme in "[hH][tT][tT][pP][sS]?",
            slashes in "[/\\\\]{0,3}",
            secret in "[A-Z]{8}",
            password in "(|:[a-z:@]{0,8})",
            rest in "(|:8080)(|/[a-z@/]{0,8})",
        ) {
            let text = format!("{cargos}{scheme}:{slashes}{secret}{password}@host{rest}");
            let expected = format!("{cargos}{scheme}:{slashes}host{rest}");
            prop_assert_eq!(without_password(&text), Some(expected));
        }
    }
}
