//! What the file of a program is: programs that start cloud-hypervisor and stay in its place, and files that
//! can't be run.

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

/// What a file is that was to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramFile {
    /// There is none, or it can't be read.
    Absent,
    /// A program of this kind of system.
    Elf,
    /// A script, which its first line's interpreter runs.
    Script,
    /// Neither.
    Other,
}

impl ProgramFile {
    /// What `program` (a path, or a name to be looked up in `PATH`) is.
    pub(crate) fn of(program: &Path) -> Self {
        let head = located(program).and_then(|path| {
            let mut head = Vec::new();
            File::open(path).ok()?.take(4).read_to_end(&mut head).ok()?;
            Some(head)
        });
        match head.as_deref() {
            None => Self::Absent,
            Some(b"\x7fELF") => Self::Elf,
            Some([b'#', b'!', ..]) => Self::Script,
            Some(_) => Self::Other,
        }
    }
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
    fn a_file_is_a_program_a_script_or_neither() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ch");
        assert_eq!(ProgramFile::of(&path), ProgramFile::Absent);
        for (text, kind) in [
            (&b"#!/bin/sh\n"[..], ProgramFile::Script),
            (b"\x7fELF\x02\x01\x01", ProgramFile::Elf),
            (b"<html>", ProgramFile::Other),
            (b"", ProgramFile::Other),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(ProgramFile::of(&path), kind, "{text:?}");
        }
        assert_eq!(ProgramFile::of(Path::new("ls")), ProgramFile::Elf);
    }

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
