//! Lists of checksums: `SHA256SUMS`, `SHA512SUMS`, `CHECKSUM`.

use crate::checksum::Checksum;

/// The largest list that is read, in bytes.
pub(crate) const MAX_LIST: u64 = 4 << 20;

/// Finds the checksum of `file` in a list.
///
/// Lines are those of `sha256sum`, of `sha256sum --tag` and of BSD; a list of nothing but one
/// checksum is that of any file. What else there is, as a signature around it, is ignored.
pub(crate) fn find(list: &str, file: &str) -> Option<Checksum> {
    let mut alone = Vec::new();
    for line in list.lines() {
        let line = line.trim();
        if let Some((head, checksum)) = line.rsplit_once(" = ")
            && let Some((algorithm, name)) = head.split_once(" (")
            && ["SHA256", "SHA512", "SHA2-256", "SHA2-512"].contains(&algorithm)
            && name.strip_suffix(')') == Some(file)
        {
            return checksum.parse().ok();
        }
        let (checksum, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let Ok(checksum) = checksum.parse::<Checksum>() else { continue };
        let name = name.trim_start();
        // An asterisk is for a file that was read as binary.
        let name = name.strip_prefix('*').unwrap_or(name);
        let name = name.strip_prefix("./").unwrap_or(name);
        if name == file {
            return Some(checksum);
        }
        alone.push((checksum, name.is_empty()));
    }
    match alone.pop() {
        Some((checksum, true)) if alone.is_empty() => Some(checksum),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OTHER: &str = "0123456789012345678901234567890123456789012345678901234567890123";

    #[test]
    fn lists_of_every_form_are_understood() {
        for list in [
            format!("{OTHER}  b.img\n{ONE}  a.img\n"),
            format!("{ONE} *a.img\n"),
            format!("{ONE}  ./a.img\r\n"),
            format!("SHA256 (a.img) = {ONE}\n"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a.img: 5 bytes\nSHA256 (b.img) = {OTHER}\nSHA256 (a.img) = {ONE}\n"
            ),
            ONE.to_owned(),
        ] {
            assert_eq!(find(&list, "a.img").unwrap().to_string(), ONE, "{list}");
        }
        for list in ["", "nonsense", &format!("{ONE}  aa.img\n"), &format!("{ONE}\n{OTHER}")] {
            assert_eq!(find(list, "a.img"), None, "{list}");
        }
    }
}
