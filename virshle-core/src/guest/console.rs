//! The serial console of a machine: what the guest wrote, and a way to type at it.
//!
//! The guest writes to `serial.log`, always; a console reads that file and types at the terminal
//! that the machine's VMM holds. Any number of consoles may be open, and closing one is nothing
//! the guest notices.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use virshle_hypervisor::Vmm;

use crate::error::CoreError;
use crate::machine::vm::Vm;
use crate::model::state::VmState;

/// A console that is open: something to type at, and the end of the machine's run.
#[derive(Debug)]
pub struct Console {
    terminal: File,
    vmm: Vmm,
}

impl Console {
    /// Types `bytes` at the guest's first serial port, as they are. What a guest that does not read
    /// has no room for is lost, as on a real line.
    ///
    /// # Errors
    ///
    /// If the terminal is gone, with the VMM that held it.
    pub fn type_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.terminal.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }
}

impl AsFd for Console {
    /// A descriptor that becomes readable when the machine's VMM has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.vmm.as_fd()
    }
}

impl Vm {
    /// Opens a console for typing. What the guest writes is in [`Vm::serial_log`].
    ///
    /// # Errors
    ///
    /// [`CoreError::WrongState`] if the machine does not run, [`CoreError::NoConsole`] if its VMM
    /// was started without a terminal.
    pub fn console(&self) -> Result<Console, CoreError> {
        let wrong_state =
            |state| CoreError::WrongState { vm: self.name().clone(), verb: "type at", state };
        let vmm = self.vmm()?.ok_or_else(|| wrong_state(VmState::Stopped))?;
        let terminal = vmm
            .terminal()
            .map_err(|source| self.hypervisor_error("find the terminal of", source))?;
        let path = terminal.ok_or_else(|| CoreError::NoConsole { vm: self.name().clone() })?;
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path)
            .map_err(|source| CoreError::Write { path, source })?;
        Ok(Console { terminal, vmm })
    }
}
