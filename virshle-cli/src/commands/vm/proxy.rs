//! `v vm proxy`: connects stdin and stdout to a machine, for ssh.

use std::fs::File;
use std::io::{self, IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{AddressFamily, sockopt::socket_domain};
use rustix::process::getppid;
use virshle_core::{GuestError, GuestStream, SSH_PORT, Selection, Vm, machine_of_host};

use super::held;
use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::timeout;

/// How long to wait for a machine that has just been started.
pub(super) const TIMEOUT: &str = "60s";

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Machine id, name, uuid or unique uuid prefix, also as vm/MACHINE or vm+MACHINE
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// Pass the connection's file descriptor to stdout instead of relaying its bytes
    ///
    /// For `ProxyUseFdpass` of ssh_config(5). Bytes are relayed if stdout is no Unix socket
    #[arg(long)]
    fdpass: bool,
    /// Connect to this port of the machine
    #[arg(long, value_name = "PORT", default_value_t = SSH_PORT)]
    port: u16,
    /// Wait at most TIME for the machine to answer
    ///
    /// A time such as 30s, 2m or 1m30s; a number without a unit is seconds
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = timeout::parse)]
    timeout: Duration,
    /// Only check that the machine exists and can be connected to
    #[arg(long, conflicts_with_all = ["fdpass", "held", "hold"])]
    check: bool,
    /// Succeed if there is no such machine or it can't be connected to, and print why
    #[arg(long, hide = true, conflicts_with_all = ["fdpass", "held", "hold", "check"])]
    unreachable: bool,
    /// Take the connection that the process which listens on the abstract socket NAME holds
    #[arg(long, value_name = "NAME", hide = true)]
    held: Option<String>,
    /// Hold the connection on stdout for who connects to the socket on stdin
    #[arg(long, hide = true)]
    hold: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    if args.hold {
        return held::hold().map_err(|source| CliError::Proxy { vm: args.machine.clone(), source });
    }
    if args.unreachable {
        let found = find(&args.machine, context).and_then(|vm| Ok(vm.check_reachable()?));
        return match found {
            Ok(()) => Err(CliError::Reachable),
            Err(error) => {
                context.report.draw(&error);
                Ok(())
            }
        };
    }
    if args.check {
        return Ok(find(&args.machine, context)?.check_reachable()?);
    }
    let takes_descriptors = args.fdpass && socket_domain(stdout()) == Ok(AddressFamily::UNIX);
    let connected = connected(args, takes_descriptors, context);
    if connected.is_err() && takes_descriptors {
        // The error says what is wrong; who waits for a descriptor adds to it as little as can be.
        drop(GuestStream::hand_over_none(stdout()));
    }
    connected
}

fn connected(args: &Args, takes_descriptors: bool, context: &Context) -> Result<(), CliError> {
    let vm = find(&args.machine, context)?;
    if let Some(name) = &args.held {
        // What can't be had is connected anew.
        if takes_descriptors && held::take(name).is_ok() {
            return Ok(());
        }
        held::release(name);
    }
    let stream = connect(&vm, args.port, args.timeout, context)?;
    if let Some(client) = client() {
        vm.note_contact(client, stream.route());
    }
    let failed = |source| CliError::Proxy { vm: vm.name().to_string(), source };
    if takes_descriptors {
        return stream.hand_over(stdout()).map_err(failed);
    }
    relay(stream).map_err(failed)
}

/// Connects to a port of the machine, and says on a terminal what is waited for.
pub(super) fn connect(
    vm: &Vm,
    port: u16,
    timeout: Duration,
    context: &Context,
) -> Result<GuestStream, GuestError> {
    vm.connect_when_up(port, timeout, |tried| {
        // For a person only: a program that reads stderr expects errors there.
        if stderr().is_terminal() {
            let tried = tried.join("; ");
            let line = format!("waiting for machine {} to answer ({})", vm.name(), escape(&tried));
            context.output.note(&line);
        }
    })
}

/// Finds the machine by ssh's name of the host, or by an argument.
pub(super) fn find(host: &str, context: &Context) -> Result<Vm, CliError> {
    let selection = Selection::word(machine_of_host(host));
    context.node()?.select(&selection)?.pop().ok_or(CliError::NoneNamed)
}

/// The process that this one connects, ssh; or looks at a key for.
pub(super) fn client() -> Option<u32> {
    getppid()?.as_raw_nonzero().get().try_into().ok()
}

fn relay(stream: GuestStream) -> io::Result<()> {
    let input = stdin().as_fd().try_clone_to_owned()?;
    let output = stdout().as_fd().try_clone_to_owned()?;
    // The relay has the only descriptors: what it closes is closed.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    stream.relay(input, output)
}
