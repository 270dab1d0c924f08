//! The words of the command line that every command has.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, ValueEnum};

use crate::commands::Command;
use crate::exit_code;

/// Where things are looked for, at the end of `v --help`.
const PLACES: &str = "\
Configuration, the first that is there:
  $XDG_CONFIG_HOME/virshle/config.toml, when not root
  /etc/virshle/config.toml

Machines:
  /var/lib/virshle, or $XDG_DATA_HOME/virshle when not root";

/// Make virtual machines from templates, on cloud-hypervisor and Open vSwitch
// The terminal wraps what is too long. Other programs of this workspace bring along clap's own wrapping,
// which would make the help depend on what is built beside it.
#[derive(Debug, Parser)]
#[command(
    name = "v",
    term_width = 0,
    version,
    after_help = format!("{PLACES}\n\n{}", exit_code::TABLE),
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Read the configuration in FILE [default: $VIRSHLE_CONFIG, else the usual places]
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    pub(crate) config: Option<PathBuf>,
    /// Keep the machines in DIR [default: $VIRSHLE_ROOT, else as configured]
    #[arg(long, global = true, value_name = "DIR", display_order = 901)]
    pub(crate) root: Option<PathBuf>,
    /// Print one JSON document instead of a table, and errors as JSON
    #[arg(long, global = true, display_order = 902)]
    pub(crate) json: bool,
    /// Tell more: more columns and what is done; twice or more for each request
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 903)]
    pub(crate) verbose: u8,
    /// Tell only what was asked for, and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 904)]
    pub(crate) quiet: bool,
    /// Use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t = Color::Auto,
        display_order = 905
    )]
    pub(crate) color: Color,
}

/// Puts the global options behind a command's own.
///
/// The arguments of a command are made when it is one of the words (`defer`), and then it has the
/// global ones already. A help text has its headings in the order of the arguments.
pub(crate) trait GlobalsLast {
    fn globals_last(self) -> Self;
}

impl GlobalsLast for clap::Command {
    fn globals_last(self) -> Self {
        let globals = self.get_arguments().filter(|argument| argument.is_global_set());
        let ids: Vec<clap::Id> = globals.map(|argument| argument.get_id().clone()).collect();
        // An argument that is changed, if only into itself, becomes the last.
        ids.into_iter().fold(self, |command, id| command.mut_arg(id, |argument| argument))
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl From<Color> for clap::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// The words that decide how a wrong word is told: they are looked for before the rest is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) json: bool,
    pub(crate) color: Color,
}

impl Words {
    pub(crate) fn of_this_process() -> Self {
        Self::of(std::env::args_os().skip(1))
    }

    fn of(words: impl Iterator<Item = OsString>) -> Self {
        let mut found = Self::default();
        let mut names_color = false;
        for word in words {
            let Some(word) = word.to_str() else { continue };
            let color = if std::mem::take(&mut names_color) {
                Some(word)
            } else {
                word.strip_prefix("--color=")
            };
            found.color =
                color.and_then(|word| Color::from_str(word, false).ok()).unwrap_or(found.color);
            match word {
                "--" => break,
                "--json" => found.json = true,
                "--color" => names_color = true,
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        Words::of(text.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn how_to_tell_of_a_wrong_word_is_known_before_parsing() {
        assert_eq!(words("vm --jsno"), Words::default());
        assert!(words("vm ls --json --wrong").json);
        assert!(!words("vm ssh 1 -- --json").json);
        assert_eq!(words("--color never vm").color, Color::Never);
        assert_eq!(words("vm ls --color=always").color, Color::Always);
        assert_eq!(words("vm ls --color").color, Color::Auto);
        assert_eq!(words("vm ls --color=red").color, Color::Auto);
    }
}
