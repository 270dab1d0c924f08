//! `v vm stop`: shuts down machines.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use virshle_core::{StopRequest, Vm};

use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;
use crate::timeout;

/// How long a shutdown takes before it is said that it is waited for.
const SILENCE: Duration = Duration::from_secs(2);

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    machines: Machines,
}

// How to stop. (clap would take a doc comment for the command's help.)
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct How {
    /// Power off at once, without a shutdown of the guest
    #[arg(short, long)]
    force: bool,
    /// Wait at most TIME for each guest to shut down
    ///
    /// A guest that has not shut down by then keeps running, and the command fails. A time such as 30s,
    /// 2m or 1m30s; a number without a unit is seconds
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        value_parser = timeout::parse,
        conflicts_with = "force"
    )]
    timeout: Duration,
}

impl How {
    /// The request for the core.
    pub(crate) fn request(&self) -> StopRequest {
        if self.force { StopRequest::force() } else { StopRequest::power_button(self.timeout) }
    }

    /// On a terminal, says what is waited for, should it take longer than the value returned lives.
    pub(crate) fn tell_who_waits(&self, context: &Context) -> Option<Sender<()>> {
        if self.force || context.output.is_quiet() || context.output.json || !stderr().is_terminal()
        {
            return None;
        }
        let timeout = humantime::format_duration(Duration::from_secs(self.timeout.as_secs()));
        let line = format!(
            "waiting for the guest to shut down, at most {timeout}; --force cuts its power"
        );
        let (sender, ended) = mpsc::channel::<()>();
        let tell = move || {
            if ended.recv_timeout(SILENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                // What can't be written to stderr can't be reported.
                drop(writeln!(stderr(), "{line}"));
            }
        };
        thread::Builder::new().name("waiting".into()).spawn(tell).ok().map(|_| sender)
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let wording = Wording { done: "stopped", already: "stopped" };
    let request = args.how.request();
    let _waiting = args.how.tell_who_waits(context);
    act(context, &selection, wording, |vm| vm.stop(&request), Vm::info)
}
