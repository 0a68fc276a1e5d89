//! Tables that fit the terminal: columns of less interest are left out, long texts are cut, and what is wrong is shown in full.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::output::{Output, Paint, Tone, plain};

/// What stands where nothing is known.
const NOTHING: &str = "-";
/// Between two columns.
const GAP: usize = 2;
/// No column is cut to less, however narrow the terminal is.
const LEAST: usize = 6;

/// One field of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub(super) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        let text = plain(text.as_ref());
        Self { text: if text.is_empty() { NOTHING.to_owned() } else { text }, tone }
    }

    pub(super) fn status(status: &str) -> Self {
        Self::toned(status, Tone::of_status(status))
    }

    /// A value that may not be known.
    pub(super) fn maybe(text: Option<impl ToString>) -> Self {
        text.map(|text| text.to_string())
            .filter(|text| !text.is_empty())
            .map_or_else(|| Self::toned(NOTHING, Tone::Faint), Self::new)
    }

    /// What is wrong, if anything.
    pub(super) fn problem(words: Option<impl AsRef<str>>) -> Self {
        words.map_or_else(|| Self::new(""), |words| Self::toned(words, Tone::Bad))
    }

    fn width(&self) -> usize {
        self.text.width()
    }

    fn cut_to(&self, room: usize) -> Self {
        Self { text: cut(&self.text, room), tone: self.tone }
    }
}

/// A text that takes at most so many places of a line; what is left out is shown by an ellipsis.
fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut left = room.saturating_sub(1);
    for character in text.chars() {
        let width = character.width().unwrap_or_default();
        if width > left {
            break;
        }
        left -= width;
        short.push(character);
    }
    short.push('\u{2026}');
    short
}

/// The words of a text in lines of at most so many places; a longer word has a line of its own.
pub(super) fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Rows under a heading. The first column names the row: it is all that `--quiet` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    /// What stands there in place of rows.
    empty: &'static str,
    /// Columns that may be left out, the least important one first.
    optional: &'static [&'static str],
    /// Columns that may be cut, with the width from which on other columns are rather left out.
    cuttable: &'static [(&'static str, usize)],
    /// The column whose text goes below its row where it doesn't fit beside it.
    below: Option<&'static str>,
}

/// How a table is laid out: which columns, and how wide.
struct Layout {
    columns: Vec<(usize, usize)>,
    /// The column that goes below its row.
    below: Option<usize>,
}

impl Layout {
    fn width(&self) -> usize {
        self.columns.iter().map(|(_, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
    }
}

impl Table {
    pub(super) fn of(heading: &[&'static str], rows: impl IntoIterator<Item = Vec<Cell>>, empty: &'static str) -> Self {
        let rows = rows.into_iter().collect();
        Self { heading: heading.to_vec(), rows, empty, optional: &[], cuttable: &[], below: None }
    }

    /// These columns may be left out where they don't fit, the first one first.
    pub(super) fn leaving_out(self, optional: &'static [&'static str]) -> Self {
        Self { optional, ..self }
    }

    /// These columns may be cut where they don't fit: down to this width before others are left out, and below it after that.
    pub(super) fn cutting(self, cuttable: &'static [(&'static str, usize)]) -> Self {
        Self { cuttable, ..self }
    }

    /// This column is never cut: it goes below its row where it doesn't fit beside it.
    pub(super) fn below(self, column: &'static str) -> Self {
        Self { below: Some(column), ..self }
    }

    /// As the output wants it.
    pub(super) fn shown(&self, output: Output) -> String {
        if output.is_quiet() {
            let names: Vec<&str> = self.rows.iter().filter_map(|row| Some(row.first()?.text.as_str())).collect();
            return names.join("\n");
        }
        if self.rows.is_empty() {
            return self.empty.to_owned();
        }
        self.lines(output.paint, output.room()).join("\n")
    }

    /// Heading and rows, each line without an end and no longer than there is room for.
    pub(super) fn lines(&self, paint: Paint, room: Option<usize>) -> Vec<String> {
        let heading: Vec<Cell> = self.heading.iter().map(|name| Cell::toned(name, Tone::Strong)).collect();
        let layout = self.layout(&heading, room.unwrap_or(usize::MAX));
        let mut lines = vec![line(&heading, &layout.columns, paint)];
        for row in &self.rows {
            lines.push(line(row, &layout.columns, paint));
            let said = layout.below.and_then(|column| row.get(column)).filter(|cell| cell.text != NOTHING);
            if let (Some(cell), Some(room)) = (said, room) {
                let indented = wrapped(&cell.text, room.saturating_sub(GAP).max(LEAST));
                lines.extend(indented.iter().map(|part| format!("  {}", paint.paint(cell.tone, part))));
            }
        }
        lines
    }

    fn layout(&self, heading: &[Cell], room: usize) -> Layout {
        let beside = self.fitted(heading, room, None);
        match self.below {
            Some(_) if beside.width() > room => self.fitted(heading, room, self.index_of(self.below)),
            _ => beside,
        }
    }

    fn index_of(&self, name: Option<&str>) -> Option<usize> {
        self.heading.iter().position(|column| Some(*column) == name)
    }

