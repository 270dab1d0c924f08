//! Checks what keeps a machine's process from the rest of the host.

use virshle_hypervisor::{CageLack, cage_lacks, landlock_abi};
use virshle_template::Confine;

use crate::failure::Failure;
use crate::hardware::confine::error::ConfineError;
use crate::hardware::confine::user::check_users;
use crate::host::check::finding::{Finding, Level};
use crate::machine::node::Node;

/// The layers of the cage of every machine's process.
pub(super) fn check_cage(node: &Node) -> Vec<Finding> {
    // Without what is required no machine starts.
    let level = match node.config().hypervisor.confine {
        Confine::Required => Level::Missing,
        Confine::BestEffort => Level::Warning,
    };
    let lacks = cage_lacks();
    let kernel = |subject: &str, wanted: fn(&CageLack) -> bool, good: String| match lacks
        .iter()
        .find(|lack| wanted(lack))
    {
        None => Finding::good(subject, good),
        Some(lack) => failure(level, subject, &ConfineError::Lacking { lack: *lack }),
    };
    vec![
        kernel("landlock", |lack| matches!(lack, CageLack::Landlock { .. }), landlock()),
        kernel(
            "seccomp",
            |lack| *lack == CageLack::Seccomp,
            "a VMM makes no call that it has no use for".into(),
        ),
        match check_users(node) {
            Ok(Some(range)) => Finding::good(
                "users",
                format!("each machine runs as a user of its own, of {range}"),
            ),
            Ok(None) => Finding::good(
                "users",
                "machines run as you: only root's machines have users of their own",
            ),
            Err(error) => failure(level, "users", &error),
        },
    ]
}

fn failure(level: Level, subject: &str, error: &impl Failure) -> Finding {
    Finding::failure(level, subject, error)
}

/// What the kernel's landlock keeps a VMM from.
fn landlock() -> String {
    let more = match landlock_abi().unwrap_or_default() {
        0..4 => "",
        4..6 => ", and no TCP",
        _ => ", no TCP, no other process",
    };
    format!("each thread of a VMM reaches its machine's files only{more}")
}
