//! A file that is known by its checksum before it is fetched: installed whole, or not at all.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checksum::{Checksum, Checksums};
use crate::error::ImageError;
use crate::fs::{ensure_directory, sync_directory};
use crate::import::{discard, fetch, has_download, is_worth_resuming};
use crate::name::ImageName;
use crate::progress::ImportProgress;
use crate::request::{Expected, ImportRequest};
use crate::source::ImportSource;
use crate::staging::Staging;

/// The mode of a directory that an installation creates.
const DIRECTORY_MODE: u32 = 0o755;
/// The mode of a file whose mode isn't set.
const MODE: u32 = 0o644;
/// The largest that such a file may be, in bytes: a program or a firmware, and no disk.
const MOST_BYTES: u64 = 1 << 30;

/// A file whose checksum is known before it is fetched, such as a program of a pinned release.
#[derive(Clone, Debug)]
#[must_use = "`install` fetches it"]
pub struct PinnedFile {
    expected: Checksum,
    request: ImportRequest,
    mode: u32,
}

/// What an installation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// The file was there already, byte for byte, and stayed as it was.
    Already,
    /// The file was fetched, and put there.
    New,
}

impl PinnedFile {
    /// The file at `source`, which has the checksum `expected`.
    pub fn new(source: ImportSource, expected: Checksum) -> Self {
        let request = ImportRequest::new(source)
            .expected(Expected::Checksum(expected.clone()))
            .most_bytes(MOST_BYTES);
        Self { expected, request, mode: MODE }
    }

    /// Sets the file's mode; 0644 unless set.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how long a server may be silent; 60 seconds unless set.
    pub fn silence(mut self, silence: Duration) -> Self {
        self.request = self.request.silence(silence);
        self
    }

    /// Returns whether `path` is this file already, byte for byte.
    ///
    /// # Errors
    ///
    /// [`ImageError::Read`] if there is a file that can't be read.
    pub fn is_at(&self, path: &Path) -> Result<bool, ImageError> {
        let failed = |source| ImageError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        // A device in its place would have no end.
        if !file.metadata().map_err(failed)?.is_file() {
            return Ok(false);
        }
        let mut checksums = Checksums::for_comparison_with(Some(&self.expected));
        checksums.feed_all(file, |_| {}).map_err(failed)?;
        Ok(checksums.finish().compared == self.expected)
    }

    /// Fetches the file and puts it at `path`, in place of what is there.
    ///
    /// Whoever opens `path` meanwhile has the old file or the new one, also after a power failure. An
    /// interrupted download is kept in a hidden directory beside `path`, and the next call resumes it.
    ///
    /// # Errors
    ///
    /// `path` is as it was. [`ImageError::Locked`] if another process does the same;
    /// [`ImageError::Download`], [`ImageError::Checksum`], [`ImageError::Read`],
    /// [`ImageError::Write`]; [`ImageError::Import`] if there is no room for it.
    pub fn install(
        &self,
        path: &Path,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<Installed, ImageError> {
        if self.is_at(path)? {
            return self.keep(path);
        }
        let (directory, name) = place_of(path)?;
        ensure_directory(&directory, DIRECTORY_MODE)
            .map_err(|source| ImageError::Write { path: directory.clone(), source })?;
        let staging = Staging::begin(&directory, &name)?;
        // Another process may have put it there until the lock was this one's.
        let result = match self.is_at(path) {
            Ok(true) => self.keep(path),
            Ok(false) => self.fetch(path, &directory, &staging, on_progress),
            Err(error) => Err(error),
        };
        match &result {
            Err(error) if is_worth_resuming(error) && has_download(&staging) => staging.keep(),
            _ => discard(staging),
        }
        result
    }

    /// Leaves the file that is there, with the mode that it has to have.
    fn keep(&self, path: &Path) -> Result<Installed, ImageError> {
        let failed = |source| ImageError::Write { path: path.to_owned(), source };
        let mode = path.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o7777 != self.mode {
            std::fs::set_permissions(path, Permissions::from_mode(self.mode)).map_err(failed)?;
        }
        Ok(Installed::Already)
    }

    fn fetch(
        &self,
        path: &Path,
        directory: &Path,
        staging: &Staging,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<Installed, ImageError> {
        let (fetched, _) = fetch(&self.request, staging, on_progress)?;
        let failed = |source| ImageError::Write { path: path.to_owned(), source };
        let file = File::open(&fetched).map_err(failed)?;
        file.set_permissions(Permissions::from_mode(self.mode)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&fetched, path).map_err(failed)?;
        sync_directory(directory).map_err(failed)?;
        tracing::info!(path = %path.display(), "installed");
        Ok(Installed::New)
    }
}

/// The directory of a file and its name there, under which it is prepared.
fn place_of(path: &Path) -> Result<(PathBuf, ImageName), ImageError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let parsed = name.parse().map_err(|source| ImageError::ImageName { name, source })?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok((directory, parsed))
}
