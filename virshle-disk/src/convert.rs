//! Converts an image to a raw one, or copies it unchanged: decompressed, whole, sparse.

use std::cell::Cell;
use std::fmt;
use std::fs::{File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::clone::{SECTOR, copy_data, copy_failed, refuse_changed};
use crate::clusters::{Clusters, Place};
use crate::compression::Compression;
use crate::destination::Destination;
use crate::extents::{Progress, REPORT, bytes_of, copy, data_extents};
use crate::format::{Foreign, Format};
use crate::image::{HEAD, Image, Opened, open_untouched, refuse_foreign, refused, unsupported};
use crate::qcow2::{MAGIC, Refusal};
use crate::reflink::reflink;
use crate::sparse::{Target, write_on, write_sparse, write_zeros};
use crate::{DiskError, inspect};

/// One read and one write.
const CHUNK: usize = 1 << 20;
/// The longest chain of backing files: a longer one is likely a circle.
const MAX_CHAIN: usize = 16;

/// What becomes of a qcow2 with a backing file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BackingFile {
    /// It is refused: its header could name any file of this host.
    #[default]
    Refuse,
    /// What it takes from there is read, and becomes part of the raw image.
    Follow,
}

/// A request for an image that is whole in itself.
///
/// The source is distinguished by content: compressed with gzip, xz or zstd or not, raw or qcow2.
/// It is opened read-only. The image appears complete or not at all.
#[must_use = "`run` executes it"]
pub struct ConvertRequest<'a> {
    source: PathBuf,
    destination: PathBuf,
    format: Option<Format>,
    backing_file: BackingFile,
    mode: u32,
    on_progress: Option<&'a mut dyn FnMut(Progress)>,
}

impl fmt::Debug for ConvertRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConvertRequest")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .field("format", &self.format)
            .field("backing_file", &self.backing_file)
            .finish_non_exhaustive()
    }
}

