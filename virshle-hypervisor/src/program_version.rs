//! Asks a program for its version.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::HypervisorError;
use crate::deadline::Deadline;
use crate::version::Version;

/// The most of its output that is looked at.
const MAX_OUTPUT: usize = 4096;

/// Asks `program` (a path, or a name to be looked up in `PATH`) for its version.
///
/// # Errors
///
/// [`Run`](HypervisorError::Run) if it can't be run,
/// [`VersionSilent`](HypervisorError::VersionSilent) and
/// [`VersionUnknown`](HypervisorError::VersionUnknown) if it doesn't behave, and
/// [`TooOld`](HypervisorError::TooOld) below [`Version::MINIMUM`].
pub fn version(program: &Path, timeout: Duration) -> Result<Version, HypervisorError> {
    let cannot_run = |source| HypervisorError::Run { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Reaped(command.spawn().map_err(cannot_run)?);
    let output = read_within(&mut child, &Deadline::after(timeout)).map_err(|error| {
        if error.kind() == io::ErrorKind::TimedOut {
            HypervisorError::VersionSilent { program: program.to_owned(), timeout }
        } else {
            cannot_run(error)
        }
    })?;
    match Version::parse(&output) {
        Some(version) if version < Version::MINIMUM => {
            Err(HypervisorError::TooOld { program: program.to_owned(), version })
        }
        Some(version) => Ok(version),
        None => {
            let output = output.lines().next().unwrap_or_default().to_owned();
            Err(HypervisorError::VersionUnknown { program: program.to_owned(), output })
        }
    }
}

fn read_within(child: &mut Reaped, deadline: &Deadline) -> io::Result<String> {
    let Some(mut stdout) = child.0.stdout.take() else { return Ok(String::new()) };
    let mut output = Vec::new();
    let mut chunk = [0; 1024];
    while output.len() < MAX_OUTPUT {
        let mut watched = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut watched, deadline.left_to_poll().as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            result => result.map(drop)?,
        }
        match stdout.read(&mut chunk)? {
            0 => break,
            read => output.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// A child that is ended and reaped, whatever happens.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It has printed all that is wanted; the errors are that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_too_old_or_another_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let old =
            virshle_testkit::FakeProgram::of_version("v43.0").write(directory.path()).unwrap();
        let error = version(&old, Duration::from_secs(10)).unwrap_err();
        assert!(error.to_string().ends_with("is version 43.0, and 44.0 or newer is needed"));
        let error = version(Path::new("/bin/echo"), Duration::from_secs(10)).unwrap_err();
        assert!(matches!(error, HypervisorError::VersionUnknown { .. }), "{error}");
    }

    #[test]
    fn an_absent_program_is_reported() {
        let error = version(Path::new("/nowhere/ch"), Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "cannot run /nowhere/ch");
        assert!(error.hint().unwrap().contains("install"));
    }

    #[test]
    fn a_program_that_doesnt_end_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let program = virshle_testkit::FakeProgram::hangs().write(directory.path()).unwrap();
        let error = version(&program, Duration::from_millis(50)).unwrap_err();
        assert!(error.timed_out(), "{error}");
    }
}
