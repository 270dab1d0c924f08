//! An image: what it is, how large its guest sees it, what it takes on the host.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::DiskError;
use crate::foreign::{Foreign, foreign, foreign_by_foot};
use crate::format::Format;
use crate::qcow2::{ENCRYPTED, Header, MAGIC, Refusal};

/// What an image, or a disk, is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The format.
    pub format: Format,
    /// What the guest sees, in bytes.
    pub virtual_size_bytes: u64,
    /// What it takes on its filesystem, in bytes.
    pub allocated_bytes: u64,
    /// The length of its file, in bytes.
    pub file_size_bytes: u64,
    /// The backing file of a qcow2, as its header names it: relative to its own directory.
    pub backing_file: Option<PathBuf>,
}

/// Returns what the image in `path` is, by its content. It is opened read-only.
///
/// # Errors
///
/// [`DiskError::Read`], [`DiskError::NotAnImage`], [`DiskError::Unsupported`],
/// [`DiskError::Broken`].
pub fn inspect(path: &Path) -> Result<Image, DiskError> {
    Ok(Opened::open(path)?.image)
}

/// Returns what the file in `path` takes on its filesystem, in bytes; holes take nothing.
///
/// # Errors
///
/// [`DiskError::Read`].
pub fn allocated_bytes(path: &Path) -> Result<u64, DiskError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| DiskError::Read { path: path.to_owned(), source })?;
    Ok(allocated(&metadata))
}

/// stat(2): blocks are of 512 bytes, whatever the filesystem's are.
fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// How much of an image's beginning is read to recognise it, in bytes.
pub(crate) const HEAD: usize = 512;

/// An image that is open for reading.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) image: Image,
    pub(crate) header: Option<Header>,
    metadata: Metadata,
}

impl Opened {
    pub(crate) fn open(path: &Path) -> Result<Self, DiskError> {
        let file = open_untouched(path)
            .map_err(|source| DiskError::Read { path: path.to_owned(), source })?;
        Self::of(path, file)
    }

    /// Takes the image in `path` for a raw one, whatever it looks like.
    pub(crate) fn open_raw(path: &Path) -> Result<Self, DiskError> {
        let file = open_untouched(path)
            .map_err(|source| DiskError::Read { path: path.to_owned(), source })?;
        Self::raw(path, file)
    }

    /// Returns what `file`, which is the image `path`, is.
    pub(crate) fn of(path: &Path, file: File) -> Result<Self, DiskError> {
        let mut opened = Self::raw(path, file)?;
        if let Some(header) = read_header(path, &opened.file)? {
            opened.image.format = Format::Qcow2;
            opened.image.virtual_size_bytes = header.size_bytes;
            opened.image.backing_file = header.backing_file.clone().map(PathBuf::from);
            opened.header = Some(header);
        } else if opened.image.file_size_bytes == 0 {
            return Err(DiskError::NotAnImage { path: path.to_owned(), what: "empty" });
        }
        Ok(opened)
    }

    /// Takes `file`, which is `path`, for a raw image.
    pub(crate) fn raw(path: &Path, file: File) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Read { path: path.to_owned(), source };
        let metadata = file.metadata().map_err(failed)?;
        let not_an_image = |what| Err(DiskError::NotAnImage { path: path.to_owned(), what });
        let kind = metadata.file_type();
        let file_size_bytes = if kind.is_file() {
            metadata.len()
        } else if kind.is_block_device() {
            rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))
                .map_err(|errno| failed(errno.into()))?
        } else if kind.is_dir() {
            return not_an_image("a directory");
        } else if kind.is_fifo() {
            return not_an_image("a FIFO");
        } else {
            return not_an_image("a device");
        };
        let image = Image {
            format: Format::Raw,
            virtual_size_bytes: file_size_bytes,
            allocated_bytes: allocated(&metadata),
            file_size_bytes,
            backing_file: None,
        };
        Ok(Self { path: path.to_owned(), file, image, header: None, metadata })
    }

    /// Reads all of `bytes` at `offset`.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Returns whether the file was written since it was opened.
    pub(crate) fn was_changed(&self) -> io::Result<bool> {
        let now = self.file.metadata()?;
        let stamp = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        Ok(stamp(&now) != stamp(&self.metadata))
    }
}

