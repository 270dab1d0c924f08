//! The leases of systemd-networkd's DHCP server: a JSON document for each interface it serves.
//!
//! # References
//!
//! systemd.network(5), `PersistLeases=`; `dhcp_server_save_leases` of its `sd-dhcp-server-lease.c`.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use virshle_net::MacAddr;

use crate::address::lease::entry::Lease;

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default, rename = "PrefixLength")]
    prefix_len: Option<u8>,
    #[serde(default, rename = "Leases")]
    leases: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    address: [u8; 4],
    #[serde(default)]
    hardware_address: Vec<u8>,
    #[serde(default)]
    client_id: Vec<u8>,
    /// In microseconds since 1970.
    #[serde(default, rename = "ExpirationRealtimeUSec")]
    ends: Option<u64>,
}

pub(super) fn read(text: &str, now: u64) -> Vec<Lease> {
    let document: Document = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => {
            tracing::debug!(%error, "these leases are not systemd-networkd's");
            return Vec::new();
        }
    };
    let lease = |entry: Entry| {
        let ends = entry.ends.map_or(u64::MAX, |microseconds| microseconds / 1_000_000);
        Some(Lease {
            mac: entry.mac()?,
            ip: IpAddr::V4(Ipv4Addr::from(entry.address)),
            prefix_len: document.prefix_len.filter(|bits| (1..=32).contains(bits)),
            ends,
        })
    };
    let leases = document.leases.into_iter().filter_map(lease);
    leases.filter(|lease| lease.ends > now).collect()
}

impl Entry {
    /// The MAC address: older versions write it only where a client names itself by it (RFC 2132, 9.14).
    fn mac(&self) -> Option<MacAddr> {
        let of_client = || match self.client_id.as_slice() {
            [1, mac @ ..] => Some(mac),
            _ => None,
        };
        let bytes: Option<&[u8; 6]> = self.hardware_address.as_slice().try_into().ok();
        let bytes = bytes.or_else(|| of_client()?.try_into().ok())?;
        Some(MacAddr::new(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "BootID": "d7f5041316de4f1f992a8a2822218a71",
  "Address": [192, 0, 2, 1], "PrefixLength": 24,
  "Leases": [
    {"ClientId": [255, 1, 2], "Address": [192, 0, 2, 11], "Hostname": "buzz",
     "HardwareAddressType": 1, "HardwareAddressLength": 6,
     "HardwareAddress": [82, 84, 0, 0, 0, 1],
     "ExpirationUSec": 12345, "ExpirationRealtimeUSec": 1700000600000000},
    {"ClientId": [1, 82, 84, 0, 0, 0, 2], "Address": [192, 0, 2, 12],
     "ExpirationRealtimeUSec": 1700000600000000},
    {"ClientId": [1, 82, 84, 0, 0, 0, 3], "Address": [192, 0, 2, 13],
     "ExpirationRealtimeUSec": 1700000100000000},
    {"ClientId": [255, 9], "Address": [192, 0, 2, 14]}
  ]
}"#;

    #[test]
    fn leases_are_found_by_mac_address_and_by_client() {
        let found = read(FILE, 1_700_000_300);
        let shown: Vec<_> =
            found.iter().map(|lease| format!("{} {}", lease.mac, lease.ip)).collect();
        assert_eq!(shown, ["52:54:00:00:00:01 192.0.2.11", "52:54:00:00:00:02 192.0.2.12"]);
        assert_eq!(found[0].prefix_len, Some(24));
    }

    #[test]
    fn a_file_cut_anywhere_has_no_leases() {
        for end in 0..FILE.len() {
            assert!(read(&FILE[..end], 0).is_empty());
        }
        assert!(read(r#"{"Leases":[{"Address":[1,2,3]}]}"#, 0).is_empty());
    }
}
