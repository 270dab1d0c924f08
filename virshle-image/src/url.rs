//! The parts of a URL: what may be displayed and stored, who asks, and the name of its file.
//!
//! # References
//!
//! RFC 3986 §2.1 (percent-encoding), §3.2.1 (user information); RFC 7617 §2 (Basic).

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;

/// Whether what is at `url` comes as its server sent it.
pub(crate) fn is_https(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

/// The URL without a user and a password before its host.
pub(crate) fn without_credentials(url: &str) -> String {
    split_credentials(url).0
}

/// The header `authorization` for the user and the password in a URL, which stand there encoded.
pub(crate) fn basic_authorization(url: &str) -> Option<String> {
    let credentials = split_credentials(url).1?;
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut bytes: Vec<u8> = percent_decode_str(user).collect();
    bytes.push(b':');
    bytes.extend(percent_decode_str(password));
    Some(format!("Basic {}", BASE64.encode(&bytes)))
}

/// The URL without a user and a password, and these as they are written.
fn split_credentials(url: &str) -> (String, Option<&str>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((credentials, host)) => (format!("{scheme}://{host}{path}"), Some(credentials)),
        None => (url.to_owned(), None),
    }
}

/// The last part of the path, decoded, without query and fragment; empty if there is none. One
/// that isn't text then stays as it is written.
pub(crate) fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let name =
        path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).unwrap_or_default();
    percent_decode_str(name).decode_utf8().map_or_else(|_| name.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_displayed() {
        for (url, displayed) in [
            ("https://me:secret@cloud.example/a@b", "https://cloud.example/a@b"),
            ("https://me:sec@ret@cloud.example?c@d", "https://cloud.example?c@d"),
            ("https://cloud.example", "https://cloud.example"),
            ("/srv/me@here", "/srv/me@here"),
        ] {
            assert_eq!(without_credentials(url), displayed);
        }
    }

    #[test]
    fn a_user_and_a_password_are_decoded() {
        for (url, credentials) in [
            ("https://me:p%40ss@there/a", "me:p@ss"),
            ("https://m%3Ae:100%25%2f%23@there", "m:e:100%/#"),
            ("https://me@there", "me:"),
            ("https://me:a:b@there", "me:a:b"),
            ("https://me:%ff@there", "me:\u{ff}"),
        ] {
            let found = basic_authorization(url).unwrap();
            let found = BASE64.decode(found.strip_prefix("Basic ").unwrap().as_bytes()).unwrap();
            // Bytes that are no text are passed on as they are.
            let found: String = found.into_iter().map(char::from).collect();
            assert_eq!(found, credentials, "{url}");
        }
        assert_eq!(basic_authorization("https://there/a@b"), None);
    }

    #[test]
    fn the_file_is_the_last_part_of_the_path() {
        for (url, name) in [
            ("https://cloud.example/a/b/debian.qcow2?x=/y#z", "debian.qcow2"),
            ("HTTP://cloud.example", ""),
            ("http://cloud.example/", ""),
            ("http://cloud.example/disk%20image%2B%C3%A9.raw", "disk image+é.raw"),
            ("http://cloud.example/100%.raw", "100%.raw"),
            ("http://cloud.example/%ff.raw", "%ff.raw"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
