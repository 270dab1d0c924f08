//! How much of the host a machine may take, as its scope's settings.

use virshle_disk::Format;
use virshle_systemd::Property;

use crate::hardware::cgroup::memory_of;
use crate::model::definition::{Definition, LimitsDefinition};

// What a VMM takes beside the guest's memory. Measured with cloud-hypervisor 53.0, in a cgroup of its own, with a guest
// that halts (bytes of anonymous memory and of the kernel): 1.8 MiB, 0.17 MiB for each vCPU (2 to 32), 0.04 MiB for
// each raw disk (1 to 16), 0.06 MiB for each NIC (1 to 8). What is here is several times as much, for devices that are busy
// have queues, threads and buffers; for what is killed beyond it is a machine.

/// The program, its heap, its threads.
const PROGRAM: u64 = 32 << 20;
/// A vCPU: its thread, the kernel's state of it, and a queue of each multi-queue device.
const VCPU: u64 = 1 << 20;
/// A raw disk, or a NIC: queues, a thread, requests that are under way.
const DEVICE: u64 = 4 << 20;
/// A qcow2 disk: cloud-hypervisor keeps 100 clusters of its mapping and 50 of its reference counts
/// (`block/src/formats/qcow`), 9.4 MiB with clusters of 64 KiB, and as much of its backing file.
const QCOW2: u64 = 24 << 20;
/// What the page tables of the guest's memory take of it: 1/512 on either side of the guest's border.
const TABLES: u64 = 128;
/// Room for the page cache of its disks, which is the machine's as well: it is given back before the limit is one, but
/// with little of it writes are slowed down.
const CACHE: u64 = 192 << 20;

/// What systemd takes for "not limited".
const NONE: u64 = u64::MAX;

/// The machine's limits, each as a setting of its scope.
pub(crate) fn properties(definition: &Definition) -> Vec<Property> {
    let memory = Property::number("MemoryMax", memory_max_bytes(definition));
    let limits = of(&definition.limits).into_iter();
    std::iter::once(memory)
        .chain(limits.filter_map(|(is_set, property)| is_set.then_some(property)))
        .collect()
}

/// The settings of the scope of a machine that runs as the process `pid`, which its limits `now` change.
/// Also what it takes of memory, in bytes, if that is more than it might take: then that limit is left as
/// it is, for the kernel would kill it.
pub(crate) fn changed(
    before: &Definition,
    now: &Definition,
    pid: u32,
) -> (Vec<Property>, Option<u64>) {
    let limits = of(&before.limits).into_iter().zip(of(&now.limits));
    let mut properties: Vec<Property> =
        limits.filter(|(before, now)| before != now).map(|(_, (_, property))| property).collect();
    let most = memory_max_bytes(now);
    if most == memory_max_bytes(before) {
        return (properties, None);
    }
    let taken = memory_of(pid).filter(|taken| *taken > most);
    if taken.is_none() {
        properties.push(Property::number("MemoryMax", most));
    }
    (properties, taken)
}

/// Each limit but that of the memory: whether it is set, and the setting.
fn of(limits: &LimitsDefinition) -> [(bool, Property); 5] {
    let number =
        |name, value: Option<u64>| (value.is_some(), Property::number(name, value.unwrap_or(NONE)));
    // In microseconds for each second.
    let quota = limits.cpu_limit_percent.map(|percent| u64::from(percent) * 10_000);
    let cpus = limits.cpu_affinity.iter().flat_map(|cpus| cpus.numbers());
    [
        number("CPUWeight", limits.cpu_weight.map(u64::from)),
        number("CPUQuotaPerSecUSec", quota),
        (limits.cpu_affinity.is_some(), Property::set("AllowedCPUs", cpus)),
        number("IOWeight", limits.io_weight.map(u64::from)),
        number("TasksMax", limits.pids.map(u64::from)),
    ]
}

