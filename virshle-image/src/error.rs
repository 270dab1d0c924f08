//! What can fail in an image cache, and what to do about it.

use std::io;
use std::path::PathBuf;

use virshle_disk::DiskError;

use crate::checksum::Checksum;
use crate::download_error::DownloadError;
use crate::name::{ImageName, InvalidImageName};
use crate::source::ImportSource;

/// What failed, for which image or file. The cause is in `source`, the next step in
/// [`hint`](Self::hint).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory of the cache cannot be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the cache cannot be locked, for another reason than that it is locked.
    #[error("cannot lock {}", .path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process imports the image.
    #[error("{} is locked by {holder}", .path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// Who holds it, as the holder described itself.
        holder: String,
    },
    /// What is known of an image cannot be written as TOML.
    #[error("cannot write {} as TOML", .path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: toml::ser::Error,
    },
    /// The cache has no image of that name.
    #[error("no image {name:?} in the cache")]
    NoSuchImage {
        /// The name.
        name: String,
        /// The images in the cache.
        known: Vec<String>,
    },
    /// The catalogue has no image that is called so.
    #[error("no image {reference:?} in the catalogue")]
    NotInCatalogue {
        /// What was asked for.
        reference: String,
        /// What there is: the versions of that name, or else all names.
        known: Vec<String>,
        /// What to do instead, if it is known.
        advice: Option<&'static str>,
    },
    /// An image cannot have that name.
    #[error("{name:?} cannot be an image's name")]
    ImageName {
        /// The name.
        name: String,
        /// Why.
        source: InvalidImageName,
    },
    /// The cache has an image of that name already.
    #[error("an image named {name} exists already")]
    ImageTaken {
        /// The name.
        name: ImageName,
    },
    /// An image is not removed, because something depends on it.
    #[error("image {name} is in use by {}", .users.join(", "))]
    ImageInUse {
        /// The image.
        name: ImageName,
        /// What depends on it.
        users: Vec<String>,
    },
    /// An image cannot be used, because another process removes it.
    #[error("image {} is being removed", .path.display())]
    BeingRemoved {
        /// The image's file.
        path: PathBuf,
    },
    /// A file in the cache is not an image that can be used.
    #[error("{} is not an image that can be used", .path.display())]
    CachedImage {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DiskError,
    },
    /// The file to import cannot become an image.
    #[error("cannot import {from}")]
    Import {
        /// The file or URL, as it may be displayed.
        from: ImportSource,
        /// Why.
        source: DiskError,
    },
    /// A file is named as if it were compressed, and is not.
    ///
    /// A raw image has no format to be recognised by: its name is all that tells it from what a
    /// packer made that leaves no mark.
    #[error(
        "cannot import {from}: its name ends in .{suffix}, and its content isn't known to be compressed"
    )]
    Misnamed {
        /// The file or URL, as it may be displayed.
        from: ImportSource,
        /// The suffix.
        suffix: &'static str,
    },
    /// A file cannot be downloaded.
    #[error("cannot download {url}")]
    Download {
        /// Its URL, as it may be displayed.
        url: String,
        /// Why.
        source: DownloadError,
    },
    /// A file has another checksum than expected.
    #[error(
        "{from} is not what was expected: its {} is {found}, not {expected}",
        .expected.algorithm()
    )]
    Checksum {
        /// The file or URL, as it may be displayed.
        from: ImportSource,
        /// The checksum that was expected.
        expected: Checksum,
        /// The checksum that it has.
        found: Checksum,
    },
    /// A list of checksums has none for the file.
    #[error("{list} has no SHA-256 or SHA-512 checksum of {file:?}")]
    Unlisted {
        /// The file's name.
        file: String,
        /// The list, as it may be displayed.
        list: ImportSource,
    },
}

