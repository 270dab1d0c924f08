#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! Disks of virtual machines: private copies of images, in an instant where the filesystem can.
//!
//! An image stays as it is: it is opened read-only, always. A copy of it is a *reflink* on XFS and
//! btrfs, which takes the same time at any size and no room until it is written; else a *sparse
//! copy* of its data without its holes; or, on any filesystem, an *overlay*, a qcow2 that holds
//! only what differs. A disk appears complete or not at all. Raw and qcow2 are distinguished by
//! content, never by a file's name.
//!
//! An image from elsewhere is made whole by a [`ConvertRequest`]: unpacked, if it is compressed
//! with gzip, xz or zstd; a qcow2, whose clusters may be compressed, too, made raw; zeros become
//! holes.
//!
//! # Limitations
//!
//! - Linux. Raw images and qcow2 of version 2 and 3 without encryption, an external data file or
//!   extended L2 entries; others are recognised and refused, with the command that converts them.
//! - Nothing is converted to qcow2.
//! - A qcow2 is grown in place as far as the clusters of its L1 table reach (4 TiB with clusters
//!   of 64 KiB), and not if it has snapshots. Its persistent bitmaps, which are for its old size,
//!   are invalid from then on.
//! - The cost of a reflink is the number of the image's extents: a fragmented image clones slowly.
//!
//! # Example
//!
//! ```no_run
//! use std::path::Path;
//! use virshle_disk::{CloneMode, CloneRequest};
//!
//! let image = Path::new("/srv/images/debian.raw");
//! let disk = CloneRequest::new(image, Path::new("/srv/machines/web.raw"))
//!     .mode(CloneMode::Auto)
//!     .size_bytes(50 << 30)
//!     .on_progress(&mut |progress| {
//!         println!("{} of {} bytes", progress.done_bytes, progress.total_bytes);
//!     })
//!     .run()?;
//! println!("{} by {}", disk.path.display(), disk.method);
//!
//! // An image as it was downloaded, made into one to clone.
//! use virshle_disk::{ConvertRequest, Format};
//!
//! let packed = Path::new("/home/me/debian.qcow2.xz");
//! ConvertRequest::new(packed, Path::new("/srv/images/debian")).format(Format::Raw).run()?;
//! # Ok::<(), virshle_disk::DiskError>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod backing_chain;
mod backing_file;
mod clone;
mod clusters;
mod compression;
mod convert;
mod converter;
mod destination;
mod disk;
mod error;
mod extents;
mod foreign;
mod format;
mod image;
mod method;
mod obstacle;
mod overlay;
mod qcow2;
mod reflink;
mod rename;
mod seed;
mod size;
mod sparse;
mod text;
mod xz_blocks;

pub use backing_file::BackingFile;
pub use clone::CloneRequest;
pub use compression::Compression;
pub use convert::{ConvertRequest, check, has_compressed_clusters};
pub use destination::unwatched_bytes;
pub use disk::{Disk, create_empty, grow};
pub use error::DiskError;
pub use extents::Progress;
pub use format::{Format, UnknownFormat};
pub use image::{Image, allocated_bytes, inspect};
pub use method::{CloneMethod, CloneMode, UnknownMethod, UnknownMode};
pub use obstacle::ReflinkObstacle;
pub use reflink::supports_reflink;
pub use rename::rename_new;
pub use seed::{MAX_SEED, SeedRequest};
pub use sparse::write_sparse;
pub use text::refuse_text;