    /// As many columns as fit, and no wider than they fit, but for the one that goes below its row.
    fn fitted(&self, heading: &[Cell], room: usize, below: Option<usize>) -> Layout {
        let widest = |column: usize| {
            let cells = std::iter::once(heading).chain(self.rows.iter().map(Vec::as_slice));
            cells.filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or_default()
        };
        let columns = (0..heading.len()).filter(|column| below != Some(*column));
        let mut layout = Layout { columns: columns.map(|column| (column, widest(column))).collect(), below };
        let cuttable = self.cuttable.iter().filter_map(|(name, least)| Some((self.index_of(Some(name))?, *least)));
        let cuttable: Vec<_> = cuttable.collect();
        cut_columns(&mut layout, &cuttable, room);
        for name in self.optional {
            if layout.width() <= room {
                break;
            }
            layout.columns.retain(|(column, _)| self.index_of(Some(name)) != Some(*column));
        }
        // What the last one left behind is given back.
        for (column, width) in &mut layout.columns {
            *width = widest(*column);
        }
        cut_columns(&mut layout, &cuttable, room);
        if below.is_some() || self.below.is_none() {
            let to_the_last: Vec<_> = cuttable.iter().map(|(column, _)| (*column, LEAST)).collect();
            cut_columns(&mut layout, &to_the_last, room);
        }
        layout
    }
}

/// Makes columns narrower, the widest first, until all fit or none may become narrower.
fn cut_columns(layout: &mut Layout, cuttable: &[(usize, usize)], room: usize) {
    while layout.width() > room {
        let least = |column: usize| cuttable.iter().find(|(cuttable, _)| *cuttable == column).map(|(_, least)| *least);
        let narrower =
            layout.columns.iter_mut().filter(|(column, width)| least(*column).is_some_and(|least| *width > least));
        let Some((_, width)) = narrower.max_by_key(|(_, width)| *width) else { return };
        *width -= 1;
    }
}

fn line(row: &[Cell], columns: &[(usize, usize)], paint: Paint) -> String {
    let mut line = String::new();
    let cells = columns.iter().filter_map(|(column, width)| Some((row.get(*column)?.cut_to(*width), *width)));
    let mut gap = 0;
    for (cell, width) in cells {
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(&paint.paint(cell.tone, &cell.text));
        // Nothing trails the last column.
        gap = width.saturating_sub(cell.width()) + GAP;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let rows = [
            vec![Cell::new("a"), Cell::toned("online", Tone::Good)],
            vec![Cell::new("longer\u{1b}[2J"), Cell::maybe(None::<&str>)],
        ];
        Table::of(&["NAME", "STATUS"], rows, "there is none")
    }

    #[test]
    fn columns_line_up_whatever_their_colour_and_nothing_steers_the_terminal() {
        let lines = table().lines(Paint::none(), None);
        assert_eq!(lines[0], "NAME        STATUS");
        assert_eq!(lines[1], "a           online");
        assert!(!lines[2].contains('\u{1b}') && lines[2].ends_with("  -"), "{lines:?}");
    }

    #[test]
    fn quiet_shows_the_first_column_alone_and_no_rows_are_said() {
        let quiet = Output::of_process(false, true);
        assert_eq!(table().shown(quiet).lines().next(), Some("a"));
        let none = Table::of(&["NAME"], [], "there is none");
        assert_eq!(none.shown(Output::of_process(false, false)), "there is none");
        assert_eq!(none.shown(quiet), "");
    }

    #[test]
    fn wide_characters_take_two_places_and_are_not_cut_in_half() {
        let rows = ["\u{6771}\u{4eac}", "\u{1f980}b", "abcd"].map(|name| vec![Cell::new(name), Cell::new("x")]);
        let lines = Table::of(&["N", "V"], rows, "").lines(Paint::none(), None);
        assert_eq!(lines, ["N     V", "\u{6771}\u{4eac}  x", "\u{1f980}b   x", "abcd  x"]);
        assert_eq!(cut("\u{6771}\u{4eac}\u{90fd}", 4), "\u{6771}\u{2026}");
        assert_eq!(cut("abc", 3), "abc");
    }

    fn wide_table() -> Table {
        let row = |name: &str, problem: &str| {
            vec![
                Cell::new(name),
                Cell::new("0.1.0-some-release"),
                Cell::status("offline"),
                Cell::problem(Some(problem)),
            ]
        };
        let rows = [row("a-gateway-with-a-long-name", "it refused the token"), row("b", "")];
        Table::of(&["NAME", "VERSION", "STATUS", "PROBLEM"], rows, "")
            .cutting(&[("NAME", 12)])
            .leaving_out(&["VERSION"])
            .below("PROBLEM")
    }

    #[test]
    fn what_does_not_fit_is_left_out_or_cut_and_a_problem_goes_below_its_row() {
        let lines = |room| wide_table().lines(Paint::none(), room);
        assert!(lines(None)[1].ends_with("offline  it refused the token"));
        assert_eq!(
            lines(Some(40)),
            [
                "NAME                        STATUS",
                "a-gateway-with-a-long-name  offline",
                "  it refused the token",
                "b                           offline",
            ]
        );
        for room in 16..90 {
            let lines = lines(Some(room));
            assert!(lines.iter().all(|line| line.width() <= room), "{room}: {lines:#?}");
            let said: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            assert!(said.join(" ").contains("it refused the token"), "{room}: {said:?}");
        }
    }
}
