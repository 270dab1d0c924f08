//! How a copy is wanted, and how it was made.

use std::fmt;
use std::str::FromStr;

/// How a copy of an image is to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloneMode {
    /// As a reflink if the filesystem can, else as a sparse copy.
    #[default]
    Auto,
    /// As a reflink, or not at all.
    Reflink,
    /// As a sparse copy.
    Copy,
    /// As a qcow2 on top of the image, which from then on must neither change nor go.
    Overlay,
}

/// How a disk was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloneMethod {
    /// It shares the image's extents.
    Reflink,
    /// The image's data was copied, its holes were kept.
    Copy,
    /// It is a qcow2 on top of the image.
    Overlay,
    /// It has no image.
    Empty,
    /// It was made to tell a guest what it is to become.
    Seed,
}

impl fmt::Display for CloneMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Reflink => "reflink",
            Self::Copy => "copy",
            Self::Overlay => "overlay",
            Self::Empty => "empty",
            Self::Seed => "seed",
        })
    }
}

/// A word that is no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown method {word:?}: a disk is a reflink, a copy, an overlay, empty or a seed")]
pub struct UnknownMethod {
    /// The word.
    pub word: String,
}

impl FromStr for CloneMethod {
    type Err = UnknownMethod;

    fn from_str(word: &str) -> Result<Self, UnknownMethod> {
        [Self::Reflink, Self::Copy, Self::Overlay, Self::Empty, Self::Seed]
            .into_iter()
            .find(|method| method.to_string() == word)
            .ok_or_else(|| UnknownMethod { word: word.to_owned() })
    }
}
