//! The key of the guest's ssh server, made by who makes the guest: so it is known before the first
//! connection, and nobody else's is believed.
//!
//! # References
//!
//! OpenSSH, PROTOCOL.key; RFC 8709 for the key in it. cloud-init's module reference, "SSH":
//! `ssh_keys`, `ssh_deletekeys`.

use std::fmt;
use std::io;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// The kind of the key, which every server of the last ten years has.
const KIND: &str = "ssh-ed25519";
/// How long the lines of a private key are.
const LINE: usize = 70;

/// The key of a guest's ssh server, whose private part goes to the seed and nowhere else; or the node's
/// own, for a caller who has none.
pub(crate) struct GuestHostKey {
    private: String,
    public: String,
}

impl fmt::Debug for GuestHostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GuestHostKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl GuestHostKey {
    /// A new key; `comment` tells whose.
    pub(crate) fn generate(comment: &str) -> io::Result<Self> {
        let random = SystemRandom::new();
        let (mut seed, mut check) = ([0; 32], [0; 4]);
        let failed = |_| io::Error::other("no random bytes");
        random.fill(&mut seed).map_err(failed)?;
        random.fill(&mut check).map_err(failed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| io::Error::other("no key of ed25519"))?;
        let point = pair.public_key().as_ref();
        let public = [string(KIND.as_bytes()), string(point)].concat();
        let mut secret = [
            check.to_vec(),
            check.to_vec(),
            public.clone(),
            string(&[seed.as_slice(), point].concat()),
            string(comment.as_bytes()),
        ]
        .concat();
        let padding = secret.len().next_multiple_of(8) - secret.len();
        secret.extend((1_u8..).take(padding));
        let key = [
            b"openssh-key-v1\0".to_vec(),
            string(b"none"),
            string(b"none"),
            string(b""),
            1_u32.to_be_bytes().to_vec(),
            string(&public),
            string(&secret),
        ]
        .concat();
        let base64 = data_encoding::BASE64.encode(&key);
        let mut private = "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned();
        for line in base64.as_bytes().chunks(LINE) {
            private.push_str(&String::from_utf8_lossy(line));
            private.push('\n');
        }
        private.push_str("-----END OPENSSH PRIVATE KEY-----\n");
        let public = format!("{KIND} {}", data_encoding::BASE64.encode(&public));
        Ok(Self { private, public })
    }

    /// The public part: its kind and its base64.
    pub(crate) fn public(&self) -> &str {
        &self.public
    }

    /// The private part, as OpenSSH keeps it.
    pub(crate) fn private(&self) -> &str {
        &self.private
    }

    /// The cloud-config by which the guest has this key, and no other.
    pub(super) fn cloud_config(&self) -> Value {
        json!({
            "ssh_deletekeys": true,
            "ssh_keys": { "ed25519_private": self.private, "ed25519_public": self.public },
        })
    }
}

/// Bytes after their length (RFC 4251, 5).
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use virshle_testkit_macros::test_on;

    use super::*;

    #[test_on(Sshd)]
    fn ssh_keygen_reads_the_key_and_finds_its_public_part() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for name in ["web", "", "a-long-name-of-a-machine"] {
            let key = GuestHostKey::generate(name).unwrap();
            std::fs::write(&path, &key.private).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let read = Command::new("ssh-keygen").args(["-y", "-f"]).arg(&path).output().unwrap();
            let expected = format!("{} {name}", key.public);
            assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), expected.trim(), "{read:?}");
        }
    }

    #[test]
    fn no_two_keys_are_alike_and_none_is_shown() {
        let (one, other) =
            (GuestHostKey::generate("a").unwrap(), GuestHostKey::generate("a").unwrap());
        assert_ne!((&one.public, &one.private), (&other.public, &other.private));
        assert!(!format!("{one:?}").contains("PRIVATE"), "{one:?}");
    }
}