impl<'a> ConvertRequest<'a> {
    /// Asks for the image `source` as the file `destination`, which is not there yet.
    pub fn new(source: &Path, destination: &Path) -> Self {
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            format: None,
            backing_file: BackingFile::Refuse,
            mode: 0o600,
            on_progress: None,
        }
    }

    /// Sets the format: a qcow2 becomes raw, while a raw image never becomes a qcow2. The
    /// source's own if unset.
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// Sets what becomes of a qcow2 with a backing file.
    pub fn backing_file(mut self, backing_file: BackingFile) -> Self {
        self.backing_file = backing_file;
        self
    }

    /// Sets the permissions of the image: 0600 if unset.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the callback for its progress. While something is unpacked, what was read is counted.
    pub fn on_progress(mut self, on_progress: &'a mut dyn FnMut(Progress)) -> Self {
        self.on_progress = Some(on_progress);
        self
    }

    /// Returns whether the source is not yet what is asked for. If it is, it can be taken as it is:
    /// all of it is there.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), as far as that is known without converting.
    pub fn is_needed(&self) -> Result<bool, DiskError> {
        if self.compression()?.is_some() {
            return Ok(true);
        }
        let opened = Opened::open(&self.source)?;
        self.accept(&opened.image)?;
        if self.must_be_flat(&opened.image) || !ends_with_a_sector(&opened.image) {
            return Ok(true);
        }
        check_clusters(&opened)?;
        Ok(false)
    }

    /// Creates the image, and reports what it has become.
    ///
    /// # Errors
    ///
    /// Nothing is left, and the source is as it was. [`DiskError::Read`],
    /// [`DiskError::NotAnImage`], [`DiskError::Unsupported`], [`DiskError::Broken`],
    /// [`DiskError::Unpack`], [`DiskError::OtherFormat`] and [`DiskError::HasBackingFile`] are
    /// about the source, [`DiskError::NoRoom`] and [`DiskError::Write`] of the image;
    /// [`DiskError::Changed`] if another process wrote to the source meanwhile.
    pub fn run(mut self) -> Result<Image, DiskError> {
        let destination = Destination::begin(&self.destination)?;
        match self.compression()? {
            None => self.convert(&Opened::open(&self.source)?, &destination)?,
            Some((file, kind)) => self.unpack_and_convert(&file, kind, &destination)?,
        }
        destination
            .file()
            .set_permissions(Permissions::from_mode(self.mode))
            .map_err(|error| destination.failed(error))?;
        destination.publish()?;
        tracing::debug!(
            source = %self.source.display(), destination = %self.destination.display(),
            "image created"
        );
        inspect(&self.destination)
    }

    /// How the source is compressed, if it is.
    fn compression(&self) -> Result<Option<(File, Compression)>, DiskError> {
        let unreadable = |source| DiskError::Read { path: self.source.clone(), source };
        let file = open_untouched(&self.source).map_err(unreadable)?;
        // What is no file, as a FIFO or a directory, is reported elsewhere.
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Ok(None);
        }
        let mut head = [0; 8];
        let read = file.read_at(&mut head, 0).map_err(unreadable)?;
        Ok(Compression::of(&head[..read]).map(|compression| (file, compression)))
    }

    fn must_be_flat(&self, image: &Image) -> bool {
        image.format == Format::Qcow2 && self.format == Some(Format::Raw)
    }

    /// Creates the image from one that isn't compressed.
    fn convert(&mut self, opened: &Opened, destination: &Destination) -> Result<(), DiskError> {
        self.accept(&opened.image)?;
        if self.must_be_flat(&opened.image) {
            return self.flatten(opened, destination);
        }
        check_clusters(opened)?;
        self.take(opened, destination)
    }

    /// Refuses what isn't wanted.
    fn accept(&self, image: &Image) -> Result<(), DiskError> {
        if image.format == Format::Raw && self.format == Some(Format::Qcow2) {
            return Err(DiskError::OtherFormat {
                path: self.source.clone(),
                found: image.format,
                asked: Format::Qcow2,
            });
        }
        let Some(backing) = &image.backing_file else { return Ok(()) };
        // One that is kept would look for the other from another directory.
        if self.backing_file == BackingFile::Follow && self.format == Some(Format::Raw) {
            return Ok(());
        }
        Err(DiskError::HasBackingFile { path: self.source.clone(), backing: backing.clone() })
    }

    /// Takes the image as it is: as a reflink if the filesystem can, else its data without zeros.
    fn take(&mut self, opened: &Opened, destination: &Destination) -> Result<(), DiskError> {
        // Whatever keeps it from being shared doesn't keep it from being read.
        if reflink(&opened.file, destination.file()).is_err() {
            let mut silent = |_: Progress| {};
            let on_progress: &mut dyn FnMut(Progress) = match &mut self.on_progress {
                Some(on_progress) => *on_progress,
                None => &mut silent,
            };
            copy_data(opened, destination, on_progress)?;
        }
        fill_sector(opened, destination)
    }

    /// Creates a raw image of a qcow2 and its chain of backing files.
    fn flatten(&mut self, opened: &Opened, destination: &Destination) -> Result<(), DiskError> {
        let chain = self.chain(opened)?;
        let layers: Vec<&Opened> = chain.iter().rev().chain([opened]).collect();
        let mut total_bytes = 0;
        for layer in &layers {
            total_bytes += layer_bytes(layer)?;
        }
        destination.needs_room(total_bytes)?;
        let mut report = Report::new(&mut self.on_progress, total_bytes);
        let mut ground = Target::Zeroed;
        for layer in layers {
            lay(layer, destination, ground, &mut report)?;
            // What is beyond an image's end is zeros, whatever the one below has there.
            destination
                .file()
                .set_len(layer.image.virtual_size_bytes)
                .map_err(|error| destination.failed(error))?;
            ground = Target::Dirty;
        }
        report.end();
        // A qcow2 may end within a sector as well.
        destination
            .file()
            .set_len(opened.image.virtual_size_bytes.next_multiple_of(SECTOR))
            .map_err(|error| destination.failed(error))?;
        chain.iter().chain([opened]).try_for_each(refuse_changed)?;
        self.refuse_disguise(destination)
    }

    /// A guest may have written the header of another format where its disk begins. Formats are
    /// recognised by content: the raw image would be taken for what its guest likes, as a qcow2
    /// that has a file of this host as its backing file.
    fn refuse_disguise(&self, destination: &Destination) -> Result<(), DiskError> {
        let path = &self.source;
        let file = destination.file().try_clone().map_err(|error| destination.failed(error))?;
        match Opened::of(path, file)?.image.format {
            Format::Raw => Ok(()),
            _ => Err(unsupported(path, "a disk that begins like a qcow2 itself", Foreign::Convert)),
        }
    }

    /// The backing files of `top`, the uppermost first.
    fn chain(&self, top: &Opened) -> Result<Vec<Opened>, DiskError> {
        let mut chain: Vec<Opened> = Vec::new();
        loop {
            let upper = chain.last().unwrap_or(top);
            let Some(backing) = &upper.image.backing_file else { return Ok(chain) };
            if chain.len() == MAX_CHAIN {
                let reason = format!("it has a chain of more than {MAX_CHAIN} backing files");
                return Err(DiskError::Broken { path: self.source.clone(), reason });
            }
            // A relative name begins at the directory of the image that has it.
            let path = upper.path.parent().unwrap_or(Path::new("")).join(backing);
            let format = upper.header.as_ref().and_then(|header| header.backing_format.as_deref());
            // One that is said to be raw is: its guest may have written anything into it.
            let opened = match format {
                Some("raw") => Opened::open_raw(&path)?,
                _ => Opened::open(&path)?,
            };
            chain.push(opened);
        }
    }

    /// Creates the image from what `packed` holds. A qcow2 that is to be raw is unpacked into a
    /// file without a name first: its clusters stand in any order.
    fn unpack_and_convert(
        &mut self,
        packed: &File,
        compression: Compression,
        destination: &Destination,
    ) -> Result<(), DiskError> {
        let path = self.source.clone();
        let metadata =
            packed.metadata().map_err(|source| DiskError::Read { path: path.clone(), source })?;
        let failed = |source| DiskError::Unpack { path: path.clone(), compression, source };
        let counted = Counted { file: packed, at: Cell::new(0) };
        let mut stream =
            compression.unpack(BufReader::with_capacity(CHUNK, &counted)).map_err(failed)?;
        let mut head = Vec::new();
        stream.by_ref().take(HEAD).read_to_end(&mut head).map_err(failed)?;
        // What can't be used is reported before gigabytes of it are unpacked.
        refuse_foreign(&path, &head)?;
        let flatten = head.starts_with(&MAGIC) && self.format == Some(Format::Raw);
        let unpacked =
            flatten.then(|| Destination::begin(&beside(&self.destination))).transpose()?;
        let target = unpacked.as_ref().unwrap_or(destination);
        let mut report = Report::new(&mut self.on_progress, metadata.len());
        let mut written = 0;
        let mut buffer = head;
        loop {
            write_sparse(target.file(), &buffer, written).map_err(|error| target.failed(error))?;
            written += buffer.len() as u64;
            report.reach(counted.at.get());
            buffer.resize(CHUNK, 0);
            let read = fill(&mut stream, &mut buffer).map_err(failed)?;
            buffer.truncate(read);
            if read == 0 {
                break;
            }
        }
        report.end();
        drop(stream);
        target.file().set_len(written).map_err(|error| target.failed(error))?;
        let file = target.file().try_clone().map_err(|error| target.failed(error))?;
        let opened = Opened::of(&path, file)?;
        self.accept(&opened.image)?;
        if !flatten {
            check_clusters(&opened)?;
            return fill_sector(&opened, destination);
        }
        match opened.image.backing_file.clone() {
            // It would be looked for beside a file that has no place.
            Some(backing) => Err(DiskError::HasBackingFile { path, backing }),
            None => self.flatten(&opened, destination),
        }
    }
}

