//! Why a machine's VMM can't be confined.

use std::io;
use std::path::PathBuf;

use virshle_hypervisor::CageLack;
use virshle_template::UserRange;

use crate::failure::{ErrorKind, Failure, Verdict};

/// Why a machine's VMM can't be confined as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfineError {
    /// The kernel lacks a layer of the cage.
    #[error("{lack}")]
    Lacking {
        /// The layer.
        lack: CageLack,
    },
    /// The range of users has none for the machine.
    #[error("the users {range} have none for the machine of id {id}")]
    IdBeyond {
        /// The range.
        range: UserRange,
        /// The machine's id.
        id: u64,
    },
    /// Ids of the range are taken.
    #[error("the users {range} are not free: {} names {by}", .file.display())]
    UsersTaken {
        /// The range.
        range: UserRange,
        /// Where that is written.
        file: PathBuf,
        /// By whom.
        by: String,
    },
    /// The ids mean nothing in this user namespace, as in a container.
    #[error("the user {uid} does not exist in this user namespace")]
    NotMapped {
        /// The user.
        uid: u32,
    },
    /// A file can't be made the machine's own.
    #[error("cannot give {} to user {uid}", .path.display())]
    Own {
        /// The file.
        path: PathBuf,
        /// The machine's user.
        uid: u32,
        /// Why.
        source: io::Error,
    },
    /// The machine's user can't be given access to a file.
    #[error("cannot give user {uid} access to {}", .path.display())]
    Grant {
        /// The file, or a directory on the way to it.
        path: PathBuf,
        /// The machine's user.
        uid: u32,
        /// Why.
        source: io::Error,
    },
    /// The machine's user may not run the program.
    #[error("user {uid} may not run {}", .path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// The machine's user.
        uid: u32,
    },
}

impl Failure for ConfineError {
    fn verdict(&self) -> Verdict<'_> {
        let host = |code| Verdict::new(ErrorKind::Host, code);
        match self {
            Self::Lacking { lack } => host("confine-lacking").text(match lack {
                CageLack::Landlock { .. } => {
                    "Linux 5.13 or later has landlock, where the kernel parameter lsm= names it; [hypervisor] \
                     confine = \"best-effort\" starts machines without"
                }
                _ => {
                    "a kernel with CONFIG_SECCOMP_FILTER has them; [hypervisor] confine = \
                     \"best-effort\" starts machines without"
                }
            }),
            Self::IdBeyond { .. } => Verdict::new(ErrorKind::Config, "users-exhausted")
                .text("widen the range at its end ([hypervisor] users)"),
            Self::UsersTaken { .. } => Verdict::new(ErrorKind::Config, "users-taken")
                .text("choose a range that nobody has ([hypervisor] users)"),
            Self::NotMapped { .. } => host("users-unmapped").text(
                "choose a range that this container has ([hypervisor] users), or set confine = \
                 \"best-effort\"",
            ),
            Self::Own { .. } => Verdict::failed("own-failed").text(
                "machines need a filesystem with owners, on which their files are regular ones with one \
                 name; or set [hypervisor] confine = \"best-effort\"",
            ),
            Self::Grant { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Verdict::failed("file-missing")
            }
            Self::Grant { path, .. } => Verdict::failed("grant-failed").text(format!(
                "keep it where everybody may reach it, or on a filesystem with POSIX ACLs (ext4, xfs, \
                 btrfs, tmpfs); or let others in: chmod o+rX {}",
                path.display()
            )),
            Self::Program { path, .. } => {
                host("program-closed").text(format!("let others run it: chmod o+rx {}", path.display()))
            }
        }
    }
}
