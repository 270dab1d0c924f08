//! The keys of a guest's ssh server, kept with its machine.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::digest;
use uuid::Uuid;
use virshle_hypervisor::open_untrusted_with;

use crate::fs::error::FileError;
use crate::fs::file::{Sync, read_untrusted, replace};
use crate::guest::ssh::contact::{self, Contact};
use crate::guest::stream::Route;
use crate::machine::vm::Vm;

/// The comment of a key that the seed gave the guest, as long as the guest has not shown it.
const SEED: &str = "of-the-seed";
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

    /// The fingerprint, as ssh shows it: `SHA256:…`. None of a key that isn't base64.
    pub fn fingerprint(&self) -> Option<String> {
        let blob = data_encoding::BASE64.decode(self.base64.as_bytes()).ok()?;
        let hash = digest::digest(&digest::SHA256, &blob);
        Some(format!("SHA256:{}", data_encoding::BASE64_NOPAD.encode(hash.as_ref())))
    }
}

/// What is to be thought of a key that a guest's ssh server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostKeyVerdict {
    /// It is one of the machine's.
    Known,
    /// The machine has none yet, and this came over its own vsock: so it is the machine's.
    Proven,
    /// The machine has none that it has ever shown, and the connection was a network's: whether it is
    /// the machine's, a person has to say.
    Unproven {
        /// The address, if it is known.
        address: Option<String>,
        /// The seed gave the guest another key. Either its image reads no seed, or this is another
        /// server's.
        seed_differs: bool,
    },
    /// The machine has shown another one before.
    Changed,
}

/// The line of a key that the seed gives the guest: its kind and its base64.
pub(crate) fn seed_line(uuid: Uuid, key: &str) -> String {
    format!("{} {key} {SEED}\n", alias(uuid))
}

/// The name by which ssh knows the machine with this uuid: never another one's.
pub(crate) fn alias(uuid: Uuid) -> String {
    format!("virshle-{uuid}")
}

/// The lines of the keys that the guest has shown, or a person has written.
fn shown(text: &str) -> impl Iterator<Item = &str> {
    lines(text).filter(|line| line.split_ascii_whitespace().last() != Some(SEED))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether one of the lines is of `key`.
fn have<'t>(mut lines: impl Iterator<Item = &'t str>, key: &HostKey) -> bool {
    let is_it = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip_while(|word| *word != key.kind);
        words.nth(1) == Some(key.base64.as_str())
    };
    lines.any(|line| !line.starts_with('@') && is_it(line))
}

impl Vm {
    /// The keys by which the guest's ssh server is known, as lines of a `known_hosts` file for the
    /// host name `host`. The first key that is ever `offered` is remembered if the machine has none
    /// yet: as with ssh's `StrictHostKeyChecking accept-new`, a new machine is trusted, and no other
    /// server after it. Who wants to look at the key first asks [`Vm::judge_host_key`].
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
            let line = self.line_of(key);
            append(&path, &line).map_err(FileError::writing(&path))?;
            lines = lines_for(host, &line);
        }
        Ok(lines)
    }

    /// Notes that the connection which the process `client` asked for goes by `route`, if it is one
    /// whose host key will be the machine's first: [`Vm::judge_host_key`] asks for it.
    pub fn note_contact(&self, client: u32, route: &Route) {
        let is_first = read(&self.known_hosts()).is_ok_and(|text| shown(&text).next().is_none());
        if let Err(error) = if is_first { contact::note(self, client, route) } else { Ok(()) } {
            // Without it, the key is one of unknown origin.
            tracing::debug!(%error, vm = %self.name(), "cannot note the way of a connection");
        }
    }

    /// Says what is to be thought of `key`, which the ssh server showed at the other end of a
    /// connection that the process `client` asked for.
    ///
    /// # Errors
    ///
    /// If the machine's file can't be read.
    pub fn judge_host_key(&self, key: &HostKey, client: u32) -> Result<HostKeyVerdict, FileError> {
        let path = self.known_hosts();
        let text = read(&path).map_err(FileError::reading(&path))?;
        if have(lines(&text), key) {
            return Ok(HostKeyVerdict::Known);
        }
        if shown(&text).next().is_some() {
            return Ok(HostKeyVerdict::Changed);
        }
        let address = match contact::of(self, client) {
            Some(Contact::Vsock) => return Ok(HostKeyVerdict::Proven),
            Some(Contact::Network(address)) => Some(address),
            None => None,
        };
        let seed_differs = lines(&text).next().is_some();
        Ok(HostKeyVerdict::Unproven { address, seed_differs })
    }

    /// Takes `key` for one that the guest has shown: from now on no other is. What the seed gave it
    /// and it never showed is forgotten.
    ///
    /// # Errors
    ///
    /// If the machine's file can't be read or written.
    pub fn record_host_key(&self, key: &HostKey) -> Result<(), FileError> {
        let path = self.known_hosts();
        let mut attempts = 3;
        loop {
            let text = read(&path).map_err(FileError::reading(&path))?;
            if have(shown(&text), key) {
                return Ok(());
            }
            let is_of_seed =
                |line: &&str| lines(line).next().is_some() && shown(line).next().is_none();
            if !text.lines().any(|line| is_of_seed(&line)) {
                return append(&path, &self.line_of(key)).map_err(FileError::writing(&path));
            }
            let kept = text.lines().filter(|line| !is_of_seed(line));
            let mut written: String = kept.flat_map(|line| [line, "\n"]).collect();
            written.push_str(&self.line_of(key));
            attempts -= 1;
            // Another session may be doing the same: then there is nothing left to do.
            match replace(&path, written.as_bytes(), Sync::No) {
                Err(error) if attempts == 0 => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    fn line_of(&self, key: &HostKey) -> String {
        format!("{} {} {}\n", self.host_key_alias(), key.kind, key.base64)
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
    fn a_key_is_found_with_options_and_comments_around_it() {
        let key = HostKey::new("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIGw7").unwrap();
        let of = |text: &str| have(lines(text), &key);
        assert!(of("virshle-7 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGw7 of-the-seed\n"));
        assert!(of("x ssh-rsa AAAA\n|1|a|b ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGw7\n"));
        assert!(!of("@revoked * ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGw7\n"));
        assert!(!of("# x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGw7\n"));
        assert!(!of("x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGw8\n"));
        assert_eq!(shown("a b c of-the-seed\n# d\ne f g\n").collect::<Vec<_>>(), ["e f g"]);
    }

    #[test]
    fn a_fingerprint_is_what_ssh_keygen_shows() {
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+";
        let key = HostKey::new("ssh-ed25519", key).unwrap();
        let expected = "SHA256:xibJE0V539pU0tcp5qmOPmwLYCM5AGekchivF+rHR6I";
        assert_eq!(key.fingerprint().as_deref(), Some(expected));
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
