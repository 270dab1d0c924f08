//! Asks Kea for its leases by its control socket: it may keep them in a database.
//!
//! # References
//!
//! Kea Administrator Reference Manual, "Management API" and "Lease Commands Hook Library": the commands
//! `lease4-get-all` and `lease6-get-all`, which a Kea without that library does not know.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::address::lease::entry::{Lease, MAX_BYTES, mac_of_duid};

/// How long it may take for an answer. It has one thread for all that it does.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The result code of an answer with leases.
const FOUND: u8 = 0;
/// A lease that never ends.
const INFINITE: u64 = 0xffff_ffff;

#[derive(Debug, Deserialize)]
struct Answer {
    result: u8,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Debug, Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    leases: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    ip_address: IpAddr,
    #[serde(default)]
    hw_address: Option<String>,
    #[serde(default)]
    duid: Option<String>,
    /// When it was last renewed, in seconds since 1970.
    #[serde(default)]
    cltt: u64,
    valid_lft: u64,
    /// 0 is an address that is in use.
    #[serde(default)]
    state: u8,
    /// `IA_NA` is an address, `IA_PD` a prefix to be given on.
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// The leases of the Kea that listens at `socket`, whichever protocol it serves.
pub(super) fn read(socket: &Path, now: u64) -> Vec<Lease> {
    let mut found = Vec::new();
    for command in ["lease4-get-all", "lease6-get-all"] {
        match ask(socket, command) {
            Ok(answer) => found.extend(parse(&answer, now)),
            Err(error) => {
                tracing::debug!(socket = %socket.display(), command, %error, "cannot ask Kea");
                break;
            }
        }
    }
    found
}

/// It answers one command, and then closes the connection.
fn ask(socket: &Path, command: &str) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("{{\"command\": \"{command}\"}}").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8], now: u64) -> Vec<Lease> {
    let answer: Answer = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%error, "this answer is not Kea's");
            return Vec::new();
        }
    };
    if answer.result != FOUND {
        return Vec::new();
    }
    let lease = |entry: Entry| {
        let ends = match entry.valid_lft {
            INFINITE => u64::MAX,
            seconds => entry.cltt.saturating_add(seconds),
        };
        let mac = entry.hw_address.as_deref().and_then(|mac| mac.parse().ok());
        let mac = mac.or_else(|| mac_of_duid(entry.duid.as_deref()?))?;
        let is_address = entry.kind.as_deref().is_none_or(|kind| kind == "IA_NA");
        (entry.state == 0 && is_address && ends > now).then_some(Lease {
            mac,
            ip: entry.ip_address,
            prefix_len: None,
            ends,
        })
    };
    answer.arguments.leases.into_iter().filter_map(lease).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    const V4: &str = r#"{"result": 0, "text": "3 IPv4 lease(s) found.", "arguments": {"leases": [
        {"cltt": 1700000000, "fqdn-fwd": false, "hostname": "", "hw-address": "52:54:00:00:00:01",
         "ip-address": "192.0.2.11", "state": 0, "subnet-id": 1, "valid-lft": 3600},
        {"cltt": 1700000000, "hw-address": "52:54:00:00:00:02", "ip-address": "192.0.2.12",
         "state": 1, "subnet-id": 1, "valid-lft": 3600},
        {"cltt": 1600000000, "hw-address": "52:54:00:00:00:03", "ip-address": "192.0.2.13",
         "state": 0, "subnet-id": 1, "valid-lft": 3600}]}}"#;
    const V6: &str = r#"{"result": 0, "arguments": {"leases": [
        {"cltt": 1, "duid": "00:03:00:01:52:54:00:00:00:01", "ip-address": "2001:db8::11",
         "state": 0, "type": "IA_NA", "valid-lft": 4294967295},
        {"cltt": 1, "duid": "00:03:00:01:52:54:00:00:00:01", "ip-address": "2001:db8:1::",
         "prefix-len": 56, "state": 0, "type": "IA_PD", "valid-lft": 4294967295}]}}"#;
    /// The answer of one without the library.
    const UNKNOWN: &str = r#"{"result": 2, "text": "'lease4-get-all' command not supported."}"#;

    #[test]
    fn leases_are_asked_for_by_both_commands() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("kea.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let kea = std::thread::spawn(move || {
            for (command, answer) in [("lease4-get-all", V4), ("lease6-get-all", V6)] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 64];
                let length = stream.read(&mut asked).unwrap();
                let asked: serde_json::Value = serde_json::from_slice(&asked[..length]).unwrap();
                assert_eq!(asked["command"], command);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let found = read(&socket, 1_700_000_300);
        let shown: Vec<_> =
            found.iter().map(|lease| format!("{} {}", lease.mac, lease.ip)).collect();
        assert_eq!(shown, ["52:54:00:00:00:01 192.0.2.11", "52:54:00:00:00:01 2001:db8::11"]);
        kea.join().unwrap();
        // It is gone.
        assert!(read(&socket, 0).is_empty());
    }

    #[test]
    fn what_is_no_answer_has_no_leases() {
        for end in 0..V4.len() {
            assert!(parse(&V4.as_bytes()[..end], 0).is_empty());
        }
        for text in [UNKNOWN, r#"{"result": 3, "text": "0 IPv4 lease(s) found."}"#, "[]", "\0"] {
            assert!(parse(text.as_bytes(), 0).is_empty(), "{text}");
        }
    }
}
