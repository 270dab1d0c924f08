//! The VLANs of a port on a bridge of the kernel, by netlink.

use std::collections::BTreeMap;
use std::io;

use crate::Vlans;
use crate::linux_bridge::LinuxBridge;
use crate::netlink::{attributes, change, dump, encode, piece};

/// `RTM_…` of `linux/rtnetlink.h`.
const RTM_DELLINK: u16 = 17;
const RTM_SETLINK: u16 = 19;
const RTM_GETVLAN: u16 = 114;
/// The address family of bridges.
const PF_BRIDGE: u8 = 7;
const IFLA_AF_SPEC: u16 = 26;
/// `IFLA_BRIDGE_VLAN_INFO`: a `struct bridge_vlan_info`.
const VLAN_INFO: u16 = 2;
/// Frames without a tag are of this VLAN.
const PVID: u16 = 2;
/// Frames of this VLAN leave without their tag.
const UNTAGGED: u16 = 4;
/// `struct br_vlan_msg` of `linux/if_bridge.h`.
const VLAN_HEADER: usize = 8;
/// `BRIDGE_VLANDB_…`
const ENTRY: u16 = 1;
const ENTRY_INFO: u16 = 1;
const ENTRY_RANGE: u16 = 2;

/// The VLANs that a port belongs to, each with its flags.
pub(super) type Membership = BTreeMap<u16, u16>;

/// What a port of `vlans` has on `bridge`. There is nothing to say to one that takes no notice of VLANs;
/// `None` if the bridge has no VLAN for the frames without a tag.
pub(super) fn membership(vlans: &Vlans, bridge: &LinuxBridge) -> Option<Membership> {
    if !bridge.filters_vlans {
        return Some(Membership::new());
    }
    let own = |vlan: u16| (vlan, PVID | UNTAGGED);
    match vlans {
        Vlans::Access(vlan) => Some([own(*vlan)].into()),
        Vlans::Trunk(all) => {
            let member = |vlan: &u16| match vlan {
                0 => bridge.default_vlan.map(own),
                vlan => Some((*vlan, 0)),
            };
            // The untagged one last: if it is named with its number as well, that is its own.
            all.iter().rev().map(member).collect()
        }
        Vlans::Untagged | Vlans::Every | Vlans::Other(_) => {
            bridge.default_vlan.map(|vlan| [own(vlan)].into())
        }
    }
}

/// What a port has, on a bridge that filters VLANs.
pub(super) fn read(port_index: u32) -> io::Result<Membership> {
    let mut found = Membership::new();
    let request = [&[PF_BRIDGE, 0, 0, 0][..], &port_index.to_ne_bytes()].concat();
    dump(RTM_GETVLAN, &request, |body| {
        if piece(body, 4).map(u32::from_ne_bytes) != Some(port_index) {
            return;
        }
        for (kind, entry) in attributes(body.get(VLAN_HEADER..).unwrap_or_default()) {
            if kind == ENTRY {
                found.extend(read_entry(entry));
            }
        }
    })?;
    Ok(found)
}

/// The VLANs of one entry: one, or a range of them.
fn read_entry(entry: &[u8]) -> Membership {
    let (mut info, mut last) = (None, None);
    for (kind, value) in attributes(entry) {
        match kind {
            ENTRY_INFO => info = piece(value, 0).zip(piece(value, 2)),
            ENTRY_RANGE => last = piece(value, 0).map(u16::from_ne_bytes),
            _ => {}
        }
    }
    let Some((flags, first)) = info else { return Membership::new() };
    let (flags, first) = (u16::from_ne_bytes(flags), u16::from_ne_bytes(first));
    (first..=last.unwrap_or(first)).map(|vlan| (vlan, flags & (PVID | UNTAGGED))).collect()
}

/// Gives the port what it lacks of `wanted`, and takes what it `has` beside that.
pub(super) fn apply(port_index: u32, has: &Membership, wanted: &Membership) -> io::Result<()> {
    // First what is to go: in between, the port has less, not more.
    let gone = has.iter().filter(|(vlan, _)| !wanted.contains_key(vlan));
    let gone: Membership = gone.map(|(vlan, _)| (*vlan, 0)).collect();
    let new = wanted.iter().filter(|(vlan, flags)| has.get(vlan) != Some(flags));
    let new: Membership = new.map(|(vlan, flags)| (*vlan, *flags)).collect();
    for (verb, members) in [(RTM_DELLINK, gone), (RTM_SETLINK, new)] {
        if !members.is_empty() {
            change(verb, 0, &request(port_index, &members))?;
        }
    }
    Ok(())
}

/// `struct ifinfomsg` of a port, with its VLANs.
fn request(port_index: u32, members: &Membership) -> Vec<u8> {
    let mut body = vec![0; 16];
    body[0] = PF_BRIDGE;
    body[4..8].copy_from_slice(&port_index.to_ne_bytes());
    let members = members.iter().flat_map(|(vlan, flags)| {
        encode(VLAN_INFO, &[flags.to_ne_bytes(), vlan.to_ne_bytes()].concat())
    });
    body.extend(encode(IFLA_AF_SPEC, &members.collect::<Vec<u8>>()));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(filters_vlans: bool, default_vlan: Option<u16>) -> LinuxBridge {
        LinuxBridge {
            name: "vmbr0".parse().unwrap(),
            index: 7,
            is_up: true,
            mtu_bytes: 1500,
            filters_vlans,
            default_vlan,
            has_spanning_tree: false,
        }
    }

    #[test]
    fn a_port_is_a_member_of_what_it_is_to_be() {
        let filtering = bridge(true, Some(1));
        for (vlans, members) in [
            (Vlans::Untagged, Some(vec![(1, 6)])),
            (Vlans::Access(12), Some(vec![(12, 6)])),
            (Vlans::Trunk([12, 13].into()), Some(vec![(12, 0), (13, 0)])),
            (Vlans::Trunk([0, 12].into()), Some(vec![(1, 6), (12, 0)])),
            (Vlans::Trunk([0, 1].into()), Some(vec![(1, 6)])),
        ] {
            let members = members.map(Membership::from_iter);
            assert_eq!(membership(&vlans, &filtering), members, "{vlans}");
        }
        let bare = bridge(true, None);
        assert_eq!(membership(&Vlans::Untagged, &bare), None);
        assert_eq!(membership(&Vlans::Trunk([0].into()), &bare), None);
        assert_eq!(membership(&Vlans::Access(7), &bare), Some([(7, 6)].into()));
        assert_eq!(membership(&Vlans::Access(7), &bridge(false, None)), Some([].into()));
    }

    #[test]
    fn ranges_are_read_whole_and_what_is_cut_short_is_nothing() {
        let info = [6_u16.to_ne_bytes(), 12_u16.to_ne_bytes()].concat();
        let range = [encode(ENTRY_INFO, &info), encode(ENTRY_RANGE, &14_u16.to_ne_bytes())];
        assert_eq!(read_entry(&range.concat()), [(12, 6), (13, 6), (14, 6)].into());
        assert_eq!(read_entry(&range[0]), [(12, 6)].into());
        for end in 0..range[0].len() {
            assert_eq!(read_entry(&range[0][..end]), [].into());
        }
    }
}
