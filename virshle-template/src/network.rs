//! `[network]`: the switch of the machines.

use std::fmt;

use serde::Serialize;

use crate::section::Section;

/// `[network]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NetworkSettings {
    /// The address of Open vSwitch's database.
    pub ovsdb: String,
    /// The bridge that machines are plugged into.
    pub bridge: String,
    /// Where that bridge forwards frames.
    pub datapath: Datapath,
    /// The host's switch, which the bridge is linked to.
    pub uplink: Option<String>,
}

/// Where a bridge forwards frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Datapath {
    /// In user space.
    #[default]
    Netdev,
    /// In the kernel.
    System,
}

impl fmt::Display for Datapath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Netdev => "netdev",
            Self::System => "system",
        })
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            ovsdb: "unix:/run/openvswitch/db.sock".into(),
            bridge: "br0".into(),
            datapath: Datapath::Netdev,
            uplink: None,
        }
    }
}

/// A bridge has a device of its name in the kernel: `IFNAMSIZ` of `linux/if.h` less its NUL.
const MAX_DEVICE: usize = 15;

impl NetworkSettings {
    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let mut settings = Self::default();
        let Some(section) = section else { return settings };
        if let Some(ovsdb) = section.string("ovsdb") {
            match ovsdb.value.split_once(':') {
                Some(("unix" | "tcp", rest)) if !rest.is_empty() => {
                    settings.ovsdb = ovsdb.value.to_owned();
                }
                _ => section.wrong(
                    ovsdb.span,
                    format!("{:?} is not the address of a database", ovsdb.value),
                    "expected unix:PATH or tcp:HOST:PORT",
                ),
            }
        }
        if let Some(bridge) = device(&section, "bridge") {
            settings.bridge = bridge;
        }
        settings.uplink = device(&section, "uplink");
        let datapaths = [("netdev", Datapath::Netdev), ("system", Datapath::System)];
        if let Some(datapath) = section.word("datapath", &datapaths) {
            settings.datapath = datapath;
        }
        section.finish();
        settings
    }
}

/// The name of a device in the host's kernel.
pub(crate) fn device(section: &Section<'_>, key: &'static str) -> Option<String> {
    let name = section.string(key)?;
    let fits = !name.value.is_empty()
        && name.value.len() <= MAX_DEVICE
        && name.value != "."
        && name.value != ".."
        && name.value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if !fits {
        section.wrong(
            name.span,
            format!("{:?} cannot be the name of a network device", name.value),
            "expected 1 to 15 printable characters, without '/' and ':'",
        );
        return None;
    }
    Some(name.value.to_owned())
}
