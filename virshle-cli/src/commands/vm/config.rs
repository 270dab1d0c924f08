//! `v vm config`

use std::ffi::OsStr;

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape_lines;
use crate::machines::Machine;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
    /// Print the command line that would run it, quoted for a shell
    #[arg(long)]
    command: bool,
    /// Print the configuration that cloud-hypervisor is given, as JSON
    #[arg(long, conflicts_with = "command")]
    vmm: bool,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let vm = args.machine.find(&context.node()?)?;
    let output = &context.output;
    if args.command {
        let command = vm.command_line()?;
        if output.json {
            let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
            return output.json(&words);
        }
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        output.line(&words.join(" "));
    } else if args.vmm {
        output.json(&vm.vmm_config()?)?;
    } else if output.json {
        output.json(vm.definition())?;
    } else {
        output.text(&escape_lines(&vm.definition().to_toml()?));
    }
    Ok(())
}

/// A word as a shell takes it (POSIX, Shell Command Language, 2.2.2).
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_or_change_them() {
        assert_eq!(quoted("--cpus".as_ref()), "--cpus");
        assert_eq!(quoted("boot=1,max=2".as_ref()), "boot=1,max=2");
        assert_eq!(quoted("root=/dev/vda1 quiet".as_ref()), "'root=/dev/vda1 quiet'");
        assert_eq!(quoted("it's".as_ref()), r"'it'\''s'");
        assert_eq!(quoted("".as_ref()), "''");
    }
}
