//! Columns for people. What the daemon passes on from elsewhere can't steer the terminal.

use super::output::{Output, Paint, Tone};
use crate::cli::terminal;

/// What stands where nothing is known.
const NOTHING: &str = "-";

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::cli) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(in crate::cli) fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub(in crate::cli) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        let text = terminal::plain(text.as_ref());
        Self { text: if text.is_empty() { NOTHING.to_owned() } else { text }, tone }
    }

    /// A value that may not be known.
    pub(in crate::cli) fn maybe(text: Option<impl ToString>) -> Self {
        match text {
            Some(text) => Self::new(text.to_string()),
            None => Self::toned(NOTHING, Tone::Faint),
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows under a heading. The first column names the row: it is all that `--quiet` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// What stands there in place of rows.
    empty: &'static str,
}

impl Table {
    pub(in crate::cli) fn new(heading: &[&'static str], empty: &'static str) -> Self {
        Self { heading: heading.to_vec(), rows: Vec::new(), empty }
    }

    pub(in crate::cli) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// As the output wants it.
    pub(in crate::cli) fn shown(&self, output: Output) -> String {
        if output.is_quiet() {
            let names: Vec<&str> = self.rows.iter().filter_map(|row| Some(row.first()?.text.as_str())).collect();
            return names.join("\n");
        }
        if self.rows.is_empty() {
            return self.empty.to_owned();
        }
        self.lines(output.paint).join("\n")
    }

    /// Heading and rows, each line without an end.
    pub(in crate::cli) fn lines(&self, paint: Paint) -> Vec<String> {
        let heading: Vec<Cell> = self.heading.iter().map(|name| Cell::toned(name, Tone::Strong)).collect();
        let widths: Vec<usize> = (0..heading.len())
            .map(|column| {
                let cells = std::iter::once(&heading).chain(&self.rows).filter_map(|row| row.get(column));
                cells.map(Cell::width).max().unwrap_or_default()
            })
            .collect();
        std::iter::once(&heading).chain(&self.rows).map(|row| line(row, &widths, paint)).collect()
    }
}

fn line(row: &[Cell], widths: &[usize], paint: Paint) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        line.push_str(&paint.paint(cell.tone, &cell.text));
        // Nothing trails the last column.
        if index + 1 < row.len() {
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATUS"], "there is none");
        table.row(vec![Cell::new("a"), Cell::toned("online", Tone::Good)]);
        table.row(vec![Cell::new("longer\u{1b}[2J"), Cell::maybe(None::<&str>)]);
        table
    }

    #[test]
    fn columns_line_up_whatever_their_colour_and_nothing_steers_the_terminal() {
        let lines = table().lines(Paint::none());
        assert_eq!(lines[0], "NAME        STATUS");
        assert_eq!(lines[1], "a           online");
        assert!(!lines[2].contains('\u{1b}') && lines[2].ends_with("  -"), "{lines:?}");
    }

    #[test]
    fn quiet_shows_the_first_column_alone_and_no_rows_are_said() {
        let quiet = Output::of_process(false, true);
        assert_eq!(table().shown(quiet).lines().next(), Some("a"));
        let none = Table::new(&["NAME"], "there is none");
        assert_eq!(none.shown(Output::of_process(false, false)), "there is none");
        assert_eq!(none.shown(quiet), "");
    }
}
