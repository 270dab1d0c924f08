//! Making machines from a template.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use uuid::Uuid;
use virshle_disk::{CloneMode, CloneRequest, Disk};
use virshle_net::MacAddr;
use virshle_template::{Boot as TemplateBoot, DiskTemplate, NetTemplate, VmTemplate};

use crate::error::CoreError;
use crate::fs::in_parallel::in_parallel;
use crate::images;
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::machine::vm::{net_socket, vsock};
use crate::model::definition::Definition;
use crate::model::definition::{Boot, DiskDefinition, NetDefinition, NetKind};
use crate::model::name::VmName;
use crate::provision::{Parts, Provision};
use crate::store::Staged;

/// A wish for machines.
#[derive(Clone, Debug)]
#[must_use = "`Node::create` fulfils it"]
pub struct CreateRequest {
    template: String,
    count: u32,
    name: Option<VmName>,
    provision: Provision,
}

/// How far the copy of a disk has come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyProgress<'a> {
    /// The machine.
    pub vm: &'a VmName,
    /// The disk.
    pub disk: &'a str,
    /// Bytes copied.
    pub done_bytes: u64,
    /// Bytes to copy.
    pub total_bytes: u64,
}

impl CreateRequest {
    /// Asks for one machine from the template `template`.
    pub fn new(template: impl Into<String>) -> Self {
        Self { template: template.into(), count: 1, name: None, provision: Provision::Template }
    }

