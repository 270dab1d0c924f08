//! `v vm known-hosts`: prints and records a machine's host keys, for ssh.

use virshle_core::HostKey;

use super::proxy::find;
use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Machine id, name, uuid or unique uuid prefix, also as vm/MACHINE or vm+MACHINE
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// Print them as the keys of HOST [default: MACHINE]
    #[arg(long = "as", value_name = "HOST")]
    host: Option<String>,
    /// Record this key if none is recorded yet
    #[arg(long, value_name = "KIND:BASE64")]
    offered: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let vm = find(&args.machine, context)?;
    let host = args.host.as_deref().unwrap_or(&args.machine);
    let offered = args.offered.as_deref().and_then(|offered| offered.split_once(':'));
    let offered = offered.and_then(|(kind, base64)| HostKey::new(kind, base64));
    context.output.text(&vm.host_keys(host, offered.as_ref())?);
    Ok(())
}
