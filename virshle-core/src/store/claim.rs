//! Claiming ids and names for machines, and staging a directory for each.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;
use virshle_net::{MacAddr, ServedSubnet};

use crate::fs::error::FileError;
use crate::fs::file::{Sync, create_directory, read_untrusted, write_new};
use crate::fs::lock::Lock;
use crate::model::definition::Definition;
use crate::model::definition::head::Head;
use crate::model::identity::Identity;
use crate::model::name::VmName;
use crate::store::error::StoreError;
use crate::store::layout::{CLAIM, DEFINITION, DIRECTORIES, LOCK, NEW, canonical};
use crate::store::sweep::discard_directory;
use crate::store::{CLAIM_TIMEOUT, Store, next_id};

/// The most of a claim that is read, in bytes.
const MAX_CLAIM: u64 = 4 << 10;

/// A machine that is being created: its id and name are taken, its directory is there.
#[derive(Debug)]
#[must_use = "a staged machine is swept when its lock ends"]
pub(crate) struct Staged {
    pub(crate) id: u64,
    pub(crate) uuid: Uuid,
    pub(crate) name: VmName,
    pub(crate) directory: PathBuf,
    /// The MAC addresses of the machines that were there before.
    pub(crate) taken_macs: Arc<HashSet<MacAddr>>,
    /// Its addresses on the managed network, in the order of [`Pool::nets`].
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) lock: Lock,
}

/// The managed network, of which new machines get addresses.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) subnet: ServedSubnet,
    pub(crate) bridge: String,
    /// The interfaces of a machine that get one: their names.
    pub(crate) nets: Vec<String>,
}

impl Pool {
    /// The addresses of the machine `name`: each follows from the name, and from its interface's unless it is
    /// the first.
    fn addresses(&self, name: &VmName, taken: &mut Taken) -> Result<Vec<Ipv4Addr>, StoreError> {
        let mut addresses = Vec::new();
        for (place, net) in self.nets.iter().enumerate() {
            let host = name.host_name().to_ascii_lowercase();
            let key = if place == 0 { host } else { format!("{host}/{net}") };
            let identity = |ip: Ipv4Addr| Identity::address(&self.bridge, None, ip.into());
            let free = self.subnet.address_of(&key, |ip| taken.identities.contains(&identity(ip)));
            let Some(ip) = free else {
                let machines = self.subnet.capacity();
                return Err(StoreError::NoAddress { network: self.subnet.to_string(), machines });
            };
            taken.identities.insert(identity(ip));
            addresses.push(ip);
        }
        Ok(addresses)
    }
}

/// What is not free any more.
#[derive(Debug, Default)]
struct Taken {
    /// Those of all machines, where they are asked for.
    identities: HashSet<Identity>,
    wants_identities: bool,
    names: HashSet<VmName>,
    highest_id: u64,
    macs: HashSet<MacAddr>,
    /// What the new machine is to have, and the first that has it.
    wanted: Vec<Identity>,
    held: Option<(Identity, VmName)>,
}

impl Store {
    /// Claims ids and names for `count` machines and creates a directory to stage each in.
    ///
    /// One machine gets `name` itself, several get `name-1`, `name-2`, …; without a name each
    /// gets a random one. None of the identities `fixed` may be another machine's, and each gets its addresses
    /// of `pool`.
    pub(crate) fn claim(
        &self,
        count: u32,
        name: Option<&VmName>,
        fixed: &[Identity],
        pool: Option<&Pool>,
    ) -> Result<Vec<Staged>, StoreError> {
        self.ensure()?;
        let _lock = Lock::acquire(&self.root().join(LOCK), CLAIM_TIMEOUT)?;
        let mut taken = self.taken(fixed, pool.is_some())?;
        taken.identities.extend(fixed.iter().cloned());
        if let Some((identity, vm)) = taken.held {
            return Err(StoreError::IdentityTaken { identity: identity.to_string(), vm });
        }
        let mut names = Vec::new();
        for number in 1..=count {
            let wanted = match name {
                None => VmName::random(&taken.names),
                Some(name) if count == 1 => name.clone(),
                Some(name) => format!("{name}-{number}")
                    .parse()
                    .map_err(|source| StoreError::Name { name: name.to_string(), source })?,
            };
            if !taken.names.insert(wanted.clone()) {
                return Err(StoreError::NameTaken { name: wanted });
            }
            let addresses = match pool {
                Some(pool) => pool.addresses(&wanted, &mut taken)?,
                None => Vec::new(),
            };
            names.push((wanted, addresses));
        }
        let first =
            next_id::read(self.root())?.unwrap_or(1).max(taken.highest_id.saturating_add(1));
        next_id::write(self.root(), first.saturating_add(count.into()))?;
        let macs = Arc::new(taken.macs);
        let mut staged = Vec::new();
        for (id, (name, addresses)) in (first..).zip(names) {
            let of_pool = pool.iter().flat_map(|pool| {
                addresses.iter().map(|ip| Identity::address(&pool.bridge, None, (*ip).into()))
            });
            let identities: Vec<Identity> = fixed.iter().cloned().chain(of_pool).collect();
            match self.stage(id, name, &macs, &identities, addresses) {
                Ok(one) => staged.push(one),
                Err(error) => {
                    staged.into_iter().for_each(|one| self.discard(one));
                    return Err(error);
                }
            }
        }
        Ok(staged)
    }

