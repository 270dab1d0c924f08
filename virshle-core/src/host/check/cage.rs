//! Checks what keeps a machine's process from the rest of the host.

use std::collections::HashMap;
use std::path::Path;

use virshle_hypervisor::{CageLack, Vmm, cage_lacks, landlock_abi, try_own_view};
use virshle_template::Confine;

use crate::failure::{Failure, chain};
use crate::hardware::confine::error::ConfineError;
use crate::hardware::confine::user::{MachineUser, check_users};
use crate::host::check::finding::{Finding, Level, text};
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
        view(level),
        match check_users(node) {
            Ok(Some(range)) => match of_another_node(node) {
                None => Finding::good(
                    "users",
                    format!("each machine runs as a user of its own, of {range}"),
                ),
                Some((name, vmm)) => Finding::bad(
                    Level::Warning,
                    "users",
                    format!(
                        "machine {name} has the same user as one of another node, {}",
                        vmm.api_socket().display()
                    ),
                    text(
                        "give each node a range of its own ([hypervisor] users), and restart its machines",
                    ),
                ),
            },
            Ok(None) => Finding::good(
                "users",
                "machines run as you: only root's machines have users of their own",
            ),
            Err(error) => failure(level, "users", &error),
        },
    ]
}

/// A machine of this node, and a VMM of another one that has its user: where a node is in a range is
/// decided by its root's path, and two may overlap.
fn of_another_node(node: &Node) -> Option<(String, Vmm)> {
    // A finding is made of what can be seen: what can't be read is reported elsewhere.
    let heads = node.store().find().ok()?.heads;
    let user = |id| Some(MachineUser::of_id(node, id).ok()??.uid());
    let names: HashMap<u32, String> =
        heads.iter().filter_map(|head| Some((user(head.id)?, head.name.to_string()))).collect();
    let all = Vmm::all_under(Path::new("/")).unwrap_or_default();
    let mut others = all.into_iter().filter(|vmm| !vmm.api_socket().starts_with(node.root()));
    others.find_map(|vmm| Some((names.get(&vmm.uid()?)?.clone(), vmm)))
}

/// Whether a VMM has a root and a network of its own. Users go without where they get no namespaces.
fn view(level: Level) -> Finding {
    let Err(error) = try_own_view() else {
        return Finding::good("view", "a VMM sees its machine's files only, and no network");
    };
    let (level, left, remedy) = if rustix::process::geteuid().is_root() {
        let remedy =
            "run v where root may have namespaces: not in a container without CAP_SYS_ADMIN";
        (level, "machines don't start", remedy)
    } else {
        let remedy = "let users have namespaces (sysctl user.max_user_namespaces; on Ubuntu \
                      kernel.apparmor_restrict_unprivileged_userns=0)";
        (
            Level::Warning,
            "a VMM with a user network may connect to your sockets, and disks are slower",
            remedy,
        )
    };
    Finding::bad(level, "view", format!("{}: {left}", chain(&error)), text(remedy))
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
