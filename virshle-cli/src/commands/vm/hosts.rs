//! `v vm hosts`: prints the names by which ssh reaches machines, for a shell that completes them.

use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print those that begin with PREFIX
    #[arg(value_name = "PREFIX", default_value = "vm/")]
    prefix: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    // scp and rsync take what is before a slash for no host.
    let begin = if args.prefix.starts_with("vm+") { "vm+" } else { "vm/" };
    let names = context.node()?.names()?;
    let hosts = names.iter().map(|vm| format!("{begin}{}", vm.name));
    let hosts: Vec<String> = hosts.filter(|host| host.starts_with(&args.prefix)).collect();
    if context.output.json {
        return context.output.json(&hosts);
    }
    let lines: String = hosts.iter().map(|host| format!("{host}\n")).collect();
    context.output.text(&lines);
    Ok(())
}
