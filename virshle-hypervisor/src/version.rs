//! cloud-hypervisor's version.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::HypervisorError;
use crate::deadline::Deadline;

/// The most of its output that is looked at.
const MAX_OUTPUT: usize = 4096;

/// A version of cloud-hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Version {
    /// The release, every few weeks.
    pub major: u32,
    /// Corrections of it.
    pub minor: u32,
    /// Corrections of those.
    pub patch: u32,
}

impl Version {
    /// The oldest that this crate can use.
    pub const MINIMUM: Self = Self { major: 44, minor: 0, patch: 0 };

    /// Reads `v53.0`, `v53.0-dirty`, `53.0.0`, `cloud-hypervisor v44.0.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?;
        let word = line.strip_prefix("cloud-hypervisor ").unwrap_or(line).trim();
        let word = word.strip_prefix('v').unwrap_or(word);
        let numbers = word.split(['-', '+', ' ']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next().unwrap_or(Some(0))?,
        };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "{major}.{minor}")?;
        if *patch == 0 { Ok(()) } else { write!(f, ".{patch}") }
    }
}

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
        // It has said all that is wanted; the errors are that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_version_is_read() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        let output = "cloud-hypervisor v53.0-dirty\nMigration Protocol Versions: 0\n";
        assert_eq!(Version::parse(output), version(53, 0, 0));
        assert_eq!(Version::parse("cloud-hypervisor v44.0.0"), version(44, 0, 0));
        assert_eq!(Version::parse("cloud-hypervisor v38.0.1-12-gabcdef"), version(38, 0, 1));
        assert_eq!(Version::parse("53.0.0"), version(53, 0, 0));
        for garbage in ["", "v", "cloud-hypervisor", "v53", "QEMU emulator version 7.2", "v1.2.3.4"]
        {
            assert_eq!(Version::parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn old_versions_sort_before_the_least() {
        assert!(Version::parse("v43.0").unwrap() < Version::MINIMUM);
        assert!(Version::parse("v44.0").unwrap() >= Version::MINIMUM);
        assert_eq!(Version::MINIMUM.to_string(), "44.0");
    }

    #[test]
    fn a_program_that_is_too_old_or_another_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let old =
            virshle_testkit::FakeProgram::of_version("v43.0").write(directory.path()).unwrap();
        let error = version(&old, Duration::from_secs(10)).unwrap_err();
        assert!(error.to_string().ends_with("is version 43.0, and 44.0 or newer is needed"));
        let error = version(Path::new("/bin/echo"), Duration::from_secs(10)).unwrap_err();
        assert!(matches!(error, HypervisorError::VersionUnknown { .. }), "{error}");
    }

    #[test]
    fn an_absent_program_is_told() {
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
