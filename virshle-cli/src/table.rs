//! Tables with rounded corners.

use std::borrow::Cow;
use std::io::{self, Write};

use anstyle::Style;
use tabled::builder::Builder;
use tabled::settings::object::Cell;
use tabled::settings::{Color, Style as Lines};

use crate::escape::escape;
use crate::paint::{self, Paint};

/// A table that grows by rows.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Builder,
    styles: Vec<(Cell, Style)>,
    paint: Paint,
}

impl Table {
    /// A table with these columns and no rows.
    pub(crate) fn new<'a>(paint: Paint, columns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut rows = Builder::default();
        let columns: Vec<&str> = columns.into_iter().collect();
        let strong = (0..columns.len()).map(|column| (Cell::new(0, column), paint::STRONG));
        let styles = strong.filter(|_| paint.is_on()).collect();
        rows.push_record(columns);
        Self { rows, styles, paint }
    }

    /// Adds a row, each cell in its style. Control characters are escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = (String, Style)>) {
        let row = self.rows.count_records();
        let texts: Vec<String> = cells
            .into_iter()
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
        self.rows.push_record(texts);
    }

    /// Writes the table, with its last line's end. A long one is never whole in memory as text.
    pub(crate) fn write(self, out: &mut dyn Write) -> io::Result<()> {
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
