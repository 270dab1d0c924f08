//! The node: this host as a home of machines.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use virshle_template::{Config, NodeSettings};

use crate::address::host_addresses::Sightings;
use crate::error::CoreError;
use crate::fs::in_parallel::in_parallel;
use crate::machine::status::{STOPPED, Status, status};
use crate::machine::vm::Vm;
use crate::model::definition::Head;
use crate::model::selector::Selection;
use crate::model::state::VmState;
use crate::observe::info::VmInfo;
use crate::store::Store;

/// This host as a home of machines: the configuration and the folder they live in.
///
/// Opening one touches nothing; every operation reads the folder anew. Clones are cheap and share
/// the configuration.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    store: Store,
    host: String,
}

/// What a listing found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The machines, by id.
    pub vms: Vec<VmSummary>,
    /// Folders that hold a machine whose definition can't be read.
    pub broken: Vec<CoreError>,
}

/// A machine as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmSummary {
    /// The id.
    pub id: u64,
    /// The uuid.
    pub uuid: uuid::Uuid,
    /// The name.
    pub name: crate::model::name::VmName,
    /// The template it was made from.
    pub template: String,
    /// vCPUs at boot.
    pub vcpus: u32,
    /// Memory at boot, in bytes.
    pub memory_bytes: u64,
    /// What it is doing.
    pub state: VmState,
    /// cloud-hypervisor's process.
    pub pid: Option<u32>,
}

impl Node {
    /// The node that `config` describes, in `root` if one is given.
    pub fn new(config: Config, root: Option<&Path>) -> Self {
        let root = root
            .map(Path::to_owned)
            .or_else(|| config.node.root.clone())
            .unwrap_or_else(NodeSettings::default_root);
        // Sockets are named by absolute paths, and so is everything in a definition.
        let root = std::path::absolute(&root).unwrap_or(root);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { inner: Arc::new(Inner { config, store: Store::new(root), host }) }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The folder the machines live in.
    pub fn root(&self) -> &Path {
        self.inner.store.root()
    }

    /// Where images are kept.
    pub fn cache(&self) -> PathBuf {
        self.inner.store.cache()
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// What the node calls itself: the host's name if the configuration says nothing else.
    pub fn alias(&self) -> &str {
        self.config().node.alias.as_deref().unwrap_or_else(|| self.host())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Lists the machines that `selection` means, by id.
    ///
    /// # Errors
    ///
    /// If the folder can't be read, or a selector means no machine or more than one.
    pub fn list(&self, selection: &Selection) -> Result<Listing, CoreError> {
        let found = self.store().find()?;
        let chosen = selection.choose(&found.heads)?;
        let statuses = self.statuses(&chosen);
        let vms = chosen
            .into_iter()
            .zip(statuses)
            .filter(|(_, status)| selection.fits_state(status.state))
            .map(|(head, status)| VmSummary {
                id: head.id,
                uuid: head.uuid,
                name: head.name.clone(),
                template: head.template.clone(),
                vcpus: head.vcpus,
                memory_bytes: head.memory_bytes,
                state: status.state,
                pid: status.pid,
            })
            .collect();
        Ok(Listing { vms, broken: found.broken })
    }

    /// Everything about each of the machines of a listing, in its order.
    ///
    /// Each is read when its turn comes, so that a long listing is never whole in memory. One that
    /// was removed meanwhile is left out.
    pub fn infos<'a>(
        &'a self,
        vms: &'a [VmSummary],
    ) -> impl Iterator<Item = Result<VmInfo, CoreError>> + 'a {
        let sightings = if vms.is_empty() { Sightings::default() } else { self.sightings() };
        let mut shelf = self.store().shelf().ok();
        vms.iter().filter_map(move |vm| {
            let definition = match self.store().read_of_many(shelf.as_mut()?, vm.uuid) {
                Err(CoreError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                    return None;
                }
                definition => definition,
            };
            let status = Status { state: vm.state, pid: vm.pid };
            let info = |definition| Vm::new(self.clone(), definition).info_at(status, &sightings);
            Some(definition.map(info))
        })
    }

    /// Finds the machines that `selection` means, by id.
    ///
    /// # Errors
    ///
    /// As [`Node::list`], and if the definition of one that is named can't be read. One that is only
    /// meant by a filter is left out, with a warning.
    pub fn select(&self, selection: &Selection) -> Result<Vec<Vm>, CoreError> {
        let found = self.store().find()?;
        let chosen = selection.choose(&found.heads)?;
        // Nobody is asked what does not matter.
        let fits = match selection.states.is_empty() {
            true => vec![true; chosen.len()],
            false => {
                let statuses = self.statuses(&chosen);
                statuses.iter().map(|status| selection.fits_state(status.state)).collect()
            }
        };
        chosen
            .into_iter()
            .zip(fits)
            .filter_map(|(head, fits)| fits.then_some(head))
            .filter_map(|head| match self.vm(head.uuid) {
                // One that nobody named does not keep the others from being worked on.
                Err(error) if selection.named.is_empty() => {
                    tracing::warn!(vm = %head.name, %error, "left out");
                    None
                }
                result => Some(result),
            })
            .collect()
    }

    /// The machine with that uuid.
    ///
    /// # Errors
    ///
    /// If there is none, or its definition can't be read.
    pub fn vm(&self, uuid: uuid::Uuid) -> Result<Vm, CoreError> {
        match self.store().read(uuid) {
            Ok(definition) => Ok(Vm::new(self.clone(), definition)),
            Err(CoreError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Err(CoreError::NoSuchVm { word: uuid.to_string(), known: Vec::new() })
            }
            Err(error) => Err(error),
        }
    }

    /// What each of the machines is doing. Only those that may run are asked, all at once: most
    /// have no socket, and a look is enough.
    fn statuses(&self, heads: &[&Head]) -> Vec<Status> {
        let mut statuses = vec![STOPPED; heads.len()];
        // Without the folder, nothing of the machines is left.
        let Ok(shelf) = self.store().shelf() else { return statuses };
        let asked: Vec<usize> =
            (0..heads.len()).filter(|index| shelf.may_run(heads[*index].uuid)).collect();
        let answers = in_parallel(asked, |index| (index, self.status(heads[index].uuid)));
        for (index, status) in answers {
            statuses[index] = status;
        }
        statuses
    }

    pub(crate) fn status(&self, uuid: uuid::Uuid) -> Status {
        status(&self.store().folder(uuid), &self.config().hypervisor.program)
    }
}
