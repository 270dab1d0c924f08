//! A cage for a program that a hostile guest may take over: built before it runs, so that every
//! thread of it is born inside.
//!
//! What a program does to itself comes too late for the threads that it has by then, and threads
//! share their memory: whoever has one has all. So it is the starter who builds the cage, between
//! fork(2) and exec(2).

mod error;
mod identity;
mod landlock;
mod refused;
mod seccomp;
mod view;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use error::{CAGE_MIN_LANDLOCK_ABI, CageError, CageLack};
pub use identity::Identity;
pub use landlock::CageAccess;
pub(crate) use seccomp::NO_CALL;
pub use view::View;

use crate::cage::seccomp::Filter;
use crate::cage::view::Places;
use crate::sys;
use crate::sys::view::{EmptyNetwork, Entrance};

/// The directories of shared libraries: those of the loader's defaults, and of Nix and Guix.
const LIBRARIES: [&str; 8] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
];
/// Where a program that is a script has its interpreter, and what that calls.
const PROGRAMS: [&str; 4] = ["/bin", "/usr/bin", "/usr/local/bin", "/run/current-system/sw"];
/// What any program may open: the first for writing, too.
const SYSTEM_FILES: [&str; 3] = ["/dev/null", "/dev/urandom", "/etc/ld.so.cache"];
/// How many descriptors a VMM may have open: a vsock has up to 1,023 connections.
const DESCRIPTORS: u64 = 4096;

/// What a program and all its threads are kept from.
///
/// In the cage it has
///
/// - the user, the group and the supplementary groups that are set, if its starter may change them,
/// - no capability: none effective, permitted, inheritable or ambient, and, where its starter may
///   take them away, none in the bounding set,
/// - no way to gain any (`no_new_privs`), no core dumps, at most 4,096 descriptors,
/// - by landlock: the files that are [named](Self::file), its own program, the shared libraries, its
///   own `/proc/self`, and no others; as the kernel's version can, no TCP, no signal to a process
///   outside, no abstract socket of one, no ioctl on a device that isn't named,
/// - by seccomp: none of the system calls that a VMM has no use for (mounts, namespaces, modules,
///   keys, tracing, bpf and their like), no change of a file's owner, mode, times or attributes, no
///   sockets but Unix ones, no connection to any of those, and no signal to another process; no io_uring,
///   but in a view of its own,
/// - in a [view](Self::view) of its own: no path but of what is in the cage, and no network.
///
/// The program's own confinement comes on top, as both landlock and seccomp only ever take away.
///
/// # Limitations
///
/// seccomp doesn't see what a program asks of io_uring, and landlock (before Linux 7.1) has no say over a
/// connection to a Unix socket. In a view of its own a program reaches none but those that are shown to it.
/// Without, it gets no io_uring; one that may [connect](Connections::Allowed), or send a datagram, may do
/// so to the sockets that its user may write to.
///
/// # Example
///
/// ```no_run
/// use std::path::Path;
/// use std::process::Command;
///
/// use virshle_hypervisor::{Cage, CageAccess, Identity};
///
/// let cage = Cage::new()
///     .identity(Identity::new(65_000, 65_000))
///     .file("/srv/vm/disk", CageAccess::ReadWrite)
///     .prepare(Path::new("/usr/bin/program"))?;
/// let mut command = Command::new("/usr/bin/program");
/// cage.apply_to(&mut command);
/// command.spawn()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
///
/// landlock(7), seccomp(2), capabilities(7), prctl(2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "nothing is confined before it is prepared and applied"]
pub struct Cage {
    identity: Option<Identity>,
    files: Vec<(PathBuf, CageAccess)>,
    shown: Vec<PathBuf>,
    view: View,
    connections: Connections,
    strictness: Strictness,
}

/// Whether a caged program may connect to Unix sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connections {
    /// To none. It may listen, accept, and use what it was handed.
    #[default]
    Refused,
    /// To those that it sees and that its user may: a VMM that is the client of a vhost-user backend, as of virtiofsd,
    /// needs it, and one whose guest connects to the host by vsock.
    Allowed,
}

/// What is done where the kernel lacks a layer of a cage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strictness {
    /// The cage can't be prepared.
    #[default]
    Required,
    /// It is built of what is there.
    BestEffort,
}

/// The layers of a cage that this kernel lacks.
#[doc(alias = "landlock")]
pub fn cage_lacks() -> Vec<CageLack> {
    let mut lacks = Vec::new();
    let abi = sys::landlock_abi();
    if abi.is_none_or(|abi| abi < CAGE_MIN_LANDLOCK_ABI) {
        lacks.push(CageLack::Landlock { abi });
    }
    if !sys::cage::has_seccomp() {
        lacks.push(CageLack::Seccomp);
    }
    lacks
}

/// Why this process can't give a program a [`View`] of its own: an error of the first step that failed. A
/// process is forked to try it.
///
/// # Errors
///
/// That.
pub fn try_own_view() -> Result<(), CageError> {
    let entrance = Cage::new().entrance(None)?;
    sys::view::try_out(&entrance)
        .map_err(|source| CageError::Apply { step: sys::cage::VIEW_STEP, source })
}

impl Cage {
    /// A cage in which a program reaches nothing but itself.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs the program as this user, with these groups and no others; as the starter's unless set.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Lets the program use a file, or everything below a directory. It must be there when the cage is
    /// prepared, and is known by its inode from then on.
    pub fn file(mut self, path: impl Into<PathBuf>, access: CageAccess) -> Self {
        self.files.push((path.into(), access));
        self
    }

    /// Shows the program a file, or a directory with all that is in it now or later, in its
    /// [view](Self::view): what is a [`file`](Self::file) of the cage is shown anyway. What it may open there
    /// is said by those.
    pub fn show(mut self, path: impl Into<PathBuf>) -> Self {
        self.shown.push(path.into());
        self
    }

