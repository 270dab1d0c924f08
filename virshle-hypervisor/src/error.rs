//! What can go wrong, by operation.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;

use crate::cage::{CageError, CageLack};
use crate::http::AnswerError;
use crate::sys::cage::VIEW_STEP;
use crate::version::Version;

/// An operation on a cloud-hypervisor process that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each field stands in its variant's message")]
pub enum HypervisorError {
    /// Nothing could be reached at the API socket.
    #[error("cannot connect to the API socket {}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },

    /// No answer came within the time: the process may be busy, stopped, or waiting for a
    /// vhost-user peer.
    #[error(
        "no answer to {what} from {} within {}",
        .socket.display(), Seconds(*timeout)
    )]
    Silent { what: String, socket: PathBuf, timeout: Duration },

    /// The connection broke before the whole answer had come.
    #[error("the connection to {} broke during {what}", .socket.display())]
    Broken { what: String, socket: PathBuf, source: io::Error },

    /// The answer isn't one that an API server gives.
    #[error("cannot understand the answer to {what} from {}", .socket.display())]
    Malformed { what: String, socket: PathBuf, source: AnswerError },

    /// cloud-hypervisor understood the request and refused it.
    #[error("cloud-hypervisor refused {what} (status {status})")]
    Refused {
        /// The request, as `vm.boot`.
        what: String,
        /// HTTP's status code.
        status: u16,
        /// cloud-hypervisor's own chain of causes, outermost first; the next cause is this one's
        /// `source`.
        #[source]
        causes: Option<Cause>,
    },

    /// The request can't be put in JSON, as a path that isn't UTF-8 can't.
    #[error("cannot write the request {what} as JSON")]
    Request { what: String, source: serde_json::Error },

    /// The API socket can't be created.
    #[error("cannot create the API socket {}", .socket.display())]
    Bind { socket: PathBuf, source: io::Error },

    /// Another process answers at the API socket.
    #[error("the API socket {} is in use by process {pid}", .socket.display())]
    InUse { socket: PathBuf, pid: u32 },

    /// A log or event file can't be created or rotated.
    #[error("cannot write {}", .path.display())]
    Log { path: PathBuf, source: io::Error },

    /// The program can't be run.
    #[error("cannot run {}", .program.display())]
    Run { program: PathBuf, source: io::Error },

    /// The process can't be confined as asked, and so is not started.
    #[error("cannot confine {}", .program.display())]
    Cage { program: PathBuf, source: CageError },

    /// The program ran and ended before it answered.
    #[error("{} ended while it started{}", .program.display(), InBrackets(*.status))]
    Died {
        /// The program.
        program: PathBuf,
        /// How it ended, if that is known.
        status: Option<ExitStatus>,
        /// The end of what it wrote to its log and standard error, line by line.
        #[source]
        output: Option<Cause>,
    },

    /// Which process listens at the socket can't be found out.
    #[error("cannot find out which process listens at {}", .socket.display())]
    Find { socket: PathBuf, source: io::Error },

    /// Another program listens at the socket.
    #[error("process {pid} ({program}) listens at {} and isn't cloud-hypervisor", .socket.display())]
    Foreign { socket: PathBuf, pid: u32, program: String },

    /// The program started cloud-hypervisor as another process, and stays in its place.
    #[error("{} runs as process {pid} ({found}) and did not become cloud-hypervisor", .program.display())]
    Wrapped { program: PathBuf, pid: u32, found: String },

    /// The processes of this host can't be listed.
    #[error("cannot list the processes of this host")]
    Processes { source: io::Error },

    /// A process can't be signalled or waited for.
    #[error("cannot {what} process {pid}")]
    Process { what: &'static str, pid: u32, source: io::Error },

    /// The program prints no version that this crate understands.
    #[error("cannot find a version in {output:?}, which {} --version printed", .program.display())]
    VersionUnknown { program: PathBuf, output: String },

    /// `--version` didn't end in time.
    #[error("{} --version didn't end within {}", .program.display(), Seconds(*timeout))]
    VersionSilent { program: PathBuf, timeout: Duration },

    /// The program is older than this crate can use.
    #[error("{} is version {version}, and {} or newer is needed", .program.display(), Version::MINIMUM)]
    TooOld { program: PathBuf, version: Version },

    /// The file of the event monitor can't be read.
    #[error("cannot read the events in {}", .path.display())]
    Events { path: PathBuf, source: io::Error },

    /// The file of the event monitor holds something that isn't an event.
    #[error("cannot understand the events in {}", .path.display())]
    EventsMalformed { path: PathBuf, source: serde_json::Error },

    /// The guest can't be reached through its vsock socket.
    #[error("cannot connect to vsock port {port} through {}", .socket.display())]
    Vsock { socket: PathBuf, port: u32, source: io::Error },

    /// No process listens at that port in the guest.
    #[error("no process listens at vsock port {port} in the guest of {}", .socket.display())]
    VsockRefused { socket: PathBuf, port: u32 },

    /// The vsock handshake didn't end in time.
    #[error(
        "no answer from vsock port {port} through {} within {}",
        .socket.display(), Seconds(*timeout)
    )]
    VsockSilent { socket: PathBuf, port: u32, timeout: Duration },
}

