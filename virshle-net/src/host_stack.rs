//! Keeps the host's IP stack away from the frames of a device.
//!
//! On a bridge of the `netdev` datapath `ovs-vswitchd` reads a tap by a packet socket, and the
//! kernel gives every frame to the host's own IP stack as well: past VLANs and flows, one router
//! advertisement of a guest gives the host a default route.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::{Device, InterfaceName, NetError};

/// A setting of a device below `/proc/sys/net`.
type Setting = (&'static str, &'static str, &'static str);

/// For a device that the host has no business with. IPv6 first: with it the device gets an address
/// when it is set up.
const ISOLATED: [Setting; 7] = [
    ("ipv6", "disable_ipv6", "1"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "forwarding", "0"),
    // No address of the host is answered for, on whatever interface it is.
    ("ipv4", "arp_ignore", "8"),
    // Nothing is reached through this device, so no source is taken for genuine.
    ("ipv4", "rp_filter", "1"),
    // A guest that can't ask for the device's MAC address sends to the broadcast one.
    ("ipv4", "drop_unicast_in_l2_multicast", "1"),
    ("ipv4", "forwarding", "0"),
];

/// For a device by which the host takes part in its machines' network.
const NO_ROUTERS: [Setting; 2] = [("ipv6", "accept_ra", "0"), ("ipv6", "autoconf", "0")];

impl Device {
    /// Keeps the host's IP stack from using a device: no IPv6, no answer to ARP, no packet taken
    /// or forwarded. To be done before the device is up; may run again.
    ///
    /// Frames reach Open vSwitch as before: it reads them ahead of the IP stack.
    ///
    /// # Errors
    ///
    /// [`NetError::Sysctl`].
    ///
    /// # References
    ///
    /// `Documentation/networking/ip-sysctl.rst` of Linux.
    #[doc(alias = "disable_ipv6")]
    pub fn isolate(name: &InterfaceName) -> Result<(), NetError> {
        apply(name, &ISOLATED)
    }

    /// The settings of [`isolate`](Self::isolate) that do not hold, as `ipv4 arp_ignore is 0`.
    ///
    /// # Errors
    ///
    /// [`NetError::Sysctl`].
    pub fn isolation_lapses(name: &InterfaceName) -> Result<Vec<String>, NetError> {
        lapses(name, &ISOLATED)
    }

    /// Keeps the host from taking addresses and routes from router advertisements on a device; may
    /// run again. What it has from earlier ones stays.
    ///
    /// # Errors
    ///
    /// [`NetError::Sysctl`].
    #[doc(alias = "accept_ra")]
    pub fn ignore_routers(name: &InterfaceName) -> Result<(), NetError> {
        apply(name, &NO_ROUTERS)
    }

    /// The settings of [`ignore_routers`](Self::ignore_routers) that do not hold.
    ///
    /// # Errors
    ///
    /// [`NetError::Sysctl`].
    pub fn router_lapses(name: &InterfaceName) -> Result<Vec<String>, NetError> {
        lapses(name, &NO_ROUTERS)
    }
}

fn apply(name: &InterfaceName, settings: &[Setting]) -> Result<(), NetError> {
    for setting in settings {
        // To read is cheap; some of them are written under the kernel's lock of all devices.
        if read(name, setting)?.is_some_and(|value| value != setting.2) {
            let path = path(name, setting);
            std::fs::write(&path, setting.2).map_err(|source| NetError::Sysctl {
                action: "set",
                path,
                source,
            })?;
        }
    }
    Ok(())
}

fn lapses(name: &InterfaceName, settings: &[Setting]) -> Result<Vec<String>, NetError> {
    let mut lapses = Vec::new();
    for setting in settings {
        if let Some(value) = read(name, setting)?.filter(|value| value != setting.2) {
            lapses.push(format!("{} {} is {value}", setting.0, setting.1));
        }
    }
    Ok(lapses)
}

/// The value; none where the device has no IPv6 at all.
fn read(name: &InterfaceName, setting: &Setting) -> Result<Option<String>, NetError> {
    let path = path(name, setting);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound && setting.0 == "ipv6" => Ok(None),
        Err(source) => Err(NetError::Sysctl { action: "read", path, source }),
    }
}

/// The file of a setting: of the network namespace of the calling thread.
fn path(name: &InterfaceName, (family, key, _): &Setting) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{name}/{key}"))
}
