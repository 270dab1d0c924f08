//! The node's folder: where machines are, and what makes one exist.
//!
//! A machine exists exactly when `vm/<uuid>/vm.toml` exists. It is staged in `vm/.new-<uuid>` and
//! the rename of that folder is the moment it comes to be; it ends with a rename to
//! `vm/.gone-<uuid>`. Whatever an interrupted process leaves behind carries one of these two
//! prefixes and is swept by the next one, unless somebody still holds its lock.

pub(crate) mod dir;
pub(crate) mod run_record;

use std::collections::HashSet;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use uuid::Uuid;

use crate::error::CoreError;
use crate::fs::lock::Lock;
use crate::model::definition::Definition;
use crate::model::definition::Head;
use crate::model::name::VmName;
use crate::store::dir::Shelf;

/// The prefix of a machine that is being made.
pub(crate) const NEW: &str = ".new-";
/// The prefix of a machine that is being removed.
pub(crate) const GONE: &str = ".gone-";
/// The file that makes a folder a machine.
pub(crate) const DEFINITION: &str = "vm.toml";
/// The lock of a machine, and of the node.
pub(crate) const LOCK: &str = "lock";
/// The id that the next machine gets.
const NEXT_ID: &str = "next-id";
/// What a staged machine has claimed.
const CLAIM: &str = "claim";
/// How long a claim waits for others: each of them holds the lock for milliseconds.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);

/// The node's folder.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

/// A machine that is being made: its id and name are taken, its folder is there.
#[derive(Debug)]
#[must_use = "a staged machine is swept when its lock ends"]
pub(crate) struct Staged {
    pub(crate) id: u64,
    pub(crate) uuid: Uuid,
    pub(crate) name: VmName,
    pub(crate) folder: PathBuf,
    /// The MAC addresses of the machines that were there before.
    pub(crate) taken_macs: Arc<HashSet<String>>,
    _lock: Lock,
}

/// What is not free any more.
#[derive(Debug, Default)]
struct Taken {
    names: HashSet<VmName>,
    highest_id: u64,
    macs: HashSet<String>,
}

