//! The user of a machine: its own on the host, and its own in the node.

use std::path::Path;

use virshle_hypervisor::Identity;
use virshle_template::{NodeSettings, UserRange};

use crate::hardware::confine::error::ConfineError;
use crate::machine::kvm;
use crate::machine::node::Node;
use crate::machine::vm::Vm;

/// The user of a machine, of a node that is root's.
///
/// The range of ids is a ring. A node's place in it is a number made of its root's path (0 for the root
/// that is the default), and a machine's is so many places further as its id says. The node's own place
/// is that of a group which all its machines share, to read what they share. Ids of machines are never
/// given twice, and so no two machines of a node ever have one user; of two nodes on one host it is
/// unlikely with the default range, and certain only with a range for each.
#[derive(Clone, Debug)]
pub(crate) struct MachineUser {
    uid: u32,
    shared: u32,
    devices: Vec<u32>,
}

impl MachineUser {
    /// The user of `vm`; none if this process isn't root and can't start others as another.
    pub(crate) fn of(vm: &Vm) -> Result<Option<Self>, ConfineError> {
        Self::of_id(vm.node(), vm.definition().id)
    }

    /// The user of the node's machine of that id.
    pub(crate) fn of_id(node: &Node, id: u64) -> Result<Option<Self>, ConfineError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let range = node.config().hypervisor.users;
        let place = place_of(node.root(), range);
        let number = u32::try_from(id).ok().filter(|id| (1..=range.machines()).contains(id));
        let number = number.ok_or(ConfineError::IdBeyond { range, id })?;
        let user = Self {
            uid: nth(range, place, number),
            shared: nth(range, place, 0),
            devices: device_groups(),
        };
        check_free(range, Path::new("/etc"))?;
        user.check_mapped()?;
        Ok(Some(user))
    }

    /// The user with all groups that it has.
    pub(crate) fn identity(&self) -> Identity {
        let groups = std::iter::once(&self.shared).chain(&self.devices);
        groups.fold(Identity::new(self.uid, self.uid), |identity, gid| identity.group(*gid))
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// The group of all machines of the node.
    pub(crate) fn shared_group(&self) -> u32 {
        self.shared
    }

    fn check_mapped(&self) -> Result<(), ConfineError> {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"];
        for map in maps {
            // Without it there are no user namespaces.
            let Ok(map) = std::fs::read_to_string(map) else { continue };
            for uid in [self.uid, self.shared] {
                if !is_mapped(&map, uid) {
                    return Err(ConfineError::NotMapped { uid });
                }
            }
        }
        Ok(())
    }
}

/// The users of the node's machines, if they can have any; none if this process isn't root.
pub(crate) fn check_users(node: &Node) -> Result<Option<UserRange>, ConfineError> {
    let user = MachineUser::of_id(node, 1)?;
    Ok(user.map(|_| node.config().hypervisor.users))
}

/// The node's place in the ring.
fn place_of(root: &Path, range: UserRange) -> u32 {
    if root == NodeSettings::default_root() {
        return 0;
    }
    // FNV-1a: what matters is that it stays the same for ever.
    let hash =
        root.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    u32::try_from(hash % (u64::from(range.machines()) + 1)).unwrap_or_default()
}

/// The id `number` places further than `place`.
fn nth(range: UserRange, place: u32, number: u32) -> u32 {
    let places = u64::from(range.machines()) + 1;
    let at = (u64::from(place) + u64::from(number)) % places;
    range.first + u32::try_from(at).unwrap_or_default()
}

/// The groups that the device of KVM is open to: `kvm`, where udev set it up.
fn device_groups() -> Vec<u32> {
    let group = std::fs::metadata(kvm::DEVICE).ok().and_then(|metadata| {
        use std::os::unix::fs::MetadataExt;
        let (open, to_all) = (metadata.mode() & 0o060 == 0o060, metadata.mode() & 0o006 == 0o006);
        // Root's own group has more than this.
        (open && !to_all && metadata.gid() != 0).then_some(metadata.gid())
    });
    group.into_iter().collect()
}

