//! Listings: which machines there are, and what each is doing.

use uuid::Uuid;
use virshle_template::TemplateError;

use crate::address::host_addresses::HostAddresses;
use crate::fs::in_parallel::in_parallel;
use crate::machine::error::MachineError;
use crate::machine::node::Node;
use crate::machine::status::{STOPPED, Status};
use crate::machine::vm::Vm;
use crate::model::definition::head::Head;
use crate::model::name::VmName;
use crate::model::selector::{SelectError, Selection};
use crate::model::state::VmState;
use crate::observe::info::{VmInfo, info_at};
use crate::store::Broken;
use crate::store::error::StoreError;

/// What a listing found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The machines, by id.
    pub vms: Vec<VmSummary>,
    /// Directories that hold a machine whose definition can't be read.
    pub broken: Vec<StoreError>,
}

impl IntoIterator for Listing {
    type Item = VmSummary;
    type IntoIter = std::vec::IntoIter<VmSummary>;

    /// The machines, by id. What could not be read is in [`Listing::broken`].
    fn into_iter(self) -> Self::IntoIter {
        self.vms.into_iter()
    }
}

impl<'a> IntoIterator for &'a Listing {
    type Item = &'a VmSummary;
    type IntoIter = std::slice::Iter<'a, VmSummary>;

    fn into_iter(self) -> Self::IntoIter {
        self.vms.iter()
    }
}

impl Listing {
    /// The machines, by id.
    pub fn iter(&self) -> std::slice::Iter<'_, VmSummary> {
        self.vms.iter()
    }
}

/// A machine as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmSummary {
    /// The id.
    pub id: u64,
    /// The uuid.
    pub uuid: Uuid,
    /// The name.
    pub name: VmName,
    /// The template it was created from.
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

/// What a machine is called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmIdentity {
    /// The id.
    pub id: u64,
    /// The uuid.
    pub uuid: Uuid,
    /// The name.
    pub name: VmName,
}

impl VmSummary {
    fn new(head: &Head, status: Status) -> Self {
        Self {
            id: head.id,
            uuid: head.uuid,
            name: head.name.clone(),
            template: head.template.clone(),
            vcpus: head.vcpus,
            memory_bytes: head.memory_bytes,
            state: status.state,
            pid: status.pid,
        }
    }
}

impl Vm {
    /// The machine as a listing shows it.
    pub fn summary(&self) -> VmSummary {
        VmSummary::new(&Head::from(self.definition()), self.status())
    }
}

impl Node {
    /// Lists the machines that `selection` means, by id.
    ///
    /// # Errors
    ///
    /// If the directory can't be read, or a selector means no machine or more than one.
    pub fn list(&self, selection: &Selection) -> Result<Listing, MachineError> {
        list(self, selection)
    }

    /// The name of each machine, by id. No machine is asked what it is doing, which is what a listing
    /// takes most of its time for.
    ///
    /// # Errors
    ///
    /// If the directory can't be read. A machine whose definition can't be read is left out.
    pub fn names(&self) -> Result<Vec<VmIdentity>, MachineError> {
        let mut heads = self.store().find()?.heads;
        heads.sort_by_key(|head| head.id);
        let identity = |Head { id, uuid, name, .. }| VmIdentity { id, uuid, name };
        Ok(heads.into_iter().map(identity).collect())
    }

