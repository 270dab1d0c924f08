//! Starting machines: a VMM on its disks, its ports on the bridge, and all of it or nothing.
//!
//! There is one way, for one machine and for many: [`start_many`].

mod boot;
mod many;
mod one;
mod overcommit;
mod preflight;
mod undo;

use std::time::Duration;

pub use many::start_many;
pub(crate) use one::is_half_started;

use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::power::error::StartError;

/// How a machine is started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartOptions {
    /// How long the boot of the guest may take: loading its kernel, allocating its memory, and the
    /// switch connecting to its interfaces.
    pub boot_timeout: Duration,
    /// How long the switch may take to apply a port, and cloud-hypervisor to answer.
    pub answer_timeout: Duration,
}

impl Default for StartOptions {
    /// A minute for the boot, ten seconds for an answer.
    fn default() -> Self {
        Self { boot_timeout: Duration::from_secs(60), answer_timeout: Duration::from_secs(10) }
    }
}

impl Vm {
    /// Starts the machine and returns when its guest runs and the switch is connected to its
    /// interfaces.
    ///
    /// A machine that runs already is left alone, but for ports that it has lost: it gets them back
    /// ([`Change::Reconnected`]). What an interrupted start left behind is
    /// cleared first.
    ///
    /// # Errors
    ///
    /// Everything is as it was before: no process, no port, no socket is left.
    pub fn start(&self, options: &StartOptions) -> Result<Change, StartError> {
        start(self, options)
    }
}

/// Starts one machine: [`start_many`] of one.
pub(crate) fn start(vm: &Vm, options: &StartOptions) -> Result<Change, StartError> {
    let mut results = start_many(std::slice::from_ref(vm), options, |_, result| result);
    // One machine has one result.
    results.pop().unwrap_or(Ok(Change::Unchanged))
}

/// Starts many machines, one call for each.
#[deprecated(since = "0.1.0", note = "use `start_many`, which takes all of them at once")]
#[derive(Debug)]
pub struct Starter {
    options: StartOptions,
}

#[expect(deprecated, reason = "kept for programs that were written against it")]
impl Starter {
    /// Will start machines. Nothing is done yet.
    pub fn new(_vms: &[Vm], options: StartOptions) -> Self {
        Self { options }
    }

    /// Starts one of the machines, and returns when its guest runs.
    ///
    /// # Errors
    ///
    /// As [`Vm::start`].
    pub fn start(&self, vm: &Vm) -> Result<Change, StartError> {
        start(vm, &self.options)
    }
}
