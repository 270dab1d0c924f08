//! DHCP leases: which address was given to which MAC address, as the DHCP servers of this host keep it.

mod dnsmasq;
mod entry;
mod kea;
mod kea_control;
mod networkd;

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use crate::address::lease::entry::Lease;
use crate::address::lease::entry::text;

/// Where DHCP servers keep their leases by default: files, directories of
/// nothing but such files, and sockets at which they can be asked.
const USUAL_PLACES: [&str; 9] = [
    "/var/lib/misc/dnsmasq.leases",
    "/var/lib/dnsmasq/dnsmasq.leases",
    "/var/lib/dhcp/dnsmasq.leases",
    "/var/lib/kea/kea-leases4.csv",
    "/var/lib/kea/kea-leases6.csv",
    "/run/kea/kea4-ctrl-socket",
    "/run/kea/kea6-ctrl-socket",
    "/var/lib/systemd/network/dhcp-server-lease",
    "/run/systemd/network/dhcp-server-lease",
];

/// The files and directories in which leases are looked for when none are configured.
pub(crate) fn usual_places() -> Vec<PathBuf> {
    USUAL_PLACES.iter().map(PathBuf::from).collect()
}

/// The leases in `places` that have not ended, those that were given last first. What can't be
/// read has none: most hosts run none of these servers.
pub(crate) fn read(places: &[PathBuf]) -> Vec<Lease> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut leases = Vec::new();
    for place in places {
        if place.is_dir() {
            let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            files.sort();
            leases.extend(files.iter().flat_map(|file| parse(&text(file), now)));
        } else if is_socket(place) {
            leases.extend(kea_control::read(place, now));
        } else if let Some(text) = kea::journal(place) {
            leases.extend(kea::read(&text, now));
        } else {
            leases.extend(parse(&text(place), now));
        }
    }
    leases.sort_by_key(|lease| std::cmp::Reverse(lease.ends));
    leases
}

/// Why no lease will ever be found at `place`, if that is to be seen: it is not there, can't be read,
/// or has another format than those that are known.
pub(crate) fn doubt(place: &Path) -> Option<String> {
    let shown = place.display();
    let metadata = match place.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return Some(format!("{shown}: {error}")),
    };
    // A socket is asked when it is wanted; a directory may be empty until the first lease.
    if metadata.is_dir() || metadata.file_type().is_socket() {
        return None;
    }
    if let Err(error) = std::fs::File::open(place) {
        return Some(format!("{shown}: {error}"));
    }
    let known = is_known(&kea::journal(place).unwrap_or_else(|| text(place)));
    (!known).then(|| format!("{shown} has no leases in a format that is known"))
}

/// Whether a file is one of a known server, also if it has no lease yet.
fn is_known(text: &str) -> bool {
    match text.trim() {
        "" => true,
        json if json.starts_with('{') => json.contains("\"Leases\""),
        table if table.starts_with(kea::FIRST_COLUMN) => true,
        lines => lines
            .lines()
            .any(|line| line.starts_with("duid ") || !dnsmasq::read(line, 0).is_empty()),
    }
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The leases in a file, whose format is recognised by its content.
fn parse(text: &str, now: u64) -> Vec<Lease> {
    match text.trim_start() {
        json if json.starts_with('{') => networkd::read(json, now),
        table if table.starts_with(kea::FIRST_COLUMN) => kea::read(table, now),
        lines => dnsmasq::read(lines, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_understood_by_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let dnsmasq = write("a", "0 52:54:00:00:00:01 192.0.2.1 * *\n");
        let kea = write(
            "b",
            "address,hwaddr,valid_lifetime,expire,state\n192.0.2.2,52:54:00:00:00:02,60,9999999999,0\n",
        );
        std::fs::create_dir(directory.path().join("networkd")).unwrap();
        write(
            "networkd/br0",
            r#"{"Leases":[{"Address":[192,0,2,3],"HardwareAddress":[82,84,0,0,0,3]}]}"#,
        );
        let places =
            [dnsmasq, kea, directory.path().join("networkd"), directory.path().join("absent")];
        let mut ips: Vec<_> = read(&places).iter().map(|lease| lease.ip.to_string()).collect();
        ips.sort();
        assert_eq!(ips, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    }

    #[test]
    fn a_place_without_known_leases_is_doubted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("leases");
        for (text, is_fine) in [
            ("", true),
            ("0 52:54:00:00:00:01 192.0.2.1 * *\n", true),
            ("duid 00:01\n", true),
            ("{\"Leases\":[]}", true),
            ("address,hwaddr,valid_lifetime,expire,state\n", true),
            ("lease 192.0.2.1 {\n  hardware ethernet 52:54:00:00:00:01;\n}\n", false),
            ("{\"arguments\":{}}", false),
            ("\0\u{1}\u{2}", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(doubt(&path).is_none(), is_fine, "{text:?}: {:?}", doubt(&path));
        }
        assert!(doubt(directory.path()).is_none());
        assert!(doubt(&directory.path().join("absent")).unwrap().contains("No such file"));
    }

    #[test]
    fn garbage_has_no_leases_and_no_panics() {
        for text in ["", "{", "{\"Leases\": 7}", "address,", "\0\0\u{fffd}", "1 2 3 4 5", "address"]
        {
            assert!(parse(text, 0).is_empty(), "{text:?}");
        }
    }
}
