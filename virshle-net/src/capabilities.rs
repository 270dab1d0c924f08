//! Capabilities of an Open vSwitch.

use crate::ovsdb::Row;
use crate::{Datapath, NetError};

/// What this Open vSwitch can do, as `ovs-vswitchd` wrote it into the database when it started.
///
/// It answers nothing of whether `ovs-vswitchd` still runs; [`Switch::ping_vswitchd`] does.
///
/// # References
///
/// `ovs-vswitchd.conf.db(5)`, table Open_vSwitch.
///
/// [`Switch::ping_vswitchd`]: crate::Switch::ping_vswitchd
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Open vSwitch's version, if its start-up script wrote it down.
    pub version: Option<String>,
    /// DPDK's version, if it was built with DPDK.
    pub dpdk_version: Option<String>,
    /// Whether DPDK is up, which vhost-user ports need.
    pub dpdk_initialized: bool,
    /// The types an interface can have, sorted. Empty if no `ovs-vswitchd` ever ran.
    pub iface_types: Vec<String>,
    /// The datapaths it was built with, sorted; `system` needs the kernel's module besides.
    pub datapath_types: Vec<String>,
    /// Whether everything asked of it has been done.
    pub settled: bool,
}

impl Capabilities {
    pub(crate) const COLUMNS: [&str; 7] = [
        "ovs_version",
        "dpdk_version",
        "dpdk_initialized",
        "iface_types",
        "datapath_types",
        "cur_cfg",
        "next_cfg",
    ];

    pub(crate) fn of(row: &Row) -> Self {
        let text = |column| row.get(column).and_then(|value| value.as_str()).map(str::to_owned);
        let texts = |column| {
            let mut texts: Vec<String> = row
                .get(column)
                .into_iter()
                .flat_map(|value| value.strings())
                .map(Into::into)
                .collect();
            texts.sort();
            texts
        };
        let number = |column| row.get(column).and_then(|value| value.as_i64());
        Self {
            version: text("ovs_version"),
            dpdk_version: text("dpdk_version"),
            dpdk_initialized: row.get("dpdk_initialized").and_then(|value| value.as_bool())
                == Some(true),
            iface_types: texts("iface_types"),
            datapath_types: texts("datapath_types"),
            settled: number("cur_cfg") >= number("next_cfg"),
        }
    }

    /// Returns whether vhost-user ports can be created.
    pub fn can_vhost_user(&self) -> bool {
        self.dpdk_initialized && self.iface_types.iter().any(|found| found == "dpdkvhostuserclient")
    }

    /// Returns whether bridges with this datapath can be asked for.
    pub fn can_datapath(&self, datapath: Datapath) -> bool {
        self.datapath_types.iter().any(|found| found == datapath.as_str())
    }

    /// Fails unless vhost-user ports can be created.
    ///
    /// # Errors
    ///
    /// [`NetError::NoDpdk`]; its hint names what to install and to set.
    pub fn require_vhost_user(&self) -> Result<(), NetError> {
        if self.can_vhost_user() { Ok(()) } else { Err(NetError::NoDpdk) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovsdb::Value;

    #[test]
    fn an_empty_row_can_do_nothing() {
        let none = Capabilities::of(&Row::new());
        assert!(!none.can_vhost_user() && !none.can_datapath(Datapath::Netdev));
        assert!(none.require_vhost_user().unwrap_err().hint().unwrap().contains("dpdk-init"));
    }

    #[test]
    fn vhost_user_needs_dpdk_that_is_up() {
        let mut row = Row::from([
            ("iface_types".into(), Value::set(["tap", "dpdkvhostuserclient"])),
            ("dpdk_initialized".into(), false.into()),
        ]);
        assert!(!Capabilities::of(&row).can_vhost_user());
        row.insert("dpdk_initialized".into(), true.into());
        assert!(Capabilities::of(&row).can_vhost_user());
    }
}
