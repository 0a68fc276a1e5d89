//! `gatewarden gateway sample-agent`: what the sample agent of `gatewarden up` runs. Beside its JSON lines it says each word as
//! a plain line, which the gateway takes for its log: so that it can be watched from outside as it goes on.

use std::io::{self, Write};

use gatewarden_embedded_gateway::sample_agent::{answer, wait_blocking};
use serde_json::Value;

use super::super::error::CliError;

/// Answers the message on standard input.
pub(super) fn run() -> Result<u8, CliError> {
    answer(io::stdin().lock(), Noting { out: io::stdout().lock(), line: Vec::new() }, wait_blocking)
        .map_err(|error| CliError::new(format!("The sample agent cannot go on: {error}.")))
}

/// Passes lines on, and says the text of those that carry text.
struct Noting<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Write for Noting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let said = serde_json::from_slice::<Value>(&std::mem::take(&mut self.line)).unwrap_or(Value::Null);
            if let Some(text) = said.get("delta").and_then(Value::as_str) {
                writeln!(self.out, "says {}", text.trim())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_said_twice_once_for_programs_and_once_for_the_log() {
        let mut out = Vec::new();
        answer(&b"count to 2"[..], Noting { out: &mut out, line: Vec::new() }, |_| {}).unwrap();
        let text = String::from_utf8(out).unwrap();
        let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with('{')).collect();
        assert_eq!(plain, ["says 1", "says 2"]);
    }
}
