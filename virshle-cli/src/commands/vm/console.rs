//! `v vm console`

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use virshle_core::{Console, Vm};

use crate::context::Context;
use crate::error::CliError;
use crate::follow::{Folders, Growing, Woken};
use crate::machines::Machine;
use crate::raw_terminal::RawTerminal;

/// Type at a machine's serial console, and see what it writes; Ctrl-] detaches
///
/// What the guest wrote since it was started is shown first. Any number of consoles may be open.
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

/// Attaches the caller's terminal to the machine's console until he detaches, or it ends.
pub(crate) fn attach(vm: &Vm, context: &Context) -> Result<(), CliError> {
    let console = vm.console()?;
    vm.bound_serial_log()?;
    let failed = |source| CliError::Follow { source };
    context.output.note(&format!("attached to {}; Ctrl-] detaches", vm.name()));
    let end = talk(vm, console).map_err(failed)?;
    context.output.note(match end {
        End::Detached => "\ndetached",
        End::Ended => "\nthe machine has ended",
    });
    Ok(())
}

enum End {
    Detached,
    Ended,
}

fn talk(vm: &Vm, mut console: Console) -> io::Result<End> {
    // A signal ends the loop in order, so that the terminal is put back.
    let (signals, sender) = UnixStream::pair()?;
    for signal in [SIGTERM, SIGHUP, SIGINT] {
        signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    }
    let mut log = Growing::new(vm.serial_log());
    let mut folders = Folders::new()?;
    folders.watch(vm.folder())?;
    let raw = RawTerminal::enter()?;
    let mut stdin = io::stdin();
    let mut keys = [0; 1024];
    loop {
        show(&mut log)?;
        let others = [stdin.as_fd(), console.as_fd(), signals.as_fd()];
        match folders.wait_or(&others)? {
            Woken::Changed => {}
            Woken::Gone | Woken::Unread | Woken::Readable(2..) => return Ok(End::Detached),
            Woken::Readable(1) => {
                show(&mut log)?;
                return Ok(End::Ended);
            }
            Woken::Readable(_) => {
                let length = stdin.read(&mut keys)?;
                let escape = keys[..length].iter().position(|key| *key == ESCAPE);
                // From a pipe, a byte is a byte.
                let escape = escape.filter(|_| raw.is_some());
                console.type_bytes(&keys[..escape.unwrap_or(length)])?;
                if length == 0 || escape.is_some() {
                    show(&mut log)?;
                    return Ok(End::Detached);
                }
            }
        }
    }
}

fn show(log: &mut Growing) -> io::Result<()> {
    let mut result = Ok(());
    log.read_new(|piece| {
        let mut stdout = io::stdout().lock();
        result = stdout.write_all(piece).and_then(|()| stdout.flush());
        result.is_ok()
    })?;
    result
}