/// What a listing found: machines, and folders that should be one but can't be read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) heads: Vec<Head>,
    pub(crate) broken: Vec<CoreError>,
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where images are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    fn machines(&self) -> PathBuf {
        self.root.join("vm")
    }

    /// The folder of the machine `uuid`.
    pub(crate) fn folder(&self, uuid: Uuid) -> PathBuf {
        self.machines().join(uuid.to_string())
    }

    /// Makes the folders of the node, private to their user and readable by his group.
    pub(crate) fn ensure(&self) -> Result<Vec<PathBuf>, CoreError> {
        let mut made = Vec::new();
        for path in self.missing() {
            ensure_folder(&path, 0o750)?;
            made.push(path);
        }
        Ok(made)
    }

    /// The folders of the node that aren't there yet.
    pub(crate) fn missing(&self) -> Vec<PathBuf> {
        [self.root.clone(), self.machines(), self.cache()]
            .into_iter()
            .filter(|path| !path.is_dir())
            .collect()
    }

    /// Every machine, by id.
    pub(crate) fn find(&self) -> Result<Found, CoreError> {
        let mut found = Found::default();
        let uuids = self.uuids()?;
        if uuids.is_empty() {
            return Ok(found);
        }
        let mut shelf = self.shelf()?;
        for uuid in uuids {
            match self.head(&mut shelf, uuid) {
                Ok(head) => found.heads.push(head),
                Err(CoreError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
                Err(error) => found.broken.push(error),
            }
        }
        found.heads.sort_by_key(|head| head.id);
        Ok(found)
    }

    /// What listings need of the definition of the machine `uuid`.
    fn head(&self, shelf: &mut Shelf, uuid: Uuid) -> Result<Head, CoreError> {
        let quick = shelf.definition(uuid).ok().and_then(Head::parse);
        if let Some(head) = quick.filter(|head| head.uuid == uuid) {
            return Ok(head);
        }
        // Read with care, for what is to be said of it.
        let path = self.folder(uuid).join(DEFINITION);
        let head = Head::read(&path)?;
        if head.uuid == uuid { Ok(head) } else { Err(of_another(path)) }
    }

    /// The folder of machines, to read much of it.
    pub(crate) fn shelf(&self) -> Result<Shelf, CoreError> {
        let path = self.machines();
        Shelf::open(&path).map_err(|source| CoreError::Read { path, source })
    }

    /// The definition of the machine `uuid`, one of many that are read.
    pub(crate) fn read_of_many(
        &self,
        shelf: &mut Shelf,
        uuid: Uuid,
    ) -> Result<Definition, CoreError> {
        let quick = shelf.definition(uuid).ok().and_then(Definition::parse);
        match quick.filter(|definition| definition.uuid == uuid) {
            Some(definition) => Ok(definition),
            None => self.read(uuid),
        }
    }

    /// The definition of the machine `uuid`.
    pub(crate) fn read(&self, uuid: Uuid) -> Result<Definition, CoreError> {
        let path = self.folder(uuid).join(DEFINITION);
        let definition = Definition::read(&path)?;
        // Else what is done to it would be done to the other one.
        if definition.uuid == uuid { Ok(definition) } else { Err(of_another(path)) }
    }

    pub(crate) fn uuids(&self) -> Result<Vec<Uuid>, CoreError> {
        Ok(self.entries()?.into_iter().filter_map(|name| canonical(&name)).collect())
    }

    /// The names in `vm/`; none if the node was never used.
    fn entries(&self) -> Result<Vec<String>, CoreError> {
        let path = self.machines();
        let failed = |source| CoreError::Read { path: path.clone(), source };
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Claims ids and names for `count` machines and makes a folder to stage each in.
    ///
    /// One machine gets `name` itself, several get `name-1`, `name-2`, …; without a name each
    /// gets a random one.
    pub(crate) fn claim(
        &self,
        count: u32,
        name: Option<&VmName>,
    ) -> Result<Vec<Staged>, CoreError> {
        self.ensure()?;
        let _lock = Lock::acquire(&self.root.join(LOCK), CLAIM_TIMEOUT)?;
        let mut taken = self.taken()?;
        let mut names = Vec::new();
        for number in 1..=count {
            let wanted = match name {
                None => VmName::random(&taken.names),
                Some(name) if count == 1 => name.clone(),
                Some(name) => format!("{name}-{number}")
                    .parse()
                    .map_err(|source| CoreError::Name { name: name.to_string(), source })?,
            };
            if !taken.names.insert(wanted.clone()) {
                return Err(CoreError::NameTaken { name: wanted });
            }
            names.push(wanted);
        }
        let first = self.next_id()?.unwrap_or(1).max(taken.highest_id + 1);
        self.write_next_id(first + u64::from(count))?;
        let macs = Arc::new(taken.macs);
        let mut staged = Vec::new();
        for (id, name) in (first..).zip(names) {
            match self.stage(id, name, &macs) {
                Ok(one) => staged.push(one),
                Err(error) => {
                    staged.into_iter().for_each(|one| self.discard(one));
                    return Err(error);
                }
            }
        }
        Ok(staged)
    }

    /// What machines have taken, and those that are being made right now.
    fn taken(&self) -> Result<Taken, CoreError> {
        let mut taken = Taken::default();
        let mut shelf = self.shelf()?;
        for entry in self.entries()? {
            let folder = self.machines().join(&entry);
            let head = if let Some(uuid) = entry.strip_prefix(NEW).and_then(canonical) {
                // Whoever died while making it has no claim any more.
                if Lock::acquire_if_free(&folder.join(LOCK))?.is_some() {
                    continue;
                }
                // Between the definition and the rename there is no claim any more.
                match read_claim(&folder) {
                    None => match taken.read(&folder)? {
                        None => taken.read(&self.folder(uuid))?,
                        staged => staged,
                    },
                    claimed => claimed,
                }
            } else if let Some(uuid) = canonical(&entry) {
                match shelf.definition(uuid).ok().and_then(|text| taken.note(text)) {
                    None => taken.read(&folder)?,
                    noted => noted,
                }
            } else {
                None
            };
            if let Some((id, name)) = head {
                taken.highest_id = taken.highest_id.max(id);
                taken.names.insert(name);
            }
        }
        Ok(taken)
    }

    /// The id that comes next, if the file that says so is there and whole. It is the only memory
    /// of removed machines, and so one that can't be read is not passed over; ids of machines that
    /// exist are counted anyhow.
    fn next_id(&self) -> Result<Option<u64>, CoreError> {
        let path = self.root.join(NEXT_ID);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CoreError::Read { path, source }),
        }
    }

    /// Says which id comes next, before it is given out. Nobody waits for the disk: ids of machines
    /// that exist are counted anyhow, and [`keep_next_id`](Self::keep_next_id) comes before one
    /// ends. Of one length and in its place, so that it is never a part.
    fn write_next_id(&self, next: u64) -> Result<(), CoreError> {
        let path = self.root.join(NEXT_ID);
        let write = || -> io::Result<()> {
            let flags = OFlags::NOFOLLOW.bits().cast_signed();
            let file = match File::options().write(true).custom_flags(flags).open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => create_private(&path)?,
                other => other?,
            };
            file.write_all_at(format!("{next:<20}\n").as_bytes(), 0)
        };
        write().map_err(|source| CoreError::Write { path: path.clone(), source })
    }

    /// Makes the id that comes next outlast a power failure: once a machine is gone, nothing else
    /// remembers that its id was taken.
    fn keep_next_id(&self) -> Result<(), CoreError> {
        let path = self.root.join(NEXT_ID);
        // It is no way out of the root, and nothing to wait at.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let kept = File::options().read(true).custom_flags(flags).open(&path);
        match kept.and_then(|file| file.sync_all()).and_then(|()| sync_folder(&self.root)) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(CoreError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    fn stage(
        &self,
        id: u64,
        name: VmName,
        macs: &Arc<HashSet<String>>,
    ) -> Result<Staged, CoreError> {
        let uuid = Uuid::new_v4();
        let folder = self.machines().join(format!("{NEW}{uuid}"));
        let furnish = || {
            for path in
                [folder.clone(), folder.join("disk"), folder.join("net"), folder.join("tmp")]
            {
                make_folder(&path, 0o750).map_err(|source| CoreError::Write { path, source })?;
            }
            let lock = Lock::acquire(&folder.join(LOCK), CLAIM_TIMEOUT)?;
            write_new(&folder.join(CLAIM), format!("{id} {name}\n").as_bytes(), Sync::No)?;
            Ok(lock)
        };
        match furnish() {
            Ok(lock) => {
                Ok(Staged { id, uuid, name, folder, taken_macs: Arc::clone(macs), _lock: lock })
            }
            Err(error) => {
                discard_folder(&folder);
                Err(error)
            }
        }
    }

    /// Makes a staged machine a machine, or takes it back. When this succeeds, the machine
    /// outlasts a power failure.
    pub(crate) fn commit(&self, staged: Staged, definition: &Definition) -> Result<(), CoreError> {
        let committed = self.try_commit(&staged, definition);
        // Only afterwards may others change the machine, or sweep what did not become one.
        match committed {
            Ok(()) => drop(staged),
            Err(_) => self.discard(staged),
        }
        committed
    }

    fn try_commit(&self, staged: &Staged, definition: &Definition) -> Result<(), CoreError> {
        write_new(&staged.folder.join(DEFINITION), definition.to_toml()?.as_bytes(), Sync::Yes)?;
        let claim = staged.folder.join(CLAIM);
        std::fs::remove_file(&claim).map_err(|source| CoreError::Write { path: claim, source })?;
        self.rename(&staged.folder, &self.folder(staged.uuid))
    }

    /// Takes back what was staged. Its folder's lock is held, so nobody else sweeps it meanwhile.
    pub(crate) fn discard(&self, staged: Staged) {
        discard_folder(&staged.folder);
        drop(staged);
    }

    /// Ends a machine: from here on it doesn't exist. Its files go afterwards.
    pub(crate) fn retire(&self, uuid: Uuid) -> Result<PathBuf, CoreError> {
        self.keep_next_id()?;
        let gone = self.machines().join(format!("{GONE}{uuid}"));
        self.rename(&self.folder(uuid), &gone)?;
        Ok(gone)
    }

    /// Renames a machine's folder, for good; or, if that can't be promised, not at all.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), CoreError> {
        let failed = |source| CoreError::Write { path: to.to_owned(), source };
        std::fs::rename(from, to).map_err(failed)?;
        sync_folder(&self.machines()).map_err(|source| {
            if let Err(error) = std::fs::rename(to, from) {
                tracing::warn!(path = %to.display(), %error, "cannot take back the rename");
            }
            failed(source)
        })
    }

    /// What interrupted processes left behind, and nobody works on.
    pub(crate) fn leftovers(&self) -> Result<Vec<PathBuf>, CoreError> {
        let mut leftovers = Vec::new();
        for entry in self.entries()? {
            if entry.strip_prefix(NEW).or_else(|| entry.strip_prefix(GONE)).is_none() {
                continue;
            }
            let folder = self.machines().join(entry);
            let lock = folder.join(LOCK);
            if Lock::acquire_if_free(&lock)?.is_some() || !lock.exists() {
                leftovers.push(folder);
            }
        }
        Ok(leftovers)
    }

    /// The files that an interrupted [`replace`] left behind, each with the lock under which it is
    /// written; none whose lock is held.
    pub(crate) fn temporaries(&self) -> Result<Vec<(PathBuf, PathBuf)>, CoreError> {
        let mut places = vec![(self.root.join(NEXT_ID), self.root.join(LOCK))];
        places.extend(self.uuids()?.into_iter().map(|uuid| {
            let folder = self.folder(uuid);
            (folder.join(crate::store::run_record::FILE), folder.join(LOCK))
        }));
        let mut found = Vec::new();
        for (path, lock) in places {
            let path = beside(&path);
            if path.symlink_metadata().is_ok() && Lock::acquire_if_free(&lock)?.is_some() {
                found.push((path, lock));
            }
        }
        Ok(found)
    }

    /// Removes what interrupted processes left behind. What can't be removed stays for the next.
    pub(crate) fn sweep(&self) -> Result<Vec<PathBuf>, CoreError> {
        if self.leftovers()?.is_empty() {
            return Ok(Vec::new());
        }
        // A folder that has no lock yet may be one that is just being staged: staging happens
        // under the node's lock, so under it there is none.
        let _lock = Lock::acquire(&self.root.join(LOCK), CLAIM_TIMEOUT)?;
        let mut swept = Vec::new();
        for folder in self.leftovers()? {
            match std::fs::remove_dir_all(&folder) {
                Ok(()) => swept.push(folder),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(path = %folder.display(), %error, "cannot sweep");
                }
            }
        }
        Ok(swept)
    }
}