/// Ensures that all data of the image in `path` is there and can be located.
///
/// A raw image that was cut short can't be distinguished from a whole one.
///
/// # Errors
///
/// As [`inspect`], and [`DiskError::Broken`] if a qcow2 ends before its data.
pub fn check(path: &Path) -> Result<Image, DiskError> {
    let opened = Opened::open(path)?;
    check_clusters(&opened)?;
    Ok(opened.image)
}

fn check_clusters(opened: &Opened) -> Result<(), DiskError> {
    match &opened.header {
        // Its tables are not understood here, and yet it can be used as it is.
        Some(header) if header.has_extended_l2() => Ok(()),
        _ => layer_bytes(opened).map(|_| ()),
    }
}

/// What an image holds by itself, in bytes. All its tables are read, and make sense.
fn layer_bytes(opened: &Opened) -> Result<u64, DiskError> {
    let Some(header) = &opened.header else {
        let extents = data_extents(&opened.file, opened.image.file_size_bytes)
            .map_err(|source| DiskError::Read { path: opened.path.clone(), source })?;
        return Ok(bytes_of(&extents));
    };
    let count = || -> Result<u64, Refusal> {
        let clusters = Clusters::open(&opened.file, opened.image.file_size_bytes, header)?;
        let mut bytes = 0;
        clusters.for_each::<Refusal>(|cluster| {
            if matches!(cluster.place, Place::Plain(_) | Place::Compressed(..)) {
                bytes += clusters.size();
            }
            Ok(())
        })?;
        Ok(bytes)
    };
    count().map_err(|refusal| refused(&opened.path, refusal))
}

