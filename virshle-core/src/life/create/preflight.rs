//! Checks before a creation: what the template names can be opened, and the names will fit.

use std::io;
use std::path::Path;

use uuid::Uuid;
use virshle_disk::DiskError;
use virshle_template::{Boot, NetKind, VmTemplate};

use crate::fs::source_file;
use crate::images;
use crate::life::create::disks::images_of;
use crate::life::error::CreateError;
use crate::machine::node::Node;
use crate::store::layout::{MAX_SOCKET_PATH, net_socket, passt_socket, vsock};

/// Makes sure that what the template names can be opened, before anything is created.
pub(super) fn check_files(node: &Node, template: &VmTemplate) -> Result<(), CreateError> {
    for name in template.disks.iter().filter_map(|disk| disk.image.as_ref()) {
        images::existing(node, name)?;
    }
    let missing = |path: &Path, source| CreateError::MissingImage {
        template: template.name.clone(),
        path: path.to_owned(),
        source,
    };
    for path in images_of(node, template) {
        source_file::check(&path).map_err(|source| missing(&path, source))?;
        if let Err(DiskError::NotAnImage { what, .. }) = virshle_disk::refuse_text(&path) {
            let what = io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}"));
            return Err(missing(&path, what));
        }
    }
    let mut files = Vec::new();
    match &template.boot {
        Boot::Firmware(path) => files.extend(path.clone()),
        Boot::Kernel { kernel, initramfs, .. } => {
            files.push(kernel.clone());
            files.extend(initramfs.clone());
        }
    }
    for path in files {
        source_file::check(&path).map_err(|source| missing(&path, source))?;
    }
    Ok(())
}

/// Makes sure that the machine's sockets will have names that a socket can have.
pub(super) fn check_sockets(node: &Node, template: &VmTemplate) -> Result<(), CreateError> {
    let directory = node.store().directory(Uuid::nil());
    let longest = template
        .nets
        .iter()
        .map(|net| match net.kind {
            NetKind::User => passt_socket(&directory, &net.name),
            _ => net_socket(&directory, &net.name),
        })
        .chain([vsock(&directory)])
        .max_by_key(|path| path.as_os_str().len());
    match longest {
        Some(path) if path.as_os_str().len() > MAX_SOCKET_PATH => {
            Err(CreateError::SocketPath { path, most: MAX_SOCKET_PATH })
        }
        _ => Ok(()),
    }
}
