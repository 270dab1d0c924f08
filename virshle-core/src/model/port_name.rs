//! The names of a machine's ports, which are those of its devices in the host's kernel as well.

use uuid::Uuid;
use virshle_net::InterfaceName;

use crate::model::definition::NetKind;

/// The name of a port on the system's own node: it shows the machine.
///
/// A device in the host's kernel has at most 15 bytes. A name that would not fit is numbered
/// instead, as a cut one could be another's too.
pub(crate) fn port_name(id: u64, net: &str, index: usize, kind: NetKind) -> String {
    let name = format!("vm{id}-{net}");
    if kind == NetKind::Vhost || name.len() <= InterfaceName::MAX_LEN {
        name
    } else {
        // No interface of a template is called like this: it has no hyphen after the id.
        format!("vm{id}n{index}")
    }
}

/// The name of a port on another node: some of the machine's uuid is in it, so that no other node's
/// machine has it, whatever ids it gives.
pub(crate) fn unmistakable_name(id: u64, uuid: Uuid, index: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let (beginning, end) = (format!("vm{id}-"), index.to_string());
    // Random bits: those of the version are further up. One machine in 34 million has the same of
    // the same id.
    let mut bits = uuid.as_u128();
    let room = InterfaceName::MAX_LEN.saturating_sub(beginning.len() + end.len());
    let mut tag = String::new();
    for _ in 0..room.clamp(1, 5) {
        tag.push(char::from(LETTERS[usize::try_from(bits & 31).unwrap_or_default()]));
        bits >>= 5;
    }
    format!("{beginning}{tag}{end}")
}

/// Whether `name` is one that [`port_name`] or [`unmistakable_name`] gives to the machine `id`: so it names no other
/// machine's device, nor one of the host's. A definition is a file, in which any name may stand.
pub(crate) fn is_port_name(name: &str, id: u64) -> bool {
    let Some(rest) = name.strip_prefix(&format!("vm{id}")) else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_net = |text: &str| !text.is_empty() && !text.contains(['/', '\0']);
    rest.strip_prefix('n').is_some_and(is_number) || rest.strip_prefix('-').is_some_and(is_net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_two_nodes_have_two_names() {
        let [one, two] = [1, 2].map(|uuid| unmistakable_name(3, Uuid::from_u128(uuid), 0));
        assert_ne!(one, two);
        for (id, index) in [(1, 0), (99_999, 99), (9_999_999, 12)] {
            let name = unmistakable_name(id, Uuid::from_u128(u128::MAX), index);
            assert!(InterfaceName::new(&name).is_ok(), "{name}");
            assert!(is_port_name(&name, id), "{name}");
        }
        assert_ne!(unmistakable_name(3, Uuid::nil(), 0), unmistakable_name(3, Uuid::nil(), 1));
    }

    #[test]
    fn port_names_fit_the_kernel_and_are_never_cut() {
        assert_eq!(port_name(1, "main", 0, NetKind::Vhost), "vm1-main");
        assert_eq!(port_name(1, "main", 0, NetKind::Tap), "vm1-main");
        assert_eq!(port_name(12, "management", 0, NetKind::Tap), "vm12-management");
        assert_eq!(port_name(123, "management", 1, NetKind::Tap), "vm123n1");
        assert_eq!(port_name(123, "management", 1, NetKind::Vhost), "vm123-management");
    }

    #[test]
    fn no_name_of_the_hosts_or_of_another_machine_is_a_machines() {
        for kind in [NetKind::Vhost, NetKind::Tap, NetKind::Bridge, NetKind::Macvtap] {
            for net in ["main", "management", "a.b", "n1"] {
                assert!(is_port_name(&port_name(12, net, 3, kind), 12), "{net}");
                assert!(!is_port_name(&port_name(12, net, 3, kind), 1), "{net}");
                assert!(!is_port_name(&port_name(1, net, 3, kind), 12), "{net}");
            }
        }
        for name in ["wg0", "eth0", "br0", "", "vm", "vm1", "vm1n", "vm1-", "vm1nx", "vm1-../../x"]
        {
            assert!(!is_port_name(name, 1), "{name}");
        }
    }
}
