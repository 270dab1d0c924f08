//! Filters of a device's frames, by the kernel's traffic control. They go with their device.
//!
//! # References
//!
//! `tc-bpf(8)`, `linux/pkt_cls.h`, `linux/pkt_sched.h`.

use std::io;

use crate::linux_bridge::program::Program;
use crate::netlink::{NLM_F_CREATE, NLM_F_REPLACE, attributes, change, dump, encode, piece};

/// `RTM_…` of `linux/rtnetlink.h`.
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
/// `struct tcmsg` of `linux/rtnetlink.h`.
const HEADER: usize = 20;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
/// Inside [`TCA_STATS2`]: a `struct gnet_stats_queue`.
const STATS_QUEUE: u16 = 3;
/// `TCA_BPF_…`
const OPS_LEN: u16 = 4;
const OPS: u16 = 5;
const FLAGS: u16 = 8;
/// What the program returns is what becomes of the frame.
const ACT_DIRECT: u32 = 1;
/// The two hooks of a device: `clsact`, and what is below it.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// The filter, before those of others.
const HANDLE: u32 = 1;
const PRIORITY: u32 = 1;
const ALL_PROTOCOLS: u32 = 0x0003;

/// Which frames of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Those that come in by it: of a tap, those that the guest sends.
    In,
    /// Those that go out by it.
    Out,
}

impl Direction {
    fn parent(self) -> u32 {
        match self {
            Self::In => 0xffff_fff2,
            Self::Out => 0xffff_fff3,
        }
    }
}

/// Gives a device the two hooks. It may have them already.
pub(super) fn prepare(index: u32) -> io::Result<()> {
    let mut body = header(index, CLSACT_HANDLE, CLSACT, 0);
    body.extend(encode(TCA_KIND, b"clsact\0"));
    match change(RTM_NEWQDISC, NLM_F_CREATE, &body) {
        // One that is there can't be changed: it has nothing to change.
        Err(error) if matches!(error.raw_os_error(), Some(17 | 95)) && has_hooks(index)? => Ok(()),
        made => made,
    }
}

/// Lets a program decide about the frames, in place of the one that was there.
pub(super) fn set(index: u32, direction: Direction, program: &Program) -> io::Result<()> {
    let count = u16::try_from(program.len()).map_err(io::Error::other)?;
    let mut body = header(index, HANDLE, direction.parent(), info());
    body.extend(encode(TCA_KIND, b"bpf\0"));
    let options = [
        encode(OPS_LEN, &count.to_ne_bytes()),
        encode(OPS, &program.bytes()),
        encode(FLAGS, &ACT_DIRECT.to_ne_bytes()),
    ];
    body.extend(encode(TCA_OPTIONS, &options.concat()));
    change(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

/// Takes the program away, if there is one.
pub(super) fn clear(index: u32, direction: Direction) -> io::Result<()> {
    let mut body = header(index, HANDLE, direction.parent(), info());
    body.extend(encode(TCA_KIND, b"bpf\0"));
    match change(RTM_DELTFILTER, 0, &body) {
        Err(error) if matches!(error.raw_os_error(), Some(2 | 22)) => Ok(()),
        gone => gone,
    }
}

/// The program that decides about the frames, as the kernel takes it; empty if there is none.
pub(super) fn read(index: u32, direction: Direction) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    dump(RTM_GETTFILTER, &header(index, 0, direction.parent(), 0), |body| {
        let (number, handle) = (piece(body, 4), piece(body, 8));
        let info_of = piece(body, 16).map(u32::from_ne_bytes);
        if number.map(u32::from_ne_bytes) != Some(index)
            || handle.map(u32::from_ne_bytes) != Some(HANDLE)
            || info_of != Some(info())
        {
            return;
        }
        for (kind, options) in attributes(body.get(HEADER..).unwrap_or_default()) {
            if kind == TCA_OPTIONS {
                let ops = attributes(options).find(|(kind, _)| *kind == OPS);
                found = ops.map(|(_, ops)| ops.to_vec()).unwrap_or_default();
            }
        }
    })
    .or_else(|error| match error.raw_os_error() {
        // Without the hooks there is nothing to list.
        Some(2 | 22 | 95) => Ok(()),
        _ => Err(error),
    })?;
    Ok(found)
}

/// How many frames were dropped at the hooks; none without them.
pub(super) fn dropped(index: u32) -> io::Result<Option<u64>> {
    let mut found = None;
    each_hook(index, |body| {
        let stats = attributes(body.get(HEADER..).unwrap_or_default());
        for (_, stats) in stats.filter(|(kind, _)| *kind == TCA_STATS2) {
            for (_, queue) in attributes(stats).filter(|(kind, _)| *kind == STATS_QUEUE) {
                found = piece(queue, 8).map(|drops| u64::from(u32::from_ne_bytes(drops)));
            }
        }
    })?;
    Ok(found)
}

fn has_hooks(index: u32) -> io::Result<bool> {
    let mut found = false;
    each_hook(index, |_| found = true)?;
    Ok(found)
}

fn each_hook(index: u32, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    dump(RTM_GETQDISC, &header(index, 0, 0, 0), |body| {
        let (number, parent) = (piece(body, 4), piece(body, 12));
        let of_device = number.map(u32::from_ne_bytes) == Some(index);
        if of_device && parent.map(u32::from_ne_bytes) == Some(CLSACT) {
            each(body);
        }
    })
}

/// The priority, and the protocol in the order of the network.
fn info() -> u32 {
    let protocol = u16::try_from(ALL_PROTOCOLS).unwrap_or_default().to_be();
    PRIORITY << 16 | u32::from(protocol)
}

fn header(index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), handle.to_ne_bytes(), parent.to_ne_bytes(), info.to_ne_bytes()]
        .concat()
}
