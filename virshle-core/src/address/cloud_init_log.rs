//! Parses cloud-init's address table from the serial log.
//!
//! # References
//!
//! cloud-init's `netinfo.py`: a table of `ci-info:` lines, a row for each address of an interface.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use virshle_net::MacAddr;

use crate::fs::file::read_tail;

/// The most of a log that is read, in bytes: its end.
const MOST: u64 = 4 << 20;

/// How the table of a boot begins. It counts, and that of an earlier boot does not any more.
const HEADING: &str = "Net device info";
/// What stands before each row, with or without the time and the process before it.
const ROW: &str = "ci-info: |";

/// An address that a guest logged as its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestAddress {
    pub(crate) mac: MacAddr,
    pub(crate) ip: IpAddr,
    pub(crate) prefix_len: Option<u8>,
}

/// The addresses that the guest that writes to `serial_log` logged last; none if it did not.
pub(crate) fn read(serial_log: &Path) -> Vec<GuestAddress> {
    match read_tail(serial_log, MOST) {
        Ok(bytes) => parse(&String::from_utf8_lossy(&bytes)),
        Err(error) => {
            tracing::trace!(path = %serial_log.display(), %error, "no address table");
            Vec::new()
        }
    }
}

fn parse(text: &str) -> Vec<GuestAddress> {
    let mut found = Vec::new();
    for line in text.lines() {
        if line.contains("ci-info: +") && line.contains(HEADING) {
            found.clear();
        }
        if let Some((_, row)) = line.split_once(ROW) {
            found.extend(address(row));
        }
    }
    found
}

/// The address of a row: `eth0 | True | 192.0.2.10 | 255.255.255.0 | global | 52:54:00:00:00:01 |`.
fn address(row: &str) -> Option<GuestAddress> {
    let columns: Vec<&str> = row.split('|').map(str::trim).collect();
    let [_, "True", address, mask, _, mac, ..] = columns.as_slice() else { return None };
    let (ip, bits) = address.split_once('/').unwrap_or((address, ""));
    let ip: IpAddr = ip.parse().ok()?;
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    let of_mask = || mask.parse().ok().and_then(|mask: Ipv4Addr| prefix_len(mask));
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix_len = bits.parse().ok().or_else(of_mask).filter(|bits| (1..=most).contains(bits));
    Some(GuestAddress { mac: mac.parse().ok()?, ip, prefix_len })
}

/// How many bits a mask has; none if there are holes in it.
fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let length = bits.leading_ones();
    (bits.checked_shl(length).unwrap_or(0) == 0).then(|| u8::try_from(length).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "\
[   11.862136] cloud-init[420]: ci-info: ++++++++++++++++++++++Net device info+++++++++++++++++++++\r
[   11.862350] cloud-init[420]: ci-info: +--------+------+----------------------+---------------+\r
[   11.862480] cloud-init[420]: ci-info: | Device |  Up  |       Address        |      Mask     | Scope  |     Hw-Address    |\r
[   11.862610] cloud-init[420]: ci-info: |  eth0  | True |      192.0.2.10      | 255.255.255.0 | global | 52:54:00:00:00:01 |\r
[   11.862741] cloud-init[420]: ci-info: |  eth0  | True | fe80::5054:ff:fe00:1/64 |       .       |  link  | 52:54:00:00:00:01 |\r
[   11.862872] cloud-init[420]: ci-info: |  eth1  | False |          .           |       .       |   .    | 52:54:00:00:00:02 |\r
[   11.863002] cloud-init[420]: ci-info: |   lo   | True |      127.0.0.1       |   255.0.0.0   |  host  |         .         |\r
[   11.863132] cloud-init[420]: ci-info: |   0   | 0.0.0.0 | 192.0.2.1 | 0.0.0.0 | eth0 | UG |\r
";

    fn shown(text: &str) -> Vec<String> {
        let bits = |found: &GuestAddress| found.prefix_len.map_or(0, u32::from);
        parse(text)
            .iter()
            .map(|found| format!("{} {}/{}", found.mac, found.ip, bits(found)))
            .collect()
    }

    #[test]
    fn the_table_of_the_last_boot_holds() {
        let both = ["52:54:00:00:00:01 192.0.2.10/24", "52:54:00:00:00:01 fe80::5054:ff:fe00:1/64"];
        assert_eq!(shown(BOOT), both);
        let again = format!("{BOOT}login: {}", BOOT.replace("192.0.2.10", "192.0.2.11"));
        assert_eq!(shown(&again)[0], "52:54:00:00:00:01 192.0.2.11/24");
        assert_eq!(shown(&again).len(), 2);
    }

    #[test]
    fn a_guest_may_write_anything() {
        for end in 0..BOOT.len() {
            drop(parse(&BOOT[..end]));
        }
        for row in [
            "ci-info: |",
            "ci-info: | eth0 | True | 127.0.0.2 | 255.0.0.0 | host | 52:54:00:00:00:01 |",
            "ci-info: | eth0 | True | nowhere | . | . | 52:54:00:00:00:01 |",
            "ci-info: | eth0 | True | 192.0.2.1 | . | . | . |",
            "ci-info: | eth0 | False | 192.0.2.1 | . | . | 52:54:00:00:00:01 |",
        ] {
            assert_eq!(parse(row), [], "{row}");
        }
        let holes = "ci-info: | e | True | 192.0.2.1 | 255.0.255.0 | . | 52:54:00:00:00:01 |";
        assert_eq!(parse(holes)[0].prefix_len, None);
        assert_eq!(read(Path::new("/nonexistent")), []);
    }
}