/// A definition in a folder that is not called as its machine: a copy, most likely.
fn of_another(path: PathBuf) -> CoreError {
    let source = serde::de::Error::custom("it is that of a machine with another uuid");
    CoreError::Definition { path, source: Box::new(source) }
}

/// The uuid that `name` spells the way this crate spells it; another spelling is another's file.
fn canonical(name: &str) -> Option<Uuid> {
    let uuid: Uuid = name.parse().ok()?;
    (uuid.to_string() == name).then_some(uuid)
}

impl Taken {
    /// Reads the definition in `folder`, if there is one: its id and name, and notes its addresses.
    ///
    /// One that makes no sense keeps nobody from making machines. One that can't be read just now
    /// does: its name would be given twice.
    fn read(&mut self, folder: &Path) -> Result<Option<(u64, VmName)>, CoreError> {
        let path = folder.join(DEFINITION);
        match crate::model::definition::read(&path) {
            Ok(text) => Ok(self.note(&text)),
            Err(CoreError::Read { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound
                        | ErrorKind::InvalidInput
                        | ErrorKind::InvalidData
                        | ErrorKind::FileTooLarge
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes id and name out of a definition, and notes its addresses.
    fn note(&mut self, text: &str) -> Option<(u64, VmName)> {
        let head = Head::parse(text)?;
        // A definition is written by this crate, a key to a line: no need to understand the rest.
        let macs = text.lines().filter_map(|line| line.strip_prefix("mac = "));
        self.macs.extend(macs.map(|mac| mac.trim_matches(['"', '\'']).to_owned()));
        Some((head.id, head.name))
    }
}

fn read_claim(folder: &Path) -> Option<(u64, VmName)> {
    let text = std::fs::read_to_string(folder.join(CLAIM)).ok()?;
    let (id, name) = text.trim().split_once(' ')?;
    Some((id.parse().ok()?, name.parse().ok()?))
}

/// Makes a folder with `mode`, whatever the umask says; one that is there stays as it is.
pub(crate) fn ensure_folder(path: &Path, mode: u32) -> Result<(), CoreError> {
    let failed = |source| CoreError::Write { path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent()
        && !parent.exists()
    {
        // Folders of the host's, as any program makes them; but never open to everybody's pen.
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    }
    match make_folder(path, mode) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result.map_err(failed),
    }
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(path)?;
    // The umask had its say in it.
    Ok(rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode))?)
}

/// Whether a file's content is made to outlast a power failure before going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Yes,
    No,
}

/// Makes a file that is its user's alone, whatever the umask says.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn write_new(path: &Path, content: &[u8], sync: Sync) -> Result<(), CoreError> {
    let write = || -> io::Result<()> {
        let mut file = create_private(path)?;
        file.write_all(content)?;
        if sync == Sync::Yes {
            file.sync_all()?;
        }
        Ok(())
    };
    write().map_err(|source| CoreError::Write { path: path.to_owned(), source })
}

/// Replaces the content of `path` in one step: a reader sees the old or the new, never a part. With
/// [`Sync::Yes`] that holds for a power failure, too.
///
/// The caller holds the lock under which `path` is written: the name beside it is always the same,
/// so that what an interrupted process leaves there is overwritten by the next.
pub(crate) fn replace(path: &Path, content: &[u8], sync: Sync) -> Result<(), CoreError> {
    let beside = beside(path);
    let write = || -> io::Result<()> {
        // What is in the way is not written to: it could be a link.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create_private(&beside)?;
        file.write_all(content)?;
        if sync == Sync::Yes {
            file.sync_all()?;
        }
        std::fs::rename(&beside, path)
    };
    write().map_err(|source| {
        // The first failure is the one to tell of.
        drop(std::fs::remove_file(&beside));
        CoreError::Write { path: path.to_owned(), source }
    })
}

/// The name under which the new content of `path` is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn discard_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %folder.display(), %error, "left behind until the next sweep");
        }
        _ => {}
    }
}

/// Makes the content of a file outlast a power failure.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the names in a folder outlast a power failure.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    sync_file(path)
}
