//! How a copy is asked for, and how a disk was created.

use std::fmt;
use std::str::FromStr;

/// How a copy of an image is to be created.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new mode, so adding one is
/// a breaking change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CloneMode {
    /// As a reflink if the filesystem can, else as a sparse copy.
    #[default]
    Auto,
    /// As a reflink, or not at all.
    Reflink,
    /// As a sparse copy.
    Copy,
    /// As a qcow2 with the image as its backing file, which from then on must neither change nor
    /// go.
    Overlay,
}

impl CloneMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Reflink, Self::Copy, Self::Overlay];

    /// The mode's name, which [`FromStr`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Reflink => "reflink",
            Self::Copy => "copy",
            Self::Overlay => "overlay",
        }
    }
}

impl fmt::Display for CloneMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A name that no [`CloneMode`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown clone mode {word:?}: expected auto, reflink, copy or overlay")]
pub struct UnknownMode {
    /// The name.
    pub word: String,
}

impl FromStr for CloneMode {
    type Err = UnknownMode;

    fn from_str(word: &str) -> Result<Self, UnknownMode> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or_else(|| UnknownMode { word: word.to_owned() })
    }
}

/// How a disk was created.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new method, so adding one
/// is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloneMethod {
    /// It shares the image's extents.
    Reflink,
    /// The image's data was copied, its holes were kept.
    Copy,
    /// It is a qcow2 with the image as its backing file.
    Overlay,
    /// It has no image.
    Empty,
    /// It is a seed: it holds what a guest is given at its first boot.
    Seed,
}

impl CloneMethod {
    /// Every method.
    pub const ALL: [Self; 5] = [Self::Reflink, Self::Copy, Self::Overlay, Self::Empty, Self::Seed];

    /// The method's name, which [`FromStr`] reads.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reflink => "reflink",
            Self::Copy => "copy",
            Self::Overlay => "overlay",
            Self::Empty => "empty",
            Self::Seed => "seed",
        }
    }
}

impl fmt::Display for CloneMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A name that no [`CloneMethod`] has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown clone method {word:?}: expected reflink, copy, overlay, empty or seed")]
pub struct UnknownMethod {
    /// The name.
    pub word: String,
}

impl FromStr for CloneMethod {
    type Err = UnknownMethod;

    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == word)
            .ok_or_else(|| UnknownMethod { word: word.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_methods_are_read_as_they_are_written() {
        for mode in CloneMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for method in CloneMethod::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
    }

    #[test]
    fn a_misspelt_name_is_refused_and_named() {
        for word in ["", "overlays", "Overlay", " copy"] {
            let error = word.parse::<CloneMode>().unwrap_err();
            assert_eq!(error.word, word);
            assert!(error.to_string().contains("expected auto"), "{error}");
            assert_eq!(word.parse::<CloneMethod>().unwrap_err().word, word);
        }
        assert!("auto".parse::<CloneMethod>().is_err(), "no disk is created as \"auto\"");
    }
}
