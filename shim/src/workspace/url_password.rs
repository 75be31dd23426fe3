//! Passwords in URLs. Pure.

/// A text in which no URL has a password; `None` if that is so already. Over HTTP the user goes,
/// too, since it may be a token; ssh needs the user.
pub(super) fn without_password(text: &str) -> Option<String> {
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_changed = false;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + "://".len());
        cleaned.push_str(before);
        let (kept, host) = user_and_host(scheme(before), behind);
        is_changed |= kept.len() + host.len() < behind.len();
        cleaned.push_str(&kept);
        rest = host;
    }
    cleaned.push_str(rest);
    is_changed.then_some(cleaned)
}

/// The scheme at the end of a text, without the `sparse+` and the like of cargo.
fn scheme(before: &str) -> &str {
    let before = before.trim_end_matches("://");
    before.rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default()
}

/// What stays of the user in front of a host, with `@`, and the text that begins with the host.
fn user_and_host<'a>(scheme: &str, behind: &'a str) -> (String, &'a str) {
    let is_end =
        |letter: char| matches!(letter, '/' | '?' | '#' | '"' | '\'') || letter.is_whitespace();
    let end = behind.find(is_end).unwrap_or(behind.len());
    let Some(at) = behind[..end].rfind('@') else { return (String::new(), behind) };
    let (user, host) = (&behind[..at], &behind[at + 1..]);
    let kept = match (scheme, user.split_once(':')) {
        ("http" | "https", _) => String::new(),
        (_, Some((name, _))) => format!("{name}@"),
        (_, None) => format!("{user}@"),
    };
    (kept, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_goes_and_over_http_the_user() {
        for (text, expected) in [
            ("https://me:s@host/path", Some("https://host/path")),
            ("https://me:a@b@host:80", Some("https://host:80")),
            ("https://token@host/", Some("https://host/")),
            ("sparse+https://me:s@host/", Some("sparse+https://host/")),
            ("ssh://git:s@host/x", Some("ssh://git@host/x")),
            ("curl https://a:b@c/ ssh://d:e@f 'g@h'", Some("curl https://c/ ssh://d@f 'g@h'")),
            ("ssh://git@host/x", None),
            ("git@host:path/x", None),
            ("https://host/a@b:c", None),
            ("host:80", None),
            ("a:b c@d", None),
            ("", None),
        ] {
            assert_eq!(without_password(text).as_deref(), expected, "{text}");
        }
    }
}
