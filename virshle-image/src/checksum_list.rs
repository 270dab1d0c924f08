//! Lists of checksums: `SHA256SUMS`, `SHA512SUMS`, `CHECKSUM`.

use crate::checksum::Checksum;

/// The largest list that is read, in bytes.
pub(crate) const MAX_LIST: u64 = 4 << 20;

/// The text of a list: UTF-8, or UTF-16 as PowerShell writes it, mostly with the byte order mark in
/// front that tells which; a list begins with letters of ASCII, whose other byte is 0. What can't be
/// decoded is no name of a file.
///
/// # References
///
/// The Unicode Standard, §23.8 (byte order mark).
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], number: fn([u8; 2]) -> u16| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let numbers: Vec<u16> = pairs.iter().map(|pair| number(*pair)).collect();
        String::from_utf16_lossy(&numbers)
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [1..=0x7f, 0, 1..=0x7f, 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, 1..=0x7f, 0, 1..=0x7f, ..] => utf16(bytes, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8_lossy(rest).into_owned(),
    }
}

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
            utf16(u16::to_le_bytes)[2..].to_vec(),
            utf16(u16::to_be_bytes)[2..].to_vec(),
        ] {
            assert_eq!(text_of(&list), text);
            // One that was cut within a letter.
            assert!(text_of(&list[..list.len() - 1]).starts_with(OTHER));
            assert_eq!(find(&text_of(&list), "é.img").unwrap().to_string(), ONE);
            assert_eq!(find(&text_of(&list), "b.img").unwrap().to_string(), OTHER);
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
            assert_eq!(find(&list, "a.img").unwrap().to_string(), ONE, "{list}");
        }
        for list in ["", "nonsense", &format!("{ONE}  aa.img\n"), &format!("{ONE}\n{OTHER}")] {
            assert_eq!(find(list, "a.img"), None, "{list}");
        }
    }
}
