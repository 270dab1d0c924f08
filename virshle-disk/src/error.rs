//! What can go wrong with disks.

use std::io;
use std::path::PathBuf;

use crate::obstacle::ReflinkObstacle;
use crate::size::Size;
use crate::{Compression, Format};

/// What failed, on which file. The next step is in [`hint`](Self::hint).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The image can't be opened or read.
    #[error("cannot read image {}", .path.display())]
    Read {
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a FIFO or another thing that holds no image.
    #[error("{} is {what}, not an image", .path.display())]
    NotAnImage {
        /// The thing.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It is in a format that can't be used as it is.
    #[error("image {} is {what}, which is neither raw nor a qcow2 that can be used", .path.display())]
    Unsupported {
        /// The image.
        path: PathBuf,
        /// What it is.
        what: String,
        /// What to do with it.
        advice: String,
    },
    /// It begins like a qcow2, and can't be one.
    #[error("image {} is a broken qcow2: {reason}", .path.display())]
    Broken {
        /// The image.
        path: PathBuf,
        /// What doesn't fit.
        reason: String,
    },
    /// A compressed image can't be unpacked: it was cut short, or is damaged.
    #[error("cannot unpack image {}, which is compressed with {compression}", .path.display())]
    Unpack {
        /// The image.
        path: PathBuf,
        /// How it is compressed.
        compression: Compression,
        /// Why.
        source: io::Error,
    },
    /// It is in another format than was asked for.
    #[error("image {} is {found}, not {asked}", .path.display())]
    OtherFormat {
        /// The image.
        path: PathBuf,
        /// What it is.
        found: Format,
        /// What was asked for.
        asked: Format,
    },
    /// It is not whole in itself: what it doesn't hold is in another file.
    #[error("image {} is a qcow2 with the backing file {}", .path.display(), .backing.display())]
    HasBackingFile {
        /// The image.
        path: PathBuf,
        /// The other file, as its header names it.
        backing: PathBuf,
    },
    /// The disk would be smaller than its image.
    #[error(
        "{} is too small: image {} is {}",
        Size(*.size_bytes), .path.display(), Size(*.image_bytes)
    )]
    TooSmall {
        /// The image.
        path: PathBuf,
        /// What was asked for, in bytes.
        size_bytes: u64,
        /// What the image's guest sees, in bytes.
        image_bytes: u64,
    },
    /// The image can't be grown in place.
    #[error("cannot grow {}: {reason}", .path.display())]
    Grow {
        /// The disk.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The destination can't be created or written.
    #[error("cannot write disk {}", .path.display())]
    Write {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The filesystem cannot share extents between the two files.
    #[error("cannot reflink {} to {}", .from.display(), .to.display())]
    Reflink {
        /// The image.
        from: PathBuf,
        /// The disk.
        to: PathBuf,
        /// What keeps them from it.
        obstacle: ReflinkObstacle,
        /// Why.
        source: io::Error,
    },
    /// There is less room than the copy needs; nothing was copied.
    #[error(
        "not enough room for disk {}: it needs {}, {} are free",
        .path.display(), Size(*.needed_bytes), Size(*.free_bytes)
    )]
    NoRoom {
        /// The disk.
        path: PathBuf,
        /// What the copy needs, in bytes.
        needed_bytes: u64,
        /// What is free, in bytes.
        free_bytes: u64,
    },
    /// The image is larger than the caller wants one to be.
    #[error("image {} is larger than {}", .path.display(), Size(*.most_bytes))]
    TooLarge {
        /// The image.
        path: PathBuf,
        /// What it may have, in bytes.
        most_bytes: u64,
    },
    /// What is unpacked would fill the filesystem: it is left before that.
    #[error(
        "not enough room for disk {}: after {} of it, {} are left free",
        .path.display(), Size(*.written_bytes), Size(*.free_bytes)
    )]
    AlmostFull {
        /// The disk.
        path: PathBuf,
        /// What was written, in bytes.
        written_bytes: u64,
        /// What is free, in bytes.
        free_bytes: u64,
    },
    /// The image was written while it was copied.
    #[error("image {} was changed while it was copied", .path.display())]
    Changed {
        /// The image.
        path: PathBuf,
    },
    /// The files of a seed are larger than a seed can be.
    #[error(
        "seed {} would hold {}, and {} are the most",
        .path.display(), Size(*.size_bytes as u64), Size(*.most_bytes as u64)
    )]
    SeedTooLarge {
        /// The seed.
        path: PathBuf,
        /// What its files have, in bytes.
        size_bytes: usize,
        /// What they may have, in bytes.
        most_bytes: usize,
    },
    /// Whether the filesystem can share extents can't be found out.
    #[error("cannot find out whether {} supports reflinks", .path.display())]
    Probe {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskError {
    /// The remedy, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    Some("correct the path of the image".into())
                }
                io::ErrorKind::PermissionDenied => {
                    Some("let this user read the image, or run as one who may".into())
                }
                _ => None,
            },
            Self::Unsupported { advice, .. } => Some(advice.clone()),
            Self::Unpack { compression, source, .. } => Some(match source.kind() {
                // It is whole: to fetch it again would help no one.
                io::ErrorKind::OutOfMemory => {
                    format!("unpack it first, with {}", compression.unpacked_by())
                }
                _ => "fetch it again, and compare its checksum".into(),
            }),
            Self::OtherFormat { .. } => Some("keep it as it is, or convert it first".into()),
            Self::HasBackingFile { path, .. } => Some(format!(
                "qemu-img convert -O qcow2 {} whole.qcow2 merges the two",
                path.display()
            )),
            Self::Broken { path, .. } => Some(format!("qemu-img check {}", path.display())),
            Self::TooSmall { .. } => {
                Some("ask for more, or omit the size to keep the image's own".into())
            }
            Self::Grow { .. } => Some("qemu-img resize can grow a copy of the image".into()),
            Self::Reflink { obstacle: ReflinkObstacle::NoCopyOnWrite, .. } => Some(
                "one of the two is exempt from copy-on-write, which lsattr shows as C: set the flag \
                 on the directories of images and disks both or on neither (chattr +C, -C), and \
                 copy the image once more, for it applies to new files; or take a copy"
                    .into(),
            ),
            Self::Reflink { .. } => {
                Some("keep images and disks on one btrfs or xfs filesystem".into())
            }
            Self::NoRoom { .. } | Self::AlmostFull { .. } => {
                Some("make room on that filesystem".into())
            }
            Self::TooLarge { .. } => Some("allow it more, if you know what it is".into()),
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that filesystem".into())
                }
                io::ErrorKind::FileTooLarge if is_limited() => Some(
                    "this process may write no larger file: ulimit -f unlimited, or LimitFSIZE= of \
                     its unit"
                        .into(),
                ),
                io::ErrorKind::FileTooLarge => Some(
                    "the filesystem can't have so large a file: ask for less, or keep it on XFS".into(),
                ),
                io::ErrorKind::AlreadyExists => {
                    Some("remove it first: it is never replaced".into())
                }
                _ => None,
            },
            Self::Changed { .. } => Some("wait until no process writes to it any more".into()),
            Self::SeedTooLarge { .. } => Some("let the guest download what is large".into()),
            Self::NotAnImage { .. } => Some("correct the path: it is that of an image's file".into()),
            Self::Probe { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room on that filesystem".into())
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    Some("mount that filesystem with the right to write (mount -o remount,rw)".into())
                }
                _ => None,
            },
        }
    }
}

/// Whether this process may write files of some size only (`ulimit -f`).
fn is_limited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some()
}