/// Makes sure that no user or group of the host has an id of the range, as far as its files say.
pub(crate) fn check_free(range: UserRange, etc: &Path) -> Result<(), ConfineError> {
    let read = |name: &str| std::fs::read_to_string(etc.join(name)).unwrap_or_default();
    let taken =
        |name: &str, by: String| ConfineError::UsersTaken { range, file: etc.join(name), by };
    for name in ["passwd", "group"] {
        let text = read(name);
        let mut entries = text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (user, id) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            Some((user.to_owned(), id))
        });
        if let Some((user, id)) = entries.find(|(_, id)| range.contains(*id)) {
            return Err(taken(name, format!("{user} with {id}")));
        }
    }
    for name in ["subuid", "subgid"] {
        let text = read(name);
        let mut entries = text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let user = fields.next()?.to_owned();
            let (first, count) =
                (fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
            Some((user, first, first.saturating_add(count)))
        });
        let overlaps =
            |first: u64, end: u64| first <= u64::from(range.last) && end > u64::from(range.first);
        if let Some((user, first, _)) = entries.find(|(_, first, end)| overlaps(*first, *end)) {
            return Err(taken(name, format!("{user} from {first}")));
        }
    }
    Ok(())
}

/// Whether a user namespace whose map is `map` has `id` (user_namespaces(7)).
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(inside)), _, Some(Ok(count))) => {
                (inside..inside.saturating_add(count)).contains(&id.into())
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn machines_of_a_node_have_users_of_their_own() {
        let range = UserRange::default();
        for root in ["/var/lib/virshle", "/srv/vm", "/"] {
            let place = place_of(Path::new(root), range);
            let ids: HashSet<u32> = (0..10_000).map(|id| nth(range, place, id)).collect();
            assert_eq!(ids.len(), 10_000);
            assert!(ids.iter().all(|id| range.contains(*id)));
        }
        assert_eq!(nth(range, range.machines(), 0), range.last);
        assert_eq!(nth(range, range.machines(), 1), range.first);
        let (one, other) =
            (place_of(Path::new("/srv/a"), range), place_of(Path::new("/srv/b"), range));
        assert!(one.abs_diff(other) > 10_000, "{one} {other}");
        assert_eq!(one, 26_769_591, "it may never change: files belong to these users");
    }

    #[test]
    fn a_range_that_users_have_is_refused() {
        let etc = tempfile::tempdir().unwrap();
        let range = UserRange::default();
        let with = |name: &str, text: &str| {
            std::fs::write(etc.path().join(name), text).unwrap();
            let result = check_free(range, etc.path()).map_err(|error| error.to_string());
            std::fs::remove_file(etc.path().join(name)).unwrap();
            result
        };
        check_free(range, etc.path()).unwrap();
        with("passwd", "root:x:0:0::/root:/bin/sh\nnonsense\n\n").unwrap();
        with("subuid", "alice:100000:65536\nbroken:x:y\n").unwrap();
        let error = with("passwd", "root:x:0:0::/:/bin/sh\nbob:x:2100000007:1::/:/bin/sh\n");
        assert!(error.unwrap_err().ends_with("/passwd names bob with 2100000007"));
        let error = with("subgid", "carol:2000000000:200000000\n");
        assert!(error.unwrap_err().ends_with("/subgid names carol from 2000000000"));
        assert!(with("group", "them:x:2139999999:\n").is_err());
        with("subuid", "dan:2140000000:65536\neve:2099934464:65536\n").unwrap();
    }

    #[test]
    fn a_container_may_lack_the_range() {
        assert!(is_mapped("         0          0 4294967295\n", 2_100_000_000));
        assert!(!is_mapped("0 100000 65536\n", 2_100_000_000));
        assert!(is_mapped("0 1000 1\n2100000000 5 1\n", 2_100_000_000));
        assert!(!is_mapped("", 0) && !is_mapped("x y z", 0));
    }
}
