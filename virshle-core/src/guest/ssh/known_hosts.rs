//! The keys of a guest's ssh server, kept with its machine.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use virshle_hypervisor::open_untrusted_with;

use crate::fs::error::FileError;
use crate::fs::file::read_untrusted;
use crate::machine::vm::Vm;

/// The most of the file that is read: a key takes about 100 to 800 bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A key that an ssh server claims as its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostKey {
    /// The kind: `ssh-ed25519`.
    pub kind: String,
    /// The key in base64.
    pub base64: String,
}

impl HostKey {
    /// A key of `kind`; none if the two are not those of a key, or it is a certificate, which
    /// means something else.
    pub fn new(kind: &str, base64: &str) -> Option<Self> {
        let kind_fits = kind.contains('-')
            && !kind.contains("-cert-")
            && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-@.".contains(&byte));
        let base64_fits = base64.len() > 16
            && base64.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        (kind_fits && base64_fits).then(|| Self { kind: kind.into(), base64: base64.into() })
    }
}

impl Vm {
    /// The keys by which the guest's ssh server is known, as lines of a `known_hosts` file for the
    /// host name `host`. The first key that is ever `offered` is remembered: as with ssh's
    /// `StrictHostKeyChecking accept-new`, a new machine is trusted, and no other server after it.
    ///
    /// # Errors
    ///
    /// If the machine's file can't be read or written.
    ///
    /// # References
    ///
    /// ssh_config(5), `KnownHostsCommand`; sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
    #[doc(alias = "KnownHostsCommand")]
    pub fn host_keys(&self, host: &str, offered: Option<&HostKey>) -> Result<String, FileError> {
        let path = self.known_hosts();
        let mut lines = lines_for(host, &read(&path).map_err(FileError::reading(&path))?);
        if let Some(key) = offered.filter(|_| lines.is_empty()) {
            let line = format!("{} {} {}\n", self.host_key_alias(), key.kind, key.base64);
            append(&path, &line).map_err(FileError::writing(&path))?;
            lines = lines_for(host, &line);
        }
        Ok(lines)
    }
}

/// The text of the file; none if it isn't there.
fn read(path: &Path) -> io::Result<String> {
    match read_untrusted(path, MAX_BYTES) {
        Ok(bytes) => {
            String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    open_untrusted_with(path, &options)?.write_all(line.as_bytes())
}

/// The lines of `text` with `host` in place of the hosts they are for, which may be hashed: all of
/// them are the machine's.
fn lines_for(host: &str, text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let (marker, rest) = match line.split_once(char::is_whitespace) {
            Some((marker, rest)) if marker.starts_with('@') => (format!("{marker} "), rest.trim()),
            _ => (String::new(), line),
        };
        if let Some((_, key)) = rest.split_once(char::is_whitespace) {
            lines.push_str(&format!("{marker}{host} {}\n", key.trim()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_file_is_the_machines() {
        let text = "\
# a comment
virshle-7 ssh-ed25519 AAAAC3 comment
|1|c2FsdA==|aGFzaA== ecdsa-sha2-nistp256 AAAAE2
@revoked * ssh-rsa AAAAB3

garbage
";
        let expected = "\
vm/web ssh-ed25519 AAAAC3 comment
vm/web ecdsa-sha2-nistp256 AAAAE2
@revoked vm/web ssh-rsa AAAAB3
";
        assert_eq!(lines_for("vm/web", text), expected);
        assert_eq!(lines_for("vm/web", ""), "");
    }

    #[test]
    fn only_a_key_is_a_key() {
        let base64 = "AAAAC3NzaC1lZDI1NTE5AAAAIGw7";
        assert!(HostKey::new("ssh-ed25519", base64).is_some());
        for (kind, key) in [
            ("NONE", base64),
            ("ssh-ed25519", "NONE"),
            ("ssh-ed25519-cert-v01@openssh.com", base64),
            ("ssh-ed25519 x", base64),
            ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5 AAAAIGw7"),
            ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5\nAAAAIGw7"),
        ] {
            assert_eq!(HostKey::new(kind, key), None, "{kind} {key}");
        }
    }
}
