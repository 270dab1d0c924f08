//! One mistake in a file that a person wrote, and where it stands.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One mistake in a file that a person wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mistake {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// How many characters are wrong, at least 1.
    pub width: usize,
    /// The line itself.
    pub source_line: String,
    /// What is wrong.
    pub message: String,
    /// What would be right, or is likely meant.
    pub help: Option<String>,
    /// The template it is in.
    pub template: Option<String>,
}

/// The longest part of a line that is shown, in characters.
const SHOWN: usize = 160;

impl Mistake {
    /// A mistake in the bytes `span` of `text`, the content of `path`.
    pub(crate) fn at(
        path: &Path,
        text: &str,
        span: Range<usize>,
        message: String,
        help: Option<String>,
    ) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let source_line = text[line_start..line_end].trim_end_matches('\r');
        Self {
            path: path.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end.min(line_end).max(start)].chars().count().max(1),
            source_line: source_line.to_owned(),
            message,
            help,
            template: None,
        }
    }
}

/// The nearest place at or before `at` where a character begins.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

impl fmt::Display for Mistake {
    /// The place, the line with the wrong part underlined, and what would be right.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        writeln!(formatter, "{}", self.message)?;
        writeln!(formatter, "  --> {path}:{}:{}", self.line, self.column)?;
        let margin = " ".repeat(self.line.to_string().len());
        writeln!(formatter, "{margin} |")?;
        // Control characters would move the underline, or worse.
        let shown: String = self
            .source_line
            .chars()
            .take(SHOWN)
            .map(|character| if character.is_control() { ' ' } else { character })
            .collect();
        writeln!(formatter, "{} | {shown}", self.line)?;
        let indent = " ".repeat((self.column - 1).min(SHOWN));
        let width = self.width.min(SHOWN.saturating_sub(self.column - 1)).max(1);
        write!(formatter, "{margin} | {indent}{}", "^".repeat(width))?;
        if let Some(help) = &self.help {
            write!(formatter, " {help}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_with_its_wrong_part_underlined() {
        let text = "a = 1\nvcpus = 2\n";
        let message = "unknown key \"vcpus\"".into();
        let help = Some("did you mean \"vcpu\"?".into());
        let mistake = Mistake::at(Path::new("/c.toml"), text, 6..11, message, help);
        assert_eq!(
            mistake.to_string(),
            "unknown key \"vcpus\"\n  --> /c.toml:2:1\n  |\n2 | vcpus = 2\n  | ^^^^^ did you mean \"vcpu\"?"
        );
    }

    #[test]
    fn any_span_of_any_text_can_be_shown() {
        let text = "é\u{7}ü = \"\"\"\nx\"\"\"";
        for start in 0..text.len() + 3 {
            for end in 0..text.len() + 3 {
                let mistake = Mistake::at(Path::new("c"), text, start..end, "m".into(), None);
                assert!(!mistake.to_string().is_empty());
            }
        }
    }
}
