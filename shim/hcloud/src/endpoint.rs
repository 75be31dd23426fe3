//! The URL of the API, as far as it may be shown.

/// What stands in the place of a user name and a password.
const HIDDEN: &str = "[hidden]";

/// A URL without the user name and the password in it.
///
/// A text that is no valid URL may contain them, too, and a password may contain `/` and
/// `@`. So everything from `://`, or from the beginning, to the last `@` is hidden.
pub fn without_userinfo(url: &str) -> String {
    const SCHEME_END: &str = "://";
    let Some((before, after)) = url.rsplit_once('@') else { return url.to_owned() };
    let scheme = before.find(SCHEME_END).map_or("", |at| &before[..at + SCHEME_END.len()]);
    format!("{scheme}{HIDDEN}@{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_name_and_password_are_hidden() {
        for (url, shown) in [
            ("https://api.example/v1", "https://api.example/v1"),
            ("https://me:secret@api.example/v1", "https://[hidden]@api.example/v1"),
            ("https://secret@api.example", "https://[hidden]@api.example"),
            ("https://me:se/c@ret@api.example/v1", "https://[hidden]@api.example/v1"),
            ("https://me:a://b@api.example", "https://[hidden]@api.example"),
            ("me:secret@api.example/v1", "[hidden]@api.example/v1"),
            ("@", "[hidden]@"),
            ("", ""),
        ] {
            assert_eq!(without_userinfo(url), shown, "{url}");
        }
    }
}
