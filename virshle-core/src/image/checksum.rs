//! Checksums of images, as they are published beside them.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256, Sha512};

/// A SHA-256 or SHA-512 checksum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checksum(Vec<u8>);

/// The length of a SHA-256 checksum, in bytes.
const SHA256: usize = 32;
/// The length of a SHA-512 checksum, in bytes.
const SHA512: usize = 64;

/// A text that is no checksum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a checksum has 64 hexadecimal digits (SHA-256) or 128 (SHA-512)")]
pub struct InvalidChecksum;

impl FromStr for Checksum {
    type Err = InvalidChecksum;

    fn from_str(text: &str) -> Result<Self, InvalidChecksum> {
        let bytes =
            HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).map_err(|_| InvalidChecksum)?;
        if ![SHA256, SHA512].contains(&bytes.len()) {
            return Err(InvalidChecksum);
        }
        Ok(Self(bytes))
    }
}

impl Checksum {
    /// The name of what it was computed by.
    pub fn algorithm(&self) -> &'static str {
        if self.0.len() == SHA256 { "SHA-256" } else { "SHA-512" }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&HEXLOWER.encode(&self.0))
    }
}

/// Computes the checksums of what it is fed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checksums {
    sha256: Sha256,
    /// Only if somebody wants to know it.
    sha512: Option<Sha512>,
}

impl Checksums {
    /// Computes SHA-256, and what `expected` was computed by.
    pub(crate) fn for_comparison_with(expected: Option<&Checksum>) -> Self {
        let wants_sha512 = expected.is_some_and(|expected| expected.0.len() == SHA512);
        Self { sha256: Sha256::new(), sha512: wants_sha512.then(Sha512::new) }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Feeds all of `reader`; `heard` is told of each part's length.
    pub(crate) fn feed_all(
        &mut self,
        mut reader: impl Read,
        mut heard: impl FnMut(u64),
    ) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    self.feed(&buffer[..read]);
                    heard(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The SHA-256, and the one that is to be compared with the expected one.
    pub(crate) fn finish(self) -> Finished {
        let sha256 = Checksum(self.sha256.finalize().to_vec());
        let compared = self
            .sha512
            .map_or_else(|| sha256.clone(), |sha512| Checksum(sha512.finalize().to_vec()));
        Finished { sha256, compared }
    }
}

/// The checksums of a whole file.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) sha256: Checksum,
    pub(crate) compared: Checksum,
}

/// Finds the checksum of `file` in the text of a list: `SHA256SUMS`, `SHA512SUMS`, `CHECKSUM`.
///
/// Lines are those of `sha256sum`, of `sha256sum --tag` and of BSD; a list of nothing but one
/// checksum is that of any file. What else there is, as a signature around it, is passed over.
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

    /// Of no bytes at all.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OTHER: &str = "0123456789012345678901234567890123456789012345678901234567890123";

    #[test]
    fn a_checksum_is_read_and_written() {
        let checksum: Checksum = EMPTY.to_uppercase().parse().unwrap();
        assert_eq!(checksum.to_string(), EMPTY);
        assert_eq!(checksum, Checksums::default().finish().sha256);
        for text in ["", "12", &EMPTY[1..], &EMPTY.replace('e', "g"), &OTHER.repeat(3)] {
            assert!(text.parse::<Checksum>().is_err(), "{text}");
        }
        let sha512: Checksum = OTHER.repeat(2).parse().unwrap();
        assert_eq!(sha512.algorithm(), "SHA-512");
        let mut checksums = Checksums::for_comparison_with(Some(&sha512));
        checksums.feed_all(&b"abc"[..], |_| {}).unwrap();
        assert!(checksums.finish().compared.to_string().starts_with("ddaf35a193617abacc417349"));
    }

    #[test]
    fn lists_of_every_form_are_understood() {
        for list in [
            format!("{OTHER}  b.img\n{EMPTY}  a.img\n"),
            format!("{EMPTY} *a.img\n"),
            format!("{EMPTY}  ./a.img\r\n"),
            format!("SHA256 (a.img) = {EMPTY}\n"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a.img: 5 bytes\nSHA256 (b.img) = {OTHER}\nSHA256 (a.img) = {EMPTY}\n"
            ),
            EMPTY.to_owned(),
        ] {
            assert_eq!(find(&list, "a.img").unwrap().to_string(), EMPTY, "{list}");
        }
        for list in ["", "nonsense", &format!("{EMPTY}  aa.img\n"), &format!("{EMPTY}\n{OTHER}")] {
            assert_eq!(find(list, "a.img"), None, "{list}");
        }
    }
}
