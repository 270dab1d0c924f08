//! A machine's memory.

use serde_json::{Value, json};
use virshle_hypervisor::{HotplugMethod, MemoryConfig};

use crate::model::definition::Definition;

/// The memory as cloud-hypervisor takes it.
pub(crate) fn memory_config(definition: &Definition) -> MemoryConfig {
    let vhost = definition.nets.iter().any(|net| net.kind.is_vhost_user());
    let memory = MemoryConfig::new(definition.memory_bytes)
        // The switch, or passt, reads and writes the guest's frames where they are.
        .shared(vhost || definition.hugepages)
        .hugepages(definition.hugepages);
    match definition.max_memory_bytes {
        Some(max) if max > definition.memory_bytes => {
            memory.hotplug(HotplugMethod::VirtioMem, max - definition.memory_bytes)
        }
        _ => memory,
    }
}

/// The balloon by which memory that the guest has freed comes back to the host. Itself it takes nothing.
/// Of hugepages nothing would come back: what a guest frees are pages of 4 KiB.
pub(crate) fn balloon_config(definition: &Definition) -> Option<Value> {
    let balloon = json!({"size": 0, "deflate_on_oom": true, "free_page_reporting": true});
    (!definition.hugepages).then_some(balloon)
}
