//! The name of an image in the cache: that of its file.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An image's name, which is that of its file in the cache.
///
/// It follows the rules for names of templates and disks. A name that does not fit is refused and
/// never cut.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName(String);

/// Why a text is not an image's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidImageName {
    /// It is empty.
    #[error("an image's name has at least one character")]
    Empty,
    /// It is longer than the names in a template may be.
    #[error("an image's name has at most {} bytes, this one has {length}", ImageName::MAX_LEN)]
    TooLong {
        /// The length in bytes.
        length: usize,
    },
    /// It has a character that is not allowed at its position.
    #[error(
        "an image's name consists of letters, digits, '-', '_' and '.', and begins with a letter \
         or digit: {character:?} does not fit"
    )]
    Character {
        /// The first one that does not fit.
        character: char,
    },
}

/// Suffixes of an image's file that are not part of the image's name.
const SUFFIXES: [&str; 8] = ["xz", "zst", "zstd", "gz", "qcow2", "raw", "img", "qcow"];

impl ImageName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the image in a file of this name: without the suffixes of its format.
    ///
    /// # Errors
    ///
    /// If nothing of it can be a name.
    pub fn of_file(file: &str) -> Result<Self, InvalidImageName> {
        let mut name = file;
        while let Some((rest, suffix)) = name.rsplit_once('.') {
            if rest.is_empty() || !SUFFIXES.contains(&suffix.to_ascii_lowercase().as_str()) {
                break;
            }
            name = rest;
        }
        name.parse()
    }
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        if text.is_empty() {
            return Err(InvalidImageName::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(InvalidImageName::TooLong { length: text.len() });
        }
        for (index, character) in text.char_indices() {
            let fits = character.is_ascii_alphanumeric()
                || (index > 0 && matches!(character, '-' | '_' | '.'));
            if !fits {
                return Err(InvalidImageName::Character { character });
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for ImageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for text in ["", ".", "..", ".hidden", "a/b", "-a", "a b", "a\nb", "ä", "a\0", "~"] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
        }
        assert!("a".repeat(64).parse::<ImageName>().is_err());
        assert!("a".repeat(63).parse::<ImageName>().is_ok());
    }

    #[test]
    fn a_file_names_its_image() {
        for (file, name) in [
            ("debian-13-generic-amd64.qcow2", "debian-13-generic-amd64"),
            (
                "Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2",
                "Fedora-Cloud-Base-Generic-43-1.6.x86_64",
            ),
            ("noble-server-cloudimg-amd64.img", "noble-server-cloudimg-amd64"),
            ("disk.raw.xz", "disk"),
            ("disk.RAW.ZST", "disk"),
            ("nixos.efi.img", "nixos.efi"),
            ("plain", "plain"),
            ("xz", "xz"),
        ] {
            assert_eq!(ImageName::of_file(file).unwrap().as_str(), name);
        }
        for file in ["", ".xz", "a b.raw", "ü.img"] {
            assert!(ImageName::of_file(file).is_err(), "{file:?}");
        }
    }
}