impl ImageError {
    /// A short identifier of the failure, for programs: it stays the same across versions.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read-failed",
            Self::Write { .. } => "write-failed",
            Self::Lock { .. } => "lock-failed",
            Self::Locked { .. } | Self::BeingRemoved { .. } => "locked",
            Self::Encode { .. } => "encode-failed",
            Self::NoSuchImage { .. } | Self::NotInCatalogue { .. } => "image-not-found",
            Self::ImageName { .. } => "name-invalid",
            Self::ImageTaken { .. } => "image-taken",
            Self::ImageInUse { .. } => "image-in-use",
            Self::CachedImage { .. } => "image-unfit",
            Self::Import { .. } | Self::Misnamed { .. } => "import-failed",
            Self::Download { .. } => "download-failed",
            Self::Checksum { .. } => "checksum-wrong",
            Self::Unlisted { .. } => "checksum-missing",
        }
    }

    /// What to do next, if there is something to suggest.
    ///
    /// It names no command and no option: a front end that has some matches on the variant.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { path, source } if is_immutable(source) => Some(format!(
                "it, or its directory, may be immutable, which lsattr shows: chattr -i -a {}",
                path.display()
            )),
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Lock { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run as the user who owns the image cache".into())
            }
            Self::Write { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Some("make room on that filesystem".into())
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some("choose a directory on another filesystem".into())
            }
            Self::Locked { .. } => Some("wait for it, or end that process".into()),
            Self::NoSuchImage { known, .. } if known.is_empty() => {
                Some("there are no images yet: import one".into())
            }
            Self::NoSuchImage { name, known } => {
                nearest(name, known).map(|name| format!("did you mean {name:?}?"))
            }
            Self::NotInCatalogue { advice: Some(advice), .. } => Some((*advice).to_owned()),
            Self::NotInCatalogue { reference, known, .. } => {
                Some(match nearest(reference, known) {
                    Some(name) => format!("did you mean {name:?}? there are {}", known.join(", ")),
                    None => format!("there are {}", known.join(", ")),
                })
            }
            Self::ImageName { .. } => Some("choose another name".into()),
            Self::ImageTaken { .. } => {
                Some("choose another name, or remove that image first".into())
            }
            Self::ImageInUse { .. } => Some("remove first what depends on it".into()),
            Self::BeingRemoved { .. } => Some("import it again, or use another image".into()),
            Self::CachedImage { source, .. } => source.hint(),
            Self::Import { from: ImportSource::File(_), source } => source.hint(),
            Self::Import { from: ImportSource::Url(_), source } => download_hint(source),
            Self::Misnamed { .. } => Some(
                "unpack it with the program that packed it; if it is a raw image, rename it".into(),
            ),
            Self::Download { source, .. } => source.hint(),
            Self::Checksum { .. } => Some(
                "the file was changed, or the checksum is another file's; nothing of it is kept"
                    .into(),
            ),
            Self::Unlisted { .. } => Some("give the checksum itself".into()),
            _ => None,
        }
    }
}

/// What to do about a downloaded file that cannot become an image. It is gone by then: a hint that
/// names its path would help no one.
fn download_hint(source: &DiskError) -> Option<String> {
    match source {
        DiskError::HasBackingFile { .. } => {
            Some("take an image without a backing file: its backing file is not here".into())
        }
        DiskError::Broken { .. } => Some("fetch it again, and compare its checksum".into()),
        DiskError::Unsupported { advice, .. } if advice.starts_with("qemu-img") => {
            Some("download it by other means, convert it by qemu-img, and import that".into())
        }
        _ => source.hint(),
    }
}

/// The known name that `name` may be a misspelling of.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Whether a file's attributes (`chattr +i`) are why it was refused, and not its mode.
fn is_immutable(source: &io::Error) -> bool {
    let by_attributes = source.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error());
    by_attributes && rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_hints_at_the_nearest() {
        let hint = |known: &[&str]| {
            let known = known.iter().map(|&name| name.to_owned()).collect();
            ImageError::NoSuchImage { name: "debian1".into(), known }.hint()
        };
        assert_eq!(hint(&["fedora", "debian"]).unwrap(), "did you mean \"debian\"?");
        assert_eq!(hint(&["fedora"]), None);
        assert!(hint(&[]).unwrap().contains("import one"));
    }

    #[test]
    fn the_hint_for_a_download_names_no_file_that_is_gone() {
        let path = PathBuf::from("/cache/.import-a/download");
        let error = |from: ImportSource| ImageError::Import {
            from,
            source: DiskError::HasBackingFile { path: path.clone(), backing: "b".into() },
        };
        let gone = error(ImportSource::Url("https://there/a".into())).hint().unwrap();
        assert!(!gone.contains("/cache"), "{gone}");
        let here = error(ImportSource::File("/a".into())).hint().unwrap();
        assert!(here.contains("/cache"), "{here}");
    }

    #[test]
    fn messages_are_one_line_that_begins_with_what_failed() {
        let checksum: Checksum = "0".repeat(64).parse().unwrap();
        let url = || ImportSource::Url("https://there/a".into());
        let zeros = "0".repeat(64);
        for (error, message) in [
            (
                ImageError::Locked { path: "/c/.import-a/lock".into(), holder: "pid 7 (v)".into() },
                "/c/.import-a/lock is locked by pid 7 (v)",
            ),
            (
                ImageError::ImageInUse {
                    name: "a".parse().unwrap(),
                    users: vec!["machine b".into(), "image c".into()],
                },
                "image a is in use by machine b, image c",
            ),
            (
                ImageError::Checksum { from: url(), expected: checksum.clone(), found: checksum },
                &format!(
                    "https://there/a is not what was expected: its SHA-256 is {zeros}, not {zeros}"
                ),
            ),
            (
                ImageError::Unlisted { file: "a".into(), list: url() },
                "https://there/a has no SHA-256 or SHA-512 checksum of \"a\"",
            ),
        ] {
            assert_eq!(error.to_string(), message);
        }
    }
}
