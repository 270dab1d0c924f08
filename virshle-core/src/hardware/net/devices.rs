//! The devices in the host's kernel that a VMM is handed descriptors of: taps and macvtaps.

use std::os::fd::{AsFd, BorrowedFd};

use virshle_net::{Macvtap, NetError, Tap};

use crate::hardware::net::config::Offloads;
use crate::hardware::net::linux_bridge;
use crate::hardware::net::rates::device_rates;
use crate::hardware::net::taps::{isolate, tap_of_queues};
use crate::model::definition::{NetDefinition, NetKind};

/// A device in the host's kernel. A tap lives as long as a process holds its descriptor: when this is
/// dropped and no VMM has got it, it is gone.
#[derive(Debug)]
pub(crate) struct Device<'a> {
    pub(crate) net: &'a NetDefinition,
    kind: DeviceKind,
}

#[derive(Debug)]
enum DeviceKind {
    Tap(Tap),
    Macvtap(Macvtap),
}

impl<'a> Device<'a> {
    /// Creates the device of `net`, if it has one.
    pub(crate) fn create(net: &'a NetDefinition, queues: u16) -> Result<Option<Self>, NetError> {
        let kind = match net.kind {
            NetKind::User | NetKind::Vhost => return Ok(None),
            NetKind::Tap => DeviceKind::Tap(create_tap(net, queues)?),
            NetKind::Bridge => DeviceKind::Tap(linux_bridge::create_tap(net, queues)?),
            NetKind::Macvtap => DeviceKind::Macvtap(create_macvtap(net)?),
        };
        Ok(Some(Self { net, kind }))
    }

    /// The descriptors that the VMM is handed.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match &self.kind {
            DeviceKind::Tap(tap) => tap.as_fds(),
            DeviceKind::Macvtap(macvtap) => vec![macvtap.as_fd()],
        }
    }

    /// Keeps the host's IP stack from the frames of a tap.
    pub(crate) fn isolate(&self) -> Result<(), NetError> {
        if self.net.kind.is_tap() { isolate(self.net) } else { Ok(()) }
    }

    /// What its frames carry, if the taps on the switch carry `of_bridge`.
    pub(crate) fn offloads(&self, of_bridge: Offloads) -> Offloads {
        match self.net.kind {
            NetKind::Tap => of_bridge,
            NetKind::User | NetKind::Vhost | NetKind::Bridge | NetKind::Macvtap => Offloads::Kernel,
        }
    }
}

fn create_tap(net: &NetDefinition, queues: u16) -> Result<Tap, NetError> {
    let tap = tap_of_queues(net, queues)?;
    if let Some(mtu) = net.mtu_bytes {
        tap.set_mtu(mtu)?;
    }
    // Before its first frame: once it is up, the guest speaks to the host's kernel.
    isolate(net)?;
    tap.set_up()?;
    Ok(tap)
}

fn create_macvtap(net: &NetDefinition) -> Result<Macvtap, NetError> {
    let name = net.port.parse()?;
    // A macvtap stays when its machine ends: one of that name is from an earlier run.
    Macvtap::delete(&name)?;
    let macvtap = Macvtap::create(&name, &net.bridge, net.mac)?;
    if let Err(error) = device_rates(net).apply(&name) {
        if let Err(error) = Macvtap::delete(&name) {
            tracing::warn!(device = %name, %error, "the failed macvtap is left behind");
        }
        return Err(error);
    }
    Ok(macvtap)
}
