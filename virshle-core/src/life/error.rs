//! What can go wrong when machines are created or removed.

use std::io;
use std::path::PathBuf;

use virshle_disk::DiskError;
use virshle_image::ImageError;
use virshle_template::TemplateError;

use crate::failure::{ErrorKind, Failure, Remedy, Verdict};
use crate::fs::error::{FileError, immutable_hint};
use crate::images;
use crate::machine::error::MachineError;
use crate::model::name::VmName;
use crate::provision::error::{ProvisionError, template_verdict};
use crate::store::error::StoreError;

/// Why machines, or one of them, can't be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The configuration is wrong, or has no such template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The node's directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image of the cache.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file of a template is not there: the image of a disk, its firmware, its kernel.
    #[error("file {} of template {template:?} cannot be opened", .path.display())]
    MissingImage {
        /// The template.
        template: String,
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A disk of a machine can't be created.
    #[error("cannot create disk {disk:?} of machine {vm}")]
    Disk {
        /// The machine.
        vm: VmName,
        /// The disk.
        disk: String,
        /// Why.
        source: DiskError,
    },
    /// Several machines were asked for, of a template that only one can be created from.
    #[error("cannot create {count} machines of template {template:?}: all would have {identity}")]
    OneIdentity {
        /// The template.
        template: String,
        /// How many were asked for.
        count: u32,
        /// The MAC address, or the address and its network.
        identity: String,
    },
    /// A template's MAC address is none.
    #[error("network interface {net:?} of template {template:?} has no valid MAC address")]
    Mac {
        /// The template.
        template: String,
        /// The interface.
        net: String,
        /// Why.
        source: virshle_net::NetError,
    },
    /// A net publishes ports, and is on no managed network.
    #[error("net {net:?} of template {template:?} publishes ports, and is on no managed network")]
    NotManaged {
        /// The template.
        template: String,
        /// The interface.
        net: String,
    },
    /// A net has the address that is this host's on the managed network.
    #[error("net {net:?} of template {template:?} has the address {ip}, which is this host's")]
    HostsAddress {
        /// The template.
        template: String,
        /// The interface.
        net: String,
        /// The address.
        ip: std::net::IpAddr,
    },
    /// A name can't be the guest's host name.
    #[error("a machine cannot be named {name}: its guest would have no valid host name")]
    HostName {
        /// The name.
        name: VmName,
    },
    /// A machine's sockets would have longer names than sockets can have.
    #[error("{} would be the name of a socket, and has more than {most} bytes", .path.display())]
    SocketPath {
        /// The longest of the sockets.
        path: PathBuf,
        /// What a socket's name can have, in bytes.
        most: usize,
    },
    /// The kernel gives no random bytes.
    #[error("cannot get random bytes from the kernel")]
    Random {
        /// Why.
        source: io::Error,
    },
}

/// Why a machine can't be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// The machine itself.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A machine is removed, and some of its files are still there.
    #[error("machine {vm} is removed, but not all of its files: {}", .path.display())]
    Remains {
        /// The name it had.
        vm: VmName,
        /// The directory that is left.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<FileError> for CreateError {
    fn from(error: FileError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<ProvisionError> for CreateError {
    fn from(error: ProvisionError) -> Self {
        // One failure has one shape.
        match error {
            ProvisionError::File(error) => error.into(),
            ProvisionError::Template(error) => error.into(),
        }
    }
}

impl From<FileError> for RemoveError {
    fn from(error: FileError) -> Self {
        MachineError::from(error).into()
    }
}

impl From<StoreError> for RemoveError {
    fn from(error: StoreError) -> Self {
        MachineError::from(error).into()
    }
}

impl Failure for CreateError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Template(error) => template_verdict(error),
            Self::Store(error) => error.verdict(),
            Self::Image(error) => images::verdict(error),
            Self::MissingImage { source, .. } => {
                Verdict::new(images::unreadable_kind(source), "image-missing").text(
                    match source.kind() {
                        io::ErrorKind::PermissionDenied => {
                            "let this user read the file, and enter the directories above it"
                        }
                        _ => "correct its path in the template",
                    },
                )
            }
            Self::Disk { source, .. } => Verdict::failed("disk-failed").hint(source.hint()),
            Self::OneIdentity { .. } => Verdict::new(ErrorKind::Usage, "identity-fixed")
                .text("create one, or leave mac and address out of the template"),
            Self::Mac { source, .. } => {
                Verdict::new(ErrorKind::Config, "config-wrong").hint(source.hint())
            }
            Self::NotManaged { .. } => Verdict::new(ErrorKind::Config, "not-managed").text(
                "set [network] subnet = \"192.168.177.1/24\" and run v node init, or make it a net of type user",
            ),
            Self::HostsAddress { .. } => Verdict::new(ErrorKind::Config, "address-taken")
                .text("give the net another address of that network, or none"),
            Self::HostName { .. } => Verdict::new(ErrorKind::Usage, "name-unfit")
                .text("leave out the empty part between two dots"),
            Self::SocketPath { .. } => {
                Verdict::new(ErrorKind::Config, "path-too-long").remedy(Remedy::ShortenRoot)
            }
            Self::Random { .. } => Verdict::failed("random-failed"),
        }
    }
}

impl Failure for RemoveError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::Machine(error) => error.verdict(),
            Self::Remains { path, source, .. } => {
                let verdict = Verdict::failed("vm-remains");
                match immutable_hint(path, source) {
                    Some(hint) => verdict.text(hint),
                    None => verdict.remedy(Remedy::RepairNode),
                }
            }
        }
    }
}
