//! Colours, or none.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

use crate::cli::Color;

/// Paints text for one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

/// For what goes to stdout.
pub(crate) fn stdout(color: Color) -> Paint {
    Paint::new(color, std::io::stdout().is_terminal())
}

/// For what goes to stderr.
pub(crate) fn stderr(color: Color) -> Paint {
    Paint::new(color, std::io::stderr().is_terminal())
}

/// The node's alias.
pub(crate) const ALIAS: Style = AnsiColor::Magenta.on_default().bold();
/// The host, and what is as it should be.
pub(crate) const HOST: Style = AnsiColor::Green.on_default().bold();
/// What runs, or is right.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What deserves a look.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What failed.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// What to do next.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default();
/// What stands out.
pub(crate) const STRONG: Style = Style::new().bold();
/// What steps back.
pub(crate) const FAINT: Style = Style::new().dimmed();

impl Paint {
    fn new(color: Color, terminal: bool) -> Self {
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !unwanted(),
        };
        Self { on }
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { on: false }
    }

    /// Whether colours are used at all.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// `text` in `style`.
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if self.on { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Whether the environment asks for no colours: <https://no-color.org>, and a terminal that
/// knows none.
fn unwanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
