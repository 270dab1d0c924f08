//! The commands, one to a file.

pub(crate) mod completions;
pub(crate) mod image;
mod man;
mod net;
mod node;
pub(crate) mod overview;
mod run;
mod template;
pub(crate) mod vm;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

/// The commands.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Inspect the templates that machines are created from
    #[command(subcommand, arg_required_else_help = true)]
    Template(template::Command),
    /// Run an image: create a machine, start it, and open a session in it
    ///
    /// The image is pulled if need be: `v run debian`. Behind -- is a command that runs instead of a shell,
    /// and whose exit code is this command's: `v run --rm debian -- uname -a`. The machine runs on
    /// afterwards, unless --rm removes it
    #[command(aliases = ["launch"])]
    Run(run::Args),
    /// Create and manage machines
    #[command(subcommand, arg_required_else_help = true)]
    Vm(vm::Command),
    /// Manage the images that machines are created from
    #[command(subcommand, arg_required_else_help = true)]
    Image(image::Command),
    /// Look at the switch that machines are plugged into
    #[command(subcommand, arg_required_else_help = true)]
    Net(net::Command),
    /// Prepare and check this host
    #[command(subcommand, arg_required_else_help = true)]
    Node(node::Command),
    /// Print a shell's completion script
    ///
    /// For the current bash: source <(v completions bash). It offers the names of machines, templates and
    /// images as well
    Completions(completions::Args),
    /// Show the manual page of a command, or write all pages to a directory
    Man(man::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Template(command) => command.run(context),
            Self::Run(args) => run::run(args, context),
            Self::Vm(command) => command.run(context),
            Self::Image(command) => command.run(context),
            Self::Net(command) => command.run(context),
            Self::Node(command) => command.run(context),
            Self::Completions(args) => {
                context.text_only("v completions")?;
                completions::run(&args, context)
            }
            Self::Man(args) => {
                context.text_only("v man")?;
                man::run(&args, context)
            }
        }
    }
}
