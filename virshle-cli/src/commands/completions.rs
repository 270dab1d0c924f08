//! `v completions`

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    // Both names are completed: they are the same program.
    for name in ["v", "virshle"] {
        clap_complete::generate(args.shell, &mut Cli::command(), name, &mut script);
    }
    context.output.bytes(&script);
    Ok(())
}
