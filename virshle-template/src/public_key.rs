//! Public keys of ssh, as a line of `authorized_keys` has them.
//!
//! # References
//!
//! sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC 4253 §6.6: the key's blob begins with its own type.

use data_encoding::BASE64;

/// The types of keys that OpenSSH knows.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Returns why `line` is not one public key.
pub(crate) fn reason_against(line: &str) -> Option<&'static str> {
    if line.contains("PRIVATE KEY") {
        return Some("it is a private key: never give that away");
    }
    if line.contains(['\n', '\r', '\0']) {
        return Some("it has more than one line");
    }
    // Options may stand before the key, with blanks in quotes.
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let Some(at) = words.iter().position(|word| TYPES.contains(word)) else {
        return Some("it has no type of key, as ssh-ed25519");
    };
    let Some(blob) = words.get(at + 1).and_then(|text| BASE64.decode(text.as_bytes()).ok()) else {
        return Some("what follows the type is not base64");
    };
    let length = blob.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let named = length
        .and_then(|length| usize::try_from(length).ok())
        .and_then(|length| blob.get(4..)?.get(..length));
    (named != Some(words[at].as_bytes())).then_some("its content is of another type, or cut off")
}

/// Returns whether `line` is one public key.
pub fn is_public_key(line: &str) -> bool {
    reason_against(line).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 \
        AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+ me@host";

    #[test]
    fn a_key_is_one_with_and_without_options_and_comment() {
        assert_eq!(reason_against(KEY), None);
        assert_eq!(reason_against(KEY.trim_end_matches(" me@host")), None);
        assert_eq!(reason_against(&format!("command=\"echo a b\",no-pty {KEY}")), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            "ssh-ed25519 !!!!",
            "/home/me/.ssh/id_ed25519.pub",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            &KEY.replace("ssh-ed25519", "ssh-rsa"),
            &format!("{KEY}\n{KEY}"),
        ] {
            assert!(reason_against(text).is_some(), "{text:?}");
        }
    }
}
