//! What the host's kernel forwards.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::InterfaceName;
use crate::host_address::Route;
use crate::managed::error::ManagedError;

/// Forwarding of packets between the host's interfaces, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Of IPv4.
    V4,
    /// Of IPv6.
    V6,
}

impl Forwarding {
    /// Whether it is on. A host without the family has none.
    ///
    /// # Errors
    ///
    /// [`ManagedError::File`].
    pub fn is_on(self) -> Result<bool, ManagedError> {
        Ok(read(self.path())?.as_deref() == Some("1"))
    }

    /// Turns it on or off, for the whole host.
    ///
    /// # Errors
    ///
    /// [`ManagedError::File`].
    pub fn set(self, on: bool) -> Result<(), ManagedError> {
        write(self.path(), if on { "1" } else { "0" })
    }

    /// The setting, as sysctl(8) names it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::V4 => "net.ipv4.ip_forward",
            Self::V6 => "net.ipv6.conf.all.forwarding",
        }
    }

    /// Whether this host has IPv6 at all.
    pub fn has_ipv6() -> bool {
        Self::V6.path().exists()
    }

    fn path(self) -> PathBuf {
        PathBuf::from("/proc/sys").join(self.setting().replace('.', "/"))
    }
}

/// The devices that have a route by a router's advertisement, and would lose it: a kernel that forwards
/// does not listen to routers, unless `accept_ra` is 2.
pub(crate) fn losing_routes() -> io::Result<Vec<String>> {
    let mut devices = Vec::new();
    for route in Route::list()? {
        let setting = device_setting("ipv6", &route.device, "accept_ra");
        let by_kernel = fs::read_to_string(setting).is_ok_and(|value| value.trim() == "1");
        if route.by_advertisement && by_kernel && !devices.contains(&route.device) {
            devices.push(route.device);
        }
    }
    Ok(devices)
}

/// What the host's side of a managed network has to have set.
const OF_BRIDGE: [(&str, &str, &str); 3] = [
    ("ipv4", "forwarding", "1"),
    ("ipv6", "forwarding", "1"),
    // For what is published at 127.0.0.1; the rules keep guests from it.
    ("ipv4", "route_localnet", "1"),
];

impl crate::Device {
    /// The settings of a managed network's interface that don't hold, as `ipv4 forwarding is 0`.
    ///
    /// # Errors
    ///
    /// [`ManagedError::File`].
    pub fn managed_lapses(name: &InterfaceName) -> Result<Vec<String>, ManagedError> {
        let mut lapses = Vec::new();
        for (family, key, wanted) in OF_BRIDGE {
            let value = read(device_setting(family, name.as_str(), key))?;
            if let Some(value) = value.filter(|value| value != wanted) {
                lapses.push(format!("{family} {key} is {value}"));
            }
        }
        Ok(lapses)
    }

    /// Sets what a managed network's interface needs. The rules must be there before.
    ///
    /// # Errors
    ///
    /// [`ManagedError::File`].
    #[doc(alias = "route_localnet")]
    pub fn manage(name: &InterfaceName) -> Result<(), ManagedError> {
        for (family, key, wanted) in OF_BRIDGE {
            let path = device_setting(family, name.as_str(), key);
            if read(path.clone())?.is_some_and(|value| value != wanted) {
                write(path, wanted)?;
            }
        }
        Ok(())
    }

    /// Closes the host's loopback again. To be done before the rules go.
    ///
    /// # Errors
    ///
    /// [`ManagedError::File`].
    pub fn unmanage(name: &InterfaceName) -> Result<(), ManagedError> {
        let path = device_setting("ipv4", name.as_str(), "route_localnet");
        match read(path.clone())? {
            Some(value) if value != "0" => write(path, "0"),
            _ => Ok(()),
        }
    }
}

fn device_setting(family: &str, device: &str, key: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{device}/{key}"))
}

fn read(path: PathBuf) -> Result<Option<String>, ManagedError> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ManagedError::File { action: "read", path, source }),
    }
}

fn write(path: PathBuf, value: &str) -> Result<(), ManagedError> {
    fs::write(&path, value).map_err(|source| ManagedError::File { action: "set", path, source })
}
