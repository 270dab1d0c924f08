//! `v node shutdown`: shuts down all machines before the host goes down.

use std::sync::Mutex;
use std::time::Duration;

use virshle_core::{ShutdownOutcome, StopError, Vm};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::timeout;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Wait at most TIME for all guests to shut down, then cut their power
    ///
    /// [node] shutdown_timeout if not given
    #[arg(long, value_name = "TIME", value_parser = timeout::parse)]
    timeout: Option<Duration>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let timeout = args.timeout.unwrap_or(node.config().node.shutdown_timeout);
    let failures = Mutex::new((0, 0));
    let done = |vm: &Vm, result: Result<ShutdownOutcome, StopError>| {
        let name = escape(vm.name().as_str());
        let failed = match result {
            Ok(ShutdownOutcome::ShutDown) => {
                context.output.done(&format!("shut down {name}"));
                false
            }
            Ok(ShutdownOutcome::Cut) => {
                let seconds = timeout.as_secs();
                context.output.done(&format!(
                    "cut the power of {name}: it did not shut down within {seconds} s"
                ));
                false
            }
            Ok(_) => false,
            Err(error) => {
                context.report.draw_one_of_several(&error.into());
                true
            }
        };
        let mut failures = failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failures.0 += usize::from(failed);
        failures.1 += 1;
    };
    node.shutdown(timeout, &done)?;
    match failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        (0, _) => Ok(()),
        (failed, total) => Err(CliError::Several { failed, total, done: "shut down" }),
    }
}
