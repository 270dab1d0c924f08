//! The directory in which the lab keeps what it built, each part under a hash of what it is made of.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::failure::{Failure, While};

/// The cache, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens the cache and waits until no other run builds in it.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(directory).doing(|| format!("cannot make {}", directory.display()))?;
        let directory =
            fs::canonicalize(directory).doing(|| format!("cannot find {}", directory.display()))?;
        let path = directory.join("lock");
        let lock = File::create(&path).doing(|| format!("cannot make {}", path.display()))?;
        flock(&lock, FlockOperation::LockExclusive)
            .doing(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { directory, _lock: lock })
    }

    /// The directory of the part `name`, made by `build` unless one of the same inputs is there. Older
    /// ones of that name are removed.
    pub(crate) fn part(
        &self,
        name: &str,
        key: &Key,
        build: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<PathBuf, Failure> {
        let wanted = format!("{name}-{:016x}", key.0.finish());
        let path = self.directory.join(&wanted);
        if path.is_dir() {
            return Ok(path);
        }
        let entries = fs::read_dir(&self.directory)
            .doing(|| format!("cannot read {}", self.directory.display()))?;
        for entry in entries.filter_map(Result::ok) {
            if is_part(&entry.file_name(), name) {
                fs::remove_dir_all(entry.path())
                    .doing(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        let unfinished = self.directory.join(format!("{wanted}.new"));
        fs::create_dir(&unfinished).doing(|| format!("cannot make {}", unfinished.display()))?;
        build(&unfinished).doing(|| format!("cannot build {name}"))?;
        fs::rename(&unfinished, &path).doing(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

/// Whether `file` is some version of the part `name`, finished or not.
fn is_part(file: &OsStr, name: &str) -> bool {
    let hash = file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
    hash.is_some_and(|hash| {
        let hash = hash.strip_suffix(".new").unwrap_or(hash);
        hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// What a part is made of.
#[derive(Clone, Debug)]
pub(crate) struct Key(DefaultHasher);

impl Key {
    /// The key of a part that is made of nothing.
    pub(crate) fn new() -> Self {
        Self(DefaultHasher::new())
    }

    /// Adds a text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        text.hash(&mut self.0);
        self
    }

    /// Adds a path of another part, whose name has that part's hash.
    pub(crate) fn part(self, path: &Path) -> Self {
        self.text(&path.to_string_lossy())
    }

    /// Adds a file's content, or that of all the files below a directory.
    pub(crate) fn file(mut self, path: &Path) -> Result<Self, Failure> {
        if path.is_dir() {
            let mut entries: Vec<_> = fs::read_dir(path)
                .doing(|| format!("cannot read {}", path.display()))?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect();
            entries.sort();
            for entry in entries {
                self = self.file(&entry)?;
            }
            return Ok(self);
        }
        path.file_name().hash(&mut self.0);
        fs::read(path).doing(|| format!("cannot read {}", path.display()))?.hash(&mut self.0);
        Ok(self)
    }
}
