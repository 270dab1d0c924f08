//! What a caged program sees of the host: a root of its own, in which there is only what was shown to it.
//!
//! landlock says which files are opened. It says nothing of sockets that are connected to by their path,
//! of what there is to be looked at, or of owners and modes: so what isn't needed isn't there.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::cage::error::CageError;
use crate::sys::view::{Bind, Entrance};

/// Whether a caged program has a view of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum View {
    /// It sees what its starter does. io_uring is refused to it, as neither seccomp nor landlock see what is
    /// asked of that.
    #[default]
    Shared,
    /// It sees what is in its cage and nothing else, and no network.
    Own,
    /// As [`Own`](Self::Own) where its starter may make that, and else as [`Shared`](Self::Shared): who
    /// isn't root needs user namespaces, which some systems keep from users.
    OwnIfPossible,
}

/// What a place in a view is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Directory,
    File,
    Link(PathBuf),
}

/// The places of a view, by the paths that the program knows them by.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<PathBuf, Place>);

impl Places {
    /// Shows a file, or a directory with everything below it.
    pub(super) fn show(&mut self, path: &Path) -> Result<(), CageError> {
        self.find(path).map_err(|source| CageError::File { path: path.to_owned(), source })
    }

    /// Shows what needn't be there; a link as that.
    pub(super) fn show_if_there(&mut self, path: &Path) -> Result<(), CageError> {
        let failed = |source| CageError::File { path: path.to_owned(), source };
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                let target = fs::read_link(path).map_err(failed)?;
                self.0.insert(path.to_owned(), Place::Link(target));
                Ok(())
            }
            Ok(_) => self.show(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<()> {
        let mut path = std::path::absolute(path)?;
        if path.components().any(|part| part == Component::ParentDir) {
            path = path.canonicalize()?;
        }
        let is_directory = path.metadata()?.is_dir();
        self.0.insert(path, if is_directory { Place::Directory } else { Place::File });
        Ok(())
    }

    /// The way into the view, for who is root or isn't.
    pub(super) fn entrance(&self, is_root: bool, required: bool) -> Result<Entrance, CageError> {
        let mut directories: Vec<CString> = Vec::new();
        let (mut links, mut binds, mut shown) = (Vec::new(), Vec::new(), Vec::<&Path>::new());
        // Sorted, so that what is above comes before what is below it.
        for (path, place) in &self.0 {
            if shown.iter().any(|above| path.starts_with(above)) {
                continue;
            }
            let above: Vec<&Path> = path.ancestors().skip(1).collect();
            for directory in above.into_iter().rev() {
                let directory = inside(directory)?;
                if !directory.is_empty() && !directories.contains(&directory) {
                    directories.push(directory);
                }
            }
            let to = inside(path)?;
            match place {
                Place::Link(target) => links.push((c_string(target.as_os_str())?, to)),
                Place::File | Place::Directory => {
                    let is_directory = *place == Place::Directory;
                    if is_directory {
                        shown.push(path);
                    }
                    let from = c_string(path.as_os_str())?;
                    binds.push(Bind { from, to, is_directory });
                }
            }
        }
        Ok(Entrance::new(is_root, required, directories, links, binds))
    }
}

/// The path as it is relative to the root.
fn inside(path: &Path) -> Result<CString, CageError> {
    c_string(path.strip_prefix("/").unwrap_or(path).as_os_str())
}

fn c_string(text: &OsStr) -> Result<CString, CageError> {
    CString::new(text.as_bytes())
        .map_err(|error| CageError::File { path: text.into(), source: error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_has_what_is_shown_once_and_the_way_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("vm/disk")).unwrap();
        fs::write(at("vm/disk/os"), "").unwrap();
        fs::write(at("kernel"), "").unwrap();
        std::os::unix::fs::symlink("vm", at("link")).unwrap();
        let mut places = Places::default();
        for name in ["vm/disk/os", "vm/disk", "kernel", "vm/../kernel"] {
            places.show(&at(name)).unwrap();
        }
        places.show_if_there(&at("link")).unwrap();
        places.show_if_there(&at("gone")).unwrap();
        assert!(places.show(&at("gone")).is_err());
        let entrance = places.entrance(true, true).unwrap();
        let name = |name: &str| inside(&at(name)).unwrap();
        let shown: Vec<_> =
            entrance.binds.iter().map(|bind| (&bind.to, bind.is_directory)).collect();
        assert_eq!(shown, [(&name("kernel"), false), (&name("vm/disk"), true)]);
        assert_eq!(entrance.links, [(c"vm".to_owned(), name("link"))]);
        assert!(entrance.directories.contains(&name("vm")), "{:?}", entrance.directories);
        assert!(!entrance.directories.contains(&name("vm/disk")));
        let parent = inside(directory.path().parent().unwrap()).unwrap();
        let place = |wanted: &CString| entrance.directories.iter().position(|name| name == wanted);
        assert!(parent.is_empty() || place(&parent) < place(&name("vm")));
    }
}