/// Writes what an image holds by itself.
fn lay(
    layer: &Opened,
    destination: &Destination,
    ground: Target,
    report: &mut Report<'_, '_>,
) -> Result<(), DiskError> {
    let unreadable = |source| DiskError::Read { path: layer.path.clone(), source };
    let size_bytes = layer.image.virtual_size_bytes;
    let Some(header) = &layer.header else {
        let extents = data_extents(&layer.file, size_bytes).map_err(unreadable)?;
        let mut told = 0;
        let mut add = |progress: Progress| {
            report.add(progress.done_bytes - told);
            told = progress.done_bytes;
        };
        return copy(&layer.file, destination.file(), &extents, ground, &mut add)
            .map_err(|error| copy_failed(error, &layer.path, destination));
    };
    let mut write = || -> Result<(), LayError> {
        let clusters = Clusters::open(&layer.file, layer.image.file_size_bytes, header)?;
        let mut bytes = vec![0; usize::try_from(clusters.size()).unwrap_or(CHUNK)];
        clusters.for_each(|cluster| {
            let at = cluster.guest_offset;
            // The last cluster may reach beyond the end.
            let length = usize::try_from(size_bytes - at).unwrap_or(usize::MAX).min(bytes.len());
            if cluster.place != Place::Zeros {
                clusters.read(cluster.place, &mut bytes)?;
                report.add(bytes.len() as u64);
                write_on(destination.file(), &bytes[..length], at, ground)
            } else if ground == Target::Dirty {
                write_zeros(destination.file(), at, length as u64)
            } else {
                Ok(())
            }
            .map_err(LayError::Write)
        })
    };
    write().map_err(|error| match error {
        LayError::Refusal(refusal) => refused(&layer.path, refusal),
        LayError::Write(error) => destination.failed(error),
    })
}

/// What kept an image from being laid.
enum LayError {
    Refusal(Refusal),
    Write(io::Error),
}

impl From<Refusal> for LayError {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// A disk is made of sectors: a raw image that ends within one is filled up with zeros.
fn fill_sector(opened: &Opened, destination: &Destination) -> Result<(), DiskError> {
    if ends_with_a_sector(&opened.image) {
        return Ok(());
    }
    destination
        .file()
        .set_len(opened.image.file_size_bytes.next_multiple_of(SECTOR))
        .map_err(|error| destination.failed(error))
}

fn ends_with_a_sector(image: &Image) -> bool {
    image.format == Format::Qcow2 || image.file_size_bytes.is_multiple_of(SECTOR)
}

/// A file beside `path`, which never gets its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unpacked");
    PathBuf::from(name)
}

/// A file that is read from its beginning, and how far.
struct Counted<'a> {
    file: &'a File,
    at: Cell<u64>,
}

impl Read for &Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at.get())?;
        self.at.set(self.at.get() + read as u64);
        Ok(read)
    }
}

/// Reads until `buffer` is full, or nothing more comes.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns how far the work has come, not too often.
struct Report<'r, 'a> {
    on_progress: &'r mut Option<&'a mut dyn FnMut(Progress)>,
    done_bytes: u64,
    reported: u64,
    total_bytes: u64,
}

impl<'r, 'a> Report<'r, 'a> {
    fn new(on_progress: &'r mut Option<&'a mut dyn FnMut(Progress)>, total_bytes: u64) -> Self {
        Self { on_progress, done_bytes: 0, reported: 0, total_bytes }
    }

    fn add(&mut self, bytes: u64) {
        self.reach(self.done_bytes + bytes);
    }

    fn reach(&mut self, done_bytes: u64) {
        self.done_bytes = done_bytes;
        if done_bytes - self.reported >= REPORT {
            self.tell();
        }
    }

    fn end(&mut self) {
        self.done_bytes = self.total_bytes;
        self.tell();
    }

    fn tell(&mut self) {
        self.reported = self.done_bytes;
        if let Some(on_progress) = self.on_progress {
            on_progress(Progress { done_bytes: self.done_bytes, total_bytes: self.total_bytes });
        }
    }
}