    /// Asks for `count` machines.
    pub fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Names the machine; several get `name-1`, `name-2`, …
    pub fn name(mut self, name: VmName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets where the user data comes from.
    pub fn provision(mut self, provision: Provision) -> Self {
        self.provision = provision;
        self
    }
}

impl Node {
    /// Makes the machines that are asked for, stopped. Each appears whole or not at all.
    ///
    /// `on_copy` hears of disks that have to be copied; a reflink is over before there is
    /// anything to tell.
    ///
    /// # Errors
    ///
    /// If nothing could be begun: no such template, its images missing, a name that is taken.
    /// What happens to a single machine afterwards is in its place in the list.
    pub fn create(
        &self,
        request: &CreateRequest,
        on_copy: &(dyn Fn(CopyProgress<'_>) + Sync),
    ) -> Result<Vec<Result<Vm, CoreError>>, CoreError> {
        let template = self.config().template(&request.template)?;
        self.check_files(template)?;
        // Until the machines are made, and their definitions name the images they depend on.
        let _held = images::hold(self, &self.images_of(template))?;
        self.check_sockets(template)?;
        let parts = Parts::read(&request.provision, template)?;
        self.store().sweep()?;
        let staged = self.store().claim(request.count, request.name.as_ref())?;
        Ok(in_parallel(staged, |staged| self.create_one(template, &parts, staged, on_copy)))
    }

    fn create_one(
        &self,
        template: &VmTemplate,
        parts: &Parts,
        staged: Staged,
        on_copy: &(dyn Fn(CopyProgress<'_>) + Sync),
    ) -> Result<Vm, CoreError> {
        let made = self.define(template, parts, &staged, on_copy);
        match made {
            Ok(definition) => {
                self.store().commit(staged, &definition)?;
                tracing::info!(vm = %definition.name, id = definition.id, "created");
                Ok(Vm::new(self.clone(), definition))
            }
            Err(error) => {
                self.store().discard(staged);
                Err(error)
            }
        }
    }

    /// Makes the disks in the staged folder, and the definition that names them.
    fn define(
        &self,
        template: &VmTemplate,
        parts: &Parts,
        staged: &Staged,
        on_copy: &(dyn Fn(CopyProgress<'_>) + Sync),
    ) -> Result<Definition, CoreError> {
        let mut disks = Vec::new();
        for disk in &template.disks {
            let path = staged.folder.join("disk").join(&disk.name);
            let made = self.make_disk(disk, &path, &staged.name, on_copy).map_err(|source| {
                CoreError::Disk { vm: staged.name.clone(), disk: disk.name.clone(), source }
            })?;
            disks.push(DiskDefinition {
                name: disk.name.clone(),
                format: made.format.to_string(),
                size_bytes: made.size_bytes,
                clone: made.method.to_string(),
                source: made.source,
                readonly: disk.readonly,
            });
        }
        let nets: Vec<NetDefinition> = template
            .nets
            .iter()
            .enumerate()
            .map(|(index, net)| self.define_net(net, index, staged))
            .collect::<Result<_, _>>()?;
        let has_seed = parts.wants_seed(template);
        if has_seed {
            disks.push(seed(template, parts, staged, &nets)?);
        }
        Ok(Definition {
            format: Definition::FORMAT,
            id: staged.id,
            uuid: staged.uuid,
            name: staged.name.clone(),
            template: template.name.clone(),
            created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            vcpus: template.vcpus.boot,
            max_vcpus: template.vcpus.max,
            memory_bytes: template.memory.size.bytes(),
            max_memory_bytes: template.memory.max.map(|max| max.bytes()),
            hugepages: template.memory.hugepages,
            autostart: template.autostart,
            ssh_user: parts.user().filter(|_| has_seed),
            boot: boot(&template.boot),
            disks,
            nets,
        })
    }
}

impl Node {
    /// The image that a disk is made from: a file of the user's, or one of the cache.
    pub(crate) fn source(&self, disk: &DiskTemplate) -> Option<PathBuf> {
        let cached = || disk.image.as_ref().map(|name| self.cache().join(name));
        disk.source.clone().or_else(cached)
    }

    /// The images that the template's disks are made from.
    fn images_of(&self, template: &VmTemplate) -> Vec<PathBuf> {
        template.disks.iter().filter_map(|disk| self.source(disk)).collect()
    }

    /// Makes sure that what the template names can be opened, before anything is made.
    fn check_files(&self, template: &VmTemplate) -> Result<(), CoreError> {
        for name in template.disks.iter().filter_map(|disk| disk.image.as_ref()) {
            images::existing(self, name)?;
        }
        let mut files = self.images_of(template);
        match &template.boot {
            TemplateBoot::Firmware(path) => files.extend(path.clone()),
            TemplateBoot::Kernel { kernel, initramfs, .. } => {
                files.push(kernel.clone());
                files.extend(initramfs.clone());
            }
        }
        for path in files {
            crate::fs::source_file::check(&path).map_err(|source| CoreError::TemplateImage {
                template: template.name.clone(),
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Makes sure that the machine's sockets will have names that a socket can have.
    fn check_sockets(&self, template: &VmTemplate) -> Result<(), CoreError> {
        let folder = self.store().folder(Uuid::nil());
        let longest = template
            .nets
            .iter()
            .map(|net| net_socket(&folder, &net.name))
            .chain([vsock(&folder)])
            .max_by_key(|path| path.as_os_str().len());
        match longest {
            Some(path) if path.as_os_str().len() > MAX_SOCKET_PATH => {
                Err(CoreError::SocketPath { path, most: MAX_SOCKET_PATH })
            }
            _ => Ok(()),
        }
    }

    fn make_disk(
        &self,
        disk: &DiskTemplate,
        path: &Path,
        vm: &VmName,
        on_copy: &(dyn Fn(CopyProgress<'_>) + Sync),
    ) -> Result<Disk, virshle_disk::DiskError> {
        let Some(source) = self.source(disk) else {
            // A template's disk without a source has a size: the template's own check.
            let size = disk.size.map_or(0, |size| size.bytes());
            return virshle_disk::create_empty(path, size);
        };
        let mut report = |progress: virshle_disk::Progress| {
            on_copy(CopyProgress {
                vm,
                disk: &disk.name,
                done_bytes: progress.done_bytes,
                total_bytes: progress.total_bytes,
            });
        };
        let mut request =
            CloneRequest::new(&source, path).mode(clone_mode(disk.clone)).on_progress(&mut report);
        if let Some(size) = disk.size {
            request = request.size_bytes(size.bytes());
        }
        request.run()
    }

    fn define_net(
        &self,
        net: &NetTemplate,
        index: usize,
        staged: &Staged,
    ) -> Result<NetDefinition, CoreError> {
        let kind = net_kind(net.kind);
        Ok(NetDefinition {
            name: net.name.clone(),
            kind,
            mac: self.mac(net, staged)?,
            bridge: match (kind, &net.link) {
                (NetKind::Macvtap, Some(link)) => link.clone(),
                _ => self.config().network.bridge.clone(),
            },
            port: port_name(staged.id, &net.name, index, kind),
            vlan: net.vlan,
            mtu_bytes: net.mtu,
            addresses: net.addresses.iter().map(ToString::to_string).collect(),
        })
    }

    /// The template's address, or a random one that no machine of this node has.
    fn mac(&self, net: &NetTemplate, staged: &Staged) -> Result<String, CoreError> {
        if let Some(mac) = &net.mac {
            return Ok(mac.clone());
        }
        loop {
            let mac = MacAddr::random().map_err(|source| CoreError::Random { source })?.to_string();
            if !staged.taken_macs.contains(&mac) {
                return Ok(mac);
            }
        }
    }
}

/// Makes the seed, under a name that no disk of the template has.
fn seed(
    template: &VmTemplate,
    parts: &Parts,
    staged: &Staged,
    nets: &[NetDefinition],
) -> Result<DiskDefinition, CoreError> {
    let is_free = |name: &String| template.disks.iter().all(|disk| disk.name != *name);
    let names = ["seed".to_owned()].into_iter().chain((1..).map(|number| format!("seed{number}")));
    let name = names.into_iter().find(is_free).unwrap_or_default();
    let path = staged.folder.join("disk").join(&name);
    let disk =
        parts.write_seed(&path, staged.uuid, &staged.name, template, nets).map_err(|source| {
            CoreError::Disk { vm: staged.name.clone(), disk: name.clone(), source }
        })?;
    Ok(DiskDefinition {
        name,
        format: disk.format.to_string(),
        size_bytes: disk.size_bytes,
        clone: disk.method.to_string(),
        source: None,
        readonly: true,
    })
}

/// The longest path of a socket, in bytes: `sun_path` of unix(7) less its NUL.
const MAX_SOCKET_PATH: usize = 107;

/// The name of a port: it says whose it is.
///
/// A device in the host's kernel has at most 15 bytes. A name that would not fit is numbered
/// instead, as a cut one could be another's too.
fn port_name(id: u64, net: &str, index: usize, kind: NetKind) -> String {
    let name = format!("vm{id}-{net}");
    if kind == NetKind::Vhost || name.len() <= virshle_net::InterfaceName::MAX_LEN {
        name
    } else {
        // No interface of a template is called like this: it has no hyphen after the id.
        format!("vm{id}n{index}")
    }
}

fn boot(boot: &TemplateBoot) -> Boot {
    match boot {
        TemplateBoot::Kernel { kernel, initramfs, cmdline } => Boot::Kernel {
            path: kernel.clone(),
            initramfs: initramfs.clone(),
            cmdline: cmdline.clone(),
        },
        TemplateBoot::Firmware(path) => Boot::Firmware { path: path.clone() },
    }
}

fn clone_mode(mode: virshle_template::CloneMode) -> CloneMode {
    use virshle_template::CloneMode as Asked;
    match mode {
        Asked::Reflink => CloneMode::Reflink,
        Asked::Copy => CloneMode::Copy,
        Asked::Overlay => CloneMode::Overlay,
        Asked::Auto => CloneMode::Auto,
    }
}

fn net_kind(kind: virshle_template::NetKind) -> NetKind {
    use virshle_template::NetKind as Asked;
    match kind {
        Asked::Tap => NetKind::Tap,
        Asked::Macvtap => NetKind::Macvtap,
        Asked::Vhost => NetKind::Vhost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_names_fit_the_kernel_and_are_never_cut() {
        assert_eq!(port_name(1, "main", 0, NetKind::Vhost), "vm1-main");
        assert_eq!(port_name(1, "main", 0, NetKind::Tap), "vm1-main");
        assert_eq!(port_name(12, "management", 0, NetKind::Tap), "vm12-management");
        assert_eq!(port_name(123, "management", 1, NetKind::Tap), "vm123n1");
        assert_eq!(port_name(123, "management", 1, NetKind::Vhost), "vm123-management");
    }
}
