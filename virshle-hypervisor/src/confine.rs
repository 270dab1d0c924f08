//! Confines a machine's cloud-hypervisor to the files that its configuration leads to.

use std::path::Path;

use crate::console::ConsoleMode;
use crate::landlock::{LandlockAccess, LandlockRule};
use crate::net::VhostMode;
use crate::vm_config::VmConfig;

impl VmConfig {
    /// Confines cloud-hypervisor to the files that this configuration names and those it leads to.
    ///
    /// cloud-hypervisor itself allows disks, payload, consoles, the vsock socket and its directory.
    /// This adds the directory of each vhost-user socket that it creates (it makes it again when
    /// the other side comes back), the directory of the serial socket (made again at a reboot) and
    /// the tap devices' entries in `/sys`. Call it last, when disks and networks are complete.
    ///
    /// `also` names what is in no configuration: the backing files of qcow2 images (read), taps
    /// that are passed as descriptors, whatever is to be added while the machine runs.
    ///
    /// The rules hold for the VMM's thread and those born from it, for the process's life.
    #[must_use]
    pub fn confined(mut self, also: impl IntoIterator<Item = LandlockRule>) -> Self {
        self.landlock_enable = true;
        let mut rules = std::mem::take(&mut self.landlock_rules);
        for net in &self.net {
            if let Some(tap) = &net.tap {
                // cloud-hypervisor reads the tap's flags there, and boot fails without.
                let path = Path::new("/sys/devices/virtual/net").join(tap);
                rules.push(LandlockRule::new(path, LandlockAccess::Read));
            }
            if let (Some(socket), Some(VhostMode::Server)) = (&net.vhost_socket, net.vhost_mode) {
                rules.extend(directory(socket));
            }
        }
        if let (ConsoleMode::Socket, Some(socket)) = (self.serial.mode, &self.serial.socket) {
            rules.extend(directory(socket));
        }
        for rule in also {
            rules.push(rule);
        }
        for rule in rules {
            if !self.landlock_rules.contains(&rule) {
                self.landlock_rules.push(rule);
            }
        }
        self
    }
}

fn directory(socket: &Path) -> Option<LandlockRule> {
    let directory = socket.parent().filter(|directory| !directory.as_os_str().is_empty())?;
    Some(LandlockRule::new(directory, LandlockAccess::ReadWrite))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConsoleConfig, CpusConfig, MemoryConfig, NetConfig, PayloadConfig};

    #[test]
    fn confinement_leaves_room_for_what_the_configuration_leads_to() {
        let payload = PayloadConfig::kernel("/k");
        let base = LandlockRule::new("/cache/base.qcow2", LandlockAccess::Read);
        let config = VmConfig::new(CpusConfig::new(1), MemoryConfig::new(1 << 26), payload)
            .net(NetConfig::tap("vm1-main"))
            .net(NetConfig::vhost_user("/vm/net/a.sock", VhostMode::Server))
            .net(NetConfig::vhost_user("/vm/net/b.sock", VhostMode::Server))
            .net(NetConfig::vhost_user("/other/c.sock", VhostMode::Client))
            .serial(ConsoleConfig::socket("/vm/serial.sock"))
            .confined([base.clone()]);
        assert!(config.landlock_enable);
        let rules = serde_json::to_value(&config.landlock_rules).unwrap();
        assert_eq!(
            rules,
            serde_json::json!([
                {"path": "/sys/devices/virtual/net/vm1-main", "access": "r"},
                {"path": "/vm/net", "access": "rw"},
                {"path": "/vm", "access": "rw"},
                {"path": "/cache/base.qcow2", "access": "r"},
            ])
        );
        assert_eq!(config.clone().confined([base]).landlock_rules, config.landlock_rules);
    }
}
