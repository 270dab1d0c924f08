//! `v vm console`: attaches to a machine's serial console.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::slice;

use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use virshle_core::{Console, Vm};

use crate::context::Context;
use crate::error::CliError;
use crate::follow::{Directories, Growing, Woken};
use crate::live_text::LiveText;
use crate::machines::Machine;
use crate::raw_terminal::RawTerminal;
use crate::terminal_text::TerminalText;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
}

/// Ctrl-], as with virsh and telnet.
const ESCAPE: u8 = 0x1d;

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let vm = args.machine.find(&context.node()?)?;
    attach(&vm, context)
}

/// How much of the guest's earlier output is printed, in bytes.
const BEFORE: u64 = 256 << 10;

/// Attaches the caller's terminal to the machine's console until they detach or the machine stops.
pub(crate) fn attach(vm: &Vm, context: &Context) -> Result<(), CliError> {
    let console = vm.console()?;
    vm.bound_logs();
    let failed = |source| CliError::Follow { source };
    // A serial line has no size: users have to set it in the guest themselves.
    let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0);
    let size = size.map_or_else(String::new, |size| {
        format!("; this window: stty rows {} cols {}", size.ws_row, size.ws_col)
    });
    context.output.note(&format!("attached to {}; Ctrl-] detaches{size}", vm.name()));
    let end = relay(vm, console).map_err(failed)?;
    context.output.note(match end {
        End::Detached => "\ndetached",
        End::Ended => "\nthe machine has stopped",
    });
    Ok(())
}

enum End {
    Detached,
    Ended,
}

fn relay(vm: &Vm, mut console: Console) -> io::Result<End> {
    // A signal ends the loop in order, so that the terminal is restored.
    let (signals, sender) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
        signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    }
    let mut directories = Directories::new()?;
    directories.watch(vm.directory())?;
    // The screen is put back before the keyboard is: what the terminal still answers goes nowhere.
    let raw = RawTerminal::enter()?;
    let mut shown = Shown::new(vm)?;
    let mut stdin = io::stdin();
    let mut keys = [0; 1024];
    loop {
        shown.show()?;
        vm.bound_logs();
        let others = [stdin.as_fd(), console.as_fd(), signals.as_fd()];
        match directories.wait_or(&others)? {
            Woken::Changed => {}
            Woken::Gone | Woken::Unread | Woken::Readable(2..) => return Ok(End::Detached),
            Woken::Readable(1) => {
                shown.show()?;
                return Ok(End::Ended);
            }
            Woken::Readable(_) => {
                let length = stdin.read(&mut keys)?;
                let escape = keys[..length].iter().position(|key| *key == ESCAPE);
                // From a pipe, a byte is a byte.
                let escape = escape.filter(|_| raw.is_some());
                console.type_bytes(&keys[..escape.unwrap_or(length)])?;
                if length == 0 || escape.is_some() {
                    shown.show()?;
                    return Ok(End::Detached);
                }
            }
        }
    }
}

/// Prints the guest's output.
struct Shown {
    log: Growing,
    /// How much is left of the earlier output, in bytes.
    before: u64,
    filter: TerminalText,
    /// What is new, for a terminal: a program gets it as it is.
    live: Option<LiveText>,
}

impl Shown {
    fn new(vm: &Vm) -> io::Result<Self> {
        let is_terminal = io::stdout().is_terminal();
        // A program gets all of it, unchanged.
        let (log, before) = match is_terminal {
            true => Growing::from_end(vm.serial_log(), BEFORE)?,
            false => (Growing::new(vm.serial_log()), 0),
        };
        let live = is_terminal.then(LiveText::default);
        Ok(Self { log, before, filter: TerminalText::default(), live })
    }

    fn show(&mut self) -> io::Result<()> {
        let Self { log, before, filter, live } = self;
        let mut result = Ok(());
        log.read_new(|piece| {
            let old = usize::try_from(*before).unwrap_or(piece.len()).min(piece.len());
            *before -= old as u64;
            let (old, new) = piece.split_at(old);
            // The terminal would answer old queries of the guest, for example for the cursor's
            // position, and so type into it. It is raw: line feeds need their carriage returns.
            let mut text = Vec::with_capacity(piece.len());
            for byte in filter.filter(old) {
                text.extend_from_slice(if byte == b'\n' {
                    b"\r\n"
                } else {
                    slice::from_ref(&byte)
                });
            }
            match live {
                Some(live) => text.extend(live.filter(new)),
                None => text.extend_from_slice(new),
            }
            let mut stdout = io::stdout().lock();
            result = stdout.write_all(&text).and_then(|()| stdout.flush());
            result.is_ok()
        })?;
        result
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            // The guest's settings are not for the shell that follows. A terminal that is gone needs
            // nothing.
            let mut stdout = io::stdout().lock();
            drop(stdout.write_all(&live.restore()).and_then(|()| stdout.flush()));
        }
    }
}
