//! The errors of the commands.

use std::io;
use std::path::PathBuf;

use virshle_core::template::{InvalidPublish, Mistake, TemplateError};
use virshle_core::{
    CoreError, CreateError, DefinitionError, FileError, GuestError, HardwareError, ImageError,
    ImagesError, InvalidPins, InvalidSetting, MachineError, NetworkError, ProvisionError,
    QuoteError, RemoveError, RestartError, SetupError, StartError, StopError, StoreError,
    SuperviseError,
};

use crate::{exit_code, remedy};

/// A command that failed. The cause is in `source`, the next step in [`hint`](Self::hint).
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// An operation on the node or a machine.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The configuration has mistakes, which are reported already.
    #[error("{mistakes} in {}", .path.display())]
    Configuration { path: PathBuf, mistakes: String },
    /// A file that an argument names can't be read.
    #[error("cannot read {}", .path.display())]
    File { path: PathBuf, source: io::Error },
    /// The command has no result that JSON could hold.
    #[error("`{command}` has no JSON output")]
    TextOnly { command: &'static str },
    /// A machine's failure that the document on stdout has.
    #[error(transparent)]
    InDocument(Box<Self>),
    /// Some of several machines failed, and each is reported already.
    #[error("{failed} of {total} machines could not be {done}")]
    Several { failed: usize, total: usize, done: &'static str },
    /// Some definitions can't be read, and each is reported already.
    #[error("cannot read the definitions of {}", counted(*.count, "machine"))]
    Unreadable { count: usize },
    /// The command line selects no machine.
    #[error("no machine specified")]
    NoneNamed,
    /// It was asked whether a machine can't be reached, and it can: an exit code, and nothing to print.
    #[error("the machine can be connected to")]
    Reachable,
    /// A command in a machine ended with that exit code: nothing to print.
    #[error("the command ended with exit code {code}")]
    Exited { code: u8 },
    /// The process that removes a machine at the end can't be run.
    #[error("cannot run what removes the machine at the end")]
    Reaper { source: io::Error },
    /// The command line selects several machines, and the command takes one.
    #[error("more than one machine specified")]
    SeveralNamed,
    /// The command line has no setting.
    #[error("no setting specified")]
    NoSetting,
    /// A setting is none.
    #[error("cannot change a setting")]
    Setting { source: InvalidSetting },
    /// A port is none.
    #[error("cannot publish a port")]
    Publish { source: InvalidPublish },
    /// The command line has no port.
    #[error("no port specified")]
    NoPort,
    /// A filter of frames is none.
    #[error("cannot filter frames")]
    Filter { source: virshle_core::net::InvalidFrameTerm },
    /// The frames can't be read or written.
    #[error("cannot capture")]
    Capture { source: io::Error },
    /// The file for the frames can't be written.
    #[error("cannot write {}", .path.display())]
    Pcap { path: PathBuf, source: io::Error },
    /// A unit of systemd names no machine.
    #[error("{text:?} is neither a machine's uuid nor its directory")]
    MachineId { text: String },
    /// The host lacks requirements, which are reported already.
    #[error("this host lacks {}", counted(*.count, "requirement"))]
    Lacking { count: usize },
    /// Some orphaned resources could not be removed, and each is reported already.
    #[error("{failed} of {total} orphaned resources could not be removed")]
    Orphans { failed: usize, total: usize },
    /// A log can't be read.
    #[error("cannot read {}", .path.display())]
    Log { path: PathBuf, source: io::Error },
    /// A log can't be watched for changes.
    #[error("cannot watch for new log lines")]
    Follow { source: io::Error },
    /// What is logged can't be read or written.
    #[error("cannot keep a log")]
    KeepLogs { source: io::Error },
    /// A session in a machine can't be opened: as with ssh, that is exit code 255.
    #[error(transparent)]
    Session { source: CoreError },
    /// The system's ssh can't be run.
    #[error("cannot run ssh")]
    Ssh { source: io::Error },
    /// A connection to a machine can't be relayed.
    #[error("cannot relay the connection to machine {vm}")]
    Proxy { vm: String, source: io::Error },
    /// The home directory of the caller is unknown.
    #[error("no home directory: HOME is not set to an absolute path")]
    NoHome,
    /// The caller's ssh configuration can't be written.
    #[error("cannot write {}", .path.display())]
    SshConfig { path: PathBuf, source: io::Error, is_config: bool },
    /// A file that lists releases lists none.
    #[error("{} lists no releases", .path.display())]
    Releases { path: PathBuf, source: InvalidPins },
    /// A path can't be made absolute.
    #[error("cannot make {} an absolute path", .path.display())]
    Path { path: PathBuf, source: io::Error },
    /// A manual page can't be written.
    #[error("cannot write {}", .path.display())]
    Manual { path: PathBuf, source: io::Error },
    /// There is no such command, and so no page of it.
    #[error("there is no command {command:?}")]
    NoPage { command: String },
    /// A value can't be written as JSON.
    #[error("cannot encode the result as JSON")]
    Json { source: serde_json::Error },
    /// The standard output can't be written to.
    #[error("cannot write to the standard output")]
    Output { source: io::Error },
}

/// The errors of the node's operations, each as the one of any operation.
macro_rules! from_core {
    ($($error:ty),*) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::Core(error.into())
            }
        })*
    };
}

