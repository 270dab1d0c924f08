//! Directories and files that root does nothing by unless root alone can change them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use virshle_template::Distrust;

use crate::fs::error::FileError;

/// Refuses, for root, what another user could have changed. Whoever is not root has no more to lose
/// than the owner of the file could take from them anyway.
pub(crate) fn check(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    match distrust(metadata) {
        None => Ok(()),
        Some(source) => Err(FileError::Untrusted { path: path.to_owned(), source }),
    }
}

/// Refuses, for root, what lies in a directory in which another user could put something else in the place
/// of what leads to `path`: all directories above it count, by its own name and by where links lead
/// (sshd(8), `StrictModes`). In a sticky one nobody moves what is root's.
pub(crate) fn check_above(path: &Path) -> Result<(), FileError> {
    let real = path.canonicalize().ok();
    let above =
        path.ancestors().skip(1).chain(real.iter().flat_map(|real| real.ancestors().skip(1)));
    for directory in above {
        // What can't be looked at can't be used; what isn't there yet is created.
        let Ok(metadata) = directory.metadata() else { continue };
        let sticky = metadata.uid() == 0 && metadata.mode() & 0o1000 != 0;
        if let Some(source) = distrust(&metadata).filter(|_| !sticky) {
            return Err(FileError::UntrustedAbove { path: directory.to_owned(), source });
        }
    }
    Ok(())
}

/// Why this process must not believe what has this `metadata`.
pub(crate) fn distrust(metadata: &Metadata) -> Option<Distrust> {
    Distrust::of(metadata).filter(|_| applies())
}

/// Whether this process is root's.
pub(crate) fn applies() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_above_counts_by_its_name_and_by_where_links_lead() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("open/mine")).unwrap();
        fs::create_dir_all(at("closed/mine")).unwrap();
        std::os::unix::fs::symlink("open", at("link")).unwrap();
        let mode = |name: &str, mode| {
            fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        };
        mode("open", 0o777);
        let refused = |name: &str| check_above(&at(name)).is_err();
        // Only root has more to lose than what is its own.
        assert_eq!(refused("open/mine"), applies());
        assert_eq!(refused("link/mine"), applies());
        assert_eq!(refused("open/new/root"), applies());
        assert!(!refused("closed/mine") && !refused("open"));
        mode("open", 0o1777);
        assert!(!refused("open/mine"));
    }
}
