//! What can go wrong with the node's files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use virshle_template::Distrust;

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};

/// What failed, and for which file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file or directory can't be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory can't be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory can't be removed.
    #[error("cannot remove {}", .path.display())]
    Remove {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A lock can't be taken, for another reason than that another process holds it.
    #[error("cannot lock {}", .path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process changes the machine, or claims a name.
    #[error("{} is locked by {holder}, for more than {} s", .path.display(), .waited.as_secs())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// The holder as recorded in the lock file.
        holder: String,
        /// How long this waited for it.
        waited: Duration,
    },
    /// A home directory is not the caller's own.
    #[error("{} is the home of user {uid}, and not of the caller", .path.display())]
    ForeignHome {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// A node can't have that root.
    #[error("{} cannot be a node's root: {what}", .path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another user could have changed what root is to act on.
    #[error("{} is not trusted", .path.display())]
    Untrusted {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: Distrust,
    },
    /// Another user could have put another directory in the place of the node's root.
    #[error("{} is not trusted, and leads to the configuration or the machines", .path.display())]
    UntrustedAbove {
        /// A directory above the root.
        path: PathBuf,
        /// Why.
        source: Distrust,
    },
    /// A watch on a directory can't be set up.
    #[error("cannot watch {}", .path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FileError {
    /// Makes the error of a read of `path` out of its cause.
    pub(crate) fn reading(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.to_owned(), source }
    }

    /// Makes the error of a change of `path` out of its cause.
    pub(crate) fn writing(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }

    /// Whether what was to be read is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Failure for FileError {
    fn verdict(&self) -> Verdict<'_> {
        let (code, source) = match self {
            Self::Read { source, .. } => ("read-failed", source),
            Self::Write { source, .. } => ("write-failed", source),
            Self::Remove { source, .. } => ("remove-failed", source),
            Self::Lock { source, .. } => ("lock-failed", source),
            Self::ForeignHome { .. } => {
                return Verdict::failed("home-foreign")
                    .text("run as that user; or set HOME to your own, as sudo -H does");
            }
            Self::Root { .. } => {
                return Verdict::new(ErrorKind::Config, "root-invalid").remedy(Remedy::ChooseRoot);
            }
            Self::Untrusted { path, .. } => {
                let shown = path.display();
                return Verdict::new(ErrorKind::Host, "untrusted").text(format!(
                    "chown root:root {shown}; chmod go-w {shown}; or run as the user whose it is"
                ));
            }
            Self::UntrustedAbove { path, .. } => {
                return Verdict::new(ErrorKind::Host, "untrusted").text(format!(
                    "keep root's machines where every directory above is root's alone; or chmod go-w {}",
                    path.display()
                ));
            }
            Self::Watch { .. } => return Verdict::failed("watch-failed"),
            Self::Locked { .. } => {
                return Verdict::new(ErrorKind::State, "locked")
                    .text("wait for it, or end that process");
            }
        };
        let immutable = match self {
            Self::Remove { path, source } => immutable_hint(path, source),
            _ => None,
        };
        if let Some(hint) = immutable {
            return Verdict::failed(code).text(hint);
        }
        if let Self::Write { path, source } = self {
            if is_immutable(source) {
                return Verdict::new(ErrorKind::Host, code).text(format!(
                    "it, or its directory, may be immutable, which lsattr shows: chattr -i -a {}",
                    path.display()
                ));
            }
        }
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Verdict::new(ErrorKind::Host, code).remedy(Remedy::RunAsOwner)
            }
            io::ErrorKind::ReadOnlyFilesystem if matches!(self, Self::Write { .. }) => {
                Verdict::new(ErrorKind::Host, code).remedy(Remedy::ChooseRoot)
            }
            io::ErrorKind::ReadOnlyFilesystem => Verdict::new(ErrorKind::Host, code),
            io::ErrorKind::StorageFull if matches!(self, Self::Write { .. }) => {
                Verdict::failed(code).text("make room on that filesystem")
            }
            _ => Verdict::failed(code),
        }
    }
}

/// Whether root itself was refused by the file's attributes. Its owner and its mode are nothing to root,
/// and a server of NFS that is of another opinion answers EACCES.
fn is_immutable(source: &io::Error) -> bool {
    let refused = source.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error());
    refused && rustix::process::geteuid().is_root()
}

/// What to do about a file that root itself can't remove.
pub(crate) fn immutable_hint(path: &Path, source: &io::Error) -> Option<String> {
    is_immutable(source).then(|| {
        format!(
            "it, or its directory, may be immutable, which lsattr shows: chattr -i -a {}; then \
             repair the node",
            path.display()
        )
    })
}
