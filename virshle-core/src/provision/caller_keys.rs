//! The caller's own public keys: access to a machine for which no user data is given.
//!
//! # References
//!
//! draft-ietf-sshm-ssh-agent: `SSH_AGENTC_REQUEST_IDENTITIES` (11) is answered by
//! `SSH_AGENT_IDENTITIES_ANSWER` (12), each after its length.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use virshle_template::{User, UserData, UserSettings, is_public_key};

/// How long an agent may take for an answer: one that asks a person is not waited for.
const AGENT_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest answer of an agent that is read, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// User data that gives the caller access by their own public keys: those in `~/.ssh`, and those
/// that their agent holds. `None` if they have none.
///
/// The account in the guest has the name of the caller's own; that of root is called `root`.
pub fn caller_user_data() -> Option<UserData> {
    let mut keys = keys_in(&std::env::home_dir()?.join(".ssh"));
    if let Some(socket) = std::env::var_os("SSH_AUTH_SOCK") {
        match agent_keys(Path::new(&socket)) {
            Ok(more) => keys.extend(more),
            Err(error) => tracing::debug!(%error, "no keys from the agent"),
        }
    }
    // The agent's have no comment: the same key counts once.
    let blob = |key: &String| key.split_ascii_whitespace().nth(1).map(ToOwned::to_owned);
    let mut seen = std::collections::HashSet::new();
    keys.retain(|key| seen.insert(blob(key)));
    if keys.is_empty() {
        return None;
    }
    let mut settings = UserSettings::default();
    settings.users.push(User::new(caller_name(), keys));
    Some(UserData::Settings(settings))
}

pub(crate) fn caller_name() -> String {
    let name = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
    // A name that useradd(8) would not take is no name for an account in a guest.
    let fits = |name: &String| {
        name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
            && name.len() <= 32
    };
    if rustix::process::geteuid().is_root() {
        return "root".into();
    }
    name().filter(fits).unwrap_or_else(|| "user".into())
}

/// The public keys in `directory`: each file that ends in `.pub` and holds one.
fn keys_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pub"))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .filter(|line| is_public_key(line))
        .collect()
}

/// The public keys that the agent at `socket` holds.
fn agent_keys(socket: &Path) -> io::Result<Vec<String>> {
    let mut agent = UnixStream::connect(socket)?;
    agent.set_read_timeout(Some(AGENT_TIMEOUT))?;
    agent.set_write_timeout(Some(AGENT_TIMEOUT))?;
    agent.write_all(&[0, 0, 0, 1, 11])?;
    let mut length = [0; 4];
    agent.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_ANSWER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    agent.read_exact(&mut answer)?;
    Ok(identities(&answer).unwrap_or_default())
}

/// The keys in an agent's answer, as lines of `authorized_keys`.
fn identities(answer: &[u8]) -> Option<Vec<String>> {
    let mut rest = answer.strip_prefix(&[12])?;
    let mut keys = Vec::new();
    for _ in 0..u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?) {
        let blob = text(&mut rest)?;
        let comment = String::from_utf8_lossy(text(&mut rest)?).replace(char::is_control, " ");
        let kind = String::from_utf8_lossy(text(&mut &*blob)?).into_owned();
        let line = format!("{kind} {} {comment}", data_encoding::BASE64.encode(blob));
        // Certificates and keys of unknown types are left to those who know them.
        if is_public_key(line.trim()) {
            keys.push(line.trim().to_owned());
        }
    }
    Some(keys)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// A text after its length.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+ me@host";

    #[test]
    fn only_public_keys_are_taken_from_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("id_ed25519.pub"), format!("{KEY}\n")).unwrap();
        std::fs::write(directory.path().join("id_ed25519"), "-----BEGIN OPENSSH PRIVATE KEY")
            .unwrap();
        std::fs::write(directory.path().join("other.pub"), "no key").unwrap();
        assert_eq!(keys_in(directory.path()), [KEY]);
    }

    #[test]
    fn an_agents_answer_is_read_and_garbage_is_none() {
        let blob = data_encoding::BASE64.decode(KEY.split(' ').nth(1).unwrap().as_bytes()).unwrap();
        let mut answer = vec![12, 0, 0, 0, 1];
        for part in [blob.as_slice(), b"me@host"] {
            answer.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            answer.extend(part);
        }
        assert_eq!(identities(&answer), Some(vec![KEY.to_owned()]));
        for cut in 0..answer.len() {
            assert!(identities(&answer[..cut]).is_none_or(|keys| keys.is_empty()), "{cut}");
        }
        assert_eq!(identities(&[12, 255, 255, 255, 255]), None);
    }
}