/// The most memory of the VMM, in bytes: all that the guest can come to have, and the overhead. Hugepages
/// are not counted among it.
pub(crate) fn memory_max_bytes(definition: &Definition) -> u64 {
    let most = definition.max_memory_bytes.unwrap_or_default().max(definition.memory_bytes);
    let guest = if definition.hugepages { 0 } else { most };
    let overhead = definition.limits.memory_overhead_bytes.unwrap_or_else(|| {
        let vcpus = u64::from(definition.max_vcpus.max(definition.vcpus));
        let disks = definition.disks.iter().map(|disk| match disk.format {
            Format::Qcow2 => QCOW2,
            Format::Raw => DEVICE,
        });
        let nets = definition.nets.iter().map(|_| DEVICE);
        disks
            .chain(nets)
            .fold(PROGRAM + CACHE, u64::saturating_add)
            .saturating_add(vcpus.saturating_mul(VCPU))
            .saturating_add(most / TABLES)
    });
    guest.saturating_add(overhead)
}

/// Makes a VMM no likelier a victim of the kernel than any other process of its size, nor less likely,
/// as libvirt does: what the session that it was started from is worth is none of the machine's.
pub(crate) fn even_oom_score(pid: u32) {
    let path = format!("/proc/{pid}/oom_score_adj");
    let is_even = std::fs::read_to_string(&path).is_ok_and(|score| score.trim() == "0");
    if is_even {
        return;
    }
    if let Err(error) = std::fs::write(&path, "0") {
        // Who is not root may only make it likelier.
        tracing::debug!(pid, %error, "its oom_score_adj stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::definition::tests::example;

    #[test]
    fn the_memory_is_the_guests_and_an_overhead() {
        let mut definition = example();
        // With one vCPU, one raw disk and one NIC.
        let overhead = (32 + 192 + 1 + 4 + 4) << 20;
        assert_eq!(memory_max_bytes(&definition), (2 << 30) + (16 << 20) + overhead);
        definition.max_memory_bytes = Some(4 << 30);
        assert_eq!(memory_max_bytes(&definition), (4 << 30) + (32 << 20) + overhead);
        definition.hugepages = true;
        assert_eq!(memory_max_bytes(&definition), (32 << 20) + overhead);
        definition.disks[0].format = Format::Qcow2;
        definition.max_vcpus = 9;
        assert_eq!(memory_max_bytes(&definition), (32 << 20) + overhead + (28 << 20));
        definition.limits.memory_overhead_bytes = Some(1);
        assert_eq!(memory_max_bytes(&definition), 1);
        definition.hugepages = false;
        definition.memory_bytes = u64::MAX;
        assert_eq!(memory_max_bytes(&definition), u64::MAX);
    }

    #[test]
    fn each_limit_is_a_setting() {
        let mut definition = example();
        assert_eq!(properties(&definition).len(), 1);
        definition.limits.cpu_weight = Some(200);
        definition.limits.cpu_limit_percent = Some(150);
        definition.limits.cpu_affinity = Some("0-1".parse().unwrap());
        definition.limits.io_weight = Some(10);
        definition.limits.pids = Some(100);
        let expected = [
            Property::number("MemoryMax", memory_max_bytes(&definition)),
            Property::number("CPUWeight", 200),
            Property::number("CPUQuotaPerSecUSec", 1_500_000),
            Property::set("AllowedCPUs", [0, 1]),
            Property::number("IOWeight", 10),
            Property::number("TasksMax", 100),
        ];
        assert_eq!(properties(&definition), expected);
    }

    #[test]
    fn a_change_is_of_what_has_changed_and_of_nothing_that_would_kill() {
        let before = example();
        let mut now = before.clone();
        // None: what this test takes is no matter.
        let pid = 0;
        assert_eq!(changed(&before, &now, pid), (vec![], None));
        now.limits.cpu_weight = Some(9);
        now.limits.memory_overhead_bytes = Some(1 << 40);
        let expected = [
            Property::number("CPUWeight", 9),
            Property::number("MemoryMax", memory_max_bytes(&now)),
        ];
        assert_eq!(changed(&before, &now, pid), (expected.to_vec(), None));
        let none = [
            Property::number("CPUWeight", u64::MAX),
            Property::number("MemoryMax", memory_max_bytes(&before)),
        ];
        assert_eq!(changed(&now, &before, pid).0, none);
    }
}
