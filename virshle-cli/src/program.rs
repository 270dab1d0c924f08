//! The program: parse, start logging, run, print the error, return an exit code.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::Cli;
use crate::context::Context;
use crate::globals::UsageErrorFormat;
use crate::report::Report;
use crate::{logging, paint};

/// Runs the command that the arguments of this process ask for.
pub fn main() -> ExitCode {
    let format = UsageErrorFormat::from_env();
    let report = Report::new(format.json, paint::stderr(format.color));
    let parsed = Cli::command()
        .color(format.color.into())
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return report.usage(&error),
    };
    logging::start(cli.globals.verbose, cli.globals.quiet);
    let context = Context::new(cli.globals, report, Cli::command);
    let result = cli.command.run(&context);
    match result.and_then(|()| context.output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context.report.draw(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
