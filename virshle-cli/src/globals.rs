//! The options that every command has.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// The heading of the global options in every help.
const HEADING: &str = "Global options";

/// What each level of `-v` adds, in `--help`.
const VERBOSE: &str = "\
Print more; repeat for more log messages

Without it, only warnings and errors are logged

  -v    info: what is created, changed, removed
  -vv   debug: each request to other programs
  -vvv  trace: the text of each message

Log messages go to stderr, in place of progress bars. Other programs are cloud-hypervisor and \
Open vSwitch. With -v, `v vm ls` also has more columns";

/// The options that every command has.
#[derive(Args, Debug)]
#[command(next_help_heading = HEADING)]
pub(crate) struct Globals {
    /// Read the configuration from FILE [env: VIRSHLE_CONFIG]
    ///
    /// Otherwise the first file that exists is read: $XDG_CONFIG_HOME/virshle/config.toml, unless
    /// root, or /etc/virshle/config.toml
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    pub(crate) config: Option<PathBuf>,
    /// Keep the machines in DIR [env: VIRSHLE_ROOT]
    ///
    /// Otherwise they are kept where the configuration says ([node] root), or in /var/lib/virshle,
    /// or in $XDG_DATA_HOME/virshle when not root
    #[arg(long, global = true, value_name = "DIR", display_order = 901)]
    pub(crate) root: Option<PathBuf>,
    /// Print JSON instead of text, for errors as well
    ///
    /// Results are one document on stdout, an error is one on stderr
    #[arg(long, global = true, display_order = 902)]
    pub(crate) json: bool,
    /// Print more; repeat for more log messages
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Count,
        long_help = VERBOSE,
        display_order = 903
    )]
    pub(crate) verbose: u8,
    /// Print only results and errors
    ///
    /// Confirmations ("started web"), notes, progress bars and logged warnings are left out
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 904)]
    pub(crate) quiet: bool,
    /// Choose when to use colours
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

/// Moves the global options behind a command's own in its help.
///
/// The headings of a help text come in the order of the arguments. A command that is built only when
/// it is used (`defer`) has the global ones first, and a reader would find them above the
/// options that they asked for.
pub(crate) trait GlobalsLast {
    fn globals_last(self) -> Self;
}

impl GlobalsLast for clap::Command {
    fn globals_last(self) -> Self {
        let globals = self.get_arguments().filter(|argument| argument.is_global_set());
        let ids: Vec<clap::Id> = globals.map(|argument| argument.get_id().clone()).collect();
        // `mut_arg` moves what it changes to the end.
        ids.into_iter().fold(self, |command, id| command.mut_arg(id, |argument| argument))
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Even in a pipe or a file
    Always,
    /// Nowhere
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

/// The global options that decide how a usage error is printed.
///
/// They are read before clap parses the command line, which is what fails then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UsageErrorFormat {
    pub(crate) json: bool,
    pub(crate) color: Color,
}

impl UsageErrorFormat {
    /// Reads them from the arguments of this process.
    pub(crate) fn from_env() -> Self {
        Self::from_arguments(std::env::args_os().skip(1))
    }

    fn from_arguments(arguments: impl Iterator<Item = OsString>) -> Self {
        // What follows `--` is not for us.
        let arguments: Vec<OsString> = arguments.take_while(|argument| argument != "--").collect();
        let texts = || arguments.iter().filter_map(|argument| argument.to_str());
        let apart = texts().zip(texts().skip(1)).filter(|(option, _)| *option == "--color");
        let joined = texts().filter_map(|argument| argument.strip_prefix("--color="));
        let mut colors = apart.map(|(_, value)| value).chain(joined);
        Self {
            json: texts().any(|argument| argument == "--json"),
            color: colors.find_map(|value| Color::from_str(value, false).ok()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(arguments: &str) -> UsageErrorFormat {
        UsageErrorFormat::from_arguments(arguments.split(' ').map(OsString::from))
    }

    #[test]
    fn the_format_of_a_usage_error_is_known_before_parsing() {
        assert_eq!(format("vm --jsno"), UsageErrorFormat::default());
        assert!(format("vm ls --json --wrong").json);
        assert!(!format("vm ssh 1 -- --json").json);
        assert_eq!(format("--color never vm").color, Color::Never);
        assert_eq!(format("vm ls --color=always").color, Color::Always);
        assert_eq!(format("vm ls --color").color, Color::Auto);
        assert_eq!(format("vm ls --color=red").color, Color::Auto);
    }
}
