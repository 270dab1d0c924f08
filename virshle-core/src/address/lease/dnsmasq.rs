//! The leases of dnsmasq: a line for each, which dnsmasq writes anew at each change.
//!
//! # References
//!
//! dnsmasq(8), `--dhcp-leasefile`; `lease_update_file` of its `lease.c` writes: when it ends (0
//! for never), the hardware address, the address, the name, the client; after a line `duid …` come the leases
//! of IPv6, with an association instead of the hardware address, and the client's DUID last.

use virshle_net::MacAddr;

use crate::address::lease::entry::{Lease, mac_of_duid};

pub(super) fn read(text: &str, now: u64) -> Vec<Lease> {
    text.lines().filter_map(|line| lease(line, now)).collect()
}

fn lease(line: &str, now: u64) -> Option<Lease> {
    let mut words = line.split_ascii_whitespace();
    let ends = match words.next()?.parse().ok()? {
        0 => u64::MAX,
        ends => ends,
    };
    let hardware = words.next()?;
    let ip = words.next()?.parse().ok()?;
    let mac = match mac(hardware) {
        Some(mac) => mac,
        None => mac_of_duid(words.nth(1)?)?,
    };
    (ends > now).then_some(Lease { mac, ip, prefix_len: None, ends })
}

/// The MAC address, behind the hardware type if that isn't Ethernet's.
fn mac(hardware: &str) -> Option<MacAddr> {
    hardware.strip_prefix("01-").unwrap_or(hardware).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
1700000600 52:54:00:00:00:01 192.0.2.11 buzz_matala ff:b5:5e:67:ff:00:02:00:00:ab:11:01
1700000100 52:54:00:00:00:02 192.0.2.12 * 01:52:54:00:00:00:02
0 52:54:00:00:00:03 192.0.2.13 web *
1700000600 06-00:00:00:01 192.0.2.14 ppp *
duid 00:01:00:01:2c:6e:1c:aa:52:54:00:ff:ff:ff
1700000600 1 2001:db8::11 buzz_matala 00:01:00:01:2c:6e:1c:aa:52:54:00:00:00:01
1700000600 T2 2001:db8::12 * 00:04:aa:bb
1700000600 52:54:00:00:00:04 no-address * *
1700000600 52:54:00:00
";

    #[test]
    fn leases_that_last_are_found_by_mac_address_and_by_identifier() {
        let found: Vec<_> = read(FILE, 1_700_000_300)
            .into_iter()
            .map(|lease| (lease.mac.to_string(), lease.ip.to_string()))
            .collect();
        let expected = [
            ("52:54:00:00:00:01", "192.0.2.11"),
            ("52:54:00:00:00:03", "192.0.2.13"),
            ("52:54:00:00:00:01", "2001:db8::11"),
        ];
        let found: Vec<_> = found.iter().map(|(mac, ip)| (mac.as_str(), ip.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_file_cut_anywhere_is_no_harm() {
        for end in 0..FILE.len() {
            drop(read(&FILE[..end], 0));
        }
    }
}
