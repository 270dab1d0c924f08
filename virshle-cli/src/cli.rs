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
The commands of `v vm` need no vm: `v ls`, `v start web`, `v ssh web`.
`v` alone shows the state of this node, and what to do next.
`v --help` has the directories that are used and the exit codes.";

/// Where files are looked for, at the end of `v --help`.
const PLACES: &str = "\
Short forms:
  v ls, v start web …   The commands of `v vm` work without vm
  v                     Shows the state of this node, and what to do next

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
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
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
