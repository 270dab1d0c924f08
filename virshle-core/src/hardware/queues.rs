//! How many queues a device has: the guest's vCPUs work on them side by side.

use crate::model::definition::{Definition, DiskDefinition, NetDefinition, NetKind};

/// Unless more are asked for: each is a thread of the VMM, and beyond this few guests get more done.
const MOST: u16 = 8;

/// The queues of a disk.
pub(crate) fn of_disk(definition: &Definition, disk: &DiskDefinition) -> u16 {
    fitting(definition, disk.queues)
}

/// The pairs of queues of an interface.
pub(crate) fn of_net(definition: &Definition, net: &NetDefinition) -> u16 {
    match net.kind {
        NetKind::Vhost | NetKind::Tap | NetKind::Bridge => fitting(definition, net.queues),
        // passt serves one, and a macvtap's descriptor is one.
        NetKind::User | NetKind::Macvtap => 1,
    }
}

/// The machine's vCPUs may have become fewer since the queues were asked for.
fn fitting(definition: &Definition, asked: Option<u16>) -> u16 {
    let vcpus = u16::try_from(definition.vcpus).unwrap_or(u16::MAX).max(1);
    asked.unwrap_or(MOST).clamp(1, vcpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::definition::tests::example;

    #[test]
    fn there_are_as_many_as_vcpus_and_no_more_than_are_asked_for() {
        for (vcpus, asked, queues) in [
            (1, None, 1),
            (2, None, 2),
            (8, None, 8),
            (12, None, 8),
            (12, Some(12), 12),
            (4, Some(1), 1),
            (2, Some(4), 2),
            (0, Some(0), 1),
        ] {
            let mut definition = Definition { vcpus, ..example() };
            definition.disks[0].queues = asked;
            definition.nets[0].queues = asked;
            assert_eq!(of_disk(&definition, &definition.disks[0]), queues, "{vcpus} {asked:?}");
            assert_eq!(of_net(&definition, &definition.nets[0]), queues);
            definition.nets[0].kind = NetKind::User;
            assert_eq!(of_net(&definition, &definition.nets[0]), 1);
        }
    }
}
