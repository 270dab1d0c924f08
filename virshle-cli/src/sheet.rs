//! A sheet of labels and values, one line each.

use anstyle::Style;
use virshle_core::template::BitRate;

use crate::escape::escape;
use crate::paint::{self, Paint};

/// Labels and values, in two columns.
#[derive(Debug)]
pub(crate) struct Sheet {
    lines: Vec<(String, String, Style)>,
    paint: Paint,
}

impl Sheet {
    pub(crate) fn new(paint: Paint) -> Self {
        Self { lines: Vec::new(), paint }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, label: &str, value: impl Into<String>) {
        self.styled(label, value, Style::new());
    }

    /// Adds a line if there is a value.
    pub(crate) fn maybe(&mut self, label: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.line(label, value);
        }
    }

    /// Adds a line whose value has a style.
    pub(crate) fn styled(&mut self, label: &str, value: impl Into<String>, style: Style) {
        self.lines.push((label.to_owned(), value.into(), style));
    }

    /// The sheet as text, each line with its end.
    pub(crate) fn draw(&self) -> String {
        let width = self.lines.iter().map(|(label, ..)| label.chars().count()).max().unwrap_or(0);
        self.lines
            .iter()
            .map(|(label, value, style)| {
                let label = self.paint.paint(paint::FAINT, &format!("{label:width$}"));
                format!("{label}  {}\n", self.paint.paint(*style, &escape(value)))
            })
            .collect()
    }
}

/// The VLANs of a trunk, as the end of a net's line; nothing for a net that is none.
pub(crate) fn trunk(vlans: &[u16]) -> String {
    let vlans: Vec<String> = vlans.iter().map(ToString::to_string).collect();
    if vlans.is_empty() { String::new() } else { format!(", trunk {}", vlans.join(" ")) }
}

/// The rates of a net, as the end of its line.
pub(crate) fn rates(rate_in: Option<BitRate>, rate_out: Option<BitRate>) -> String {
    let rate = |way: &str, rate: Option<BitRate>| {
        rate.map(|rate| format!(", {way} {rate}")).unwrap_or_default()
    };
    rate("in", rate_in) + &rate("out", rate_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned() {
        let mut sheet = Sheet::new(Paint::plain());
        sheet.line("id", "1");
        sheet.maybe("pid", None::<String>);
        sheet.line("template", "a\tb");
        assert_eq!(sheet.draw(), "id        1\ntemplate  a\\tb\n");
    }
}
