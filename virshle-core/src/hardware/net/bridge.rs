//! The node's bridge: created if it is missing, linked to the uplink, and closed to router
//! advertisements.

use std::time::Duration;

use virshle_net::{Bridge, Change, Device, NetError, Switch};

use crate::hardware::net::config::datapath;
use crate::machine::node::Node;

/// The bridge that a machine's ports are to be on. The node's own is created if it isn't there, and
/// logged: on a host that was never set up, too, the first machine starts.
pub(crate) fn require_bridge(
    node: &Node,
    switch: &mut Switch,
    name: &str,
    timeout: Duration,
) -> Result<Bridge, NetError> {
    let network = &node.config().network;
    let bridge = match switch.bridge(name)? {
        Some(bridge) => bridge,
        None if name == network.bridge => {
            let asked = datapath(network.datapath);
            if switch.ensure_bridge(name, asked, timeout)? == Change::Made {
                tracing::warn!("there was no bridge {name}: created it ({asked} datapath)");
            }
            if let Some(uplink) = &network.uplink {
                switch.ensure_patch(name, uplink, timeout)?;
                tracing::warn!("linked bridge {name} to {uplink}");
            }
            switch.require_bridge(name)?
        }
        None => return Err(NetError::NoBridge { bridge: name.into() }),
    };
    close(&bridge)?;
    Ok(bridge)
}

/// Keeps the host from taking addresses and routes from a guest's router advertisements, on a bridge
/// that was created by Virshle. Its device is a new one whenever `ovs-vswitchd` has been restarted.
pub(crate) fn close(bridge: &Bridge) -> Result<(), NetError> {
    match device_of(bridge)? {
        Some(device) => Device::ignore_routers(&device.name),
        None => Ok(()),
    }
}

/// What keeps a bridge that was created by Virshle from being closed to router advertisements.
pub(crate) fn lapses(bridge: &Bridge) -> Result<Vec<String>, NetError> {
    device_of(bridge)?.map_or(Ok(Vec::new()), |device| Device::router_lapses(&device.name))
}

/// The device of a bridge of ours. Open vSwitch may run elsewhere: then there is none here.
fn device_of(bridge: &Bridge) -> Result<Option<Device>, NetError> {
    if bridge.is_ours { Device::find(&bridge.name.parse()?) } else { Ok(None) }
}
