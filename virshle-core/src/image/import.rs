//! Taking an image into the cache, whole or not at all.

use std::cell::LazyCell;
use std::fmt;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use virshle_disk::{BackingFile, ConvertRequest, DiskError, Format, Progress};

use super::checksum::{Checksum, Checksums, Finished, find};
use super::download::{Download, Downloaded};
use super::http::{Http, without_password};
use super::record::Record;
use super::staging::Staging;
use super::{ImageInfo, ImageName};
use crate::error::CoreError;
use crate::machine::node::Node;
use crate::store::sync_folder;

/// Where an image, or a list of checksums, comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportSource {
    /// A file of this host.
    File(PathBuf),
    /// An address, `http:` or `https:`.
    Url(String),
}

/// A text that says no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{scheme}: is not understood: expected a path, or an address that begins with https: or http:"
)]
pub struct InvalidSource {
    scheme: String,
}

/// In what format an image is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImportFormat {
    /// Raw: a qcow2 is converted.
    #[default]
    Raw,
    /// As a qcow2, which it has to be.
    Qcow2,
    /// As it is.
    Keep,
}

/// What an image's bytes have to be, as they are downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// Of this checksum.
    Checksum(Checksum),
    /// Of the checksum that a list has for the file's name.
    Listed(ImportSource),
}

/// A wish for an image in the cache.
#[derive(Clone, Debug)]
#[must_use = "`Node::import_image` fulfils it"]
pub struct ImportRequest {
    source: ImportSource,
    name: Option<ImageName>,
    format: ImportFormat,
    expected: Option<Expected>,
    backing_file: BackingFile,
    silence: Duration,
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportProgress {
    /// What is being done.
    pub step: ImportStep,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes to do, if that is known.
    pub total_bytes: Option<u64>,
}

/// What an import does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportStep {
    /// The file is downloaded.
    Download,
    /// The checksum of a file of this host is computed.
    Check,
    /// It is unpacked, converted or copied.
    Convert,
}

/// A list of checksums is a short text: of so many bytes at most.
const MAX_LIST: u64 = 4 << 20;
/// How long a server may be silent if nothing else is said.
const SILENCE: Duration = Duration::from_secs(60);
/// An image in the cache is read by everybody and written by nobody: cloud-hypervisor takes no
/// lock on what an overlay stands on.
const MODE: u32 = 0o444;

impl FromStr for ImportSource {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let is_scheme =
            |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        match text.split_once("://").map(|(scheme, _)| scheme).filter(is_scheme) {
            None => Ok(Self::File(text.into())),
            Some(scheme) if ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) => {
                Ok(Self::Url(text.to_owned()))
            }
            Some(scheme) => Err(InvalidSource { scheme: scheme.to_owned() }),
        }
    }
}

impl fmt::Display for ImportSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Url(url) => formatter.pad(url),
        }
    }
}

impl ImportSource {
    /// The name of the file: the last part of the path, without what an address has behind it.
    fn file_name(&self) -> String {
        match self {
            Self::File(path) => {
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
            }
            Self::Url(url) => {
                let path = url.split(['?', '#']).next().unwrap_or_default();
                let path = path.split_once("://").map_or(path, |(_, rest)| rest);
                path.split_once('/')
                    .and_then(|(_, path)| path.rsplit('/').next())
                    .unwrap_or_default()
                    .to_owned()
            }
        }
    }

    /// The source as it is remembered: from anywhere.
    fn absolute(&self) -> String {
        match self {
            Self::File(path) => {
                std::path::absolute(path).as_deref().unwrap_or(path).display().to_string()
            }
            Self::Url(url) => without_password(url),
        }
    }
}

impl ImportRequest {
    /// Asks for the image that `source` has.
    pub fn new(source: ImportSource) -> Self {
        Self {
            source,
            name: None,
            format: ImportFormat::default(),
            expected: None,
            backing_file: BackingFile::Refuse,
            silence: SILENCE,
        }
    }

