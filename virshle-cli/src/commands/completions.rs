//! `v completions`: prints a shell's completion script.

use clap_complete::Shell;

use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print completions for this shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    // Both names of the program are completed.
    for name in ["v", "virshle"] {
        clap_complete::generate(args.shell, &mut (context.command_line)(), name, &mut script);
    }
    context.output.bytes(&script);
    Ok(())
}
