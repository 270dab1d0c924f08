//! The program: parse, start logging, run, print the error, return an exit code.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Cli, Words};
use crate::context::Context;
use crate::report::Report;
use crate::{logging, paint};

/// Does what the words of the command line say.
pub fn main() -> ExitCode {
    // A wrong word is told in the way that the other words ask for.
    let words = Words::of_this_process();
    let report = Report::new(words.json, paint::stderr(words.color));
    let parsed = Cli::command()
        .color(words.color.into())
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return report.words(&error),
    };
    logging::start(cli.globals.verbose, cli.globals.quiet);
    let context = Context::new(cli.globals, report);
    let result = cli.command.run(&context);
    match result.and_then(|()| context.output.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            context.report.draw(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
