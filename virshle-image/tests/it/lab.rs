//! A private cache for a test, and files to import.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use virshle_image::{ImageCache, ImageError, ImageInfo, ImageName, ImportRequest, ImportSource};

pub(crate) const MIB: usize = 1 << 20;

/// A cache in a temporary directory, which has an `image.raw` of 64 KiB.
pub(crate) struct Lab {
    directory: TempDir,
    pub(crate) cache: ImageCache,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("root/cache");
        Self::with(directory, cache)
    }

    /// A lab whose cache is in a directory of another filesystem.
    pub(crate) fn in_directory(cache: PathBuf) -> Self {
        Self::with(tempfile::tempdir().unwrap(), cache)
    }

    fn with(directory: TempDir, cache: PathBuf) -> Self {
        fs::write(directory.path().join("image.raw"), vec![7; 64 << 10]).unwrap();
        Self { directory, cache: ImageCache::new(cache) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn import(&self, request: &ImportRequest) -> Result<ImageInfo, ImageError> {
        self.cache.import(request, &mut |_| {})
    }

    /// Removes an image that nothing outside the cache depends on.
    pub(crate) fn remove(&self, image: &str) -> Result<(), ImageError> {
        self.cache.remove(&name(image), || Ok(Vec::new()))
    }

    /// What is in the cache, hidden or not.
    pub(crate) fn entries(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.cache.directory())
            .map(|entries| {
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }
}

pub(crate) fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

pub(crate) fn file(path: &Path) -> ImportRequest {
    ImportRequest::new(ImportSource::File(path.to_owned()))
}

pub(crate) fn url(url: &str) -> ImportRequest {
    ImportRequest::new(url.parse().unwrap())
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    digest("sha256sum", bytes)
}

/// What a program of coreutils prints for `bytes`.
pub(crate) fn digest(program: &str, bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), bytes).unwrap();
    let output = Command::new(program).arg("file").current_dir(directory.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Runs a program that must succeed, and returns what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output.stdout
}

/// Noise that no two parts of are the same, with zeros in between and at the end.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut seed = 1_u64;
    let mut bytes: Vec<u8> = (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[1]
        })
        .collect();
    bytes[length / 4..length / 2].fill(0);
    bytes[length - length / 8..].fill(0);
    bytes
}