    /// Everything about each of the machines of a listing, in its order.
    ///
    /// Each is read when its turn comes, so that a long listing is never whole in memory. One that
    /// was removed meanwhile is left out.
    pub fn infos<'a>(
        &'a self,
        vms: &'a [VmSummary],
    ) -> impl Iterator<Item = Result<VmInfo, MachineError>> + 'a {
        let addresses =
            if vms.is_empty() { HostAddresses::default() } else { self.host_addresses() };
        let mut dir = self.store().dir().ok();
        vms.iter().filter_map(move |vm| {
            let definition = match self.store().read_of_many(dir.as_mut()?, vm.uuid) {
                Err(error) if error.is_absent() => return None,
                definition => definition,
            };
            let status = Status { state: vm.state, pid: vm.pid };
            let info = |definition| info_at(&Vm::new(self.clone(), definition), status, &addresses);
            Some(definition.map(info).map_err(MachineError::from))
        })
    }

    /// Finds the machines that `selection` means, by id.
    ///
    /// # Errors
    ///
    /// As [`Node::list`], and if the definition of one that is named can't be read. One that is only
    /// meant by a filter is left out, with a warning.
    pub fn select(&self, selection: &Selection) -> Result<Vec<Vm>, MachineError> {
        let mut found = self.store().find()?;
        check_templates(self, selection, &found.heads)?;
        let chosen = choose(self, selection, &found.heads, &mut found.broken)?;
        if selection.named.is_empty() && !selection.is_none() {
            // Which of the filters they would fit nobody knows.
            for Broken { uuid, error } in &found.broken {
                tracing::warn!(%uuid, %error, "left out");
            }
        }
        // No machine is asked what does not matter.
        let fits = match selection.states.is_empty() {
            true => vec![true; chosen.len()],
            false => {
                let statuses = statuses(self, &chosen);
                statuses.iter().map(|status| selection.fits_state(status.state)).collect()
            }
        };
        chosen
            .into_iter()
            .zip(fits)
            .filter_map(|(head, fits)| fits.then_some(head))
            .filter_map(|head| match self.vm(head.uuid) {
                // One that is not named does not keep the others from being worked on.
                Err(error) if selection.named.is_empty() => {
                    tracing::warn!(vm = %head.name, %error, "left out");
                    None
                }
                result => Some(result),
            })
            .collect()
    }
}

/// Refuses a template that neither the configuration nor any machine has: a slip is no empty listing.
/// One of a machine counts although the configuration has it no more.
fn check_templates(node: &Node, selection: &Selection, heads: &[Head]) -> Result<(), SelectError> {
    let config = node.config();
    let is_unknown = |name: &&String| {
        !heads.iter().any(|head| head.template == **name)
            && matches!(config.template(name), Err(TemplateError::NotFound { .. }))
    };
    let Some(name) = selection.templates.iter().find(is_unknown) else { return Ok(()) };
    let of_machines = heads.iter().map(|head| head.template.clone());
    let mut known: Vec<String> =
        config.templates().map(|template| template.name.clone()).chain(of_machines).collect();
    known.sort();
    known.dedup();
    Err(SelectError::NoSuchTemplate { name: name.clone(), known })
}

pub(crate) fn list(node: &Node, selection: &Selection) -> Result<Listing, MachineError> {
    let mut found = node.store().find()?;
    check_templates(node, selection, &found.heads)?;
    let chosen = choose(node, selection, &found.heads, &mut found.broken)?;
    let statuses = statuses(node, &chosen);
    let vms = chosen
        .into_iter()
        .zip(statuses)
        .filter(|(_, status)| selection.fits_state(status.state))
        .map(|(head, status)| VmSummary::new(head, status))
        .collect();
    Ok(Listing { vms, broken: found.broken.into_iter().map(|one| one.error).collect() })
}

/// The machines of `heads` that are meant. One of `broken` that is meant is the error: it exists, and
/// nothing can be done with it.
fn choose<'a>(
    node: &Node,
    selection: &Selection,
    heads: &'a [Head],
    broken: &mut Vec<Broken>,
) -> Result<Vec<&'a Head>, MachineError> {
    match selection.choose(heads) {
        Err(SelectError::NoSuchVm { word, known, .. }) => {
            match broken.iter().position(|one| node.store().is_called(one.uuid, &word)) {
                Some(at) => Err(broken.swap_remove(at).error.into()),
                None => {
                    let unreadable = broken.len();
                    Err(SelectError::NoSuchVm { word, known, unreadable }.into())
                }
            }
        }
        chosen => Ok(chosen?),
    }
}

/// What each of the machines is doing. Only those that may run are asked, all at once: most
/// have no socket, and a look is enough.
fn statuses(node: &Node, heads: &[&Head]) -> Vec<Status> {
    let mut statuses = vec![STOPPED; heads.len()];
    // Without the directory, nothing of the machines is left.
    let Ok(dir) = node.store().dir() else { return statuses };
    let asked: Vec<usize> =
        (0..heads.len()).filter(|index| dir.may_run(heads[*index].uuid)).collect();
    let answers = in_parallel(asked, |index| (index, node.status(heads[index].uuid)));
    for (index, status) in answers {
        statuses[index] = status;
    }
    statuses
}
