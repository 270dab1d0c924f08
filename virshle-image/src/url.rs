//! What of a URL may be displayed and stored, and the name of its file.

/// The URL without a user and a password before its host.
pub(crate) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

/// The last part of the path, without query and fragment; empty if there is none.
pub(crate) fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).unwrap_or_default()
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
    fn the_file_is_the_last_part_of_the_path() {
        for (url, name) in [
            ("https://cloud.example/a/b/debian.qcow2?x=/y#z", "debian.qcow2"),
            ("HTTP://cloud.example", ""),
            ("http://cloud.example/", ""),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }
}
