//! The URL of the API: one spelling of it, and as far as it may be shown.

use reqwest::Url;

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

/// The one spelling of a URL: the host in small letters, without the scheme's own port and
/// without `/` at the end. A text that is no URL stays as it is; [`crate::Client`] refuses it.
pub fn normalised(url: &str) -> String {
    let Ok(parsed) = Url::parse(url.trim()) else { return url.to_owned() };
    parsed.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_url_are_one() {
        for (url, normal) in [
            ("https://api.hetzner.cloud/v1", "https://api.hetzner.cloud/v1"),
            ("https://API.hetzner.Cloud:443/v1//", "https://api.hetzner.cloud/v1"),
            (" HTTPS://api.hetzner.cloud/v1/ ", "https://api.hetzner.cloud/v1"),
            ("http://127.0.0.1:80/", "http://127.0.0.1"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            // The path has capital letters of its own.
            ("https://me:pass@Host/V1", "https://me:pass@host/V1"),
            ("nonsense", "nonsense"),
            ("", ""),
        ] {
            assert_eq!(normalised(url), normal, "{url}");
        }
    }

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