    /// Sets what the program sees of the host. In a view of its own the current directory is `/`.
    pub fn view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Sets whether the program may connect to Unix sockets: refused unless set.
    pub fn connections(mut self, connections: Connections) -> Self {
        self.connections = connections;
        self
    }

    /// Sets what is done where the kernel lacks a layer.
    pub fn strictness(mut self, strictness: Strictness) -> Self {
        self.strictness = strictness;
        self
    }

    /// Prepares the cage for the program at the path `program`: all that can fail for a reason worth
    /// explaining, and all that a forked child must not do.
    ///
    /// # Errors
    ///
    /// [`CageError`].
    pub fn prepare(&self, program: &Path) -> Result<PreparedCage, CageError> {
        self.prepare_with(self.begin_network(), program)
    }

    /// Begins what takes longest of a view of its own: [`prepare_with`](Self::prepare_with) wants it.
    pub(crate) fn begin_network(&self) -> Option<EmptyNetwork> {
        match self.view {
            View::Shared => None,
            View::Own | View::OwnIfPossible => EmptyNetwork::begin(),
        }
    }

    /// Does as [`prepare`](Self::prepare), with a network that was begun before.
    pub(crate) fn prepare_with(
        &self,
        network: Option<EmptyNetwork>,
        program: &Path,
    ) -> Result<PreparedCage, CageError> {
        let lacks = cage_lacks();
        if let (Some(lack), Strictness::Required) = (lacks.first(), self.strictness) {
            return Err(CageError::Lacking { lack: *lack });
        }
        let has = |wanted: fn(&CageLack) -> bool| !lacks.iter().any(wanted);
        let ruleset = match sys::landlock_abi() {
            Some(abi) if has(|lack| matches!(lack, CageLack::Landlock { .. })) => {
                Some(self.ruleset(abi, program)?)
            }
            _ => None,
        };
        let connections = self.connections == Connections::Allowed;
        let cutting = sys::landlock_abi().is_none_or(landlock::restricts_cutting);
        let filter =
            has(|lack| *lack == CageLack::Seccomp).then(|| Filter::new(connections, cutting));
        let view = match self.view {
            View::Shared => None,
            View::Own | View::OwnIfPossible => Some(self.entrance(Some(program))?),
        };
        Ok(PreparedCage { identity: self.identity.clone(), view, network, ruleset, filter })
    }

    fn entrance(&self, program: Option<&Path>) -> Result<Entrance, CageError> {
        let mut places = Places::default();
        if let Some(path) = program {
            places.show(path)?;
        }
        for path in self.files.iter().map(|(path, _)| path).chain(&self.shown) {
            places.show(path)?;
        }
        let script = program.is_some_and(is_script);
        let programs = PROGRAMS.iter().filter(|_| script);
        for path in LIBRARIES.iter().chain(programs).chain(&SYSTEM_FILES) {
            places.show_if_there(Path::new(path))?;
        }
        let required = self.view == View::Own && self.strictness == Strictness::Required;
        places.entrance(rustix::process::geteuid().is_root(), required)
    }

    fn ruleset(&self, abi: u32, program: &Path) -> Result<OwnedFd, CageError> {
        let ruleset = landlock::Ruleset::new(abi)?;
        ruleset.add(program, CageAccess::Execute)?;
        let script = is_script(program);
        let programs = PROGRAMS.iter().filter(|_| script);
        for directory in LIBRARIES.iter().chain(programs) {
            ruleset.add_if_there(Path::new(directory), CageAccess::Execute)?;
        }
        let [null, readable @ ..] = SYSTEM_FILES;
        for path in readable {
            ruleset.add_if_there(Path::new(path), CageAccess::Read)?;
        }
        ruleset.add_if_there(Path::new(null), CageAccess::ReadWrite)?;
        for (path, access) in &self.files {
            ruleset.add(path, *access)?;
        }
        Ok(ruleset.into_fd())
    }
}

/// Whether a program is run by another one, that its first line names.
fn is_script(program: &Path) -> bool {
    let mut start = [0; 2];
    let read = std::fs::File::open(program)
        .and_then(|mut file| std::io::Read::read(&mut file, &mut start));
    read.is_ok_and(|length| start[..length] == *b"#!")
}

/// A cage that is ready for one process.
#[derive(Debug)]
#[must_use = "it confines nothing before it is applied"]
pub struct PreparedCage {
    identity: Option<Identity>,
    view: Option<Entrance>,
    network: Option<EmptyNetwork>,
    ruleset: Option<OwnedFd>,
    filter: Option<Filter>,
}

impl PreparedCage {
    /// Has the process that `command` starts enter the cage before it becomes its program; the
    /// program keeps the environment, and so should have none of its starter's.
    ///
    /// A step that fails fails the spawn.
    pub fn apply_to(self, command: &mut Command) {
        let mut entry = self.into_entry();
        sys::cage::before_exec(command, move || entry.enter().map_err(|(_, source)| source));
    }

    pub(crate) fn into_entry(self) -> sys::cage::Entry {
        let (filter, own_pid, ring) = match self.filter {
            Some(filter) => (filter.program, Some(filter.own_pid), Some(filter.ring)),
            None => (Vec::new(), None, None),
        };
        let network = self.network.and_then(EmptyNetwork::finish);
        sys::cage::Entry {
            view: self.view.map(|view| view.with_network(network)),
            identity: self.identity.map(|identity| (identity.uid, identity.gid, identity.groups)),
            ruleset: self.ruleset,
            filter,
            own_pid,
            ring,
            descriptors: DESCRIPTORS,
        }
    }
}
