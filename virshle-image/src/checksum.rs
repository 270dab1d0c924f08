//! SHA-256 and SHA-512 checksums, as they are published beside images.

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
/// The size of a read.
const CHUNK: usize = 1 << 20;

/// A text that is not a checksum.
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
    /// The name of the algorithm: `SHA-256` or `SHA-512`.
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
    /// Only if it is to be compared.
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

    /// Feeds all of `reader`, and passes each part's length to `on_read`.
    pub(crate) fn feed_all(
        &mut self,
        mut reader: impl Read,
        mut on_read: impl FnMut(u64),
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    self.feed(&buffer[..read]);
                    on_read(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The SHA-256, and the checksum that is to be compared with the expected one.
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
}
