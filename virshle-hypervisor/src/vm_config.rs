//! The whole configuration of a machine, as `vm.create` takes it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::console::ConsoleConfig;
use crate::cpus::CpusConfig;
use crate::disk::DiskConfig;
use crate::landlock::LandlockRule;
use crate::memory::MemoryConfig;
use crate::net::NetConfig;
use crate::payload::PayloadConfig;
use crate::platform::PlatformConfig;
use crate::rng::RngConfig;
use crate::vsock::VsockConfig;

/// The whole of a machine.
///
/// `vm.create` checks none of it and ignores keys it doesn't know; most mistakes come out at
/// `vm.boot`.
///
/// The serial port and the console are off unless set: cloud-hypervisor's own default for the
/// console is its standard output.
///
/// # References
///
/// `components/schemas/VmConfig` in cloud-hypervisor's OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VmConfig {
    /// The virtual processors.
    #[serde(default)]
    pub cpus: CpusConfig,
    /// The memory.
    #[serde(default)]
    pub memory: MemoryConfig,
    /// What is booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadConfig>,
    /// The disks, in the guest's order.
    #[serde(default, deserialize_with = "none_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskConfig>,
    /// The network interfaces, in the guest's order. Those of passed descriptors come by
    /// [`Client::add_net_with_fds`](crate::Client::add_net_with_fds) instead.
    #[serde(default, deserialize_with = "none_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub net: Vec<NetConfig>,
    /// The source of randomness.
    #[serde(default)]
    pub rng: RngConfig,
    /// The first serial port.
    #[serde(default)]
    pub serial: ConsoleConfig,
    /// The virtio console.
    #[serde(default)]
    pub console: ConsoleConfig,
    /// The way to the guest without a network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock: Option<VsockConfig>,
    /// What the firmware shows to the guest (SMBIOS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformConfig>,
    /// Confines cloud-hypervisor's file access to what this configuration names.
    #[serde(default)]
    pub landlock_enable: bool,
    /// What it may open beyond that.
    #[serde(default, deserialize_with = "none_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub landlock_rules: Vec<LandlockRule>,
    /// Everything else, by its JSON name: `balloon`, `fs`, `pmem`, `watchdog`, …
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl VmConfig {
    /// A machine without disks and networks that boots `payload`.
    pub fn new(cpus: CpusConfig, memory: MemoryConfig, payload: PayloadConfig) -> Self {
        Self {
            cpus,
            memory,
            payload: Some(payload),
            disks: Vec::new(),
            net: Vec::new(),
            rng: RngConfig::default(),
            serial: ConsoleConfig::default(),
            console: ConsoleConfig::default(),
            vsock: None,
            platform: None,
            landlock_enable: false,
            landlock_rules: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Adds a disk.
    #[must_use]
    pub fn disk(mut self, disk: DiskConfig) -> Self {
        self.disks.push(disk);
        self
    }

    /// Adds a network interface.
    #[must_use]
    pub fn net(mut self, net: NetConfig) -> Self {
        self.net.push(net);
        self
    }

    /// Sets the first serial port.
    #[must_use]
    pub fn serial(mut self, serial: ConsoleConfig) -> Self {
        self.serial = serial;
        self
    }

    /// Sets the virtio console.
    #[must_use]
    pub fn console(mut self, console: ConsoleConfig) -> Self {
        self.console = console;
        self
    }

    /// Sets the way to the guest without a network.
    #[must_use]
    pub fn vsock(mut self, vsock: VsockConfig) -> Self {
        self.vsock = Some(vsock);
        self
    }

    /// Sets what the firmware shows to the guest.
    #[must_use]
    pub fn platform(mut self, platform: PlatformConfig) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Sets any other key of the configuration, by its JSON name.
    #[must_use]
    pub fn extra(mut self, key: &str, value: Value) -> Self {
        self.extra.insert(key.to_owned(), value);
        self
    }
}

/// Reads `null` as an empty list.
pub(crate) fn none_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{ImageType, VhostMode};

    proptest! {
        #[test]
        fn any_configuration_comes_back_through_the_text(
            (vcpus, size) in (any::<u32>(), any::<u64>()),
            (kernel, cmdline) in (any::<String>(), option::of(any::<String>())),
            (disk, readonly) in (any::<String>(), any::<bool>()),
            (net, mtu) in (any::<String>(), option::of(any::<u16>())),
        ) {
            let mut payload = PayloadConfig::kernel(&kernel);
            payload.cmdline = cmdline;
            let mut nic = NetConfig::tap(&net);
            nic.mtu_bytes = mtu;
            nic.extra.insert("offload_tso".into(), readonly.into());
            let disk = DiskConfig::new(&disk, ImageType::Raw).id(&disk).readonly(readonly);
            let config = VmConfig::new(CpusConfig::new(vcpus), MemoryConfig::new(size), payload)
                .disk(disk)
                .net(nic)
                .confined([]);
            let text = serde_json::to_string(&config).unwrap();
            prop_assert_eq!(serde_json::from_str::<VmConfig>(&text).unwrap(), config);
        }
    }

    fn small() -> VmConfig {
        let payload = PayloadConfig::kernel("/boot/vmlinux");
        VmConfig::new(CpusConfig::new(1), MemoryConfig::new(64 << 20), payload)
    }

    #[test]
    fn the_least_machine_never_writes_on_the_callers_terminal() {
        assert_eq!(
            serde_json::to_value(small()).unwrap(),
            json!({
                "cpus": {"boot_vcpus": 1, "max_vcpus": 1},
                "memory": {"size": 67_108_864},
                "payload": {"kernel": "/boot/vmlinux"},
                "rng": {"src": "/dev/urandom"},
                "serial": {"mode": "Off"},
                "console": {"mode": "Off"},
                "landlock_enable": false
            })
        );
    }

    #[test]
    fn enums_are_spelt_as_the_api_spells_them() {
        let config = small()
            .disk(DiskConfig::new("/vm/os", ImageType::Qcow2).backing_files(true))
            .net(NetConfig::vhost_user("/vm/net.sock", VhostMode::Server))
            .serial(ConsoleConfig::socket("/vm/serial.sock"));
        let value = serde_json::to_value(config).unwrap();
        assert_eq!(
            value["disks"],
            json!([{"path": "/vm/os", "image_type": "Qcow2", "backing_files": true}])
        );
        assert_eq!(
            value["net"],
            json!([{"vhost_user": true, "vhost_socket": "/vm/net.sock", "vhost_mode": "Server"}])
        );
        assert_eq!(value["serial"], json!({"mode": "Socket", "socket": "/vm/serial.sock"}));
    }

    #[test]
    fn what_has_no_type_here_goes_through_unchanged() {
        let config = small().extra("watchdog", json!(true)).extra("balloon", json!({"size": 1}));
        let text = serde_json::to_string(&config).unwrap();
        let back: VmConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(back, config);
        assert_eq!(back.extra["balloon"]["size"], 1);
    }
}