impl HypervisorError {
    /// What to do next, as a sentence.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as the user who started the machine, or as root"
            }
            Self::Connect { .. } => "the machine isn't running",
            Self::Silent { what, .. } if what == "vm.boot" => {
                "a vhost-user port may be missing on the bridge: cloud-hypervisor waits for its \
                 peer without end"
            }
            Self::Silent { .. } => "the process may be busy or stopped; it can be ended by force",
            // A path that it doesn't know is answered with this status and one cause.
            Self::Refused {
                status: NOT_FOUND,
                causes: Some(Cause { source: Some(_), .. }),
                ..
            } => "create the machine and boot it first (vm.create, vm.boot)",
            Self::Refused { causes: Some(text), .. } | Self::Died { output: Some(text), .. } => {
                return hint_from_text(text);
            }
            Self::Bind { source, .. } if source.raw_os_error() == Some(libc::ENAMETOOLONG) => {
                "a socket's path has at most 107 bytes: choose a shorter one"
            }
            Self::InUse { .. } => "the machine is running already",
            Self::Run { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "install cloud-hypervisor, or name the program in the configuration"
            }
            Self::Run { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the program must be an executable file"
            }
            Self::Cage {
                source: CageError::Lacking { lack: CageLack::Landlock { .. } }, ..
            } => "Linux 5.13 or later has it, where the kernel parameter lsm= names landlock",
            Self::Cage { source: CageError::Apply { step: VIEW_STEP, .. }, .. } => {
                "the host, or the container that this is, keeps namespaces from root"
            }
            Self::Wrapped { .. } => "a script has to end with: exec cloud-hypervisor \"$@\"",
            Self::VersionUnknown { .. } => "is it cloud-hypervisor?",
            Self::TooOld { .. } => "install a newer cloud-hypervisor",
            Self::VsockRefused { .. } => "the service may not have started in the guest yet",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Returns whether no process listens at the socket: it doesn't exist, or its owner has ended.
    pub fn nobody_listens(&self) -> bool {
        let (Self::Connect { source, .. } | Self::Vsock { source, .. }) = self else {
            return false;
        };
        matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
    }

    /// Returns whether a wait reached its deadline.
    pub fn timed_out(&self) -> bool {
        matches!(self, Self::Silent { .. } | Self::VersionSilent { .. } | Self::VsockSilent { .. })
    }
}

/// HTTP's status for what isn't there; cloud-hypervisor answers with it, and a cause, where it has
/// no machine.
const NOT_FOUND: u16 = 404;

