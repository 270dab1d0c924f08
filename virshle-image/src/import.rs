//! Importing an image into the cache, whole or not at all.

use std::cell::LazyCell;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use virshle_disk::{ConvertRequest, DiskError, Format, Progress};

use crate::cache::ImageCache;
use crate::checksum::{Checksum, Checksums, Finished};
use crate::checksum_list::{MAX_LIST, Scope, find, text_of};
use crate::download::{Download, Downloaded};
use crate::download_state::partial;
use crate::error::ImageError;
use crate::fs::{ensure_directory, open_private, read_at_most, sync_directory};
use crate::http::Http;
use crate::listing::ImageInfo;
use crate::name::ImageName;
use crate::progress::{ImportProgress, ImportStep};
use crate::record::{Origin, Record};
use crate::request::{Expected, ImportFormat, ImportRequest};
use crate::room::{Room, spare_bytes};
use crate::source::ImportSource;
use crate::staging::Staging;
use crate::url::{is_https, without_credentials};

/// An image in the cache is readable by everyone and writable by no one: cloud-hypervisor takes no
/// lock on an overlay's backing file.
const MODE: u32 = 0o444;
/// The size of a read.
const CHUNK: usize = 1 << 20;
/// The mode of a cache that an import creates.
const DIRECTORY_MODE: u32 = 0o750;

impl ImageCache {
    /// Checks what can be checked before anything is created: that the image's name is valid and
    /// free, and that a file of this host can be opened. Returns the name.
    ///
    /// # Errors
    ///
    /// [`ImageError::ImageName`], [`ImageError::ImageTaken`], [`ImageError::Import`].
    pub fn check_import(&self, request: &ImportRequest) -> Result<ImageName, ImageError> {
        let name = request.chosen_name()?;
        self.refuse_taken(&name)?;
        if let ImportSource::File(file) = &request.source {
            refuse_unreadable(file, &request.source)?;
        }
        Ok(name)
    }

