//! The definition of a machine that is being created, with the disks and interfaces that it names.

use virshle_template::VmTemplate;

use crate::life::create::progress::CopyProgress;
use crate::life::error::CreateError;
use crate::machine::node::Node;
use crate::model::definition::{Boot, Definition, LimitsDefinition};
use crate::model::timestamp::Timestamp;
use crate::provision::Parts;
use crate::store::claim::Staged;

/// A machine that is being created: what it is created from, and where.
pub(super) struct Creation<'a> {
    pub(super) node: &'a Node,
    pub(super) template: &'a VmTemplate,
    pub(super) parts: &'a Parts,
    pub(super) staged: &'a Staged,
    pub(super) on_copy: &'a (dyn Fn(CopyProgress<'_>) + Sync),
}

impl Creation<'_> {
    /// Creates the disks in the staged directory, and the definition that names them.
    pub(super) fn definition(&self) -> Result<Definition, CreateError> {
        let (template, staged) = (self.template, self.staged);
        let mut disks = self.disks()?;
        let nets = self.nets()?;
        let has_seed = self.parts.wants_seed(template);
        if has_seed {
            disks.push(self.seed(&nets)?);
        }
        Ok(Definition {
            format: Definition::FORMAT,
            id: staged.id,
            uuid: staged.uuid,
            name: staged.name.clone(),
            template: template.name.clone(),
            created: Timestamp::now(),
            vcpus: template.vcpus.boot,
            max_vcpus: template.vcpus.max,
            memory_bytes: template.memory.size.bytes(),
            max_memory_bytes: template.memory.max.map(|max| max.bytes()),
            hugepages: template.memory.hugepages,
            autostart: template.autostart,
            order: template.order,
            delay_seconds: template.delay_seconds,
            restart: template.restart,
            watchdog: template.watchdog,
            nested: template.nested,
            ssh_user: self.parts.user().filter(|_| has_seed),
            boot: Boot::from(&template.boot),
            limits: LimitsDefinition::from(&template.limits),
            disks,
            nets,
        })
    }
}
