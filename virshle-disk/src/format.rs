//! Formats of images, recognised by content and never by a file's name.

use std::fmt;
use std::str::FromStr;

/// A format that disks can have.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new format, so adding one
/// is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bytes of the disk, one after the other.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Qcow2];

    /// The format's name as in `qemu-img`, which [`FromStr`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A name that no [`Format`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown disk format {word:?}: expected raw or qcow2")]
pub struct UnknownFormat {
    /// The name.
    pub word: String,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == word)
            .ok_or_else(|| UnknownFormat { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_as_they_are_written() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let error = "qcow".parse::<Format>().unwrap_err();
        assert_eq!(error, UnknownFormat { word: "qcow".into() });
        assert_eq!(error.to_string(), "unknown disk format \"qcow\": expected raw or qcow2");
    }
}
