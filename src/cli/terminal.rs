//! The few lines that commands write themselves. Logs go elsewhere.

use std::io::Write as _;

/// Prints a text to standard output. A reader that has gone away is no failure of ours.
pub(super) fn print(text: &str) {
    let _ = try_print(text);
}

/// The same for commands that go on for ever. False where nobody reads any more.
pub(super) fn try_print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    let mut written = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        written = written.and_then(|()| out.write_all(b"\n"));
    }
    written.and_then(|()| out.flush()).is_ok()
}

/// Prints a complaint to standard error.
pub(super) fn complain(text: &str) {
    complain_as_is(&format!("gatewarden: {text}"));
}

/// Prints a line to standard error as it is: for programs that read it.
pub(super) fn complain_as_is(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// A text that may come from anywhere, as one line that can't steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|character| if steers(character) { '\u{fffd}' } else { character }).collect()
}

/// The same for a text of several lines.
pub(super) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Control characters, and those that turn the direction of writing around.
fn steers(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}\u{e4}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{e4}");
        assert_eq!(plain_lines("a\nb\r\u{7}"), "a\nb\u{fffd}\u{fffd}");
    }
}
