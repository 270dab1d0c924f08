//! The leases of Kea's memfile: a journal in CSV, in which the last row of an address holds.
//!
//! # References
//!
//! Kea Administrator Reference Manual, "Memfile" and "Why Is Lease File Cleanup Necessary?": a
//! cleanup moves the journal to `….1` and leaves `….2`, or `….completed` while it is not done.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::address::lease::entry::{Lease, mac_of_duid, text};

/// How the first line begins.
pub(super) const FIRST_COLUMN: &str = "address,";

/// The lease is its client's: not declined, reclaimed, released.
const ASSIGNED: &str = "0";
/// A lease that never ends.
const INFINITE: u64 = 0xffff_ffff;

/// The journal at `path` behind what a cleanup made of the journals before it; none if this isn't
/// one of Kea.
pub(super) fn journal(path: &Path) -> Option<String> {
    if path.extension().is_none_or(|extension| extension != "csv") {
        return None;
    }
    let generation = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        text(&PathBuf::from(name))
    };
    let mut old = generation(".completed");
    if old.is_empty() {
        old = joined(generation(".2"), &generation(".1"));
    }
    Some(joined(old, &text(path)))
}

fn joined(mut old: String, new: &str) -> String {
    if !old.is_empty() && !old.ends_with('\n') {
        old.push('\n');
    }
    old.push_str(new);
    old
}

pub(super) fn read(text: &str, now: u64) -> Vec<Lease> {
    let mut columns = Vec::new();
    // The last row of an address holds, also when it says that the lease is over.
    let mut last: HashMap<IpAddr, (usize, Option<Lease>)> = HashMap::new();
    for (place, line) in text.lines().enumerate() {
        let row: Vec<&str> = line.split(',').collect();
        if line.starts_with(FIRST_COLUMN) {
            columns = row;
        } else if let Some(ip) = row.first().and_then(|ip| ip.parse().ok()) {
            last.insert(ip, (place, lease(&columns, &row, ip, now)));
        }
    }
    let mut found: Vec<_> = last.into_values().collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().filter_map(|(_, lease)| lease).collect()
}

fn lease(columns: &[&str], row: &[&str], ip: IpAddr, now: u64) -> Option<Lease> {
    let field = |name: &str| {
        let at = columns.iter().position(|column| *column == name)?;
        row.get(at).copied().filter(|field| !field.is_empty())
    };
    // A row whose lifetime is 0 takes the lease away.
    let lifetime: u64 = field("valid_lifetime")?.parse().ok()?;
    let ends = match lifetime {
        0 => return None,
        INFINITE => u64::MAX,
        _ => field("expire")?.parse().ok()?,
    };
    let mac =
        field("hwaddr").and_then(|mac| mac.parse().ok()).or_else(|| mac_of_duid(field("duid")?))?;
    let assigned = field("state").is_none_or(|state| state == ASSIGNED);
    // Type 0 is an address, 2 a prefix to be given on.
    let address = field("lease_type").is_none_or(|kind| kind == "0");
    (assigned && address && ends > now).then_some(Lease { mac, ip, prefix_len: None, ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
192.0.2.11,52:54:00:00:00:01,01:52:54:00:00:00:01,3600,1700000600,1,0,0,buzz,0,,0
192.0.2.12,52:54:00:00:00:02,,3600,1700000600,1,0,0,,0,,0
192.0.2.11,52:54:00:00:00:01,01:52:54:00:00:00:01,3600,1700004200,1,0,0,buzz,0,,0
192.0.2.12,52:54:00:00:00:02,,0,1700000600,1,0,0,,0,,0
192.0.2.13,52:54:00:00:00:03,,3600,1700000600,1,0,0,,1,,0
192.0.2.14,52:54:00:00:00:04,,4294967295,1000,1,0,0,,0,,0
192.0.2.15,52:54:00:00:00:05,,3600,1700000100,1,0,0,,0,,0
192.0.2.16,,,3600,1700000600,1,0,0,,0,,0
192.0.2.17,52:54:00:00:00:07,,36
";

    fn ips(text: &str) -> Vec<String> {
        read(text, 1_700_000_300).iter().map(|lease| lease.ip.to_string()).collect()
    }

    #[test]
    fn the_last_row_of_an_address_holds() {
        assert_eq!(ips(V4), ["192.0.2.11", "192.0.2.14"]);
        assert_eq!(read(V4, 0)[0].ends, 1_700_004_200);
    }

    #[test]
    fn addresses_of_ipv6_are_found_and_prefixes_are_not() {
        let text = "\
address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id
2001:db8::11,00:04:aa:bb,3600,1700000600,1,3000,0,7,128,0,0,,52:54:00:00:00:01,0,,1,2,0
2001:db8::12,00:03:00:01:52:54:00:00:00:02,3600,1700000600,1,3000,0,7,128,0,0,,,0,,1,2,0
2001:db8:1::,00:04:aa:bb,3600,1700000600,1,3000,2,7,56,0,0,,52:54:00:00:00:01,0,,1,2,0
";
        assert_eq!(ips(text), ["2001:db8::11", "2001:db8::12"]);
    }

    #[test]
    fn a_cleanup_hides_no_lease() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kea-leases4.csv");
        let header = "address,hwaddr,valid_lifetime,expire,state\n";
        let row = |ip: &str| format!("{header}{ip},52:54:00:00:00:01,60,9999999999,0\n");
        let write = |suffix: &str, text: String| {
            std::fs::write(directory.path().join(format!("kea-leases4.csv{suffix}")), text)
                .unwrap();
        };
        write("", header.to_owned());
        write(".1", row("192.0.2.1"));
        write(".2", row("192.0.2.2"));
        assert_eq!(ips(&journal(&path).unwrap()), ["192.0.2.2", "192.0.2.1"]);
        write(".completed", row("192.0.2.3"));
        assert_eq!(ips(&journal(&path).unwrap()), ["192.0.2.3"]);
        assert_eq!(journal(Path::new("/var/lib/misc/dnsmasq.leases")), None);
    }

    #[test]
    fn a_file_cut_anywhere_is_no_harm() {
        for end in 0..V4.len() {
            drop(read(&V4[..end], 0));
        }
    }
}
