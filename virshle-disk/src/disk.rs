//! A disk of a machine: creates an empty one, grows it.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::destination::Destination;
use crate::image::Opened;
use crate::method::CloneMethod;
use crate::qcow2::GrowError;
use crate::{DiskError, Format};

/// A disk that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// What the guest sees, in bytes.
    pub size_bytes: u64,
    /// How it was created.
    pub method: CloneMethod,
    /// The image it was created from.
    pub source: Option<PathBuf>,
    /// The files that an overlay depends on, the uppermost first: its image's, without links.
    pub backing_files: Vec<PathBuf>,
}

/// Creates a new disk of `size_bytes` zeros, which take no room.
///
/// # Errors
///
/// [`DiskError::Write`]; nothing is left.
pub fn create_empty(path: &Path, size_bytes: u64) -> Result<Disk, DiskError> {
    let destination = Destination::begin(path)?;
    destination.file().set_len(size_bytes).map_err(|error| destination.failed(error))?;
    destination.publish()?;
    Ok(Disk {
        path: path.to_owned(),
        format: Format::Raw,
        size_bytes,
        method: CloneMethod::Empty,
        source: None,
        backing_files: Vec::new(),
    })
}

/// Grows the disk in `path`, which no machine uses, to `size_bytes`.
///
/// # Errors
///
/// [`DiskError::TooSmall`] if it is larger already, [`DiskError::Grow`] if its format can't be
/// grown in place; the disk is as it was.
pub fn grow(path: &Path, size_bytes: u64) -> Result<(), DiskError> {
    let opened = Opened::open(path)?;
    let failed = |source| DiskError::Write { path: path.to_owned(), source };
    let file = File::options().read(true).write(true).open(path).map_err(failed)?;
    grow_file(&file, &opened, path, size_bytes)?;
    file.sync_all().map_err(failed)
}

/// Grows `file`, which holds what `opened` is, to `size_bytes`; `path` is for messages.
pub(crate) fn grow_file(
    file: &File,
    opened: &Opened,
    path: &Path,
    size_bytes: u64,
) -> Result<(), DiskError> {
    let image_bytes = opened.image.virtual_size_bytes;
    if size_bytes < image_bytes {
        return Err(DiskError::TooSmall { path: path.to_owned(), size_bytes, image_bytes });
    }
    if size_bytes == image_bytes {
        return Ok(());
    }
    let failed = |source| DiskError::Write { path: path.to_owned(), source };
    match &opened.header {
        None => file.set_len(size_bytes).map_err(failed),
        Some(header) => header.grow(file, size_bytes).map_err(|error| match error {
            GrowError::Io(source) => failed(source),
            GrowError::Refused(reason) => DiskError::Grow { path: path.to_owned(), reason },
        }),
    }
}
