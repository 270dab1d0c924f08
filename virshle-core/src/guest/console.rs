//! The serial console of a machine: what the guest writes, and its input.
//!
//! The guest writes to `serial.log`, always; a console reads that file and writes to the terminal
//! that the machine's VMM holds. Any number of consoles may be open, and closing one is nothing
//! the guest notices.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use virshle_hypervisor::Vmm;

use crate::fs::error::FileError;
use crate::guest::error::GuestError;
use crate::machine::vm::Vm;
use crate::model::state::VmState;

/// A console that is open: input for the guest, and the end of the machine's run.
#[derive(Debug)]
pub struct Console {
    terminal: File,
    vmm: Vmm,
}

impl Console {
    /// Writes `bytes` to the guest's first serial port, as they are. What a guest that does not read
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
    /// Opens a console for input. What the guest writes is in [`Vm::serial_log`].
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`](crate::MachineError::WrongState) if the machine does not run,
    /// [`GuestError::NoConsole`] if its VMM was started without a terminal.
    pub fn console(&self) -> Result<Console, GuestError> {
        console(self)
    }
}

fn console(vm: &Vm) -> Result<Console, GuestError> {
    let vmm = vm.vmm()?.ok_or_else(|| vm.wrong_state("attach to", VmState::Stopped))?;
    let terminal = vmm.terminal().map_err(|source| vm.vmm_error("find the terminal of", source))?;
    let path = terminal.ok_or_else(|| GuestError::NoConsole { vm: vm.name().clone() })?;
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlags::NOCTTY | OFlags::NONBLOCK).bits() as i32)
        .open(&path)
        .map_err(FileError::writing(&path))?;
    Ok(Console { terminal, vmm })
}
