//! What to do about an error of the node, in the command's own words.

use std::io::ErrorKind;

use virshle_core::disk::DiskError;
use virshle_core::{CoreError, DownloadError, ImageError, ImportSource};

/// The suggested next step for `error`, if there is one.
pub(crate) fn hint(error: &CoreError) -> Option<String> {
    match error {
        CoreError::Image(error) => image_hint(error).or_else(|| error.hint()),
        error => error.hint(),
    }
}

/// What a command or an option does about an error of the image cache.
fn image_hint(error: &ImageError) -> Option<String> {
    Some(match error {
        ImageError::NoSuchImage { known, .. } if known.is_empty() => {
            "there are no images yet: `v image import FILE-OR-URL` imports one".into()
        }
        ImageError::NoSuchImage { .. } => {
            let nearest = error.hint().map(|hint| format!("{hint} ")).unwrap_or_default();
            format!("{nearest}`v image ls` lists all images")
        }
        ImageError::ImageName { .. } => "choose a name with --name".into(),
        ImageError::ImageTaken { name } => {
            format!("choose another name with --name, or run `v image rm {name}` first")
        }
        ImageError::Unlisted { .. } => "pass the checksum itself with --sha256".into(),
        ImageError::Import { from: ImportSource::File(_), source } => match source {
            DiskError::HasBackingFile { .. } => {
                "if you trust it, --allow-backing-file makes a raw image of both".into()
            }
            DiskError::OtherFormat { .. } => KEEP.into(),
            _ => return None,
        },
        ImageError::Import { source: DiskError::OtherFormat { .. }, .. } => KEEP.into(),
        ImageError::Download { source, .. } => match source {
            DownloadError::Silent { .. }
            | DownloadError::CutShort { .. }
            | DownloadError::Broken { .. } => {
                "the same command resumes the download from here".into()
            }
            DownloadError::Unbounded => {
                "pass its checksum with --sha256 or --sha256sums, and it is compared".into()
            }
            _ => return None,
        },
        ImageError::Read { source, .. }
        | ImageError::Write { source, .. }
        | ImageError::Lock { source, .. }
            if source.kind() == ErrorKind::PermissionDenied =>
        {
            "run as the user who owns the node, or choose a root with --root".into()
        }
        ImageError::Write { source, .. } if source.kind() == ErrorKind::ReadOnlyFilesystem => {
            "choose another root with --root or [node] root".into()
        }
        _ => return None,
    })
}

/// What to do about an image of another format than asked for.
const KEEP: &str = "--format keep stores it unchanged";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_image_error_names_the_command_that_helps() {
        let unknown = |known: &[&str]| ImageError::NoSuchImage {
            name: "debain".into(),
            known: known.iter().map(|&name| name.to_owned()).collect(),
        };
        let file = || ImportSource::File("/a".into());
        let url = || ImportSource::Url("https://there/a".into());
        let backed =
            || DiskError::HasBackingFile { path: "/c/download".into(), backing: "/b".into() };
        let write = |kind: ErrorKind| ImageError::Write {
            path: "/c/a".into(),
            source: io::Error::from(kind),
        };
        for (error, part) in [
            (unknown(&[]), "v image import"),
            (unknown(&["debian"]), "did you mean \"debian\"? `v image ls`"),
            (unknown(&["fedora"]), "`v image ls`"),
            (ImageError::ImageTaken { name: "a".parse().unwrap() }, "`v image rm a`"),
            (ImageError::Unlisted { file: "a".into(), list: url() }, "--sha256"),
            (ImageError::Import { from: file(), source: backed() }, "--allow-backing-file"),
            (ImageError::Import { from: url(), source: backed() }, "without a backing file"),
            (
                ImageError::Download {
                    url: "https://there/a".into(),
                    source: DownloadError::CutShort { got_bytes: 1, total_bytes: 2 },
                },
                "the same command resumes",
            ),
            (write(ErrorKind::PermissionDenied), "--root"),
            (write(ErrorKind::ReadOnlyFilesystem), "[node] root"),
            (write(ErrorKind::StorageFull), "make room"),
        ] {
            let hint = hint(&CoreError::Image(error)).unwrap();
            assert!(hint.contains(part), "{hint}");
        }
    }
}
