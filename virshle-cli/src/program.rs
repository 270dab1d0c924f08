//! The program: parse, start logging, run, print the error, return an exit code.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::context::Context;
use crate::globals::UsageErrorFormat;
use crate::report::Report;
use crate::{commands, habits, logging, paint};

/// Runs the command that the arguments of this process ask for.
pub fn main() -> ExitCode {
    if let Some(code) = commands::completions::answer() {
        return code;
    }
    let format = UsageErrorFormat::from_env();
    let mut report = Report::new(format.json, paint::stderr(format.color));
    let command_line = || Cli::command().color(format.color.into());
    let cli = match habits::parse(std::env::args_os().collect(), command_line) {
        Ok(cli) => cli,
        Err(error) => return report.usage(&error),
    };
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
