//! Why a host can't be set up.

use std::path::PathBuf;

use virshle_image::{DownloadError, ImageError};

use crate::failure::{ErrorKind, Failure, Verdict};
use crate::fs::error::FileError;
use crate::host::setup::pin::Part;
use crate::images;
use crate::store::error::StoreError;

/// Why a host can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The node's directories.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part can't be fetched, or not be put in its place.
    #[error("cannot install {} {version} at {}", .part.name(), .path.display())]
    Install {
        /// The part.
        part: Part,
        /// Its release.
        version: String,
        /// Its place.
        path: PathBuf,
        /// Its file, for who fetches it by other means.
        file: String,
        /// Whether its place is the host's, and not the node's own.
        is_system: bool,
        /// Why.
        source: Box<ImageError>,
    },
    /// A directory without one of the files, of which no other source was to be asked.
    #[error("no {file} in {}, for {} {version}", .directory.display(), .part.name())]
    NotThere {
        /// The part.
        part: Part,
        /// Its release.
        version: String,
        /// The name of its file.
        file: String,
        /// The directory.
        directory: PathBuf,
        /// Where it is published.
        published: String,
    },
    /// The list of releases has nothing for this machine.
    #[error("the list of releases has no file for {architecture}")]
    NoRelease {
        /// The machine, as `uname -m` has it.
        architecture: String,
    },
}

impl From<FileError> for SetupError {
    fn from(error: FileError) -> Self {
        StoreError::from(error).into()
    }
}

impl Failure for SetupError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Store(error) => error.verdict(),
            Self::Install { file, is_system, source, .. } => {
                let verdict = images::verdict(source);
                match source.as_ref() {
                    ImageError::Write { source, .. } | ImageError::Lock { source, .. }
                        if source.kind() == std::io::ErrorKind::PermissionDenied =>
                    {
                        verdict.text(if *is_system {
                            "run it as root, or install into the node's own directory"
                        } else {
                            "run as the user who owns the node, or choose another root"
                        })
                    }
                    // What resumes has a hint of its own; what comes another time hasn't either.
                    ImageError::Download { source, .. } if !resumes(source) => {
                        Verdict::new(ErrorKind::Host, "download-failed").text(format!(
                            "fetch {file} by other means, and name its directory with --offline"
                        ))
                    }
                    ImageError::Download { .. } => verdict
                        .text("the same command continues the download where it was interrupted"),
                    _ => verdict,
                }
            }
            Self::NotThere { published, .. } => {
                Verdict::new(ErrorKind::NotFound, "file-missing").text(format!("fetch {published}"))
            }
            Self::NoRelease { .. } => Verdict::new(ErrorKind::Host, "release-missing")
                .text("install cloud-hypervisor and its firmware by other means"),
        }
    }
}

/// Whether the next attempt continues where this one ended.
fn resumes(error: &DownloadError) -> bool {
    matches!(
        error,
        DownloadError::CutShort { .. }
            | DownloadError::Broken { .. }
            | DownloadError::Silent { .. }
    )
}
