//! The disks of a machine that is being created, its seed included.

use std::path::{Path, PathBuf};

use virshle_disk::{CloneMode, CloneRequest, Disk, DiskError};
use virshle_template::{DiskTemplate, VmTemplate};

use crate::fs::file::{Sync, write_new};
use crate::guest::ssh::known_hosts;
use crate::images;
use crate::life::create::define::Creation;
use crate::life::create::progress::CopyProgress;
use crate::life::error::CreateError;
use crate::machine::node::Node;
use crate::model::definition::{DiskDefinition, NetDefinition};
use crate::provision::host_key::GuestHostKey;
use crate::store::layout;

/// The image that a disk is created from: a file of the user's, or one of the cache.
pub(crate) fn source(node: &Node, disk: &DiskTemplate) -> Option<PathBuf> {
    let cached = || disk.image.as_ref().map(|name| images::path(node, name));
    disk.source.clone().or_else(cached)
}

/// The images that the template's disks are created from.
pub(super) fn images_of(node: &Node, template: &VmTemplate) -> Vec<PathBuf> {
    template.disks.iter().filter_map(|disk| source(node, disk)).collect()
}

impl Creation<'_> {
    /// Creates the disks of the template.
    pub(super) fn disks(&self) -> Result<Vec<DiskDefinition>, CreateError> {
        let create = |disk: &DiskTemplate| {
            let path = layout::disk(&self.staged.directory, &disk.name);
            let created =
                self.disk(disk, &path).map_err(|source| self.failed(&disk.name, source))?;
            Ok(DiskDefinition {
                queues: disk.queues,
                ..defined(&disk.name, created, disk.readonly)
            })
        };
        self.template.disks.iter().map(create).collect()
    }

    fn disk(&self, disk: &DiskTemplate, path: &Path) -> Result<Disk, DiskError> {
        let Some(source) = source(self.node, disk) else {
            // A template's disk without a source has a size: the template's own check.
            let size = disk.size.map_or(0, |size| size.bytes());
            return virshle_disk::create_empty(path, size);
        };
        let mut report = |progress: virshle_disk::Progress| {
            (self.on_copy)(CopyProgress {
                vm: &self.staged.name,
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

    /// Creates the seed, under a name that no disk of the template has; and notes the key of the guest's
    /// ssh server that is in it, before anybody asks for one.
    pub(super) fn seed(&self, nets: &[NetDefinition]) -> Result<DiskDefinition, CreateError> {
        let is_free = |name: &String| self.template.disks.iter().all(|disk| disk.name != *name);
        let numbered = (1..).map(|number| format!("seed{number}"));
        let mut names = ["seed".to_owned()].into_iter().chain(numbered);
        let name = names.find(is_free).unwrap_or_default();
        let path = layout::disk(&self.staged.directory, &name);
        let (uuid, vm) = (self.staged.uuid, &self.staged.name);
        let key = self.parts.wants_host_key().then(|| GuestHostKey::generate(vm.as_str()));
        let key = key.transpose().map_err(|source| CreateError::Random { source })?;
        let created = self
            .parts
            .write_seed(&path, uuid, vm, self.template, nets, key.as_ref())
            .map_err(|source| self.failed(&name, source))?;
        let theirs = self.parts.host_keys();
        let public = key.iter().map(GuestHostKey::public).chain(theirs.iter().map(String::as_str));
        let lines: String = public.map(|key| known_hosts::seed_line(uuid, key)).collect();
        if !lines.is_empty() {
            let path = self.staged.directory.join(layout::KNOWN_HOSTS);
            write_new(&path, lines.as_bytes(), Sync::Yes)?;
        }
        Ok(DiskDefinition { source: None, ..defined(&name, created, true) })
    }

    fn failed(&self, disk: &str, source: DiskError) -> CreateError {
        CreateError::Disk { vm: self.staged.name.clone(), disk: disk.to_owned(), source }
    }
}

fn defined(name: &str, created: Disk, readonly: bool) -> DiskDefinition {
    DiskDefinition {
        name: name.to_owned(),
        format: created.format,
        size_bytes: created.size_bytes,
        clone: created.method,
        source: created.source,
        backing: created.backing_files,
        readonly,
        queues: None,
    }
}

fn clone_mode(mode: virshle_template::CloneMode) -> CloneMode {
    use virshle_template::CloneMode as Asked;
    match mode {
        Asked::Auto => CloneMode::Auto,
        Asked::Reflink => CloneMode::Reflink,
        Asked::Copy => CloneMode::Copy,
        Asked::Overlay => CloneMode::Overlay,
    }
}
