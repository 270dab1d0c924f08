//! Writes a seed: the small disk that cloud-init reads at a guest's first boot (NoCloud).
//!
//! # References
//!
//! cloud-init's NoCloud data source: a FAT filesystem labelled `CIDATA` with the files `meta-data`,
//! `user-data`, `vendor-data` and `network-config` in its root.

use std::io::{self, Cursor, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use crate::destination::Destination;
use crate::disk::Disk;
use crate::method::CloneMethod;
use crate::{DiskError, Format};

/// The label, padded to the 11 bytes that FAT has for it.
const LABEL: [u8; 11] = *b"CIDATA     ";
/// The smallest seed, in bytes.
const LEAST: usize = 1 << 20;
/// What its files may have together, in bytes: it is created in memory.
pub const MAX_SEED: usize = 8 << 20;

/// A request for a seed. The same files give the same bytes.
#[derive(Clone, Debug)]
#[must_use = "`write` executes it"]
pub struct SeedRequest {
    destination: PathBuf,
    files: Vec<(String, Vec<u8>)>,
}

impl SeedRequest {
    /// Asks for a seed as the file `destination`, which is not there yet.
    pub fn new(destination: &Path) -> Self {
        Self { destination: destination.to_owned(), files: Vec::new() }
    }

    /// Adds a file to its root.
    pub fn file(mut self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// Creates the seed.
    ///
    /// # Errors
    ///
    /// [`DiskError::SeedTooLarge`], or [`DiskError::Write`]; nothing is left.
    pub fn write(self) -> Result<Disk, DiskError> {
        let content: usize = self.files.iter().map(|(_, content)| content.len()).sum();
        if content > MAX_SEED {
            return Err(DiskError::SeedTooLarge {
                path: self.destination,
                size_bytes: content,
                most_bytes: MAX_SEED,
            });
        }
        let destination = Destination::begin(&self.destination)?;
        let image = self.image(content).map_err(|error| destination.failed(error))?;
        let written = destination.file().write_all_at(&image, 0);
        written.map_err(|error| destination.failed(error))?;
        destination.publish()?;
        Ok(Disk {
            path: self.destination,
            format: Format::Raw,
            size_bytes: image.len() as u64,
            method: CloneMethod::Seed,
            source: None,
            backing_files: Vec::new(),
        })
    }

    fn image(&self, content: usize) -> io::Result<Vec<u8>> {
        // The tables, the root, and the last cluster of each file want some room of their own.
        let length = (content + content / 16 + LEAST / 2).next_multiple_of(LEAST);
        let mut image = Cursor::new(vec![0; length]);
        format_volume(&mut image, FormatVolumeOptions::new().volume_label(LABEL))?;
        let system = FileSystem::new(&mut image, FsOptions::new())?;
        for (name, content) in &self.files {
            let mut file = system.root_dir().create_file(name)?;
            file.truncate()?;
            file.write_all(content)?;
            file.flush()?;
        }
        system.unmount()?;
        Ok(image.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn request(path: &Path) -> SeedRequest {
        SeedRequest::new(path)
            .file("meta-data", "{}")
            .file("user-data", vec![b'#'; 100_000])
            .file("network-config", "{}")
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        request(&a).write().unwrap();
        request(&b).write().unwrap();
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    }

    #[test]
    fn its_files_are_found_under_their_long_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed");
        let disk = request(&path).write().unwrap();
        assert!(disk.size_bytes % 512 == 0);
        let image = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let system = FileSystem::new(image, FsOptions::new()).unwrap();
        assert_eq!(system.volume_label_as_bytes(), b"CIDATA");
        let mut content = Vec::new();
        system.root_dir().open_file("user-data").unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(content.len(), 100_000);
    }

    #[test]
    fn more_than_a_seed_can_hold_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seed");
        let large = SeedRequest::new(&path).file("user-data", vec![0; MAX_SEED + 1]);
        assert!(matches!(large.write(), Err(DiskError::SeedTooLarge { .. })));
        let full = SeedRequest::new(&path).file("user-data", vec![0; MAX_SEED]);
        full.write().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
