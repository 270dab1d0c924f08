//! `v vm config`: prints a machine's definition.

use std::ffi::OsStr;

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape_lines;
use crate::machines::Machine;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
    /// Print the cloud-hypervisor command line, quoted for a shell
    #[arg(long)]
    command: bool,
    /// Print the cloud-hypervisor configuration, as JSON
    #[arg(long, conflicts_with = "command")]
    vmm: bool,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let vm = args.machine.find(&context.node()?)?;
    let output = &context.output;
    if args.command {
        let command = vm.command_line()?;
        if output.json {
            let arguments: Vec<_> =
                command.iter().map(|argument| argument.to_string_lossy()).collect();
            return output.json(&arguments);
        }
        let arguments: Vec<String> = command.iter().map(|argument| quoted(argument)).collect();
        output.line(&arguments.join(" "));
    } else if args.vmm {
        output.json(&vm.vmm_config()?)?;
    } else if output.json {
        output.json(vm.definition())?;
    } else {
        output.text(&escape_lines(&vm.definition().to_toml()?));
    }
    Ok(())
}

/// An argument, quoted for a shell if necessary (POSIX, Shell Command Language, 2.2.2).
fn quoted(argument: &OsStr) -> String {
    let argument = argument.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=@%+".contains(&byte);
    if !argument.is_empty() && argument.bytes().all(plain) {
        argument.into_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_a_shell_would_split_or_change_them() {
        assert_eq!(quoted("--cpus".as_ref()), "--cpus");
        assert_eq!(quoted("boot=1,max=2".as_ref()), "boot=1,max=2");
        assert_eq!(quoted("root=/dev/vda1 quiet".as_ref()), "'root=/dev/vda1 quiet'");
        assert_eq!(quoted("it's".as_ref()), r"'it'\''s'");
        assert_eq!(quoted("".as_ref()), "''");
    }
}
