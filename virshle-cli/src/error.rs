//! What can go wrong with a command.

use std::io;
use std::path::PathBuf;

use virshle_core::CoreError;
use virshle_core::template::{Mistake, TemplateError};

use crate::{exit_code, remedy};

/// What failed. The cause is in `source`, the next step in [`hint`](Self::hint).
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// An operation on the node or a machine.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// The configuration has mistakes, which were told already.
    #[error("{mistakes} in {}", .path.display())]
    Configuration { path: PathBuf, mistakes: String },
    /// Some machines of several failed, and each was told of already.
    #[error("{failed} of {total} machines could not be {done}")]
    Several { failed: usize, total: usize, done: &'static str },
    /// Some definitions can't be read, and each was told of already.
    #[error("{count} of the machines cannot be read")]
    Unreadable { count: usize },
    /// No machine is named.
    #[error("no machine is named")]
    NoneNamed,
    /// More than one machine is named, where one is meant.
    #[error("more than one machine is named")]
    SeveralNamed,
    /// The host lacks something, which was told already.
    #[error("{} missing on this host", things(*.count))]
    Lacking { count: usize },
    /// Some orphans could not be removed, and each was told of already.
    #[error("{failed} of {total} orphans could not be removed")]
    Orphans { failed: usize, total: usize },
    /// A log can't be read.
    #[error("cannot read {}", .path.display())]
    Log { path: PathBuf, source: io::Error },
    /// The growth of logs can't be heard of.
    #[error("cannot wait for logs to grow")]
    Follow { source: io::Error },
    /// The system's ssh can't be run.
    #[error("cannot run ssh")]
    Ssh { source: io::Error },
    /// A connection to a machine can't be passed on.
    #[error("the connection to machine {vm} cannot be passed on")]
    Proxy { vm: String, source: io::Error },
    /// Nobody says where the user's files are.
    #[error("no home folder: HOME is not set to an absolute path")]
    NoHome,
    /// A path has no absolute form.
    #[error("cannot tell where {} is", .path.display())]
    Path { path: PathBuf, source: io::Error },
    /// A manual page can't be written.
    #[error("cannot write {}", .path.display())]
    Manual { path: PathBuf, source: io::Error },
    /// A value can't be written as JSON.
    #[error("cannot write as JSON")]
    Json { source: serde_json::Error },
    /// The standard output takes nothing more.
    #[error("cannot write to the standard output")]
    Output { source: io::Error },
}

impl From<TemplateError> for CliError {
    fn from(error: TemplateError) -> Self {
        Self::Core(CoreError::from(error))
    }
}

impl CliError {
    /// The exit code of a command that ends with it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Core(error) => exit_code::of(error.kind()),
            Self::Configuration { .. } => exit_code::CONFIG,
            Self::NoneNamed | Self::SeveralNamed => exit_code::USAGE,
            Self::Lacking { .. } | Self::Ssh { .. } | Self::NoHome => exit_code::HOST,
            _ => exit_code::FAILED,
        }
    }

    /// A short word for the failure, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Core(error) => error.code(),
            Self::Configuration { .. } => "config-wrong",
            Self::Several { .. } => "machines-failed",
            Self::Unreadable { .. } => "machines-unreadable",
            Self::NoneNamed | Self::SeveralNamed => "usage",
            Self::Lacking { .. } => "host-lacking",
            Self::Orphans { .. } => "orphans-left",
            Self::Log { .. } => "read-failed",
            Self::Follow { .. } => "follow-failed",
            Self::Ssh { .. } => "ssh-missing",
            Self::Proxy { .. } => "proxy-failed",
            Self::NoHome => "home-missing",
            Self::Path { .. } => "path-unknown",
            Self::Manual { .. } => "write-failed",
            Self::Json { .. } => "encode-failed",
            Self::Output { .. } => "output-failed",
        }
    }

    /// What to do next, when something can be said.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Core(error) => remedy::hint(error),
            Self::NoneNamed => Some(
                "give ids, names or uuids, or choose with --state or --template, or take --all"
                    .into(),
            ),
            Self::SeveralNamed => Some("this takes one".into()),
            Self::Ssh { .. } => Some("install OpenSSH's client, and have it in PATH".into()),
            Self::Lacking { .. } => Some("each has the line that mends it".into()),
            _ => None,
        }
    }

    /// What the causes don't say: the end of cloud-hypervisor's log.
    pub(crate) fn details(&self) -> &[String] {
        match self {
            Self::Core(error) => error.details(),
            _ => &[],
        }
    }

    /// The mistakes of the configuration, if it is for them.
    pub(crate) fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Core(CoreError::Template(error)) => error.mistakes(),
            _ => &[],
        }
    }
}

fn things(count: usize) -> String {
    if count == 1 { "1 thing is".into() } else { format!("{count} things are") }
}
