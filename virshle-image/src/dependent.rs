//! What depends on an image: files whose backing file it is.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use virshle_disk::Image;

use crate::error::ImageError;

/// Something that depends on a file, and cannot be read without it.
///
/// The cache finds out by itself which of its images depend on others. What else does, such as the
/// disks of machines, is passed in by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    owner: String,
    backing_file: PathBuf,
}

impl Dependent {
    /// Names what depends on `backing_file` for listings and errors, such as `machine web`.
    ///
    /// The path may lead through links.
    pub fn new(owner: impl Into<String>, backing_file: impl Into<PathBuf>) -> Self {
        Self { owner: owner.into(), backing_file: backing_file.into() }
    }

    /// Finds the files in `directory` that have a backing file, each named by `owner` from its
    /// file's name. What is not an image is passed over; a missing directory has no files.
    ///
    /// # Errors
    ///
    /// [`ImageError::Read`] if the directory can't be read.
    pub fn in_directory(
        directory: &Path,
        owner: impl Fn(&str) -> String,
    ) -> Result<Vec<Self>, ImageError> {
        let failed = |source| ImageError::Read { path: directory.to_owned(), source };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut dependents = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if let Ok(Image { backing_file: Some(backing), .. }) =
                virshle_disk::inspect(&entry.path())
            {
                let owner = owner(&entry.file_name().to_string_lossy());
                dependents.push(Self::new(owner, directory.join(backing)));
            }
        }
        Ok(dependents)
    }
}

/// Dependents by what they depend on.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    by_file: HashMap<PathBuf, Vec<String>>,
}

impl Dependents {
    /// Sorts what the caller knows, and what the cache itself has.
    pub(crate) fn new<'a>(dependents: impl IntoIterator<Item = &'a Dependent>) -> Self {
        let mut by_file: HashMap<PathBuf, Vec<String>> = HashMap::new();
        for Dependent { owner, backing_file } in dependents {
            by_file.entry(real(backing_file)).or_default().push(owner.clone());
        }
        Self { by_file }
    }

    /// The owners of what depends on `path`.
    pub(crate) fn of(&self, path: &Path) -> Vec<String> {
        let real = real(path);
        let mut owners = self.by_file.get(&real).cloned().unwrap_or_default();
        // A link to what is gone.
        if real != path {
            owners.extend(self.by_file.get(path).into_iter().flatten().cloned());
        }
        owners
    }
}

/// The path without links, as far as it can be resolved.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependent_is_found_through_links_and_on_what_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("image"), "").unwrap();
        std::os::unix::fs::symlink(path("image"), path("link")).unwrap();
        let known = [
            Dependent::new("one", path("image")),
            Dependent::new("two", path("link")),
            Dependent::new("three", path("gone")),
        ];
        let dependents = Dependents::new(&known);
        for (name, owners) in
            [("image", &["one", "two"][..]), ("link", &["one", "two"]), ("gone", &["three"])]
        {
            assert_eq!(dependents.of(&path(name)), owners, "{name}");
        }
        assert_eq!(dependents.of(&path("other")), Vec::<String>::new());
    }
}
