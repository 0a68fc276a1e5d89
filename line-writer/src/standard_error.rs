//! Standard error: a terminal, a file, or a pipe that somebody reads, or doesn't.

use std::io::Write as _;
use std::sync::OnceLock;

use crate::{LineWriter, Lost, Sink};

pub(crate) struct StandardError;

impl Sink for StandardError {
    fn append(&mut self, line: &[u8]) -> bool {
        let line = [line, b"\n"].concat();
        std::io::stderr().lock().write_all(&line).is_ok()
    }
}

/// The process's writer to standard error, for lines that are not of its log. None where there is no thread to be had.
pub fn standard_error() -> Option<&'static LineWriter> {
    static WRITER: OnceLock<Option<LineWriter>> = OnceLock::new();
    let lost = Lost::Line(|lost| format!("{lost} lines were lost: more came than standard error took"));
    WRITER.get_or_init(|| LineWriter::to_standard_error(lost).ok()).as_ref()
}
