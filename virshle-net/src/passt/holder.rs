//! Who has a port of this host.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::passt::arguments::Arguments;
use crate::passt::forward::{Forward, ForwardProtocol};

/// The process that has a port of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
    /// The vhost-user socket that it serves, if it is a passt.
    pub passt_socket: Option<PathBuf>,
}

/// A listening socket, in `/proc/net/tcp`.
const LISTENING: &str = "0A";

impl Holder {
    /// The process that has the host's port of `forward`. Other users' processes are hidden from all
    /// but root.
    pub(crate) fn of(forward: &Forward) -> Option<Self> {
        let (tables, state) = match forward.protocol {
            ForwardProtocol::Tcp => (["tcp", "tcp6"], Some(LISTENING)),
            ForwardProtocol::Udp => (["udp", "udp6"], None),
        };
        let mut links = Vec::new();
        for table in tables {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            let text = text.unwrap_or_default();
            let found = inodes_at(&text, forward.address, forward.host_port, state);
            links.extend(found.map(|inode| PathBuf::from(format!("socket:[{inode}]"))));
        }
        if links.is_empty() {
            return None;
        }
        let pids = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
        let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let pid = pids.find(|pid| has_open(*pid, &links))?;
        Some(Self {
            pid,
            program: name(pid).unwrap_or_else(|| "?".into()),
            passt_socket: Arguments::of(pid).and_then(|arguments| arguments.socket()),
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (pid {})", self.program, self.pid)
    }
}

/// The inodes of the sockets at `port` in a table of proc(5)'s `/proc/net/tcp`, in that state: at `address`,
/// or at all addresses.
fn inodes_at<'a>(
    table: &'a str,
    address: Option<IpAddr>,
    port: u16,
    state: Option<&str>,
) -> impl Iterator<Item = &'a str> {
    let port = format!("{port:04X}");
    let address = address.filter(|address| !address.is_unspecified()).map(as_written);
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        let (local, at) = words.nth(1)?.split_once(':')?;
        let found = words.nth(1)?;
        let everywhere = local.bytes().all(|digit| digit == b'0');
        let meets = everywhere || address.as_ref().is_none_or(|address| address == local);
        let fits = at == port && meets && state.is_none_or(|state| state == found);
        words.nth(5).filter(|_| fits)
    })
}

/// An address as these tables have it: in words of 32 bits, as they lie in the memory of the host.
fn as_written(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let word = |word: &[u8]| {
        let word: [u8; 4] = word.try_into().unwrap_or_default();
        format!("{:08X}", u32::from_ne_bytes(word))
    };
    bytes.chunks(4).map(word).collect()
}

fn has_open(pid: u32, links: &[PathBuf]) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| links.contains(&target))
}

fn name(pid: u32) -> Option<String> {
    let of_program = || {
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        Some(Path::new(program.file_name()?).display().to_string())
    };
    of_program()
        .or_else(|| Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_port_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1\n   \
            1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1\n   \
            2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1\n\
            broken\n";
        let at = |port, state| inodes_at(table, None, port, state).collect::<Vec<_>>();
        assert_eq!(at(8080, Some(LISTENING)), ["4711"]);
        assert_eq!(at(8080, None), ["4711", "4712"]);
        assert_eq!(at(81, None), [""; 0]);
        let at =
            |ip: &str, port| inodes_at(table, Some(ip.parse().unwrap()), port, Some(LISTENING));
        assert_eq!(at("127.0.0.1", 8080).next(), Some("4711"));
        assert_eq!(at("127.0.0.2", 8080).next(), None);
        assert_eq!(at("127.0.0.1", 80).next(), Some("4713"));
        assert_eq!(at("0.0.0.0", 8080).next(), Some("4711"));
        assert_eq!(as_written("::1".parse().unwrap()), "00000000000000000000000001000000");
    }
}