/// Opens for reading alone: not waiting for a FIFO's writer, and not changing the time of the last
/// access where this user may ask for that.
pub(crate) fn open_untouched(path: &Path) -> io::Result<File> {
    let open =
        |flags: OFlags| File::options().read(true).custom_flags(flags.bits() as i32).open(path);
    match open(OFlags::NONBLOCK | OFlags::NOATIME) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open(OFlags::NONBLOCK),
        other => other,
    }
}

fn read_header(path: &Path, file: &File) -> Result<Option<Header>, DiskError> {
    let failed = |source| DiskError::Read { path: path.to_owned(), source };
    // Not from where the file stands: a block device was sought to its end.
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).map_err(|errno| failed(errno.into()))?;
    let mut head = Vec::with_capacity(512);
    file.take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    if head.starts_with(&MAGIC) {
        return Header::read(file).map(Some).map_err(|refusal| refused(path, refusal));
    }
    refuse_foreign(path, &head)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut foot = [0; 512];
    if length >= 512 && file.read_exact_at(&mut foot, length - 512).is_ok() {
        if let Some((what, way)) = foreign_by_foot(&foot) {
            return Err(unsupported(path, what, way));
        }
    }
    Ok(None)
}

/// Refuses an image that begins with `head` if it is in a format that isn't known here.
pub(crate) fn refuse_foreign(path: &Path, head: &[u8]) -> Result<(), DiskError> {
    foreign(head).map_or(Ok(()), |(what, way)| Err(unsupported(path, what, way)))
}

/// The error for a qcow2 that can't be used.
pub(crate) fn refused(path: &Path, refusal: Refusal) -> DiskError {
    match refusal {
        Refusal::Io(source) => DiskError::Read { path: path.to_owned(), source },
        Refusal::Broken(reason) => DiskError::Broken { path: path.to_owned(), reason },
        Refusal::Unsupported(what) if what == ENCRYPTED => {
            unsupported(path, what, Foreign::Decrypt)
        }
        Refusal::Unsupported(what) => unsupported(path, what, Foreign::Convert),
    }
}

pub(crate) fn unsupported(path: &Path, what: &str, way: Foreign) -> DiskError {
    let shown = path.display();
    let advice = match way {
        Foreign::Convert => format!("qemu-img convert -O qcow2 {shown} converted.qcow2"),
        Foreign::Decrypt => format!(
            "qemu-img convert --object secret,id=key,file=PASSWORD-FILE --image-opts \
             driver=qcow2,encrypt.key-secret=key,file.filename={shown} -O qcow2 converted.qcow2"
        ),
        Foreign::Fetch => "open its address in a browser: it may want a login".into(),
        Foreign::Unpack(program) => format!("unpack it first, with {program}"),
    };
    DiskError::Unsupported { path: path.to_owned(), what: what.to_owned(), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_refused_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        assert!(matches!(inspect(&path), Err(DiskError::Read { .. })));
        assert!(matches!(inspect(directory.path()), Err(DiskError::NotAnImage { .. })));
        assert!(matches!(inspect(Path::new("/dev/null")), Err(DiskError::NotAnImage { .. })));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let error = inspect(&path).unwrap_err();
        assert!(matches!(error, DiskError::NotAnImage { what: "a FIFO", .. }), "{error:?}");
    }

    #[test]
    fn formats_are_recognised_by_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.qcow2");
        std::fs::write(&path, [7; 1000]).unwrap();
        let image = inspect(&path).unwrap();
        assert_eq!((image.format, image.virtual_size_bytes), (Format::Raw, 1000));
        std::fs::write(&path, b"\xfd7zXZ\0 and more").unwrap();
        let error = inspect(&path).unwrap_err();
        assert!(error.hint().unwrap().contains("unxz"), "{error:?}");
        std::fs::write(&path, b"QFI\xfb\0\0\0\x03").unwrap();
        assert!(matches!(inspect(&path), Err(DiskError::Broken { .. })));
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(inspect(&path), Err(DiskError::NotAnImage { .. })));
    }
}
