//! `v man`: shows, prints or writes the manual pages.

use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::builder::Resettable;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::context::Context;
use crate::error::CliError;
use crate::exit_code;

/// The directory of the pages of commands, below a directory of manuals (manpath(5)).
const SECTION: &str = "man1";

/// The sections of the first page that are not of its options, each a heading and its text.
const SECTIONS: [(&str, &str); 4] = [
    (
        "ENVIRONMENT",
        "VIRSHLE_CONFIG  The configuration, unless --config is given\n\
         VIRSHLE_ROOT    The directory of the machines, unless --root is given\n\
         NO_COLOR        No colours, unless --color is given",
    ),
    (
        "FILES",
        "$XDG_CONFIG_HOME/virshle/config.toml  The configuration, unless root\n\
         /etc/virshle/config.toml              The configuration\n\
         /var/lib/virshle                      The machines, as root\n\
         $XDG_DATA_HOME/virshle                The machines, unless root",
    ),
    ("EXIT STATUS", exit_code::TABLE),
    (
        "EXAMPLES",
        "v node check                           List what this host lacks\n\
         v vm create -t xs -n 3 --start         Create three machines, and start them\n\
         v vm ls --state running                List the machines that run\n\
         v vm ssh web -- uname -a               Run a command in a machine\n\
         v vm stop web && v vm rm web           Shut a machine down, and remove it",
    ),
];

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Show the page of this command
    ///
    /// For example `v man vm create`. On a terminal the page is shown by man(1); elsewhere it is printed
    /// as roff
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the pages of all commands to DIR/man1
    ///
    /// One file each: v.1, v-vm.1, v-vm-ls.1 … man(1) finds them below a directory of its manpath, such
    /// as ~/.local/share/man or /usr/local/share/man
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mut root = (context.command_line)();
    // Subcommands are defined when they are used.
    root.build();
    if let Some(dir) = &args.dir {
        let dir = if dir.ends_with(SECTION) { dir.clone() } else { dir.join(SECTION) };
        std::fs::create_dir_all(&dir)
            .map_err(|source| CliError::Manual { path: dir.clone(), source })?;
        return write_pages(&dir, &root, "v", None);
    }
    let (mut command, mut name, mut above) = (&root, "v".to_owned(), None);
    for (position, word) in args.command.iter().enumerate() {
        // `v man v vm` is what the pages' names suggest.
        if position == 0 && word == "v" {
            continue;
        }
        let Some(below) = command.find_subcommand(word) else {
            return Err(CliError::NoPage { command: args.command.join(" ") });
        };
        above = Some(name.clone());
        name = format!("{name}-{}", below.get_name());
        command = below;
    }
    let page = page(command, &name, above.as_deref(), Path::new("v.1"))?;
    if !stdout().is_terminal() {
        context.output.bytes(&page);
    } else if !show(&page) {
        let mut command = command.clone();
        context.output.text(&command.render_long_help().to_string());
    }
    Ok(())
}

/// Shows a page by man(1), in the caller's pager. Returns whether there is one that can.
fn show(page: &[u8]) -> bool {
    let child = Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return false };
    if let Some(mut stdin) = child.stdin.take() {
        // It may end before it has read everything; how it ends shows whether that is a failure.
        drop(stdin.write_all(page));
    }
    child.wait().is_ok_and(|status| status.success())
}

/// Writes the page of `command`, and those of the commands below it that help lists.
fn write_pages(
    dir: &Path,
    command: &clap::Command,
    name: &str,
    above: Option<&str>,
) -> Result<(), CliError> {
    let path = dir.join(format!("{name}.1"));
    let page = page(command, name, above, &path)?;
    std::fs::write(&path, page).map_err(|source| CliError::Manual { path, source })?;
    for below in listed(command) {
        write_pages(dir, below, &format!("{name}-{}", below.get_name()), Some(name))?;
    }
    Ok(())
}

/// The commands below `command` that help lists.
fn listed(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

fn page(
    command: &clap::Command,
    name: &str,
    above: Option<&str>,
    path: &Path,
) -> Result<Vec<u8>, CliError> {
    // The page takes its title from the name, which has to live as long as the program.
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let named = command
        .clone()
        .name(title)
        .after_help(Resettable::Reset)
        .after_long_help(Resettable::Reset);
    let mut page = Vec::new();
    let rest = rest(command, name, above);
    Man::new(named)
        .source(concat!("virshle ", env!("CARGO_PKG_VERSION")))
        .manual("Virshle")
        .render(&mut page)
        .and_then(|()| rest.to_writer(&mut page))
        .map_err(|source| CliError::Manual { path: path.to_owned(), source })?;
    Ok(page)
}

/// The sections after the options: those of the whole program, and the pages above and below.
fn rest(command: &clap::Command, name: &str, above: Option<&str>) -> Roff {
    let mut rest = Roff::new();
    if above.is_none() {
        for (heading, text) in SECTIONS {
            rest.control("SH", [heading]);
            // As it stands: its columns are its form.
            rest.control("nf", []);
            for line in text.strip_prefix("Exit codes:\n").unwrap_or(text).lines() {
                rest.text([roman(line)]);
            }
            rest.control("fi", []);
        }
    }
    let mut others: Vec<String> = above.iter().map(|above| format!("{above}(1)")).collect();
    others.extend(listed(command).map(|below| format!("{name}-{}(1)", below.get_name())));
    if !others.is_empty() {
        rest.control("SH", ["SEE ALSO"]);
        rest.text([roman(others.join(", "))]);
    }
    rest
}
