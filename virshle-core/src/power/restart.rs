//! Restarting a machine: its VMM ends, and another one begins.

use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::power::error::RestartError;
use crate::power::start::{StartOptions, start};
use crate::power::stop::{StopRequest, stop};

impl Vm {
    /// Stops the machine and starts it again.
    ///
    /// # Errors
    ///
    /// As [`Vm::stop`] and [`Vm::start`].
    pub fn restart(
        &self,
        request: &StopRequest,
        options: &StartOptions,
    ) -> Result<Change, RestartError> {
        stop(self, request)?;
        Ok(start(self, options)?)
    }
}
