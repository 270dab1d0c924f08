//! What sort of failure an error is, and what to do about it: for scripts and for front ends.
//!
//! Each room has an error of its own; what a front end needs of any of them is defined once, in its
//! [`Failure::verdict`]. A remedy is typed, and worded by the front end, which alone knows how its
//! user asks for things.

use std::fmt;

/// What sort of failure it is: what a script decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Something failed.
    Failed,
    /// There is no such machine, template or image.
    NotFound,
    /// The arguments are invalid: ambiguous, or not allowed.
    Usage,
    /// The configuration is wrong.
    Config,
    /// The host lacks something.
    Host,
    /// Refused in the state things are in.
    State,
}

/// What to do about a failure. Names are text here: this file knows nothing of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Start the machine.
    StartVm {
        /// The machine.
        vm: String,
    },
    /// Shut the machine down; or cut its power.
    StopVm {
        /// The machine.
        vm: String,
        /// Cut the power.
        force: bool,
    },
    /// Resume or stop the machine first; or do by force what was asked, which cuts its power.
    OrByForce {
        /// The machine.
        vm: String,
        /// What was asked: `stop` or `remove`.
        verb: &'static str,
        /// It is paused, and has to be resumed first: a paused guest sees no power button.
        paused: bool,
    },
    /// Cut the power of a guest that ignores its power button.
    CutPower {
        /// The machine.
        vm: String,
    },
    /// Resume the machine.
    ResumeVm {
        /// The machine.
        vm: String,
    },
    /// Stop and start the machine, which then gets a console.
    RestartForConsole {
        /// The machine.
        vm: String,
    },
    /// Read the machine's serial log.
    ReadLogs {
        /// The machine.
        vm: String,
    },
    /// Use the name of a machine that there is.
    ListVms {
        /// The name most like the one that was given.
        nearest: Option<String>,
    },
    /// Use the name of a template that there is.
    ListTemplates {
        /// The name most like the one that was given.
        nearest: Option<String>,
    },
    /// Create a machine: there is none.
    CreateVm,
    /// Name the machine so that only one is meant: by its id, its whole name or its uuid.
    NameExactly,
    /// Choose another name for the machine, or none.
    ChooseVmName,
    /// Set the node up: its directories, its bridge, its uplink.
    InitNode,
    /// Bring what no distribution has: cloud-hypervisor, its firmware.
    SetUpHost,
    /// Check the whole configuration.
    CheckTemplates,
    /// Repair the node: orphaned resources are removed.
    RepairNode,
    /// Choose a shorter root, or a shorter name for the network interface.
    ShortenRoot,
    /// Choose another root.
    ChooseRoot,
    /// Run as the user who owns the node, or choose another root.
    RunAsOwner,
    /// Make an ssh server reachable; wait for one; or use the console, which needs none.
    ReachSsh,
    /// What needs no wording by a front end: it concerns the host, a file, or the configuration.
    Text(String),
}

impl fmt::Display for Remedy {
    /// The remedy for users of the library; a command words its own.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StartVm { vm } => write!(formatter, "start machine {vm}"),
            Self::StopVm { vm, force: false } => write!(formatter, "stop machine {vm}"),
            Self::StopVm { vm, force: true } => write!(formatter, "cut the power of machine {vm}"),
            Self::OrByForce { vm, verb, paused } => {
                let first = if *paused { "resume" } else { "stop" };
                write!(formatter, "{first} machine {vm} first, or {verb} it by force")
            }
            Self::CutPower { vm } => {
                write!(formatter, "the guest may ignore its power button: cut the power of {vm}")
            }
            Self::ResumeVm { vm } => write!(formatter, "resume machine {vm}"),
            Self::RestartForConsole { vm } => {
                write!(formatter, "stop and start machine {vm}: it gets a console then")
            }
            Self::ReadLogs { vm } => {
                write!(formatter, "the serial log of machine {vm} shows how far it got")
            }
            Self::ListVms { nearest: Some(name) } => write!(formatter, "did you mean {name:?}?"),
            Self::ListVms { nearest: None } => formatter.write_str("list the machines"),
            Self::ListTemplates { nearest: Some(name) } => {
                write!(formatter, "did you mean {name:?}?")
            }
            Self::ListTemplates { nearest: None } => formatter.write_str("list the templates"),
            Self::CreateVm => formatter.write_str("there are no machines yet: create one"),
            Self::NameExactly => formatter.write_str("use the id, the whole name or the uuid"),
            Self::ChooseVmName => formatter.write_str("choose another name, or give none"),
            Self::InitNode => formatter.write_str("set the node up"),
            Self::SetUpHost => formatter
                .write_str("set the host up, which brings cloud-hypervisor and its firmware"),
            Self::CheckTemplates => formatter.write_str("check the whole configuration"),
            Self::RepairNode => formatter.write_str("repair the node to try again"),
            Self::ShortenRoot => {
                formatter.write_str("choose a shorter root ([node] root), or a shorter net name")
            }
            Self::ChooseRoot => formatter.write_str("choose another root ([node] root)"),
            Self::RunAsOwner => {
                formatter.write_str("run as the user who owns the node, or choose another root")
            }
            Self::ReachSsh => formatter.write_str(
                "the guest needs an ssh server, on port 22 of its vsock or on an address that \
                 this host reaches; a console needs none",
            ),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// What a front end needs to know of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict<'a> {
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// A short name for the failure, for programs: it stays as it is across versions.
    pub code: &'static str,
    /// The remedy, if there is one.
    pub remedy: Option<Remedy>,
    /// The end of cloud-hypervisor's log, where it adds to the causes.
    pub details: &'a [String],
}

impl<'a> Verdict<'a> {
    /// A failure of that kind and code, without remedy or log.
    pub(crate) fn new(kind: ErrorKind, code: &'static str) -> Self {
        Self { kind, code, remedy: None, details: &[] }
    }

    /// A failure of no special kind.
    pub(crate) fn failed(code: &'static str) -> Self {
        Self::new(ErrorKind::Failed, code)
    }

    /// With what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<Option<Remedy>>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The remedy that a leaf's error names, worded by the leaf.
    pub(crate) fn hint(self, hint: Option<String>) -> Self {
        self.remedy(hint.map(Remedy::Text))
    }

    pub(crate) fn text(self, hint: impl Into<String>) -> Self {
        self.remedy(Remedy::Text(hint.into()))
    }

    pub(crate) fn details(mut self, details: &'a [String]) -> Self {
        self.details = details;
        self
    }
}

/// An error of this crate, whichever room it comes from.
pub trait Failure: std::error::Error {
    /// All that a front end needs to know of it.
    fn verdict(&self) -> Verdict<'_>;

    /// What sort of failure it is.
    fn kind(&self) -> ErrorKind {
        self.verdict().kind
    }

    /// A short name for the failure, for programs: it stays as it is across versions.
    fn code(&self) -> &'static str {
        self.verdict().code
    }

    /// The remedy, if there is one: for a front end to word.
    fn remedy(&self) -> Option<Remedy> {
        self.verdict().remedy
    }

    /// The remedy as this library words it.
    fn hint(&self) -> Option<String> {
        self.remedy().map(|remedy| remedy.to_string())
    }
}

/// The name of `known` that is most like `name`, if one is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    known
        .iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(distance, other)| *distance <= 1 + other.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
