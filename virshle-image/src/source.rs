//! Where an image, or a list of checksums, comes from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::url;

/// Where an image, or a list of checksums, comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportSource {
    /// A file of this host.
    File(PathBuf),
    /// An address, `http:` or `https:`.
    Url(String),
}

/// Suffixes of files that are compressed or archives.
const PACKED: [&str; 24] = [
    "gz", "tgz", "bgz", "xz", "txz", "zst", "zstd", "tzst", "bz2", "tbz", "tbz2", "bz3", "lz4",
    "lzma", "lz", "lzo", "lrz", "br", "z", "zip", "7z", "rar", "tar", "ova",
];

/// A text that is not a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{scheme}: is not supported: expected a path, or a URL that begins with https: or http:")]
pub struct InvalidSource {
    scheme: String,
}

impl FromStr for ImportSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let is_scheme =
            |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        match text.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme) {
            None => Ok(Self::File(text.into())),
            Some(scheme) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => {
                Ok(Self::Url(text.to_owned()))
            }
            Some(scheme) => Err(InvalidSource { scheme: scheme.to_owned() }),
        }
    }
}

impl fmt::Display for ImportSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Url(url) => formatter.pad(url),
        }
    }
}

impl ImportSource {
    /// The name of the file: the last part of the path.
    pub(crate) fn file_name(&self) -> String {
        match self {
            Self::File(path) => {
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Self::Url(url) => url::file_name(url),
        }
    }

    /// The suffix of its name if that is a packer's.
    pub(crate) fn packed_suffix(&self) -> Option<&'static str> {
        let name = self.file_name();
        let (_, suffix) = name.rsplit_once('.')?;
        PACKED.into_iter().find(|packed| suffix.eq_ignore_ascii_case(packed))
    }

    /// The source as it may be displayed and stored: from anywhere, without a password.
    pub(crate) fn displayed(&self) -> Self {
        match self {
            Self::File(path) => {
                Self::File(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
            }
            Self::Url(url) => Self::Url(url::without_credentials(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_url_are_distinguished() {
        for (text, name) in [
            ("https://cloud.example/a/b/debian.qcow2?x=/y#z", "debian.qcow2"),
            ("HTTP://cloud.example", ""),
            ("debian.qcow2", "debian.qcow2"),
            ("/srv/a:b//c.img", "c.img"),
        ] {
            assert_eq!(text.parse::<ImportSource>().unwrap().file_name(), name, "{text}");
        }
        for text in ["ftp://cloud.example/a", "file:///a", "s3://b"] {
            assert!(text.parse::<ImportSource>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_stored_is_absolute_and_has_no_password() {
        let source: ImportSource = "https://me:secret@cloud.example/a@b".parse().unwrap();
        assert_eq!(source.displayed().to_string(), "https://cloud.example/a@b");
        let source: ImportSource = "a.raw".parse().unwrap();
        let ImportSource::File(path) = source.displayed() else { panic!("{source:?}") };
        assert!(path.is_absolute() && path.ends_with("a.raw"), "{path:?}");
    }
}
