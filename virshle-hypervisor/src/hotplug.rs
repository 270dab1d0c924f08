//! Changes to a machine that is defined or runs.

use std::os::fd::BorrowedFd;

use serde::Serialize;
use serde_json::Value;

use crate::HypervisorError;
use crate::client::Client;
use crate::disk::DiskConfig;
use crate::net::NetConfig;
use crate::vm_info::PciDevice;
use crate::vsock::VsockConfig;

/// What [`Client::resize`] brings a machine to; what is unset stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Resize {
    /// Virtual processors.
    #[serde(rename = "desired_vcpus", skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// All of its memory, in bytes.
    #[serde(rename = "desired_ram", skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The balloon, in bytes.
    #[serde(rename = "desired_balloon", skip_serializing_if = "Option::is_none")]
    pub balloon_bytes: Option<u64>,
}

#[derive(Serialize)]
struct ResizeDisk<'a> {
    id: &'a str,
    desired_size: u64,
}

#[derive(Serialize)]
struct ResizeZone<'a> {
    id: &'a str,
    desired_ram: u64,
}

#[derive(Serialize)]
struct RemoveDevice<'a> {
    id: &'a str,
}

/// Each `add_…` answers `None` for a machine that isn't booted yet: the device gets its place at
/// boot.
impl Client {
    /// Changes processors, memory or balloon (`vm.resize`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused with status 429 while the guest hasn't let go of a
    /// processor yet.
    pub fn resize(&self, resize: &Resize) -> Result<(), HypervisorError> {
        self.put_json("vm.resize", resize)
    }

    /// Notifies a running guest that its disk has grown, and grows the image (`vm.resize-disk`). The
    /// size is a multiple of 512 bytes.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping); refused for a qcow2 image with a backing file.
    pub fn resize_disk(&self, id: &str, size_bytes: u64) -> Result<(), HypervisorError> {
        self.put_json("vm.resize-disk", &ResizeDisk { id, desired_size: size_bytes })
    }

    /// Changes a memory zone (`vm.resize-zone`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn resize_zone(&self, id: &str, size_bytes: u64) -> Result<(), HypervisorError> {
        self.put_json("vm.resize-zone", &ResizeZone { id, desired_ram: size_bytes })
    }

    /// Adds a disk (`vm.add-disk`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_disk(&self, disk: &DiskConfig) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-disk", disk, &[])
    }

    /// Adds a network interface (`vm.add-net`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_net(&self, net: &NetConfig) -> Result<Option<PciDevice>, HypervisorError> {
        self.add_net_with_fds(net, &[])
    }

    /// Adds a network interface on open taps, one descriptor for each queue pair (`vm.add-net`).
    ///
    /// The taps have the flags `IFF_NO_PI` and `IFF_VNET_HDR`, and `IFF_MULTI_QUEUE` if they are
    /// several. cloud-hypervisor keeps its own copies, over reboots too. `vm.create` would drop
    /// them: add the interface between [`create`](Self::create) and [`boot`](Self::boot).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    #[doc(alias = "SCM_RIGHTS")]
    pub fn add_net_with_fds(
        &self,
        net: &NetConfig,
        taps: &[BorrowedFd<'_>],
    ) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-net", net, taps)
    }

    /// Adds a vsock (`vm.add-vsock`).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_vsock(&self, vsock: &VsockConfig) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-vsock", vsock, &[])
    }

    /// Adds a shared directory (`vm.add-fs`), `FsConfig` of the API.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_fs(&self, fs: &Value) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-fs", fs, &[])
    }

    /// Adds persistent memory (`vm.add-pmem`), `PmemConfig` of the API.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_pmem(&self, pmem: &Value) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-pmem", pmem, &[])
    }

    /// Adds a vDPA device (`vm.add-vdpa`), `VdpaConfig` of the API.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_vdpa(&self, vdpa: &Value) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-vdpa", vdpa, &[])
    }

    /// Adds a device of the host (`vm.add-device`), `DeviceConfig` of the API: by its path in
    /// `/sys`, or, since v53, by its open VFIO device.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_device(
        &self,
        device: &Value,
        vfio: Option<BorrowedFd<'_>>,
    ) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-device", device, vfio.as_slice())
    }

    /// Adds a device that another process emulates (`vm.add-user-device`), `UserDeviceConfig` of
    /// the API.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_user_device(&self, device: &Value) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-user-device", device, &[])
    }

    /// Adds any vhost-user device (`vm.add-generic-vhost-user`), `GenericVhostUserConfig` of the
    /// API.
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn add_generic_vhost_user(
        &self,
        device: &Value,
    ) -> Result<Option<PciDevice>, HypervisorError> {
        self.put_json_for("vm.add-generic-vhost-user", device, &[])
    }

    /// Asks the guest to let go of a device (`vm.remove-device`). Its id is free when it is gone
    /// from [`VmInfo::device_tree`](crate::VmInfo::device_tree).
    ///
    /// # Errors
    ///
    /// As [`ping`](Self::ping).
    pub fn remove_device(&self, id: &str) -> Result<(), HypervisorError> {
        self.put_json("vm.remove-device", &RemoveDevice { id })
    }
}
