//! Lists of checksums: `SHA256SUMS`, `SHA512SUMS`, `CHECKSUM`.

use crate::checksum::Checksum;

/// The largest list that is read, in bytes.
pub(crate) const MAX_LIST: u64 = 4 << 20;

/// The text of a list: UTF-8, or UTF-16 as PowerShell writes it, with the byte order mark in front
/// that tells which. What can't be decoded is no name of a file.
///
/// # References
///
/// The Unicode Standard, §23.8 (byte order mark).
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], number: fn([u8; 2]) -> u16| {
        let pairs = bytes.chunks_exact(2).flat_map(TryInto::try_into);
        let numbers: Vec<u16> = pairs.map(number).collect();
        String::from_utf16_lossy(&numbers)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8_lossy(rest).into_owned(),
    }
}

/// Whose checksums a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of a directory.
    Directory,
    /// That of one file, beside which it is, whatever it calls it: a file may be published under a second
    /// name, as `latest`, and its list have the first one.
    OneFile,
}

impl Scope {
    /// The scope of the list that is called `list`, of a file that is called `file`: `a.img.sha256` is
    /// of `a.img` alone.
    pub(crate) fn of(list: &str, file: &str) -> Self {
        let suffix = list.strip_prefix(file).filter(|_| !file.is_empty());
        match suffix.is_some_and(|suffix| suffix.starts_with('.')) {
            true => Self::OneFile,
            false => Self::Directory,
        }
    }
}

/// Finds the checksum of `file` in a list.
///
/// Lines are those of `sha256sum`, of `sha256sum --tag` and of BSD; a list of nothing but one
/// checksum is that of any file, and so is one of a single file if that is its scope. What else there is,
/// as a signature around it, is ignored.
pub(crate) fn find(list: &str, file: &str, scope: Scope) -> Option<Checksum> {
    let mut alone = Vec::new();
    for line in list.lines() {
        let line = line.trim();
        if let Some((name, checksum)) = tagged(line) {
            if name == file {
                return Some(checksum);
            }
            alone.push((checksum, false));
            continue;
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
    let (checksum, is_unnamed) = alone.pop()?;
    let is_of_one = match scope {
        // Some say it twice.
        Scope::OneFile => alone.iter().all(|(other, _)| *other == checksum),
        Scope::Directory => is_unnamed && alone.is_empty(),
    };
    is_of_one.then_some(checksum)
}

/// The name and the checksum of a line as `sha256sum --tag` writes it.
fn tagged(line: &str) -> Option<(&str, Checksum)> {
    let (head, checksum) = line.rsplit_once(" = ")?;
    let (algorithm, name) = head.split_once(" (")?;
    let is_known = ["SHA256", "SHA512", "SHA2-256", "SHA2-512"].contains(&algorithm);
    // A name that isn't closed is none.
    let name = name.strip_suffix(')').unwrap_or_default();
    is_known.then_some((name, checksum.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OTHER: &str = "0123456789012345678901234567890123456789012345678901234567890123";

    #[test]
    fn lists_of_every_encoding_are_read() {
        let text = format!("{OTHER}  b.img\r\n{ONE}  é.img\r\n");
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect()
        };
        for list in [
            text.clone().into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ] {
            assert_eq!(text_of(&list), text);
            // One that was cut within a letter.
            assert!(text_of(&list[..list.len() - 1]).starts_with(OTHER));
            assert_eq!(find(&text_of(&list), "é.img", Scope::Directory).unwrap().to_string(), ONE);
            assert_eq!(
                find(&text_of(&list), "b.img", Scope::Directory).unwrap().to_string(),
                OTHER
            );
        }
        assert_eq!(text_of(&[0xff, 0xfe, 0x00, 0xd8]), "\u{fffd}");
    }

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
            assert_eq!(find(&list, "a.img", Scope::Directory).unwrap().to_string(), ONE, "{list}");
        }
        for list in ["", "nonsense", &format!("{ONE}  aa.img\n"), &format!("{ONE}\n{OTHER}")] {
            assert_eq!(find(list, "a.img", Scope::Directory), None, "{list}");
        }
    }

    #[test]
    fn a_list_beside_one_file_is_that_files_whatever_it_calls_it() {
        let of = |list: &str| Scope::of(list, "a-latest.qcow2");
        assert_eq!(of("a-latest.qcow2.sha256"), Scope::OneFile);
        for list in ["SHA256SUMS", "a-latest.qcow2", "a-latest.qcow2x", "b.qcow2.sha256"] {
            assert_eq!(of(list), Scope::Directory, "{list}");
        }
        assert_eq!(Scope::of(".sha256", ""), Scope::Directory);
        let found = |list: &str| find(list, "a-latest.qcow2", Scope::OneFile);
        for list in [
            format!("{ONE}  a-1.2.qcow2\n"),
            format!("SHA256 (a-1.2.qcow2) = {ONE}\n"),
            format!(
                "# a-1.2.qcow2: 7 bytes\nSHA256 (a-1.2.qcow2) = {ONE}\nSHA256 (a-latest.qcow2) = {ONE}\n"
            ),
            format!("SHA256 (a-1.2.qcow2) = {OTHER}\nSHA256 (a-latest.qcow2) = {ONE}\n"),
        ] {
            assert_eq!(found(&list).unwrap().to_string(), ONE, "{list}");
        }
        // Of two that are not called as the file, neither is known to be its.
        assert_eq!(found(&format!("{ONE}  a-1.qcow2\n{OTHER}  a-2.qcow2\n")), None);
        assert_eq!(found("nothing"), None);
    }
}
