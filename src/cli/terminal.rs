//! The few lines that commands write themselves. Logs go elsewhere.

use std::io::Write as _;

/// Prints a text to standard output. A reader that has gone away is no failure of ours.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Prints a complaint to standard error.
pub(super) fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "gatewarden: {text}");
}
