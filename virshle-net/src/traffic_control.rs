//! Filters of a device's frames, and how many pass in a second, by the kernel's traffic control. All of it
//! goes with its device.
//!
//! # References
//!
//! `tc-bpf(8)`, `linux/pkt_cls.h`, `linux/pkt_sched.h`.

use std::io;

use crate::burst::{MOST_FRAME, burst_bytes};
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
const POLICE_PRIORITY: u32 = 2;
const ALL_PROTOCOLS: u16 = 0x0003;
/// What goes out.
const ROOT: u32 = u32::MAX;
/// The letters `vS`.
const SHAPER: u32 = 0x7653_0000;
/// `TCA_BPF_ACT`, and inside of one action.
const ACTIONS: u16 = 1;
const ACT_KIND: u16 = 1;
const ACT_OPTIONS: u16 = 2;
/// `TCA_POLICE_…`; `struct tc_police`.
const POLICE_PARAMETERS: u16 = 1;
const POLICE_TABLE: u16 = 2;
const POLICE_RATE64: u16 = 8;
const POLICE: usize = 56;
/// `TC_ACT_SHOT`
const SHOT: u32 = 2;
/// `TCA_TBF_…`; `struct tc_tbf_qopt`.
const TBF_PARAMETERS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
const TBF: usize = 36;

/// Which frames of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
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
pub(crate) fn prepare(index: u32) -> io::Result<()> {
    let mut body = header(index, CLSACT_HANDLE, CLSACT, 0);
    body.extend(encode(TCA_KIND, b"clsact\0"));
    match change(RTM_NEWQDISC, NLM_F_CREATE, &body) {
        // One that is there can't be changed: it has nothing to change.
        Err(error) if matches!(error.raw_os_error(), Some(17 | 95)) && has_hooks(index)? => Ok(()),
        made => made,
    }
}

