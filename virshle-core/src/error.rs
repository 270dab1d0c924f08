//! What can go wrong with machines, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use virshle_disk::DiskError;
use virshle_hypervisor::HypervisorError;
use virshle_image::ImageError;
use virshle_net::NetError;
use virshle_template::TemplateError;

use crate::guest::ssh::SSH_PORT;
use crate::guest::wait::Awaited;
use crate::model::name::InvalidName;
use crate::model::name::VmName;
use crate::model::state::VmState;

/// What failed, for which machine or file. The cause is in `source`, the next step in
/// [`hint`](Self::hint).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// The configuration is wrong, or has no such template.
    #[error(transparent)]
    Template(TemplateError),
    /// A file or folder of the node can't be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder of the node can't be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A lock can't be taken, for another reason than that somebody holds it.
    #[error("cannot lock {}", .path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else changes the machine, or claims a name.
    #[error("{} is locked by {holder}, for more than {} s", .path.display(), .waited.as_secs())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// Who holds it, as he said.
        holder: String,
        /// How long this waited for it.
        waited: Duration,
    },
    /// A machine's definition can't be understood.
    #[error("{} is not the definition of a machine", .path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// A machine's definition was written by a later version.
    #[error(
        "{} has format {format}, written by a newer virshle; this one reads up to {known}",
        .path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        format: u32,
        /// The newest this version reads.
        known: u32,
    },
    /// A definition can't be written as TOML.
    #[error("cannot write the definition as TOML")]
    Encode {
        /// Why.
        source: toml::ser::Error,
    },
    /// Something can't be written as JSON.
    #[error("cannot write as JSON")]
    Json {
        /// Why.
        source: serde_json::Error,
    },
    /// A machine can't have that name.
    #[error("{name:?} cannot be a machine's name")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: InvalidName,
    },
    /// A machine of that name exists.
    #[error("a machine named {name} exists already")]
    NameTaken {
        /// The name.
        name: VmName,
    },
    /// No machine is meant by a word.
    #[error("no machine {word:?}")]
    NoSuchVm {
        /// The word.
        word: String,
        /// The machines there are.
        known: Vec<String>,
    },
    /// A word means more than one machine.
    #[error("{word:?} could mean {}", .candidates.join(" or "))]
    Ambiguous {
        /// The word.
        word: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
    /// A machine went away while waiting for it.
    #[error("machine {vm} was removed meanwhile")]
    Removed {
        /// Its name.
        vm: VmName,
    },
    /// A machine is removed, and some of its files are still there.
    #[error("machine {vm} is removed, but not all of its files: {}", .path.display())]
    Remains {
        /// The name it had.
        vm: VmName,
        /// The folder that is left.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was asked can't be done in the state the machine is in.
    #[error("cannot {verb} machine {vm}: it is {state}")]
    WrongState {
        /// The machine.
        vm: VmName,
        /// What was asked.
        verb: &'static str,
        /// The state it is in.
        state: VmState,
    },
    /// A disk of a machine can't be made.
    #[error("cannot make disk {disk:?} of machine {vm}")]
    Disk {
        /// The machine.
        vm: VmName,
        /// The disk.
        disk: String,
        /// Why.
        source: DiskError,
    },
    /// An operation on the image cache failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The image of a template is not there.
    #[error("image {} of template {template:?} cannot be opened", .path.display())]
    TemplateImage {
        /// The template.
        template: String,
        /// The image.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A machine's VMM was started without a terminal, by an earlier version or by hand.
    #[error("machine {vm} has no terminal to type at")]
    NoConsole {
        /// The machine.
        vm: VmName,
    },
    /// A machine's sockets would have longer names than sockets can have.
    #[error("{} would be the name of a socket, and has more than {most} bytes", .path.display())]
    SocketPath {
        /// The longest of the sockets.
        path: PathBuf,
        /// What a socket's name can have, in bytes.
        most: usize,
    },
    /// A machine's network can't be made.
    #[error("cannot plug machine {vm} into the network")]
    Network {
        /// The machine.
        vm: VmName,
        /// Why.
        source: NetError,
    },
    /// The node's network can't be made or read.
    #[error("cannot {doing}")]
    Switch {
        /// What was being done.
        doing: String,
        /// Why.
        source: NetError,
    },
    /// cloud-hypervisor refused, or failed.
    #[error("cannot {doing} machine {vm}")]
    Hypervisor {
        /// The machine.
        vm: VmName,
        /// What was being done.
        doing: &'static str,
        /// The end of its log, when it said more than the source does.
        log: Vec<String>,
        /// Why.
        source: HypervisorError,
    },
    /// A folder of VMMs can't be looked through.
    #[error("cannot look for cloud-hypervisor processes")]
    Processes {
        /// Why.
        source: HypervisorError,
    },
    /// A file that a machine needs to start is missing, or can't be read.
    #[error("cannot start machine {vm}: its {what} {} cannot be opened", .path.display())]
    MissingFile {
        /// The machine.
        vm: VmName,
        /// What the file is to the machine.
        what: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No firmware is configured, and none is in the usual places.
    #[error("cannot start machine {vm}: no firmware found")]
    NoFirmware {
        /// The machine.
        vm: VmName,
        /// Where was looked.
        places: Vec<PathBuf>,
    },
    /// The host has no KVM, or keeps it from this user.
    #[error("/dev/kvm cannot be opened")]
    Kvm {
        /// Why.
        source: io::Error,
    },
    /// The guest did not power off in time.
    #[error("machine {vm} did not power off within {} s", .timeout.as_secs())]
    StillRunning {
        /// The machine.
        vm: VmName,
        /// How long this waited.
        timeout: Duration,
    },
    /// cloud-hypervisor did not end, although killed.
    #[error("the cloud-hypervisor process of machine {vm} (pid {pid}) does not end")]
    Unkillable {
        /// The machine.
        vm: VmName,
        /// The process.
        pid: u32,
    },
    /// No way into a machine was open.
    #[error("cannot reach port {port} of machine {vm}: {}", .tried.join("; "))]
    Unreachable {
        /// The machine.
        vm: VmName,
        /// The port.
        port: u16,
        /// Each way that was tried, and why it was closed.
        tried: Vec<String>,
    },
    /// A machine was not as far as it was waited for.
    #[error("machine {vm} has no {awaited} after {} s: {missing}", .timeout.as_secs_f32())]
    NotYet {
        /// The machine.
        vm: VmName,
        /// What was waited for.
        awaited: Awaited,
        /// How long this waited.
        timeout: Duration,
        /// What kept it.
        missing: String,
    },
    /// A word can't stand in ssh's configuration.
    #[error("ssh cannot be told {word:?}")]
    SshWord {
        /// The word.
        word: String,
    },
    /// The kernel gives no random bytes.
    #[error("cannot get random bytes from the kernel")]
    Random {
        /// Why.
        source: io::Error,
    },
    /// A watch on a folder can't be set up.
    #[error("cannot watch {}", .path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What sort of failure it is: what a script decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something failed.
    Failed,
    /// There is no such machine or template.
    NotFound,
    /// The words were wrong: ambiguous, or not allowed.
    Usage,
    /// The configuration is wrong.
    Config,
    /// The host lacks something.
    Host,
    /// Refused in the state things are in.
    State,
}

impl CoreError {
    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Template(error) => match error {
                TemplateError::NotFound { .. } => ErrorKind::NotFound,
                _ => ErrorKind::Config,
            },
            Self::NoSuchVm { .. } | Self::Removed { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::Name { .. } => ErrorKind::Usage,
            Self::Image(error) => kind_of_image_error(error),
            Self::Locked { .. } | Self::NameTaken { .. } | Self::WrongState { .. } => {
                ErrorKind::State
            }
            Self::SocketPath { .. } | Self::SshWord { .. } => ErrorKind::Config,
            Self::NoConsole { .. } => ErrorKind::State,
            Self::NoFirmware { .. } | Self::Kvm { .. } => ErrorKind::Host,
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Lock { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied
                    || source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                ErrorKind::Host
            }
            Self::Network { source, .. } | Self::Switch { source, .. }
                if host_lacks_switch(source) =>
            {
                ErrorKind::Host
            }
            Self::Hypervisor { source, .. } if host_lacks_hypervisor(source) => ErrorKind::Host,
            _ => ErrorKind::Failed,
        }
    }

    /// A short word for the failure, for programs: it stays as it is across versions.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Template(TemplateError::NotFound { .. }) => "template-not-found",
            Self::Template(_) => "config-wrong",
            Self::Read { .. } => "read-failed",
            Self::Write { .. } => "write-failed",
            Self::Lock { .. } => "lock-failed",
            Self::Locked { .. } => "locked",
            Self::Definition { .. } => "definition-broken",
            Self::NewerFormat { .. } => "definition-newer",
            Self::Encode { .. } | Self::Json { .. } => "encode-failed",
            Self::Name { .. } => "name-invalid",
            Self::NameTaken { .. } => "name-taken",
            Self::NoSuchVm { .. } => "vm-not-found",
            Self::Ambiguous { .. } => "vm-ambiguous",
            Self::Removed { .. } => "vm-removed",
            Self::Remains { .. } => "vm-remains",
            Self::WrongState { .. } => "wrong-state",
            Self::Disk { .. } => "disk-failed",
            Self::TemplateImage { .. } => "image-missing",
            Self::Image(error) => error.code(),
            Self::NoConsole { .. } => "no-console",
            Self::SocketPath { .. } => "path-too-long",
            Self::Network { .. } | Self::Switch { .. } => "network-failed",
            Self::Hypervisor { .. } | Self::Processes { .. } => "hypervisor-failed",
            Self::MissingFile { .. } => "file-missing",
            Self::NoFirmware { .. } => "firmware-missing",
            Self::Kvm { .. } => "kvm-missing",
            Self::StillRunning { .. } => "still-running",
            Self::Unkillable { .. } => "unkillable",
            Self::Unreachable { .. } => "unreachable",
            Self::NotYet { .. } => "not-yet",
            Self::SshWord { .. } => "path-unfit",
            Self::Random { .. } => "random-failed",
            Self::Watch { .. } => "watch-failed",
        }
    }

    /// What to do next, when something can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Template(error) => error.hint(),
            Self::Disk { source, .. } => source.hint(),
            Self::Image(error) => error.hint(),
            Self::Network { source, .. } | Self::Switch { source, .. } => source.hint(),
            Self::Hypervisor { source, .. } | Self::Processes { source } => source.hint(),
            Self::Locked { .. } => Some("wait for it, or end that process".into()),
            Self::NewerFormat { .. } => Some("install the newer virshle again".into()),
            Self::Remains { .. } => Some("`v node check --repair` tries again".into()),
            Self::NameTaken { .. } => Some("choose another, or leave --name away".into()),
            Self::NoSuchVm { known, .. } if known.is_empty() => {
                Some("there are no machines yet: v vm create -t TEMPLATE makes one".into())
            }
            Self::NoSuchVm { word, known } => Some(match nearest(word, known) {
                Some(name) => format!("did you mean {name:?}? `v vm ls` shows them all"),
                None => "`v vm ls` shows them all".into(),
            }),
            Self::Ambiguous { .. } => Some("use the id, or --name or --uuid".into()),
            Self::WrongState { vm, state, .. } => match state {
                VmState::Paused => Some(format!("v vm resume {vm}")),
                VmState::Running => Some(format!("v vm stop {vm}")),
                VmState::Stopped => Some(format!("v vm start {vm}")),
                VmState::Unresponsive | VmState::Created => Some(format!("v vm stop --force {vm}")),
            },
            Self::NoConsole { vm } => Some(format!("`v vm restart {vm}` gives it one")),
            Self::SocketPath { .. } => Some(
                "choose a shorter root with --root or [node] root, or a shorter net name".into(),
            ),
            Self::TemplateImage { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("let this user read the file, and enter the folders above it".into())
            }
            Self::TemplateImage { .. } => Some("correct the disk's path in the template".into()),
            Self::Read { source, .. } | Self::Write { source, .. } | Self::Lock { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run as the user who owns the node, or choose a root with --root".into())
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on that filesystem".into())
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                Some("choose another root with --root or [node] root".into())
            }
            Self::NoFirmware { places, .. } => Some(format!(
                "put cloud-hypervisor's CLOUDHV.fd in {}, or set [hypervisor] firmware, or give \
                 the template a kernel",
                places.first().map_or_else(String::new, |place| place.display().to_string())
            )),
            Self::MissingFile { .. } => Some("put it back: the machine is as it was".into()),
            Self::Kvm { source } => Some(match source.kind() {
                io::ErrorKind::NotFound => {
                    "enable virtualization in the BIOS, then: modprobe kvm-intel (or kvm-amd)"
                        .into()
                }
                io::ErrorKind::PermissionDenied => {
                    "add yourself to the group kvm, then log in again".into()
                }
                _ => return None,
            }),
            Self::StillRunning { vm, .. } => Some(format!(
                "the guest may ignore its power button; `v vm stop --force {vm}` cuts the power"
            )),
            Self::Unreachable { port: SSH_PORT, .. } => Some(
                "the guest needs an ssh server, on port 22 of its vsock or on an address that \
                 this host reaches; `v vm wait` waits for one, `v vm console` needs none"
                    .into(),
            ),
            Self::NotYet { vm, .. } => Some(format!("`v vm logs {vm}` shows how far it got")),
            Self::SshWord { .. } => {
                Some("choose a path without quotes, backslashes, `$` and control characters".into())
            }
            _ => None,
        }
    }

    /// What the causes don't say: the end of cloud-hypervisor's log.
    pub fn details(&self) -> &[String] {
        match self {
            Self::Hypervisor { log, .. } => log,
            _ => &[],
        }
    }
}

fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a String> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// What sort of failure an error of the image cache is.
fn kind_of_image_error(error: &ImageError) -> ErrorKind {
    match error {
        ImageError::NoSuchImage { .. } => ErrorKind::NotFound,
        ImageError::ImageName { .. } => ErrorKind::Usage,
        ImageError::ImageTaken { .. }
        | ImageError::ImageInUse { .. }
        | ImageError::BeingRemoved { .. }
        | ImageError::Locked { .. } => ErrorKind::State,
        ImageError::Read { source, .. }
        | ImageError::Write { source, .. }
        | ImageError::Lock { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied
                || source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
        {
            ErrorKind::Host
        }
        _ => ErrorKind::Failed,
    }
}

/// Tells whether the switch, and not the request, is what is missing.
fn host_lacks_switch(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Connect { .. }
            | NetError::TimedOut { .. }
            | NetError::Closed { .. }
            | NetError::NotInitialized { .. }
            | NetError::SwitchSilent { .. }
            | NetError::NoBridge { .. }
            | NetError::BridgeDatapath { .. }
            | NetError::BridgeFailed { .. }
            | NetError::NoDpdk
            | NetError::CreateTap { .. }
            | NetError::CreateMacvtap { .. }
    )
}

/// Tells whether cloud-hypervisor, and not the machine, is what is missing.
fn host_lacks_hypervisor(error: &HypervisorError) -> bool {
    matches!(
        error,
        HypervisorError::Run { .. }
            | HypervisorError::Died { .. }
            | HypervisorError::TooOld { .. }
            | HypervisorError::VersionUnknown { .. }
    )
}

impl From<TemplateError> for CoreError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}
