//! What can go wrong with passt.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::passt::forward::Forward;
use crate::passt::holder::Holder;

/// A failed operation on passt, or on the ports that it is to publish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasstError {
    /// The program can't be run.
    #[error("cannot run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program is no passt that can be a machine's vhost-user back end.
    #[error("{} ({version}) cannot serve a virtual machine by vhost-user", .program.display())]
    TooOld {
        /// The program.
        program: PathBuf,
        /// The version that it prints.
        version: String,
    },
    /// It ended instead of serving.
    #[error("passt ended at once: {}", .output)]
    Died {
        /// Its last output.
        output: String,
    },
    /// It did not come up in time, or gave no answer.
    #[error("passt is not up after {timeout:?}")]
    Silent {
        /// How long it was given.
        timeout: Duration,
    },
    /// A process can't be looked at or ended.
    #[error("cannot {what} passt (pid {pid})")]
    Process {
        /// As `end`.
        what: &'static str,
        /// The process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// The processes of this host can't be looked through.
    #[error("cannot look for passt processes")]
    Processes {
        /// Why.
        source: io::Error,
    },
    /// A port of the host is taken.
    #[error("{forward} is taken by {}", holder_of(.holder))]
    PortTaken {
        /// What is to be published.
        forward: Forward,
        /// Who has the port, if that can be seen.
        holder: Option<Holder>,
    },
    /// This user may not have a port of the host.
    #[error("{forward} is not for this user: ports below {first} are root's")]
    PortForbidden {
        /// What is to be published.
        forward: Forward,
        /// The first port that every user may have.
        first: u16,
    },
    /// A port of the host can't be had.
    #[error("{forward} cannot be published")]
    Port {
        /// What is to be published.
        forward: Forward,
        /// Why.
        source: io::Error,
    },
    /// The name servers of this host can't be read.
    #[error("cannot read {}", .path.display())]
    Resolver {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn holder_of(holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) => holder.to_string(),
        None => "a process of another user".into(),
    }
}

impl PasstError {
    /// What to do next, if there is something to say.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "install passt (Debian 13, Ubuntu 25.04, Fedora: the package passt), or name the \
                 program"
                    .into()
            }
            Self::TooOld { .. } => {
                "install passt of 2025-02 or later (Debian 13, Ubuntu 25.04, Fedora: the package \
                 passt), or name another program"
                    .into()
            }
            Self::Died { output } if output.contains("namespace") || output.contains("sandbox") => {
                "passt confines itself in a user namespace: this host or container must allow \
                 them (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, \
                 kernel.apparmor_restrict_unprivileged_userns)"
                    .into()
            }
            Self::PortTaken { .. } => {
                "publish at another port of the host, or free this one".into()
            }
            Self::PortForbidden { first, .. } => format!(
                "publish at {first} or above, or run: sysctl net.ipv4.ip_unprivileged_port_start=0"
            ),
            Self::Port { source, .. } if source.kind() == io::ErrorKind::AddrNotAvailable => {
                "publish at an address of this host, or at all of them".into()
            }
            _ => return None,
        })
    }

    /// Tells whether the port was free when it was looked at, and then passt could not have it.
    pub fn is_bind_failure(&self) -> bool {
        matches!(self, Self::Died { output } if output.contains("Failed to bind port"))
    }
}
