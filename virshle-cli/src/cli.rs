//! The command line as a whole.

use clap::Parser;

use crate::commands::Command;
use crate::exit_code;
use crate::globals::Globals;

/// The widest that help is, in columns; a terminal may be narrower.
const WIDTH: usize = 100;

/// The end of `v -h`.
const MORE: &str = "\
`v <COMMAND> -h` lists a command's options, `--help` explains them.
`v --help` has the directories that are used and the exit codes.";

/// Where files are looked for, at the end of `v --help`.
const PLACES: &str = "\
Configuration, the first file that exists:
  $XDG_CONFIG_HOME/virshle/config.toml, unless root
  /etc/virshle/config.toml

Machines:
  /var/lib/virshle, or $XDG_DATA_HOME/virshle when not root";

/// Run virtual machines from templates, on cloud-hypervisor and Open vSwitch
#[derive(Debug, Parser)]
#[command(
    name = "v",
    max_term_width = WIDTH,
    version,
    after_help = MORE,
    after_long_help = format!("{PLACES}\n\n{}", exit_code::TABLE),
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
