//! The host's memory, shared out among the machines that run.

use std::time::Duration;

use crate::fs::lock::Lock;
use crate::machine::capacity::{host_memory_bytes, size};
use crate::machine::node::Node;
use crate::machine::vm::Vm;
use crate::model::definition::Definition;
use crate::power::error::StartError;
use crate::store::layout::MEMORY_LOCK;

/// How long a start waits for others that share out the memory: each of them for the milliseconds in
/// which a VMM comes up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Makes sure that the host has memory for the machine beside those that run, or warns; hugepages are
/// set apart, and shared out by the kernel.
///
/// Where too much is refused, what is returned keeps others from sharing out the same memory, until the
/// machine's API socket is there.
pub(super) fn reserve(vm: &Vm) -> Result<Option<Lock>, StartError> {
    let node = vm.node();
    let own_bytes = memory_bytes(vm.definition());
    if own_bytes == 0 {
        return Ok(None);
    }
    let refuses = !node.config().node.overcommit_memory;
    let lock = match refuses {
        true => Some(Lock::acquire(&node.root().join(MEMORY_LOCK), TIMEOUT)?),
        false => None,
    };
    let host_bytes = host_memory_bytes();
    let running_bytes = running_bytes(node, vm);
    // A host whose memory is unknown refuses nothing.
    if host_bytes == 0 || own_bytes.saturating_add(running_bytes) <= host_bytes {
        return Ok(lock);
    }
    if refuses {
        let vm = vm.name().clone();
        return Err(StartError::Overcommit { vm, own_bytes, running_bytes, host_bytes });
    }
    tracing::warn!(
        vm = %vm.name(),
        "the machines that run have more memory together than the host: {}, of {}",
        size(own_bytes.saturating_add(running_bytes)),
        size(host_bytes)
    );
    Ok(lock)
}

/// The memory of the machines that run or start, but this one.
fn running_bytes(node: &Node, vm: &Vm) -> u64 {
    let Ok(mut dir) = node.store().dir() else { return 0 };
    let uuids = node.store().uuids().unwrap_or_default().into_iter();
    uuids
        .filter(|uuid| *uuid != vm.definition().uuid && dir.may_run(*uuid))
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|uuid| node.store().read_of_many(&mut dir, uuid).ok())
        .fold(0, |sum, definition| sum.saturating_add(memory_bytes(&definition)))
}

/// What a machine takes of the memory that is not set apart.
fn memory_bytes(definition: &Definition) -> u64 {
    if definition.hugepages { 0 } else { definition.memory_bytes }
}
