//! Converts an image into a destination: its layers merged, decompressed, or copied as it is.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::DiskError;
use crate::backing_chain::backing_chain;
use crate::backing_file::BackingFile;
use crate::clone::{SECTOR, copy_data, copy_failed, refuse_changed};
use crate::clusters::{Clusters, Place};
use crate::compression::Compression;
use crate::destination::Destination;
use crate::extents::{Progress, REPORT, bytes_of, copy, data_extents};
use crate::foreign::Foreign;
use crate::format::Format;
use crate::image::{HEAD, Image, Opened, refuse_foreign, unsupported};
use crate::qcow2::MAGIC;
use crate::reflink::reflink;
use crate::sparse::{Target, write_on, write_sparse, write_zeros};
use crate::text::refuse_text_of;
use crate::xz_blocks::XzBlocks;

/// One read and one write.
const CHUNK: usize = 1 << 20;

/// What a source is to become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The format; the source's own if unset.
    pub(crate) format: Option<Format>,
    pub(crate) backing_file: BackingFile,
    /// How large it may be, in bytes.
    pub(crate) most_bytes: Option<u64>,
}

impl Wanted {
    /// Refuses an image, the one in `path`, that has `bytes` or more.
    fn accept_size(self, path: &Path, bytes: u64) -> Result<(), DiskError> {
        match self.most_bytes {
            Some(most_bytes) if bytes > most_bytes => {
                Err(DiskError::TooLarge { path: path.to_owned(), most_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Whether `image` is a qcow2 that is to be raw.
    pub(crate) fn is_other_format(self, image: &Image) -> bool {
        image.format == Format::Qcow2 && self.format == Some(Format::Raw)
    }

    /// Refuses an image, the one in `path`, that can't become what is wanted.
    pub(crate) fn accept(self, path: &Path, image: &Image) -> Result<(), DiskError> {
        self.accept_size(path, image.virtual_size_bytes)?;
        let path = || path.to_owned();
        if image.format == Format::Raw && self.format == Some(Format::Qcow2) {
            let (found, asked) = (image.format, Format::Qcow2);
            return Err(DiskError::OtherFormat { path: path(), found, asked });
        }
        let Some(backing) = &image.backing_file else { return Ok(()) };
        // One that is kept would look for the other from another directory.
        if self.backing_file == BackingFile::Follow && self.format == Some(Format::Raw) {
            return Ok(());
        }
        Err(DiskError::HasBackingFile { path: path(), backing: backing.clone() })
    }
}

/// One conversion.
#[derive(Debug)]
pub(crate) struct Converter<'c, 'a> {
    source: &'c Path,
    wanted: Wanted,
    destination: &'c Destination,
    progress: ProgressReport<'c, 'a>,
}

impl<'c, 'a> Converter<'c, 'a> {
    pub(crate) fn new(
        source: &'c Path,
        wanted: Wanted,
        destination: &'c Destination,
        on_progress: &'c mut Option<&'a mut dyn FnMut(Progress)>,
    ) -> Self {
        Self { source, wanted, destination, progress: ProgressReport::new(on_progress) }
    }

    /// Creates the image from one that isn't compressed.
    pub(crate) fn convert(&mut self, opened: &Opened) -> Result<(), DiskError> {
        self.wanted.accept(self.source, &opened.image)?;
        refuse_text_of(opened)?;
        if self.wanted.is_other_format(&opened.image) {
            return self.flatten(opened);
        }
        check_clusters(opened)?;
        self.copy_unchanged(opened)
    }

    /// Creates the image from what `packed` holds. A qcow2 that is to be raw is unpacked into a file
    /// without a name first: its clusters are there in any order.
    pub(crate) fn unpack_and_convert(
        &mut self,
        packed: &File,
        compression: Compression,
    ) -> Result<(), DiskError> {
        let path = || self.source.to_owned();
        let metadata =
            packed.metadata().map_err(|source| DiskError::Read { path: path(), source })?;
        let failed = |source| DiskError::Unpack { path: path(), compression, source };
        let counted = Counted { file: packed, at: Cell::new(0) };
        let by_blocks = (compression == Compression::Xz).then(|| XzBlocks::of(packed)).flatten();
        let read_by_blocks = by_blocks.as_ref().map(XzBlocks::read_bytes);
        let mut stream: Box<dyn Read + '_> = match by_blocks {
            Some(blocks) => Box::new(blocks),
            None => {
                compression.unpack(BufReader::with_capacity(CHUNK, &counted)).map_err(failed)?
            }
        };
        let read_bytes = || match &read_by_blocks {
            Some(read) => read.load(Ordering::Relaxed),
            None => counted.at.get(),
        };
        let mut head = Vec::new();
        stream.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
        // What can't be used is reported before gigabytes of it are unpacked.
        refuse_foreign(self.source, &head)?;
        let flatten = head.starts_with(&MAGIC) && self.wanted.format == Some(Format::Raw);
        let begin = || {
            let unpacked = Destination::begin(&temp_path(self.destination.path()))?;
            Ok(unpacked.leave_free(self.destination.left_free()))
        };
        let unpacked = flatten.then(begin).transpose()?;
        let target = unpacked.as_ref().unwrap_or(self.destination);
        self.progress.begin(metadata.len());
        let (mut written, mut next_look) = (0, 0);
        let mut buffer = head;
        loop {
            write_sparse(target.file(), &buffer, written).map_err(|error| target.failed(error))?;
            written += buffer.len() as u64;
            self.wanted.accept_size(self.source, written)?;
            // Zeros take no room, and nothing else fills a filesystem unseen between two looks.
            if written >= next_look {
                next_look = target.still_has_room(written)?;
            }
            self.progress.reach(read_bytes());
            buffer.resize(CHUNK, 0);
            let read = fill(&mut stream, &mut buffer).map_err(failed)?;
            buffer.truncate(read);
            if read == 0 {
                break;
            }
        }
        self.progress.end();
        drop(stream);
        target.file().set_len(written).map_err(|error| target.failed(error))?;
        let file = target.file().try_clone().map_err(|error| target.failed(error))?;
        let opened = Opened::of(self.source, file)?;
        self.wanted.accept(self.source, &opened.image)?;
        refuse_text_of(&opened)?;
        if !flatten {
            check_clusters(&opened)?;
            return self.fill_sector(&opened);
        }
        match opened.image.backing_file.clone() {
            // It would be looked for beside a file that has no place.
            Some(backing) => Err(DiskError::HasBackingFile { path: path(), backing }),
            None => self.flatten(&opened),
        }
    }

    /// Copies the image as it is: as a reflink if the filesystem can, else its data without zeros.
    fn copy_unchanged(&mut self, opened: &Opened) -> Result<(), DiskError> {
        // Whatever keeps it from being shared doesn't keep it from being read.
        if reflink(&opened.file, self.destination.file()).is_err() {
            copy_data(opened, self.destination, &mut |progress| self.progress.pass_on(progress))?;
        }
        self.fill_sector(opened)
    }

    /// Creates a raw image of a qcow2 and its chain of backing files.
    fn flatten(&mut self, opened: &Opened) -> Result<(), DiskError> {
        let destination = self.destination;
        let failed = |error| destination.failed(error);
        let chain = backing_chain(opened)?;
        let layers: Vec<&Opened> = chain.iter().rev().chain([opened]).collect();
        let mut total_bytes = 0;
        for layer in &layers {
            total_bytes += layer_bytes(layer)?;
        }
        destination.needs_room(total_bytes)?;
        self.progress.begin(total_bytes);
        let mut target = Target::Zeroed;
        for layer in layers {
            self.write_layer(layer, target)?;
            // What is beyond an image's end is zeros, whatever the one below has there.
            destination.file().set_len(layer.image.virtual_size_bytes).map_err(failed)?;
            target = Target::Dirty;
        }
        self.progress.end();
        // A qcow2 may end within a sector as well.
        let size_bytes = opened.image.virtual_size_bytes.next_multiple_of(SECTOR);
        destination.file().set_len(size_bytes).map_err(failed)?;
        chain.iter().chain([opened]).try_for_each(refuse_changed)?;
        self.refuse_disguise()
    }

    /// Writes what an image of the chain holds by itself.
    fn write_layer(&mut self, layer: &Opened, target: Target) -> Result<(), DiskError> {
        let Self { destination, progress, .. } = self;
        let size_bytes = layer.image.virtual_size_bytes;
        let Some(header) = &layer.header else {
            let extents = data_extents(&layer.file, size_bytes)
                .map_err(|source| DiskError::Read { path: layer.path.clone(), source })?;
            let before = progress.done_bytes;
            let mut add = |copied: Progress| progress.reach(before + copied.done_bytes);
            return copy(&layer.file, destination.file(), &extents, target, &mut add)
                .map_err(|error| copy_failed(error, &layer.path, destination));
        };
        let clusters = Clusters::open(layer, header)?;
        let mut bytes = vec![0; usize::try_from(clusters.size()).unwrap_or(CHUNK)];
        clusters.for_each(|cluster| {
            let at = cluster.guest_offset;
            // The last cluster may reach beyond the end.
            let length = usize::try_from(size_bytes - at).unwrap_or(usize::MAX).min(bytes.len());
            let written = if cluster.place != Place::Zeros {
                clusters.read(cluster.place, &mut bytes)?;
                progress.reach(progress.done_bytes + bytes.len() as u64);
                write_on(destination.file(), &bytes[..length], at, target)
            } else if target == Target::Dirty {
                write_zeros(destination.file(), at, length as u64)
            } else {
                Ok(())
            };
            written.map_err(|error| destination.failed(error))
        })
    }

    /// A disk is made of sectors: a raw image that ends within one is filled up with zeros.
    fn fill_sector(&self, opened: &Opened) -> Result<(), DiskError> {
        if ends_with_a_sector(&opened.image) {
            return Ok(());
        }
        self.destination
            .file()
            .set_len(opened.image.file_size_bytes.next_multiple_of(SECTOR))
            .map_err(|error| self.destination.failed(error))
    }

    /// A guest may have written the header of another format where its disk begins. Formats are
    /// recognised by content: the raw image would be taken for what its guest likes, as a qcow2
    /// that has a file of this host as its backing file.
    fn refuse_disguise(&self) -> Result<(), DiskError> {
        let (path, destination) = (self.source, self.destination);
        let file = destination.file().try_clone().map_err(|error| destination.failed(error))?;
        match Opened::of(path, file)?.image.format {
            Format::Raw => Ok(()),
            _ => Err(unsupported(path, "a disk that begins like a qcow2 itself", Foreign::Convert)),
        }
    }
}

/// Ensures that the tables of an image are whole, and its data is there.
pub(crate) fn check_clusters(opened: &Opened) -> Result<(), DiskError> {
    layer_bytes(opened).map(|_| ())
}

/// What an image holds by itself, in bytes. All its tables are read, and make sense.
fn layer_bytes(opened: &Opened) -> Result<u64, DiskError> {
    let Some(header) = &opened.header else {
        let extents = data_extents(&opened.file, opened.image.file_size_bytes)
            .map_err(|source| DiskError::Read { path: opened.path.clone(), source })?;
        return Ok(bytes_of(&extents));
    };
    let clusters = Clusters::open(opened, header)?;
    let mut bytes = 0;
    clusters.for_each(|cluster| {
        if matches!(cluster.place, Place::Plain(_) | Place::Compressed(..)) {
            bytes += clusters.size();
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Whether the size of an image is one that a disk can have.
pub(crate) fn ends_with_a_sector(image: &Image) -> bool {
    image.format == Format::Qcow2 || image.file_size_bytes % SECTOR == 0
}

/// The path of a temporary file beside `path`, which never gets its name.
fn temp_path(path: &Path) -> PathBuf {
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

/// Reports how far the work has come, not too often.
struct ProgressReport<'r, 'a> {
    on_progress: &'r mut Option<&'a mut dyn FnMut(Progress)>,
    done_bytes: u64,
    reported_bytes: u64,
    total_bytes: u64,
}

impl fmt::Debug for ProgressReport<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProgressReport")
            .field("done_bytes", &self.done_bytes)
            .field("total_bytes", &self.total_bytes)
            .finish_non_exhaustive()
    }
}

impl<'r, 'a> ProgressReport<'r, 'a> {
    fn new(on_progress: &'r mut Option<&'a mut dyn FnMut(Progress)>) -> Self {
        Self { on_progress, done_bytes: 0, reported_bytes: 0, total_bytes: 0 }
    }

    /// Begins a part of the work that is `total_bytes` long.
    fn begin(&mut self, total_bytes: u64) {
        (self.done_bytes, self.reported_bytes, self.total_bytes) = (0, 0, total_bytes);
    }

    fn reach(&mut self, done_bytes: u64) {
        self.done_bytes = done_bytes;
        if done_bytes - self.reported_bytes >= REPORT {
            self.report();
        }
    }

    fn end(&mut self) {
        self.done_bytes = self.total_bytes;
        self.report();
    }

    fn report(&mut self) {
        self.reported_bytes = self.done_bytes;
        self.pass_on(Progress { done_bytes: self.done_bytes, total_bytes: self.total_bytes });
    }

    fn pass_on(&mut self, progress: Progress) {
        if let Some(on_progress) = self.on_progress {
            on_progress(progress);
        }
    }
}
