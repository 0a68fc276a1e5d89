//! An agent to try the gateway with: it reads a message, thinks, uses a tool, and answers word by word, slowly enough to be paused,
//! resumed and killed meanwhile. It knows no model and opens no connection.
//!
//! - `count to 20` counts, one number at a time.
//! - `fail because ...` fails with that reason.
//! - Anything else is said back.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

/// What is read of a message, in bytes.
const LONGEST: u64 = 64 * 1024;
/// Most words that are said back.
const MOST_WORDS: usize = 200;
/// How far it counts at most.
const MOST_NUMBERS: u64 = 600;
const PACE: Duration = Duration::from_millis(400);

/// Answers the message on `input` with JSON lines on `output`. `wait` is called between two words; [`wait_blocking`] fits a
/// program of its own. Returns the exit code: 0, or 1 where it was asked to fail.
///
/// # Errors
///
/// The input can't be read, or nobody reads the output any more.
pub fn answer(input: impl Read, mut output: impl Write, mut wait: impl FnMut(Duration)) -> io::Result<u8> {
    let mut bytes = Vec::new();
    input.take(LONGEST).read_to_end(&mut bytes)?;
    let message = String::from_utf8_lossy(&bytes);
    let words: Vec<&str> = message.split_whitespace().collect();
    let mut say = |line: Value| -> io::Result<()> {
        writeln!(output, "{line}")?;
        output.flush()
    };

    if let ["fail", reason @ ..] = words.as_slice() {
        let reason = if reason.is_empty() { "it was asked to fail".to_owned() } else { reason.join(" ") };
        say(json!({"type": "error", "message": reason}))?;
        return Ok(1);
    }
    say(json!({"type": "thinking", "text": "Let me see what was said."}))?;
    wait(PACE);
    say(json!({"type": "tool_start", "name": "count_words", "id": "tool-1", "args": {"bytes": bytes.len()}}))?;
    wait(PACE);
    say(json!({"type": "tool_result", "name": "count_words", "id": "tool-1", "result": {"words": words.len()}}))?;

    let answer = answer_to(&words);
    for word in &answer {
        wait(PACE);
        say(json!({"type": "text", "delta": word}))?;
    }
    let read = words.len();
    say(
        json!({"type": "usage", "input": read, "output": answer.len(), "context": read + answer.len(), "model": "sample/echo"}),
    )?;
    say(json!({"type": "done"}))?;
    Ok(0)
}

fn answer_to(words: &[&str]) -> Vec<String> {
    match words {
        [] => vec!["You ".into(), "said ".into(), "nothing.".into()],
        ["count", "to", number] => {
            let most = number.parse::<u64>().unwrap_or(10).min(MOST_NUMBERS);
            (1..=most).map(|number| format!("{number} ")).collect()
        }
        _ => {
            let mut pieces = vec!["You ".to_owned(), "said: ".to_owned()];
            pieces.extend(words.iter().take(MOST_WORDS).map(|word| format!("{word} ")));
            pieces
        }
    }
}

/// Waits in a thread that has nothing else to do.
pub fn wait_blocking(time: Duration) {
    // Nobody unparks it, so it is back when the time is up, or rarely a little earlier.
    std::thread::park_timeout(time);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::agent_lines::AgentLine;

    fn heard(message: &str) -> (u8, Vec<AgentLine>, Duration) {
        let mut output = Vec::new();
        let mut waited = Duration::ZERO;
        let code = answer(message.as_bytes(), &mut output, |time| waited += time).unwrap();
        let lines = String::from_utf8(output).unwrap();
        (code, lines.lines().map(AgentLine::read).collect(), waited)
    }

    fn said(lines: &[AgentLine]) -> String {
        let of = |line: &AgentLine| match line {
            AgentLine::Delta(delta) => delta.clone(),
            _ => String::new(),
        };
        lines.iter().map(of).collect()
    }

    #[test]
    fn it_speaks_every_kind_of_line_and_no_line_that_is_not_understood() {
        let (code, lines, waited) = heard("hello  there\n");
        assert_eq!((code, said(&lines).as_str()), (0, "You said: hello there "));
        assert!(!lines.contains(&AgentLine::Log));
        assert!(matches!(lines[0], AgentLine::Thinking(_)));
        assert!(matches!(lines[1], AgentLine::ToolStart { .. }) && matches!(lines[2], AgentLine::ToolResult { .. }));
        let AgentLine::Usage { usage, model } = &lines[lines.len() - 2] else { panic!("no usage: {lines:?}") };
        assert_eq!((usage.input, usage.output, model.as_deref()), (2, 4, Some("sample/echo")));
        assert_eq!(lines.last(), Some(&AgentLine::Done { text: None }));
        assert_eq!(waited, PACE * 6);
    }

    #[test]
    fn it_counts_and_fails_when_asked_to() {
        let (_, lines, _) = heard("count to 3");
        assert_eq!(said(&lines), "1 2 3 ");
        let (code, lines, _) = heard("fail because of rain");
        assert_eq!((code, lines), (1, vec![AgentLine::Error("because of rain".into())]));
        assert_eq!(said(&heard("").1), "You said nothing.");
    }

    #[test]
    fn a_reader_that_went_away_ends_it() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(answer("x".as_bytes(), Gone, |_| {}).is_err());
    }
}