    /// Lets `give` record addresses of `pool` for the machine `name`, which exists, and whose lock the caller
    /// holds: until that is done no other machine gets them.
    pub(crate) fn with_addresses(
        &self,
        name: &VmName,
        pool: &Pool,
        give: impl FnOnce(&Self, &[Ipv4Addr]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _lock = Lock::acquire(&self.root().join(LOCK), CLAIM_TIMEOUT)?;
        let mut taken = self.taken(&[], true)?;
        let addresses = pool.addresses(name, &mut taken)?;
        give(self, &addresses)
    }

    /// What machines have taken, and those that are being created right now.
    fn taken(&self, wanted: &[Identity], all: bool) -> Result<Taken, StoreError> {
        let mut taken =
            Taken { wanted: wanted.to_vec(), wants_identities: all, ..Taken::default() };
        let mut dir = self.dir()?;
        for entry in self.entries()? {
            let directory = self.machines().join(&entry);
            let head = if let Some(uuid) = entry.strip_prefix(NEW).and_then(canonical) {
                // A process that died while creating it has no claim any more.
                if Lock::acquire_if_free(&directory.join(LOCK))?.is_some() {
                    continue;
                }
                // Between the definition and the rename there is no claim any more.
                match read_claim(&directory) {
                    None => match taken.read(&directory)? {
                        None => taken.read(&self.directory(uuid))?,
                        staged => staged,
                    },
                    Some((id, name, identities)) => {
                        taken.meet(&name, identities.into_iter());
                        Some((id, name))
                    }
                }
            } else if let Some(uuid) = canonical(&entry) {
                match dir.definition(uuid).ok().and_then(|text| taken.note(text)) {
                    None => taken.read(&directory)?,
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

    fn stage(
        &self,
        id: u64,
        name: VmName,
        macs: &Arc<HashSet<MacAddr>>,
        identities: &[Identity],
        addresses: Vec<Ipv4Addr>,
    ) -> Result<Staged, StoreError> {
        let uuid = Uuid::new_v4();
        let directory = self.machines().join(format!("{NEW}{uuid}"));
        let create = |path: &Path| create_directory(path, 0o750).map_err(FileError::writing(path));
        let populate = || {
            create(&directory)?;
            for name in DIRECTORIES {
                create(&directory.join(name))?;
            }
            let lock = Lock::acquire(&directory.join(LOCK), CLAIM_TIMEOUT)?;
            let mut claim = format!("{id} {name}\n");
            claim.extend(identities.iter().map(|identity| format!("{identity}\n")));
            write_new(&directory.join(CLAIM), claim.as_bytes(), Sync::No)?;
            Ok::<_, StoreError>(lock)
        };
        match populate() {
            Ok(lock) => {
                let taken_macs = Arc::clone(macs);
                Ok(Staged { id, uuid, name, directory, taken_macs, addresses, lock })
            }
            Err(error) => {
                discard_directory(&directory, None);
                Err(error)
            }
        }
    }
}

impl Taken {
    /// Reads the definition in `directory`, if there is one: its id and name, and notes its addresses.
    ///
    /// One that makes no sense keeps no machine from being created. One that can't be read just now
    /// does: its name would be given twice.
    fn read(&mut self, directory: &Path) -> Result<Option<(u64, VmName)>, StoreError> {
        let path = directory.join(DEFINITION);
        match crate::model::definition::read(&path) {
            Ok(text) => Ok(self.note(&text)),
            Err(FileError::Read { source, .. })
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
            Err(error) => Err(error.into()),
        }
    }

    /// Takes id and name out of a definition, and notes its addresses.
    fn note(&mut self, text: &str) -> Option<(u64, VmName)> {
        let head = Head::parse(text)?;
        // A definition is written by this crate, a key to a line: no need to understand the rest.
        let macs = text.lines().filter_map(|line| line.strip_prefix("mac = "));
        self.macs
            .extend(macs.filter_map(|mac| mac.trim_matches(['"', '\'']).parse::<MacAddr>().ok()));
        if self.wants_identities || !self.wanted.is_empty() {
            if let Some(definition) = Definition::parse(text) {
                self.meet(&head.name, Identity::all_of(&definition));
            }
        }
        Some((head.id, head.name))
    }

    /// Notes whether the machine `name` has what the new one is to have.
    fn meet(&mut self, name: &VmName, identities: impl Iterator<Item = Identity>) {
        for identity in identities {
            if self.held.is_none() && self.wanted.contains(&identity) {
                self.held = Some((identity.clone(), name.clone()));
            }
            if self.wants_identities {
                self.identities.insert(identity);
            }
        }
    }
}

/// The id, the name, and what only this machine can have.
fn read_claim(directory: &Path) -> Option<(u64, VmName, Vec<Identity>)> {
    let text = String::from_utf8(read_untrusted(&directory.join(CLAIM), MAX_CLAIM).ok()?).ok()?;
    let mut lines = text.lines();
    let (id, name) = lines.next()?.trim().split_once(' ')?;
    Some((id.parse().ok()?, name.parse().ok()?, lines.map(Identity::of_claim).collect()))
}
