//! The arguments of a process, by which a passt is recognised.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What a process was started with.
#[derive(Debug)]
pub(crate) struct Arguments(Vec<OsString>);

impl Arguments {
    /// `None` if it has ended, or has begun to: then the kernel gives an empty line.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        Some(Self(
            line.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).into()).collect(),
        ))
    }

    /// The vhost-user socket of a passt that was started as this crate does it; none of any other
    /// process. The program's own name says nothing: it may have been started through a loader, and
    /// its executable can't be read by other than root, as passt keeps others from looking into it.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        let at = self.0.iter().position(|word| word == "--vhost-user")?;
        match &self.0[at..] {
            [_, option, socket, ..] if option == "--socket" => Some(socket.into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passt_is_recognised_by_the_socket_it_serves() {
        let socket =
            |words: &[&str]| Arguments(words.iter().map(OsString::from).collect()).socket();
        assert_eq!(socket(&["passt", "--vhost-user", "--socket", "/a"]), Some("/a".into()));
        assert_eq!(
            socket(&["ld.so", "/bin/passt", "--vhost-user", "--socket", "/a", "-q"]),
            Some("/a".into())
        );
        for other in [&["passt", "--socket", "/a"][..], &["passt", "--vhost-user", "--socket"], &[]]
        {
            assert_eq!(socket(other), None, "{other:?}");
        }
    }
}
