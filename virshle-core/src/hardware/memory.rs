//! A machine's memory.

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