from_core!(
    TemplateError,
    CreateError,
    DefinitionError,
    FileError,
    GuestError,
    HardwareError,
    ImageError,
    ImagesError,
    MachineError,
    NetworkError,
    ProvisionError,
    QuoteError,
    RemoveError,
    RestartError,
    SetupError,
    StartError,
    StopError,
    StoreError,
    SuperviseError
);

impl CliError {
    /// The exit code of a command that ends with it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Core(error) => exit_code::of(error.kind()),
            Self::Session { .. } => exit_code::SSH_FAILED,
            Self::Configuration { .. } | Self::File { .. } | Self::Releases { .. } => {
                exit_code::CONFIG
            }
            Self::NoneNamed
            | Self::SeveralNamed
            | Self::NoSetting
            | Self::Setting { .. }
            | Self::Publish { .. }
            | Self::NoPort
            | Self::Filter { .. }
            | Self::MachineId { .. }
            | Self::TextOnly { .. }
            | Self::NoPage { .. } => exit_code::USAGE,
            Self::InDocument(error) => error.exit_code(),
            Self::Exited { code } => *code,
            Self::Lacking { .. } | Self::Ssh { .. } | Self::NoHome | Self::SshConfig { .. } => {
                exit_code::HOST
            }
            _ => exit_code::FAILED,
        }
    }

    /// The stable identifier of the failure, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Core(error) | Self::Session { source: error } => error.code(),
            Self::Configuration { .. } => "config-wrong",
            Self::File { .. } => "config-unreadable",
            Self::InDocument(error) => error.code(),
            Self::Several { .. } => "machines-failed",
            Self::Unreadable { .. } => "machines-unreadable",
            Self::NoneNamed
            | Self::SeveralNamed
            | Self::NoSetting
            | Self::Setting { .. }
            | Self::Publish { .. }
            | Self::NoPort
            | Self::Filter { .. }
            | Self::MachineId { .. }
            | Self::TextOnly { .. }
            | Self::NoPage { .. } => "usage",
            Self::Reachable => "reachable",
            Self::Capture { .. } => "capture-failed",
            Self::Pcap { .. } => "write-failed",
            Self::Exited { .. } => "exited",
            Self::Reaper { .. } => "reaper-failed",
            Self::Lacking { .. } => "host-lacking",
            Self::Orphans { .. } => "orphans-left",
            Self::Log { .. } => "read-failed",
            Self::KeepLogs { .. } => "keep-failed",
            Self::Follow { .. } => "follow-failed",
            Self::Ssh { .. } => "ssh-missing",
            Self::Proxy { .. } => "proxy-failed",
            Self::NoHome => "home-missing",
            Self::Releases { .. } => "releases-wrong",
            Self::SshConfig { .. } => "write-failed",
            Self::Path { .. } => "path-unknown",
            Self::Manual { .. } => "write-failed",
            Self::Json { .. } => "encode-failed",
            Self::Output { .. } => "output-failed",
        }
    }

    /// The suggested next step, if there is one.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Core(error) | Self::Session { source: error } => remedy::hint(error),
            Self::InDocument(error) => error.hint(),
            Self::TextOnly { .. } => Some("omit --json".into()),
            Self::NoPage { .. } => Some("`v --help` lists the commands".into()),
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some(
                    "correct the path; without one, the configuration in use is checked".into(),
                ),
                io::ErrorKind::PermissionDenied => Some("let this user read it".into()),
                _ => None,
            },
            Self::NoneNamed => {
                Some("give ids, names or uuids, or select with --state, --template or --all".into())
            }
            Self::NoSetting => {
                Some("give settings as KEY=VALUE, such as restart=on-failure".into())
            }
            Self::Publish { .. } | Self::NoPort => {
                Some("give ports as 8080:80, 127.0.0.1:2222:22 or 5353:53/udp".into())
            }
            Self::SeveralNamed => Some("this command takes exactly one machine".into()),
            Self::SshConfig { is_config: true, .. } => Some(
                "have \"Include config.d/virshle\" put first in it, by what makes that file: the rest is \
                 done"
                    .into(),
            ),
            Self::SshConfig { .. } => Some(
                "print the lines with `v node ssh-config`, and have them put before all others in your \
                 ssh configuration, by what makes it"
                    .into(),
            ),
            Self::Ssh { .. } => Some("install the OpenSSH client, in a directory of PATH".into()),
            Self::Lacking { .. } => Some("the suggested fix is shown below each item".into()),
            _ => None,
        }
    }

    /// The last lines of cloud-hypervisor's log, which no cause contains.
    pub(crate) fn details(&self) -> &[String] {
        match self {
            Self::Core(error) => error.details(),
            Self::InDocument(error) => error.details(),
            _ => &[],
        }
    }

    /// The mistakes in a file that a person wrote, if they are the failure.
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Core(error) => error.mistakes(),
            Self::InDocument(error) => error.mistakes(),
            _ => &[],
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
