//! The VLANs of a port.

use std::collections::BTreeSet;
use std::fmt;

use crate::ovsdb::{Atom, Row, Value};

/// The VLANs that a port belongs to.
///
/// # References
///
/// `ovs-vswitchd.conf.db(5)`, table Port, columns `vlan_mode`, `tag` and `trunks`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vlans {
    /// The network without tags, and no tagged frame passes.
    Untagged,
    /// One VLAN, whose tag the machine does not see; no tagged frame passes.
    Access(u16),
    /// These VLANs, with their tags; 0 stands for frames without one.
    Trunk(BTreeSet<u16>),
    /// Every VLAN: what Open vSwitch takes a port for whose row says nothing.
    Every,
    /// Something that was set by hand.
    Other(String),
}

impl Vlans {
    /// The columns of the row in Port.
    pub(crate) fn columns(&self) -> Vec<(&'static str, Value)> {
        let access = |tag: u16| vec![("vlan_mode", Value::from("access")), ("tag", tag.into())];
        match self {
            Self::Untagged => access(0),
            Self::Access(vlan) => access(*vlan),
            Self::Trunk(vlans) => {
                let trunks = vlans.iter().map(|vlan| Atom::Integer((*vlan).into())).collect();
                vec![("vlan_mode", "trunk".into()), ("trunks", Value::Set(trunks))]
            }
            Self::Every | Self::Other(_) => Vec::new(),
        }
    }

    /// The VLANs of a row in Port.
    pub(crate) fn of(port: &Row) -> Self {
        let mode = port.get("vlan_mode").and_then(Value::as_str);
        let number = |value: i64| u16::try_from(value).ok();
        let tag = port.get("tag").and_then(Value::as_i64).and_then(number);
        let trunks: BTreeSet<u16> = match port.get("trunks") {
            Some(Value::Set(atoms)) => atoms
                .iter()
                .filter_map(|atom| match atom {
                    Atom::Integer(vlan) => number(*vlan),
                    _ => None,
                })
                .collect(),
            Some(value) => value.as_i64().and_then(number).into_iter().collect(),
            None => BTreeSet::new(),
        };
        match (mode, tag, trunks) {
            (None | Some("access"), Some(0), _) => Self::Untagged,
            (None | Some("access"), Some(tag), _) => Self::Access(tag),
            (Some("access"), None, _) => Self::Untagged,
            (None | Some("trunk"), None, trunks) if trunks.is_empty() => Self::Every,
            (None | Some("trunk"), None, trunks) => Self::Trunk(trunks),
            (mode, ..) => Self::Other(mode.unwrap_or_default().into()),
        }
    }
}

impl fmt::Display for Vlans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged => formatter.write_str("untagged"),
            Self::Access(vlan) => write!(formatter, "VLAN {vlan}"),
            Self::Trunk(vlans) => {
                let vlans: Vec<_> = vlans.iter().map(ToString::to_string).collect();
                write!(formatter, "a trunk of VLANs {}", vlans.join(", "))
            }
            Self::Every => formatter.write_str("a trunk of every VLAN"),
            Self::Other(mode) => write!(formatter, "vlan_mode {mode:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for vlans in
            [Vlans::Untagged, Vlans::Access(12), Vlans::Trunk([0, 12, 13].into()), Vlans::Every]
        {
            let columns = vlans.columns().into_iter();
            let row: Row = columns.map(|(column, value)| (column.into(), value)).collect();
            assert_eq!(Vlans::of(&row), vlans);
        }
        let one = Row::from([("trunks".into(), Value::from(7_u16))]);
        assert_eq!(Vlans::of(&one), Vlans::Trunk([7].into()));
        let native = Row::from([("vlan_mode".into(), "native-tagged".into())]);
        assert_eq!(Vlans::of(&native), Vlans::Other("native-tagged".into()));
    }
}
