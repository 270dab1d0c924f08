//! What can go wrong with the managed network.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::NetError;

/// A failed operation on dnsmasq, nftables, or the host's own addresses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagedError {
    /// A program can't be run.
    #[error("cannot run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program failed.
    #[error("{} failed: {output}", .program.display())]
    Failed {
        /// The program.
        program: PathBuf,
        /// Its last output.
        output: String,
    },
    /// A program did not end in time.
    #[error("{} has not ended after {timeout:?}", .program.display())]
    Silent {
        /// The program.
        program: PathBuf,
        /// How long it was given.
        timeout: Duration,
    },
    /// A dnsmasq lacks what is needed of it.
    #[error("{} cannot serve the managed network: it was built without {lacks}", .program.display())]
    Unable {
        /// The program.
        program: PathBuf,
        /// What it lacks.
        lacks: &'static str,
    },
    /// What a program printed makes no sense.
    #[error("cannot understand what {} printed", .program.display())]
    Malformed {
        /// The program.
        program: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A file can't be read or written.
    #[error("cannot {action} {}", .path.display())]
    File {
        /// As `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The processes of this host can't be looked through.
    #[error("cannot look for dnsmasq processes")]
    Processes {
        /// Why.
        source: io::Error,
    },
    /// A process can't be signalled, or does not end.
    #[error("cannot {what} dnsmasq (pid {pid})")]
    Process {
        /// As `end`.
        what: &'static str,
        /// The process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// The kernel can't be asked for its addresses or routes, or refuses one.
    #[error("cannot {action}")]
    Kernel {
        /// As `list the host's addresses`.
        action: String,
        /// Why.
        source: io::Error,
    },
    /// A network device.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Another process has a published port of the host, or another machine.
    #[error("{port} is taken by {holder}")]
    PortTaken {
        /// The port, as `TCP port 8080`.
        port: String,
        /// Who has it.
        holder: String,
    },
    /// The rules are gone, or were never made.
    #[error("there is no table {table} of nftables for the managed network")]
    NoTable {
        /// The table.
        table: String,
    },
}

impl ManagedError {
    /// What to do next, if there is something to say.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Run { program, source } if source.kind() == io::ErrorKind::NotFound => {
                let name = program.file_name().unwrap_or_default().to_string_lossy();
                if name.contains("nft") {
                    "install nftables (the package nftables), or set [network] nft".into()
                } else {
                    "install dnsmasq (Debian, Ubuntu: the package dnsmasq-base), or set [network] \
                     dnsmasq"
                        .into()
                }
            }
            Self::Unable { .. } => {
                "install a dnsmasq that is built with inotify and DHCPv6, as distributions have it"
                    .into()
            }
            Self::Failed { output, .. } if output.contains("Operation not permitted") => {
                "the managed network is set up by root".into()
            }
            Self::PortTaken { .. } => {
                "publish at another port of the host, or free this one".into()
            }
            Self::Net(error) => return error.hint(),
            _ => return None,
        })
    }
}
