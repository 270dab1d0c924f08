//! The program passt: whether it is there, and new enough.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::passt::error::PasstError;
use crate::passt::start::finish;

/// What a passt says it is: `0.0~git20250503.587980c`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasstVersion {
    /// Its own words.
    pub text: String,
}

/// The options that a passt must know: to be a vhost-user back end, and to open no second socket
/// beside the one for that.
const NEEDED: [&str; 2] = ["--vhost-user", "--repair-path"];

/// Makes sure that `program` (a path, or a name to be looked up in `PATH`) is a passt that can be a
/// machine's vhost-user back end. Its version is a date, and distributions take features back: so its
/// help is asked.
///
/// # Errors
///
/// [`PasstError::Run`] if it can't be run, [`PasstError::TooOld`] with what it says it is,
/// [`PasstError::Silent`] if it does not end in time.
pub fn check_passt(program: &Path, timeout: Duration) -> Result<PasstVersion, PasstError> {
    // Older ones print their help as an error.
    let help = output(program, "--help", timeout)?;
    let version = output(program, "--version", timeout)?;
    let text = version_in(&version).unwrap_or("of an unknown version").to_owned();
    if NEEDED.iter().all(|option| help.contains(option)) {
        return Ok(PasstVersion { text });
    }
    Err(PasstError::TooOld { program: program.to_owned(), version: text })
}

/// The version in the line `passt 0.0~git20250503.587980c`.
fn version_in(output: &str) -> Option<&str> {
    output.lines().find_map(|line| line.trim().strip_prefix("passt "))
}

fn output(program: &Path, option: &str, timeout: Duration) -> Result<String, PasstError> {
    let run = || {
        // At a pipe it would leave away what does not fill its buffer.
        let (upper, lower) = terminal()?;
        let mut command = Command::new(program);
        command.arg(option).stdin(Stdio::null()).stdout(lower.try_clone()?).stderr(lower);
        let child = command.spawn()?;
        // It has the terminal's lower side, too: with it the end would never be seen.
        drop(command);
        finish(child, Some(upper.into()), timeout)
    };
    let failed = |source| PasstError::Run { program: program.to_owned(), source };
    Ok(run().map_err(failed)?.ok_or(PasstError::Silent { timeout })?.output)
}

/// Both sides of a terminal of nobody's.
fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let upper = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&upper)?;
    unlockpt(&upper)?;
    let name = ptsname(&upper, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let lower = rustix::fs::open(name, flags, Mode::empty())?;
    Ok((upper, lower))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(directory: &Path, script: &str) -> std::path::PathBuf {
        let path = directory.join("passt");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn a_program_that_is_too_old_absent_or_another_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let timeout = Duration::from_secs(20);
        let old = program(
            directory.path(),
            "[ $1 = --version ] && { echo 'passt 0.0~git20230309.7c7625d'; exit; }\n\
             echo 'Usage: passt [OPTION]...' >&2; exit 1",
        );
        let error = check_passt(&old, timeout).unwrap_err();
        assert!(error.to_string().contains("(0.0~git20230309.7c7625d) cannot serve"), "{error}");
        assert!(error.hint().unwrap().contains("2025-02"));
        let error = check_passt(Path::new("/bin/true"), timeout).unwrap_err();
        assert!(matches!(error, PasstError::TooOld { .. }), "{error:?}");
        let error = check_passt(Path::new("/nowhere/passt"), timeout).unwrap_err();
        assert!(error.hint().unwrap().contains("the package passt"), "{error}");
        let hangs = program(directory.path(), "exec sleep 60");
        let error = check_passt(&hangs, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, PasstError::Silent { .. }), "{error:?}");
    }

    #[test]
    fn one_that_knows_the_options_is_new_enough() {
        let directory = tempfile::tempdir().unwrap();
        let new = program(
            directory.path(),
            "[ $1 = --version ] && { echo noise >&2; echo 'passt 2026_01_01.abc'; exit; }\n\
             echo '  --vhost-user'; echo '  --repair-path PATH'",
        );
        let version = check_passt(&new, Duration::from_secs(20)).unwrap();
        assert_eq!(version.text, "2026_01_01.abc");
    }
}
