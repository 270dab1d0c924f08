//! Access of a machine's user to what isn't the machine's own: by POSIX access lists, where the mode
//! doesn't give it already.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use virshle_hypervisor::Identity;
use virshle_net::{AccessRights, Asking, FileAccess};

use crate::hardware::confine::error::ConfineError;
use crate::hardware::confine::user::MachineUser;

/// The access that a machine's user lacks, found first and given when nothing else can fail.
///
/// What only the machine uses is opened to its user, what it shares (a kernel, the image below an
/// overlay, the directories on the way) to the group of all machines of the node: a file has room for
/// some hundreds of entries, and needs one. Which of those files a machine reaches is landlock's to say.
#[derive(Debug)]
pub(crate) struct Grants {
    identity: Identity,
    shared: u32,
    missing: Vec<(PathBuf, OwnedFd, Grant)>,
}

#[derive(Clone, Copy, Debug)]
enum Grant {
    ToUser(AccessRights),
    ToGroup(AccessRights),
}

impl Grants {
    pub(crate) fn new(user: &MachineUser) -> Self {
        Self { identity: user.identity(), shared: user.shared_group(), missing: Vec::new() }
    }

    /// A directory of the machine's own: it can be reached, what is in it can be, and its names can't
    /// be read by anybody else.
    pub(crate) fn own_directory(&mut self, path: &Path) -> Result<(), ConfineError> {
        self.way_to(path)?;
        self.need(path, OFlags::NOFOLLOW | OFlags::DIRECTORY, Grant::ToUser(AccessRights::SEARCH))
    }

    /// A file that others use as well.
    pub(crate) fn shared(&mut self, path: &Path, rights: AccessRights) -> Result<(), ConfineError> {
        self.way_to(path)?;
        self.need(path, OFlags::empty(), Grant::ToGroup(rights))
    }

    /// The program. That others may run it is its owner's to say.
    pub(crate) fn program(&mut self, path: &Path) -> Result<(), ConfineError> {
        self.way_to(path)?;
        let file = self.open(path, OFlags::empty())?;
        if self.allows(&file, path, AccessRights::READ_EXECUTE)? {
            return Ok(());
        }
        Err(ConfineError::Program { path: path.to_owned(), uid: self.identity.uid })
    }

    fn way_to(&mut self, path: &Path) -> Result<(), ConfineError> {
        for directory in directories_on_the_way(path) {
            self.need(&directory, OFlags::DIRECTORY, Grant::ToGroup(AccessRights::SEARCH))?;
        }
        Ok(())
    }

    fn need(&mut self, path: &Path, flags: OFlags, grant: Grant) -> Result<(), ConfineError> {
        if self.missing.iter().any(|(known, ..)| known == path) {
            return Ok(());
        }
        let file = self.open(path, flags)?;
        let (Grant::ToUser(rights) | Grant::ToGroup(rights)) = grant;
        if !self.allows(&file, path, rights)? {
            self.missing.push((path.to_owned(), file, grant));
        }
        Ok(())
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, ConfineError> {
        let opened = open(path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty());
        opened.map_err(|errno| self.failed(path, errno.into()))
    }

    fn allows(
        &self,
        file: &OwnedFd,
        path: &Path,
        rights: AccessRights,
    ) -> Result<bool, ConfineError> {
        let gids: Vec<u32> =
            self.identity.groups.iter().copied().chain([self.identity.gid]).collect();
        let access = FileAccess::of(file).map_err(|source| self.failed(path, source))?;
        Ok(access.allows(&Asking { uid: self.identity.uid, gids: &gids }, rights))
    }

    /// Gives what is missing.
    pub(crate) fn apply(&self) -> Result<(), ConfineError> {
        for (path, file, grant) in &self.missing {
            let give = || {
                let mut access = FileAccess::of(file)?;
                match grant {
                    Grant::ToUser(rights) => access.grant_user(self.identity.uid, *rights),
                    Grant::ToGroup(rights) => access.grant_group(self.shared, *rights),
                }
            };
            give().map_err(|source| self.failed(path, source))?;
            tracing::debug!(path = %path.display(), uid = self.identity.uid, "access granted");
        }
        Ok(())
    }

    fn failed(&self, path: &Path, source: io::Error) -> ConfineError {
        ConfineError::Grant { path: path.to_owned(), uid: self.identity.uid, source }
    }
}

/// The directories that lead to `path`, by its own name and by where links in it lead.
fn directories_on_the_way(path: &Path) -> BTreeSet<PathBuf> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let above = |path: &Path| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let named = above(path).into_iter();
    named.chain(above(&real)).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Takes the group's entries from `released` and the directories on the way, but for those that are on
/// the way to one of `needed`.
pub(crate) fn revoke(released: &[PathBuf], needed: &[PathBuf], group: u32) -> io::Result<()> {
    let all = |paths: &[PathBuf]| -> BTreeSet<PathBuf> {
        let ways = paths.iter().flat_map(|path| directories_on_the_way(path));
        ways.chain(paths.iter().cloned()).collect()
    };
    let mut result = Ok(());
    for path in all(released).difference(&all(needed)) {
        // What isn't there has no list.
        let Ok(file) = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { continue };
        let revoked = FileAccess::of(&file).and_then(|mut access| access.revoke_group(group));
        result = result.and(revoked);
    }
    result
}
