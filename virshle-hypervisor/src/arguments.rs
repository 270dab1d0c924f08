//! What a process was started as, from the kernel's `/proc`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a process was started as.
pub(crate) struct Arguments {
    pub(crate) program: PathBuf,
    arguments: Vec<OsString>,
}

impl Arguments {
    /// `None` if it has ended, or has begun to: then the kernel gives an empty line.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        let arguments: Vec<_> = line.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
        let arguments: Vec<_> = arguments.into_iter().map(OsStr::to_owned).collect();
        // Other users' is hidden; their arguments aren't.
        let program = fs::read_link(format!("/proc/{pid}/exe"));
        let program = program
            .unwrap_or_else(|_| PathBuf::from(arguments.first().cloned().unwrap_or_default()));
        // So the kernel writes a program that was replaced while it ran.
        let program = match program.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
            Some(program) => PathBuf::from(OsString::from_vec(program.to_vec())),
            None => program,
        };
        Some(Self { program, arguments })
    }

    pub(crate) fn name_program(&self, program: &Path) -> bool {
        let name = |path: &Path| path.file_name().map(OsStr::to_owned).unwrap_or_default();
        let expected = name(program);
        let started_as = self.arguments.first().map(|first| name(Path::new(first)));
        let names = [Some(name(&self.program)), started_as];
        // Distributions wrap the program and call the real one `.cloud-hypervisor-wrapped`.
        let known = |name: &OsString| {
            *name == expected || name.to_string_lossy().contains("cloud-hypervisor")
        };
        names.iter().flatten().filter(|name| !name.is_empty()).any(known)
    }

    /// The value of `--api-socket`.
    pub(crate) fn api_socket_option(&self) -> Option<&OsStr> {
        self.option("--api-socket")
    }

    /// The path of `--event-monitor`; `None` if it is a descriptor.
    pub(crate) fn event_file(&self) -> Option<&Path> {
        let path = self.option("--event-monitor")?.as_bytes().strip_prefix(b"path=")?;
        Some(Path::new(OsStr::from_bytes(path)))
    }

    /// The value of the option `name`.
    fn option(&self, name: &str) -> Option<&OsStr> {
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == name {
                return arguments.next().map(OsString::as_os_str);
            }
            let value = argument.as_bytes().strip_prefix(name.as_bytes());
            if let Some(value) = value.and_then(|value| value.strip_prefix(b"=")) {
                return Some(OsStr::from_bytes(value));
            }
        }
        None
    }

    /// The path of `--api-socket`; `None` if it names a descriptor alone.
    pub(crate) fn api_socket(&self) -> Option<&Path> {
        let option = self.api_socket_option()?.as_bytes();
        let path = match option.strip_prefix(b"fd=") {
            Some(rest) => {
                let comma = rest.iter().position(|byte| *byte == b',')?;
                rest[comma + 1..].strip_prefix(b"path=")?
            }
            None => option.strip_prefix(b"path=").unwrap_or(option),
        };
        Some(Path::new(OsStr::from_bytes(path)))
    }

    pub(crate) fn have_api_socket(&self, socket: &Path) -> bool {
        if self.api_socket_option().is_none() {
            return false;
        }
        let same = |path: &Path| {
            path == socket
                || std::path::absolute(socket).is_ok_and(|socket| socket == path)
                || fs::canonicalize(path)
                    .is_ok_and(|path| fs::canonicalize(socket).is_ok_and(|socket| socket == path))
        };
        // A relative path means what it meant in the directory where the process was started.
        self.api_socket().is_none_or(|path| path.is_relative() || same(path))
    }
}

/// Whether an API socket was handed over as a descriptor.
pub(crate) fn is_handed_over(option: &OsStr) -> bool {
    option.as_bytes().starts_with(b"fd=")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(program: &str, arguments: &[&str]) -> Arguments {
        let arguments = arguments.iter().map(OsString::from).collect();
        Arguments { program: program.into(), arguments }
    }

    #[test]
    fn a_vmm_is_recognised_by_program_and_socket() {
        let socket = Path::new("/vm/1/ch.sock");
        for option in ["/vm/1/ch.sock", "path=/vm/1/ch.sock", "fd=7,path=/vm/1/ch.sock", "fd=7"] {
            let arguments = arguments("/usr/bin/cloud-hypervisor", &["x", "--api-socket", option]);
            assert!(arguments.name_program(Path::new("ch")));
            assert!(arguments.have_api_socket(socket), "{option}");
        }
        let other = arguments("/usr/bin/ch", &["ch", "--api-socket", "fd=7,path=/vm/2/ch.sock"]);
        assert!(!other.have_api_socket(socket));
        assert!(!other.name_program(Path::new("cloud-hypervisor")));
        assert!(other.name_program(Path::new("/opt/ch")));
        assert!(!arguments("/usr/bin/nc", &["nc", "-lU", "/vm/1/ch.sock"]).have_api_socket(socket));
    }

    #[test]
    fn the_files_that_are_a_vmms_own_are_seen_and_no_others() {
        let words = ["x", "--event-monitor", "path=/vm/1/events.json", "--disk", "path=/vm/2/os"];
        let seen = arguments("x", &words);
        assert_eq!(seen.event_file(), Some(Path::new("/vm/1/events.json")));
        assert_eq!(seen.api_socket(), None);
        let seen = arguments("x", &["x", "--event-monitor=fd=7", "--api-socket=/vm/1/ch.sock"]);
        assert_eq!(seen.event_file(), None);
        assert_eq!(seen.api_socket(), Some(Path::new("/vm/1/ch.sock")));
    }
}
