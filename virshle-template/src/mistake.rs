//! One mistake in a file that a person wrote, and where it stands.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One mistake in a file that a person wrote.
///
/// `Display` is for a terminal: the message, the place, the line with the wrong part underlined,
/// and what would be right.
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
    /// The line itself; of one that is longer than 160 characters, the part around the mistake.
    pub source_line: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What would be right, in one line.
    pub help: Option<String>,
    /// The known name that was likely meant.
    pub suggestion: Option<String>,
    /// The template it is in.
    pub template: Option<String>,
    /// How many characters of `source_line` stand before the wrong ones.
    #[serde(skip)]
    pub(crate) indent: usize,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let margin = " ".repeat(self.line.to_string().len());
        // What is no visible character would move the underline, or worse.
        let shown: String = self
            .source_line
            .chars()
            .map(|character| if is_shown(character) { character } else { ' ' })
            .collect();
        writeln!(formatter, "{}", self.message)?;
        writeln!(formatter, "{margin}--> {path}:{}:{}", self.line, self.column)?;
        writeln!(formatter, "{margin} |")?;
        writeln!(formatter, "{} | {}", self.line, shown.trim_end())?;
        let room = shown.chars().count().saturating_sub(self.indent);
        let underline = "^".repeat(self.width.min(room).max(1));
        write!(formatter, "{margin} | {}{underline}", " ".repeat(self.indent))?;
        if let Some(help) = &self.help {
            write!(formatter, "\n{margin} = {help}")?;
        }
        Ok(())
    }
}

/// Returns whether a terminal shows `character` as something of its own: control characters move
/// the cursor, and directional ones (Unicode 16, 23.2) show other text than there is.
fn is_shown(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        && !matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}')
}
