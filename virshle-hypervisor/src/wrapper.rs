//! Programs that start cloud-hypervisor and stay in its place.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most of a script that is looked at.
const MAX_SCRIPT: u64 = 64 << 10;

/// Returns the path of `program` (a path, or a name to be looked up in `PATH`) if it is a script that
/// runs cloud-hypervisor without becoming it.
///
/// Such a script would be the process behind the API socket: a machine is recognised by that process,
/// and ended by a signal to it, and cloud-hypervisor would live on. A script that has no `exec` of any
/// spelling can't become another program; one that has is only known when it was started, and then
/// [`Launch::spawn`](crate::Launch::spawn) reports it.
pub fn script_without_exec(program: &Path) -> Option<PathBuf> {
    let path = located(program)?;
    let mut text = Vec::new();
    File::open(&path).ok()?.take(MAX_SCRIPT).read_to_end(&mut text).ok()?;
    let has_exec = || text.windows(4).any(|part| part == b"exec");
    (text.starts_with(b"#!") && !has_exec()).then_some(path)
}

fn located(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return Some(program.to_owned());
    }
    let directories = env::var_os("PATH")?;
    let paths = env::split_paths(&directories).map(|directory| directory.join(program));
    paths.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_script_is_told_from_a_program_and_from_one_that_execs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ch");
        for (text, is_wrapper) in [
            (&b"#!/bin/sh\ncloud-hypervisor \"$@\"\n"[..], true),
            (b"#!/bin/sh\nexec cloud-hypervisor \"$@\"\n", false),
            (b"#!/usr/bin/python3\nos.execvp('cloud-hypervisor', sys.argv)\n", false),
            (b"\x7fELF\x02\x01\x01", false),
            (b"", false),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(script_without_exec(&path).is_some(), is_wrapper, "{text:?}");
        }
        assert_eq!(script_without_exec(Path::new("/nowhere/ch")), None);
        assert_eq!(script_without_exec(Path::new("no-such-program-anywhere")), None);
    }
}