    /// Imports an image, from a file of this host or from a web server.
    ///
    /// What is compressed (gzip, xz, zstd) is decompressed; formats are detected by content. The
    /// image appears whole or not at all, and is read-only. An interrupted download is kept aside,
    /// and the same request resumes it.
    ///
    /// # Errors
    ///
    /// The cache is as it was. [`ImageError::ImageName`], [`ImageError::ImageTaken`],
    /// [`ImageError::Locked`]; [`ImageError::Download`], [`ImageError::Checksum`] and
    /// [`ImageError::Unlisted`] are about the source's bytes, [`ImageError::Import`] about what
    /// they are.
    pub fn import(
        &self,
        request: &ImportRequest,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<ImageInfo, ImageError> {
        let name = match self.check_import(request) {
            Err(ImageError::ImageTaken { name }) => {
                // Of an import that was killed once the image had its name.
                if let Err(error) = self.remove_leftover(&name) {
                    tracing::debug!(image = %name, %error, "what its import has left stays");
                }
                return Err(ImageError::ImageTaken { name });
            }
            other => other?,
        };
        ensure_directory(self.directory(), DIRECTORY_MODE)
            .map_err(|source| ImageError::Write { path: self.directory().to_owned(), source })?;
        let staging = Staging::begin(self.directory(), &name)?;
        let result = self.refuse_taken(&name).and_then(|()| {
            let (ready, sha256) = prepare(request, &staging, on_progress)?;
            self.publish(&name, &ready, request, sha256)
        });
        match &result {
            Err(error) if is_worth_resuming(error) && has_download(&staging) => staging.keep(),
            _ => discard(staging),
        }
        result?;
        tracing::info!(image = %name, "imported");
        self.info(&name, &[])
    }

    fn refuse_taken(&self, name: &ImageName) -> Result<(), ImageError> {
        match self.path(name).symlink_metadata() {
            Ok(_) => Err(ImageError::ImageTaken { name: name.clone() }),
            Err(_) => Ok(()),
        }
    }

    /// Gives the image its name: from here on it is in the cache.
    fn publish(
        &self,
        name: &ImageName,
        image: &Path,
        request: &ImportRequest,
        sha256: Option<Checksum>,
    ) -> Result<(), ImageError> {
        let path = self.path(name);
        let failed = |source| ImageError::Write { path: path.clone(), source };
        let file = File::open(image).map_err(failed)?;
        file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let imported = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let metadata = file.metadata().map_err(failed)?;
        let origin = Origin {
            source: request.source.displayed().to_string(),
            sha256: sha256.map(|sha256| sha256.to_string()),
            verified: Some(request.is_verified()),
            imported,
        };
        // Before the image: a record without an image does no harm.
        Record::new(origin, &metadata).write(self.directory(), name)?;
        // Where it can't be renamed in one call, it mustn't be open.
        drop(file);
        match virshle_disk::rename_new(image, &path) {
            Ok(()) => sync_directory(self.directory()).map_err(failed),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(ImageError::ImageTaken { name: name.clone() })
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// Prepares the image in the staging directory: its file, and the checksum of its source.
fn prepare(
    request: &ImportRequest,
    staging: &Staging,
    on_progress: &mut dyn FnMut(ImportProgress),
) -> Result<(PathBuf, Option<Checksum>), ImageError> {
    let (source, checksums) = fetch(request, staging, on_progress)?;
    let failed = |source| ImageError::Import { from: request.source.displayed(), source };
    if let Some(suffix) = request.source.packed_suffix() {
        if is_raw(&source).map_err(failed)? {
            return Err(ImageError::Misnamed { from: request.source.displayed(), suffix });
        }
    }
    let image = convert(request, &source, &staging.image(), on_progress).map_err(failed)?;
    Ok((image, checksums.map(|checksums| checksums.sha256)))
}

/// Fetches the request's file, and compares it with what is expected: its path, which is in the staging
/// directory if it was downloaded or compared, and then its checksums.
pub(crate) fn fetch(
    request: &ImportRequest,
    staging: &Staging,
    on_progress: &mut dyn FnMut(ImportProgress),
) -> Result<(PathBuf, Option<Finished>), ImageError> {
    // Certificates are read only if a server is to be asked. What begins with https stays with it,
    // whatever a server says.
    let servers = [false, true]
        .map(|https_only| LazyCell::new(move || Http::new(request.silence, https_only)));
    let http = |url: &str| -> &Http { &servers[usize::from(is_https(url))] };
    let expected = match &request.expected {
        None => None,
        Some(Expected::Checksum(checksum)) => Some(checksum.clone()),
        Some(Expected::Listed(list)) => Some(listed(list, &request.source, http)?),
    };
    let (source, checksums) = match &request.source {
        ImportSource::Url(url) => {
            let download = Download {
                http: http(url),
                url,
                directory: staging.directory(),
                expected: expected.as_ref(),
                most_bytes: request.most_bytes,
            };
            let Downloaded { path, checksums } = download.run(on_progress)?;
            (path, Some(checksums))
        }
        ImportSource::File(path) => match &expected {
            // What is compared is what is kept: the file could be another one a moment later.
            Some(expected) => {
                let copy = staging.copy();
                let checksums = copy_of(path, &copy, expected, request, on_progress)?;
                (copy, Some(checksums))
            }
            None => (path.clone(), None),
        },
    };
    match (&expected, &checksums) {
        (Some(expected), Some(found)) if *expected != found.compared => Err(ImageError::Checksum {
            from: request.source.displayed(),
            expected: expected.clone(),
            found: found.compared.clone(),
        }),
        _ => Ok((source, checksums)),
    }
}

/// Whether a file would be taken for a raw image, as anything is that isn't recognised.
fn is_raw(path: &Path) -> Result<bool, DiskError> {
    match virshle_disk::inspect(path) {
        Ok(image) => Ok(image.format == Format::Raw),
        // What is compressed, or can't be used: the conversion knows.
        Err(DiskError::Unsupported { .. } | DiskError::Broken { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes `image` of `source`, or finds that a file beside it, a download or a copy, is already what it
/// is to become.
fn convert(
    request: &ImportRequest,
    source: &Path,
    image: &Path,
    on_progress: &mut dyn FnMut(ImportProgress),
) -> Result<PathBuf, DiskError> {
    let is_own = source.parent() == image.parent();
    let mut report = |progress: Progress| {
        let Progress { done_bytes, total_bytes, .. } = progress;
        on_progress(ImportProgress::new(ImportStep::Convert, done_bytes, Some(total_bytes)));
    };
    let mut conversion = ConvertRequest::new(source, image).mode(MODE).on_progress(&mut report);
    conversion = match request.format {
        ImportFormat::Raw => conversion.format(Format::Raw),
        ImportFormat::Qcow2 => conversion.format(Format::Qcow2),
        ImportFormat::Keep => conversion,
    };
    conversion = conversion.leave_free(spare_bytes(image.parent().unwrap_or(image)));
    if let Some(most_bytes) = request.most_bytes {
        conversion = conversion.most_bytes(most_bytes);
    }
    if let ImportSource::File(path) = &request.source {
        conversion = conversion.backing_file(request.backing_file).copy_of(path);
    }
    if is_own && !conversion.is_needed()? {
        return Ok(source.to_owned());
    }
    conversion.run()?;
    Ok(image.to_owned())
}

/// Whether what was downloaded is of use to the next import from there.
pub(crate) fn is_worth_resuming(error: &ImageError) -> bool {
    match error {
        ImageError::Download { source, .. } => source.is_transient(),
        ImageError::Write { .. } => true,
        ImageError::Import { source, .. } => {
            matches!(
                source,
                DiskError::NoRoom { .. } | DiskError::AlmostFull { .. } | DiskError::Write { .. }
            )
        }
        _ => false,
    }
}

/// Whether anything was downloaded.
pub(crate) fn has_download(staging: &Staging) -> bool {
    partial(staging.directory()).is_some_and(|partial| partial.done_bytes > 0)
}

/// Removes what was prepared. The import's own result is the one to report.
pub(crate) fn discard(staging: Staging) {
    if let Err(error) = staging.discard() {
        tracing::warn!(error = &error as &dyn std::error::Error, "left behind");
    }
}

/// Checks that a file of this host can be opened.
fn refuse_unreadable(path: &Path, source: &ImportSource) -> Result<(), ImageError> {
    virshle_disk::inspect(path).map(|_| ()).or_else(|error| match error {
        // What else it is, is found when it is read.
        DiskError::Read { .. } | DiskError::NotAnImage { .. } => {
            Err(ImageError::Import { from: source.displayed(), source: error })
        }
        _ => Ok(()),
    })
}

/// Copies the file `path` to `copy`, and computes the checksums of what it has read.
fn copy_of(
    path: &Path,
    copy: &Path,
    expected: &Checksum,
    request: &ImportRequest,
    on_progress: &mut dyn FnMut(ImportProgress),
) -> Result<Finished, ImageError> {
    let unreadable = |source| ImageError::Read { path: path.to_owned(), source };
    let unwritable = |source| ImageError::Write { path: copy.to_owned(), source };
    let mut file = open_untouched(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let total_bytes = metadata.len();
    let destination = open_private(copy).map_err(unwritable)?;
    let mut room = Room::new(copy, &destination, request.most_bytes);
    let refused = |source| ImageError::Import { from: request.source.displayed(), source };
    // stat(2): blocks are of 512 bytes, whatever the filesystem's are.
    let data = total_bytes.min(metadata.blocks().saturating_mul(512));
    room.expect(total_bytes, data).map_err(refused)?;
    let mut checksums = Checksums::for_comparison_with(Some(expected));
    let mut buffer = vec![0; CHUNK];
    let mut done_bytes = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let part = &buffer[..read];
        checksums.feed(part);
        virshle_disk::write_sparse(&destination, part, done_bytes).map_err(unwritable)?;
        done_bytes += read as u64;
        room.reach(done_bytes).map_err(refused)?;
        on_progress(ImportProgress::new(ImportStep::Check, done_bytes, Some(total_bytes)));
    }
    destination.set_len(done_bytes).map_err(unwritable)?;
    Ok(checksums.finish())
}

/// Opens a file of the caller's: it may be a link, and is not waited for.
fn open_untouched(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    File::options().read(true).custom_flags(flags).open(path)
}

/// The checksum that `list` has for the file at `source`.
fn listed<'a>(
    list: &ImportSource,
    source: &ImportSource,
    http: impl FnOnce(&str) -> &'a Http,
) -> Result<Checksum, ImageError> {
    let bytes = match list {
        ImportSource::Url(url) => http(url)
            .bytes(url, MAX_LIST)
            .map_err(|source| ImageError::Download { url: without_credentials(url), source })?,
        // The caller's own: it may be a link, or a pipe.
        ImportSource::File(path) => File::open(path)
            .and_then(|file| read_at_most(file, MAX_LIST))
            .map_err(|source| ImageError::Read { path: path.clone(), source })?,
    };
    let file = source.file_name();
    let scope = Scope::of(&list.file_name(), &file);
    find(&text_of(&bytes), &file, scope)
        .ok_or_else(|| ImageError::Unlisted { file, list: list.displayed() })
}
