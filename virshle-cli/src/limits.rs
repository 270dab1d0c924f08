//! The limits of a machine, for people.

use virshle_core::LimitsDefinition;
use virshle_core::template::ByteSize;

/// The limits in one line; nothing if there is none.
pub(crate) fn line(limits: &LimitsDefinition) -> Option<String> {
    let size = |bytes| ByteSize::from_bytes(bytes).to_string();
    let parts = [
        limits.cpu_weight.map(|weight| format!("cpu weight {weight}")),
        limits.cpu_limit_percent.map(|percent| format!("cpu {percent}%")),
        limits.cpu_affinity.as_ref().map(|cpus| format!("cpus {cpus}")),
        limits.memory_overhead_bytes.map(|bytes| format!("memory overhead {}", size(bytes))),
        limits.io_weight.map(|weight| format!("io weight {weight}")),
        limits.pids.map(|pids| format!("{pids} threads")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
