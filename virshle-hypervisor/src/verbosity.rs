//! How much cloud-hypervisor logs, and what unforeseen system calls lead to: options of its start.

/// How much cloud-hypervisor writes to its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verbosity {
    /// What went wrong, which [`exit_reason`](crate::exit_reason) needs.
    #[default]
    Warn,
    /// Also what happened: a line for each access of the guest's to a port or address at which nothing
    /// is, without end. The configuration, with its
    /// [`oem_strings`](crate::PlatformConfig::oem_strings), is part of it.
    Info,
    /// Also how.
    Debug,
    /// Everything.
    Trace,
}

impl Verbosity {
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Warn => &[],
            Self::Info => &["-v"],
            Self::Debug => &["-vv"],
            Self::Trace => &["-vvv"],
        }
    }
}

/// What becomes of a thread that makes a system call which cloud-hypervisor's authors didn't
/// foresee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seccomp {
    /// The process ends.
    #[default]
    Enforce,
    /// The call fails.
    Errno,
    /// The kernel logs it.
    Log,
    /// Nothing.
    Off,
}

impl Seccomp {
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Enforce => &[],
            Self::Errno => &["--seccomp", "errno"],
            Self::Log => &["--seccomp", "log"],
            Self::Off => &["--seccomp", "false"],
        }
    }
}
