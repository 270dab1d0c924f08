//! The colours of the output.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

use crate::globals::Color;

/// Paints text for one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

/// The painter of stdout.
pub(crate) fn stdout(color: Color) -> Paint {
    Paint::new(color, std::io::stdout().is_terminal())
}

/// The painter of stderr.
pub(crate) fn stderr(color: Color) -> Paint {
    Paint::new(color, std::io::stderr().is_terminal())
}

/// The node's alias.
pub(crate) const ALIAS: Style = AnsiColor::Magenta.on_default().bold();
/// The host's name.
pub(crate) const HOST: Style = AnsiColor::Green.on_default().bold();
/// What runs, or is valid.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// A warning.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// A failure.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// A suggested fix or next step.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default();
/// Emphasized text.
pub(crate) const STRONG: Style = Style::new().bold();
/// De-emphasized text.
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

/// Whether the environment disables colours: <https://no-color.org>, or a terminal without any.
fn unwanted() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