    /// Names the image; otherwise its file's name does, without its suffixes.
    pub fn name(mut self, name: ImageName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets the format that it is kept in.
    pub fn format(mut self, format: ImportFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets what its bytes have to be.
    pub fn expected(mut self, expected: Expected) -> Self {
        self.expected = Some(expected);
        self
    }

    /// Sets what becomes of a qcow2 of this host that stands on another image: it can be read from
    /// both and become raw. One that was downloaded is refused in any case.
    pub fn backing_file(mut self, backing_file: BackingFile) -> Self {
        self.backing_file = backing_file;
        self
    }

    /// Sets how long a server may be silent: 60 seconds if unset.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    fn chosen_name(&self) -> Result<ImageName, CoreError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let file = self.source.file_name();
        ImageName::of_file(&file).map_err(|source| CoreError::ImageName { name: file, source })
    }
}

impl Node {
    /// Takes an image into the cache, from a file of this host or from a web server.
    ///
    /// What is compressed (gzip, xz, zstd) is unpacked; what it is, is told by content. The image
    /// appears whole or not at all, and is read-only. A download that was interrupted stays aside,
    /// and the same request goes on from there.
    ///
    /// # Errors
    ///
    /// The cache is as it was. [`CoreError::ImageName`], [`CoreError::ImageTaken`],
    /// [`CoreError::Locked`]; [`CoreError::Download`], [`CoreError::Checksum`] and
    /// [`CoreError::Unlisted`] tell of the source's bytes, [`CoreError::Import`] of what they are.
    pub fn import_image(
        &self,
        request: &ImportRequest,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<ImageInfo, CoreError> {
        let name = request.chosen_name()?;
        let path = self.cache().join(name.as_str());
        let refuse_taken = || match path.symlink_metadata() {
            Ok(_) => Err(CoreError::ImageTaken { name: name.clone() }),
            Err(_) => Ok(()),
        };
        refuse_taken()?;
        if let ImportSource::File(file) = &request.source {
            // Told before anything is made.
            refuse_unreadable(file, &request.source)?;
        }
        self.store().ensure()?;
        let staging = Staging::begin(&self.cache(), &name)?;
        let result = refuse_taken().and_then(|()| {
            let (ready, sha256) = self.prepare(request, &staging, on_progress)?;
            publish(&self.cache(), &name, &ready, request.source.absolute(), sha256)
        });
        match &result {
            Err(error) if is_worth_going_on(error) => staging.keep(),
            _ => staging.discard(),
        }
        result?;
        tracing::info!(image = %name, "imported");
        self.image(&name)
    }

    /// Makes the image in the staging folder: its file, and the checksum of its source.
    fn prepare(
        &self,
        request: &ImportRequest,
        staging: &Staging,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<(PathBuf, Option<Checksum>), CoreError> {
        // Certificates are read only if somebody is to be asked.
        let http = LazyCell::new(|| Http::new(request.silence));
        let expected = match &request.expected {
            None => None,
            Some(Expected::Checksum(checksum)) => Some(checksum.clone()),
            Some(Expected::Listed(list)) => Some(listed(list, &request.source, || &http)?),
        };
        let (source, checksums) = match &request.source {
            ImportSource::Url(url) => {
                let folder = staging.folder();
                let download = Download { http: &http, url, folder, expected: expected.as_ref() };
                let Downloaded { path, checksums } = download.run(on_progress)?;
                (path, Some(checksums))
            }
            ImportSource::File(path) => {
                let checksums = match &expected {
                    Some(expected) => Some(checksums_of(path, expected, on_progress)?),
                    None => None,
                };
                (path.clone(), checksums)
            }
        };
        if let (Some(expected), Some(found)) = (&expected, &checksums)
            && *expected != found.compared
        {
            return Err(CoreError::Checksum {
                source_name: request.source.absolute(),
                expected: expected.clone(),
                found: found.compared.clone(),
            });
        }
        let image = convert(request, &source, &staging.image(), on_progress).map_err(|source| {
            CoreError::Import { source_name: request.source.absolute(), source }
        })?;
        Ok((image, checksums.map(|checksums| checksums.sha256)))
    }
}

/// Makes `image` of `source`, or finds that a download is already what it is to become.
fn convert(
    request: &ImportRequest,
    source: &Path,
    image: &Path,
    on_progress: &mut dyn FnMut(ImportProgress),
) -> Result<PathBuf, DiskError> {
    let is_download = matches!(request.source, ImportSource::Url(_));
    let mut report = |progress: Progress| {
        on_progress(ImportProgress {
            step: ImportStep::Convert,
            done_bytes: progress.done_bytes,
            total_bytes: Some(progress.total_bytes),
        });
    };
    let mut conversion = ConvertRequest::new(source, image).mode(MODE).on_progress(&mut report);
    conversion = match request.format {
        ImportFormat::Raw => conversion.format(Format::Raw),
        ImportFormat::Qcow2 => conversion.format(Format::Qcow2),
        ImportFormat::Keep => conversion,
    };
    if !is_download {
        conversion = conversion.backing_file(request.backing_file);
    } else if !conversion.is_needed()? {
        return Ok(source.to_owned());
    }
    conversion.run()?;
    Ok(image.to_owned())
}

/// Gives the image its name: from here on it is in the cache.
fn publish(
    cache: &Path,
    name: &ImageName,
    image: &Path,
    source: String,
    sha256: Option<Checksum>,
) -> Result<(), CoreError> {
    let path = cache.join(name.as_str());
    let failed = |source| CoreError::Write { path: path.clone(), source };
    let file = File::open(image).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    let imported = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let sha256 = sha256.map(|sha256| sha256.to_string());
    let metadata = file.metadata().map_err(failed)?;
    // Before the image: a record without an image is of no harm.
    Record::new(source, sha256, imported, &metadata).write(cache, name)?;
    match rustix::fs::renameat_with(CWD, image, CWD, &path, RenameFlags::NOREPLACE) {
        Ok(()) => sync_folder(cache).map_err(failed),
        Err(Errno::EXIST) => Err(CoreError::ImageTaken { name: name.clone() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Tells whether what was downloaded is of use to the next who asks for it.
fn is_worth_going_on(error: &CoreError) -> bool {
    match error {
        CoreError::Download { source, .. } => source.is_passing(),
        CoreError::Write { .. } => true,
        CoreError::Import { source, .. } => {
            matches!(source, DiskError::NoRoom { .. } | DiskError::Write { .. })
        }
        _ => false,
    }
}

/// Makes sure that a file of this host can be opened.
fn refuse_unreadable(path: &Path, source: &ImportSource) -> Result<(), CoreError> {
    virshle_disk::inspect(path).map(|_| ()).or_else(|error| match error {
        // What it is, is told when it is read.
        DiskError::Read { .. } | DiskError::NotAnImage { .. } => {
            Err(CoreError::Import { source_name: source.absolute(), source: error })
        }
        _ => Ok(()),
    })
}

/// Computes the checksums of a file of this host.
fn checksums_of(
    path: &Path,
    expected: &Checksum,
    on_progress: &mut dyn FnMut(ImportProgress),
) -> Result<Finished, CoreError> {
    let unreadable = |source| CoreError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let total_bytes = file.metadata().map_err(unreadable)?.len();
    let mut done_bytes = 0;
    let mut checksums = Checksums::for_comparison_with(Some(expected));
    checksums
        .feed_all(&file, |read| {
            done_bytes += read;
            let total_bytes = Some(total_bytes);
            on_progress(ImportProgress { step: ImportStep::Check, done_bytes, total_bytes });
        })
        .map_err(unreadable)?;
    Ok(checksums.finish())
}

/// The checksum that `list` has for the file that `source` is.
fn listed<'a>(
    list: &ImportSource,
    source: &ImportSource,
    http: impl FnOnce() -> &'a Http,
) -> Result<Checksum, CoreError> {
    let text = match list {
        ImportSource::Url(url) => http()
            .text(url, MAX_LIST)
            .map_err(|source| CoreError::Download { url: without_password(url), source })?,
        ImportSource::File(path) => std::fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|source| CoreError::Read { path: path.clone(), source })?,
    };
    let file = source.file_name();
    find(&text, &file).ok_or_else(|| CoreError::Unlisted { file, list: list.absolute() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_address_are_told_apart() {
        for (text, name) in [
            ("https://cloud.example/a/b/debian.qcow2?x=/y#z", "debian.qcow2"),
            ("HTTP://cloud.example", ""),
            ("http://cloud.example/", ""),
            ("debian.qcow2", "debian.qcow2"),
            ("/srv/a:b//c.img", "c.img"),
        ] {
            assert_eq!(text.parse::<ImportSource>().unwrap().file_name(), name, "{text}");
        }
        for text in ["ftp://cloud.example/a", "file:///a", "s3://b"] {
            assert!(text.parse::<ImportSource>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_remembered() {
        let source: ImportSource = "https://me:secret@cloud.example/a@b".parse().unwrap();
        assert_eq!(source.absolute(), "https://cloud.example/a@b");
    }
}