/// Finds the remedy in what cloud-hypervisor wrote, where nothing but its text shows what is wrong.
///
/// But for a machine that isn't there (404) it answers a request that failed with status 500 and a
/// chain of prose, and a process that ends before it answers has status 1 and a log: only the
/// number in `(os error N)` is typed. This is the one place that reads such text; the tests that
/// begin with `ch_` hold it against what the program really writes.
fn hint_from_text(causes: &Cause) -> Option<String> {
    if causes.os_errors().any(|errno| errno == Errno::ADDRINUSE.raw_os_error()) {
        return Some("a socket of an earlier run is in the way: remove it".into());
    }
    let hints = [
        ("holds a lock", "another process uses a disk of this machine"),
        ("shared memory", "a vhost-user network needs shared memory or hugepages"),
        ("VM is already created", "delete the incomplete machine (vm.delete) and create it again"),
        ("VM is not running", "boot the machine first (vm.boot)"),
        (
            "hypervisor interface",
            "cloud-hypervisor needs /dev/kvm: load the kvm module and let this user open it",
        ),
    ];
    let (_, hint) = hints
        .into_iter()
        .find(|(part, _)| causes.messages().any(|message| message.contains(part)))?;
    Some(hint.to_owned())
}

/// One link of a chain of causes that another program reported.
///
/// It is an error without operation, so that a report that walks `source` prints each link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

impl Cause {
    /// Links the messages, outermost first. `None` if there are none.
    pub fn chain<I>(messages: I) -> Option<Self>
    where
        I: IntoIterator<Item = String>,
        I::IntoIter: DoubleEndedIterator,
    {
        let chain = |source: Option<Box<Self>>, message| Some(Box::new(Self { message, source }));
        messages.into_iter().rev().fold(None, chain).map(|first| *first)
    }

    /// The messages, outermost first.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |cause| cause.source.as_deref())
            .map(|cause| cause.message.as_str())
    }

    /// The error numbers in the messages, as Rust's standard library writes them: `(os error 98)`.
    fn os_errors(&self) -> impl Iterator<Item = i32> {
        self.messages().filter_map(|message| {
            let (_, rest) = message.rsplit_once("(os error ")?;
            rest.split_once(')')?.0.parse().ok()
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_deref()?)
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{} s", (self.0.as_secs_f64() * 10.0).round() / 10.0)
        }
    }
}

struct InBrackets(Option<ExitStatus>);

impl fmt::Display for InBrackets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |status| write!(f, " ({status})"))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_refusal_prints_every_cause() {
        let causes = ["Error from API", "The VM could not boot", "VM is already created"];
        let error = HypervisorError::Refused {
            what: "vm.boot".into(),
            status: 500,
            causes: Cause::chain(causes.map(str::to_owned)),
        };
        assert_eq!(error.to_string(), "cloud-hypervisor refused vm.boot (status 500)");
        let mut printed = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            printed.push(cause.to_string());
            next = cause.source();
        }
        assert_eq!(printed, causes);
        assert!(error.hint().unwrap().contains("vm.delete"));
    }

    #[test]
    fn an_error_number_is_found_anywhere_in_the_chain() {
        let texts = ["cannot bind", "Address already in use (os error 98): vsock", "(os error x)"];
        let chain = Cause::chain(texts.map(str::to_owned)).unwrap();
        assert_eq!(chain.os_errors().collect::<Vec<_>>(), [98]);
        assert!(hint_from_text(&chain).unwrap().contains("socket of an earlier run"));
        assert_eq!(hint_from_text(&Cause::chain(["something else".to_owned()]).unwrap()), None);
    }

    #[test]
    fn a_timeout_names_what_was_awaited() {
        let error = HypervisorError::Silent {
            what: "vm.boot".into(),
            socket: "/run/ch.sock".into(),
            timeout: Duration::from_millis(1500),
        };
        assert_eq!(error.to_string(), "no answer to vm.boot from /run/ch.sock within 1.5 s");
        assert!(error.timed_out());
    }
}
