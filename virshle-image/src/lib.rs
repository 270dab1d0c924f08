#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! A cache of virtual machine images: downloaded, checked, converted and kept under a name.
//!
//! An [`ImageCache`] is a directory. An image in it is one read-only file, whose name is the
//! image's. [`ImageCache::import`] takes a file of this host or an `http:` or `https:` address,
//! compares its checksum, decompresses it (gzip, xz, zstd), converts a qcow2 to raw if asked, and
//! renames it into place: an image appears complete or not at all, also when the process is
//! killed. An interrupted download is kept aside, and the same import resumes it. Nothing runs in
//! the background; any number of processes may use one cache at once.
//!
//! A [`Catalogue`] knows where distributions publish images, and with which checksums; a
//! [`PinnedFile`] is any other file that is known by its checksum before it is fetched.
//!
//! What clones an image keeps it with [`ImageCache::hold`] meanwhile. What depends on one for
//! longer, as a qcow2 overlay does on its backing file, is known to the caller: it passes a list
//! of [`Dependent`]s, and [`ImageCache::remove`] refuses to remove what is in use.
//!
//! # Limitations
//!
//! - Linux. Raw images and qcow2; see [`virshle_disk`] for what can be converted.
//! - `http:` and `https:` only, with the certificates and proxies of the system. Blocking calls;
//!   a server may be silent for a bounded time, and a download as a whole has no deadline.
//! - Checksums are compared, signatures are not: a list of checksums is as good as the server it
//!   comes from.
//! - A download resumes if its server identifies the file with an `ETag` or a `Last-Modified`.
//!
//! # Example
//!
//! ```no_run
//! use virshle_image::{Dependent, Expected, ImageCache, ImageError, ImportRequest};
//!
//! let cache = ImageCache::new("/srv/images");
//! let source = "https://cloud.example/trixie/debian-13-generic-amd64.qcow2".parse()?;
//! let sums = "https://cloud.example/trixie/SHA512SUMS".parse()?;
//! let request = ImportRequest::new(source)
//!     .name("debian".parse()?)
//!     .expected(Expected::Listed(sums));
//! let image = cache.import(&request, &mut |progress| {
//!     println!("{:?}: {} bytes", progress.step, progress.done_bytes);
//! })?;
//! println!("{}: {}, {} bytes", image.path.display(), image.format, image.size);
//!
//! let name = "debian".parse()?;
//! let path = cache.existing(&name)?;
//! // No process removes it while this one clones it.
//! let held = cache.hold([path.as_path()])?;
//! std::fs::copy(&path, "/srv/machines/web.raw")?;
//! drop(held);
//!
//! // It stays as long as a disk has it as its backing file.
//! let overlay = Dependent::new("machine db", &path);
//! cache.remove(&name, || Ok::<_, ImageError>(vec![overlay]))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod cache;
mod catalogue;
mod checksum;
mod checksum_list;
mod dependent;
mod download;
mod download_error;
mod download_state;
mod error;
mod fs;
mod hold;
mod http;
mod import;
mod leftover;
mod listing;
mod name;
mod pinned_file;
mod progress;
mod record;
mod remove;
mod request;
mod room;
mod source;
mod staging;
mod url;

pub use cache::ImageCache;
pub use catalogue::{Catalogue, CatalogueImage, ImageReference, filled};
pub use checksum::{Checksum, InvalidChecksum};
pub use dependent::Dependent;
pub use download_error::DownloadError;
pub use error::ImageError;
pub use hold::ImageHold;
pub use listing::{ImageInfo, ImageListing, UnfinishedImport};
pub use name::{ImageName, InvalidImageName};
pub use pinned_file::{Installed, PinnedFile};
pub use progress::{ImportProgress, ImportStep};
pub use request::{Expected, ImportFormat, ImportRequest};
pub use source::{ImportSource, InvalidSource};

#[doc(inline)]
pub use virshle_disk as disk;
