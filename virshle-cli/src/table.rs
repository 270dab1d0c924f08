//! Tables with rounded corners; on a terminal that is too narrow for one, a sheet for each row.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write, stdout};

use anstyle::Style;
use rustix::termios::tcgetwinsize;
use tabled::builder::Builder;
use tabled::grid::util::string::get_text_width;
use tabled::settings::object::Cell;
use tabled::settings::{Color, Style as Lines};

use crate::escape::escape;
use crate::paint::{self, Paint};
use crate::sheet::Sheet;

/// A table that grows by rows.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Builder,
    styles: Vec<(Cell, Style)>,
    paint: Paint,
    narrow: Option<Narrow>,
}

/// What is known of a table that goes to a terminal: whether it fits, and what to draw if it doesn't.
#[derive(Debug)]
struct Narrow {
    /// The columns of the terminal.
    terminal: usize,
    /// The width of each column.
    widths: Vec<usize>,
    columns: Vec<String>,
    rows: Vec<Vec<(String, Style)>>,
}

/// The width of the terminal that the standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    tcgetwinsize(stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0)
}

impl Table {
    /// A table with these columns and no rows.
    pub(crate) fn new<'a>(paint: Paint, columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self::within(terminal_width(), paint, columns)
    }

    /// A table for a terminal of that many columns, or for none.
    fn within<'a>(
        terminal: Option<usize>,
        paint: Paint,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut rows = Builder::default();
        let columns: Vec<&str> = columns.into_iter().collect();
        let strong = (0..columns.len()).map(|column| (Cell::new(0, column), paint::STRONG));
        let styles = strong.filter(|_| paint.is_on()).collect();
        let narrow = terminal.map(|terminal| Narrow {
            terminal,
            widths: columns.iter().map(|column| get_text_width(column)).collect(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        });
        rows.push_record(columns);
        Self { rows, styles, paint, narrow }
    }

    /// Adds a row, each cell in its style. Control characters are escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = (String, Style)>) {
        let row = self.rows.count_records();
        let mut kept = Vec::new();
        let texts: Vec<String> = cells
            .into_iter()
            .inspect(|cell| kept.extend(self.narrow.is_some().then(|| cell.clone())))
            .enumerate()
            .map(|(column, (text, style))| {
                if self.paint.is_on() && !style.is_plain() {
                    self.styles.push((Cell::new(row, column), style));
                }
                // Almost always there is nothing to escape.
                match escape(&text) {
                    Cow::Borrowed(_) => text,
                    Cow::Owned(escaped) => escaped,
                }
            })
            .collect();
        if let Some(narrow) = &mut self.narrow {
            for (width, text) in narrow.widths.iter_mut().zip(&texts) {
                *width = (*width).max(get_text_width(text));
            }
            narrow.rows.push(kept);
        }
        self.rows.push_record(texts);
    }

    /// Writes the table, with its last line's end. A long one is never whole in memory as text.
    pub(crate) fn write(self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(narrow) = self.narrow.filter(|narrow| !narrow.fits()) {
            return narrow.write(self.paint, out);
        }
        let mut table = self.rows.build();
        if table.count_rows() > 1 {
            table.with(Lines::rounded());
        } else {
            // The line below the head would be drawn in place of the box's bottom.
            table.with(Lines::rounded().remove_horizontals());
        }
        for (cell, style) in self.styles {
            table.modify(cell, Color::new(style.to_string(), format!("{style:#}")));
        }
        writeln!(out, "{table}")
    }
}

impl Narrow {
    /// Whether a table has room: each column has a line and two blanks, and the last line is the table's.
    fn fits(&self) -> bool {
        self.widths.iter().map(|width| width + 3).sum::<usize>() < self.terminal
    }

    /// Writes a sheet for each row, without what a row has nothing of. A box that the terminal breaks
    /// would be read by nobody.
    fn write(self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        for (number, row) in self.rows.into_iter().enumerate() {
            let mut sheet = Sheet::new(paint);
            for (column, (text, style)) in self.columns.iter().zip(row) {
                if !text.is_empty() {
                    sheet.styled(column, text, style);
                }
            }
            let gap = if number > 0 { "\n" } else { "" };
            write!(out, "{gap}{}", sheet.draw())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: Table) -> String {
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_table_without_rows_is_a_closed_box() {
        assert_eq!(text(Table::new(Paint::plain(), ["id"])), "╭────╮\n│ id │\n╰────╯\n");
    }

    #[test]
    fn a_table_that_a_terminal_would_break_is_a_sheet_for_each_row() {
        let table = |terminal| {
            let mut table = Table::within(Some(terminal), Paint::plain(), ["id", "name", "pid"]);
            for (id, name) in [("1", "büro"), ("20", "a\tb")] {
                table.row([id, name, ""].map(|text| (text.to_owned(), Style::new())));
            }
            text(table)
        };
        let boxed = table(20);
        let width = boxed.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(boxed.starts_with('╭') && width == 19, "{width} {boxed}");
        assert_eq!(table(19), boxed);
        assert_eq!(table(18), "id    1\nname  büro\n\nid    20\nname  a\\tb\n");
        assert_eq!(text(Table::within(Some(1), Paint::plain(), ["id"])), "");
    }

    #[test]
    fn a_table_has_rounded_corners_and_no_lines_between_rows() {
        let mut table = Table::new(Paint::plain(), ["id", "name"]);
        table.row([("1".into(), Style::new()), ("büro\n".into(), Style::new())]);
        table.row([("20".into(), Style::new()), ("x".into(), paint::GOOD)]);
        assert_eq!(
            text(table),
            "╭────┬────────╮\n\
             │ id │ name   │\n\
             ├────┼────────┤\n\
             │ 1  │ büro\\n │\n\
             │ 20 │ x      │\n\
             ╰────┴────────╯\n"
        );
    }
}
