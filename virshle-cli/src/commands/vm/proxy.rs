//! `v vm proxy`

use std::fs::File;
use std::io::{self, IsTerminal, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::{AddressFamily, sockopt::socket_domain};
use virshle_core::{GuestStream, SSH_PORT, Selection, Vm, machine_of_host};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::timeout;

/// How long a machine that has just been started may take until it answers.
pub(super) const TIMEOUT: &str = "60s";

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// An id, a name, a uuid or the beginning of one; vm/MACHINE and vm+MACHINE are taken, too
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// Hand the connection over instead of carrying its bytes, where the standard output is a
    /// socket that takes it, as with `ProxyUseFdpass` of ssh_config(5)
    #[arg(long)]
    fdpass: bool,
    /// Connect to this port of the machine
    #[arg(long, value_name = "PORT", default_value_t = SSH_PORT)]
    port: u16,
    /// How long to wait for a machine that is coming up; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = timeout::parse)]
    timeout: Duration,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let vm = find(&args.machine, context)?;
    let stream = vm.connect_when_up(args.port, args.timeout, |tried| {
        // A program that reads stderr has not asked for this.
        if stderr().is_terminal() {
            let tried = tried.join("; ");
            let line = format!("waiting for machine {} to answer ({})", vm.name(), escape(&tried));
            context.output.note(&line);
        }
    })?;
    let failed = |source| CliError::Proxy { vm: vm.name().to_string(), source };
    if args.fdpass && socket_domain(stdout()) == Ok(AddressFamily::UNIX) {
        return stream.hand_over(stdout()).map_err(failed);
    }
    relay(stream).map_err(failed)
}

/// The machine that a host name of ssh, or a word of the command line means.
pub(super) fn find(host: &str, context: &Context) -> Result<Vm, CliError> {
    let selection = Selection::word(machine_of_host(host));
    context.node()?.select(&selection)?.pop().ok_or(CliError::NoneNamed)
}

fn relay(stream: GuestStream) -> io::Result<()> {
    let input = stdin().as_fd().try_clone_to_owned()?;
    let output = stdout().as_fd().try_clone_to_owned()?;
    // The relay has them alone: what it closes is closed.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    stream.relay(input, output)
}
