//! The program: parse, start logging, run, print the error, return an exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::CommandFactory;
use rustix::process::Signal;

use crate::cli::Cli;
use crate::context::Context;
use crate::globals::UsageErrorFormat;
use crate::report::Report;
use crate::{commands, completion, habits, logging, paint};

/// Runs the command that the arguments of this process ask for.
pub fn main() -> ExitCode {
    if let Some(code) = completion::answer() {
        return code;
    }
    let format = UsageErrorFormat::from_env();
    let mut report = Report::new(format.json, paint::stderr(format.color));
    let command_line = || Cli::command().color(format.color.into());
    let cli = match habits::parse(std::env::args_os().collect(), command_line) {
        Ok(cli) => cli,
        Err(error) => return report.usage(&error),
    };
    heed_file_size_limit();
    report.verbose = cli.globals.verbose > 0;
    logging::start(cli.globals.verbose, cli.globals.quiet);
    let context = Context::new(cli.globals, report, Cli::command);
    let result = match cli.command {
        Some(command) => command.run(&context),
        None => commands::overview::run(&context),
    };
    match result.and_then(|()| context.output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context.report.draw(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Lets a write beyond `ulimit -f` fail, as one to a full disk does: the signal would end this process
/// without a word, and with half of what it was creating.
fn heed_file_size_limit() {
    let arrived = Arc::new(AtomicBool::new(false));
    if let Err(error) = signal_hook::flag::register(Signal::XFSZ.as_raw(), arrived) {
        tracing::debug!(%error, "SIGXFSZ ends this process");
    }
}