/// Lets a program of classic BPF, of `count` instructions, decide about the frames, in place of the one
/// that was there.
pub(crate) fn set(
    index: u32,
    direction: Direction,
    count: usize,
    program: &[u8],
) -> io::Result<()> {
    let count = u16::try_from(count).map_err(io::Error::other)?;
    let mut body = header(index, HANDLE, direction.parent(), info_of(PRIORITY));
    body.extend(encode(TCA_KIND, b"bpf\0"));
    let options = [
        encode(OPS_LEN, &count.to_ne_bytes()),
        encode(OPS, program),
        encode(FLAGS, &ACT_DIRECT.to_ne_bytes()),
    ];
    body.extend(encode(TCA_OPTIONS, &options.concat()));
    change(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

/// Takes the program away, if there is one.
pub(crate) fn clear(index: u32, direction: Direction) -> io::Result<()> {
    let mut body = header(index, HANDLE, direction.parent(), info_of(PRIORITY));
    body.extend(encode(TCA_KIND, b"bpf\0"));
    match change(RTM_DELTFILTER, 0, &body) {
        Err(error) if matches!(error.raw_os_error(), Some(2 | 22)) => Ok(()),
        gone => gone,
    }
}

/// Drops what comes in beyond so many bytes in a second, and a burst, after the program that decides about
/// frames.
pub(crate) fn police(index: u32, bytes_per_second: u64) -> io::Result<()> {
    // Every frame.
    let all = [&6_u16.to_ne_bytes()[..], &[0, 0], &u32::MAX.to_ne_bytes()].concat();
    let rate = u32::try_from(bytes_per_second).unwrap_or(u32::MAX);
    let burst = burst_of(bytes_per_second);
    let mut parameters = vec![0; POLICE];
    parameters[4..8].copy_from_slice(&SHOT.to_ne_bytes());
    parameters[12..16].copy_from_slice(&ticks(burst, bytes_per_second).to_ne_bytes());
    // Larger than any frame with its offloads.
    parameters[16..20].copy_from_slice(&MOST_FRAME.to_ne_bytes());
    parameters[20..32].copy_from_slice(&rate_specification(rate));
    let mut settings = encode(POLICE_PARAMETERS, &parameters);
    // The kernel wants the table, and looks at it only to guess what it was told.
    settings.extend(encode(POLICE_TABLE, &[0; 1024]));
    if rate == u32::MAX {
        settings.extend(encode(POLICE_RATE64, &bytes_per_second.to_ne_bytes()));
    }
    let action = [encode(ACT_KIND, b"police\0"), encode(ACT_OPTIONS, &settings)].concat();
    let mut body = header(index, HANDLE, Direction::In.parent(), info_of(POLICE_PRIORITY));
    body.extend(encode(TCA_KIND, b"bpf\0"));
    let options = [
        encode(OPS_LEN, &1_u16.to_ne_bytes()),
        encode(OPS, &all),
        encode(ACTIONS, &encode(1, &action)),
    ];
    body.extend(encode(TCA_OPTIONS, &options.concat()));
    change(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

/// Lets go out so many bytes in a second, and a burst; what is beyond waits a moment, or is dropped.
pub(crate) fn shape(index: u32, bytes_per_second: u64) -> io::Result<()> {
    let rate = u32::try_from(bytes_per_second).unwrap_or(u32::MAX);
    let burst = burst_of(bytes_per_second);
    let mut parameters = vec![0; TBF];
    parameters[..12].copy_from_slice(&rate_specification(rate));
    // What waits: 50 ms of it, and two frames with their offloads.
    let limit = u32::try_from(bytes_per_second / 20).unwrap_or(u32::MAX / 2).max(2 * MOST_FRAME);
    parameters[24..28].copy_from_slice(&limit.saturating_add(burst).to_ne_bytes());
    parameters[28..32].copy_from_slice(&ticks(burst, bytes_per_second).to_ne_bytes());
    let mut settings = encode(TBF_PARAMETERS, &parameters);
    settings.extend(encode(TBF_BURST, &burst.to_ne_bytes()));
    if rate == u32::MAX {
        settings.extend(encode(TBF_RATE64, &bytes_per_second.to_ne_bytes()));
    }
    let mut body = header(index, SHAPER, ROOT, 0);
    body.extend(encode(TCA_KIND, b"tbf\0"));
    body.extend(encode(TCA_OPTIONS, &settings));
    change(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

/// How many bytes in a second the device lets go out, if [`shape`] said so.
pub(crate) fn shaped(index: u32) -> io::Result<Option<u64>> {
    let mut found = None;
    dump(RTM_GETQDISC, &header(index, 0, 0, 0), |body| {
        if word(body, 4) != Some(index) || word(body, 8) != Some(SHAPER) {
            return;
        }
        let options = attributes(body.get(HEADER..).unwrap_or_default());
        for (_, options) in options.filter(|(kind, _)| *kind == TCA_OPTIONS) {
            for (kind, value) in attributes(options) {
                match kind {
                    TBF_PARAMETERS if found.is_none() => found = word(value, 8).map(u64::from),
                    TBF_RATE64 => found = piece(value, 0).map(u64::from_ne_bytes),
                    _ => {}
                }
            }
        }
    })?;
    Ok(found)
}

/// Whether [`police`] has been here.
pub(crate) fn is_policed(index: u32) -> io::Result<bool> {
    let mut found = false;
    each_filter(index, Direction::In, |body| {
        found |= word(body, 16) == Some(info_of(POLICE_PRIORITY));
    })?;
    Ok(found)
}

/// What may come at once, as the kernel takes it.
fn burst_of(bytes_per_second: u64) -> u32 {
    u32::try_from(burst_bytes(bytes_per_second)).unwrap_or(u32::MAX).min(256 << 20)
}

/// How long that takes, in the kernel's ticks of 64 ns.
fn ticks(bytes: u32, bytes_per_second: u64) -> u32 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
    u32::try_from(ns >> 6).unwrap_or(u32::MAX)
}

/// `struct tc_ratespec`: of Ethernet.
fn rate_specification(bytes_per_second: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    // The unit of the table that no one reads, and the link layer.
    bytes[..2].copy_from_slice(&[10, 1]);
    bytes[8..].copy_from_slice(&bytes_per_second.to_ne_bytes());
    bytes
}

/// The program that decides about the frames, as the kernel takes it; empty if there is none.
pub(crate) fn read(index: u32, direction: Direction) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    each_filter(index, direction, |body| {
        if word(body, 8) != Some(HANDLE) || word(body, 16) != Some(info_of(PRIORITY)) {
            return;
        }
        for (kind, options) in attributes(body.get(HEADER..).unwrap_or_default()) {
            if kind == TCA_OPTIONS {
                let ops = attributes(options).find(|(kind, _)| *kind == OPS);
                found = ops.map(|(_, ops)| ops.to_vec()).unwrap_or_default();
            }
        }
    })?;
    Ok(found)
}

fn each_filter(index: u32, direction: Direction, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let listed = dump(RTM_GETTFILTER, &header(index, 0, direction.parent(), 0), |body| {
        if word(body, 4) == Some(index) {
            each(body);
        }
    });
    match listed {
        // Without the hooks there is nothing to list.
        Err(error) if matches!(error.raw_os_error(), Some(2 | 22 | 95)) => Ok(()),
        listed => listed,
    }
}

/// How many frames were dropped at the hooks; none without them.
pub(crate) fn dropped(index: u32) -> io::Result<Option<u64>> {
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
        if word(body, 4) == Some(index) && word(body, 12) == Some(CLSACT) {
            each(body);
        }
    })
}

/// A priority, and every protocol in the order of the network.
fn info_of(priority: u32) -> u32 {
    priority << 16 | u32::from(ALL_PROTOCOLS.to_be())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    piece(bytes, at).map(u32::from_ne_bytes)
}

fn header(index: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), handle.to_ne_bytes(), parent.to_ne_bytes(), info.to_ne_bytes()]
        .concat()
}
