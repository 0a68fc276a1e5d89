//! Long answers in parts that a channel takes: broken at line ends where possible; a code block that goes on in the next part is
//! closed in the one and opened again in the other.

const FENCE: &str = "```";

/// Parts of at most `limit` UTF-16 units (which is how Telegram counts), in order; none of a blank text. `limit` is 64 at least.
pub(super) fn split(text: &str, limit: usize) -> Vec<String> {
    let mut parts = Parts { done: Vec::new(), part: String::new(), room: limit, limit, fence: None };
    for line in text.trim_end().split_inclusive('\n') {
        parts.add(line);
    }
    parts.flush();
    parts.done
}

struct Parts {
    done: Vec<String>,
    part: String,
    /// Units that are left in the part, an end of the code block that is open left out.
    room: usize,
    limit: usize,
    /// The line that opened the code block that is open.
    fence: Option<String>,
}

impl Parts {
    fn add(&mut self, line: &str) {
        let marks = line.trim_start().starts_with(FENCE);
        // What opens a block needs room for its end, too.
        let end = if marks && self.fence.is_none() { FENCE.len() + 1 } else { 0 };
        let needed = units(line);
        if needed + end > self.left() && self.has_text() {
            self.flush();
        }
        let mut rest = line;
        while units(rest) + end > self.left() {
            let (head, tail) = cut(rest, self.left().saturating_sub(end));
            self.part.push_str(head);
            self.flush();
            rest = tail;
        }
        self.part.push_str(rest);
        self.room = self.room.saturating_sub(units(rest));
        if marks {
            self.fence = match self.fence {
                Some(_) => None,
                // Its language, and nothing else that stands on its line: that was said.
                None => Some(line.trim_start().chars().take_while(char::is_ascii_graphic).take(32).collect()),
            };
        }
    }

    fn left(&self) -> usize {
        let end = if self.fence.is_some() { FENCE.len() + 1 } else { 0 };
        self.room.saturating_sub(end)
    }

    fn has_text(&self) -> bool {
        let opened = self.fence.as_ref().map_or(0, |fence| fence.len() + 1);
        self.part.len() > opened
    }

    fn flush(&mut self) {
        let mut part = std::mem::take(&mut self.part);
        self.room = self.limit;
        if let Some(fence) = &self.fence {
            if !part.ends_with('\n') {
                part.push('\n');
            }
            part.push_str(FENCE);
            self.part = format!("{fence}\n");
            self.room = self.limit.saturating_sub(units(&self.part));
        }
        let part = part.trim_end();
        if !part.trim().is_empty() {
            self.done.push(part.to_owned());
        }
    }
}

/// At a blank where there is one in the last third, else between characters. The head is never empty.
fn cut(text: &str, most: usize) -> (&str, &str) {
    let mut used = 0;
    let mut end = 0;
    for (at, letter) in text.char_indices() {
        used += letter.len_utf16();
        if used > most && at > 0 {
            break;
        }
        end = at + letter.len_utf8();
    }
    let (head, _) = text.split_at(end);
    let at = head.rfind(' ').map(|at| at + 1).filter(|at| *at > end / 3 * 2).unwrap_or(end);
    text.split_at(at)
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_one_part_and_a_blank_one_none() {
        assert_eq!(split("hello\n", 4_096), ["hello"]);
        assert_eq!(split(" \n\n", 4_096), Vec::<String>::new());
    }

    #[test]
    fn a_long_text_breaks_at_lines_then_at_blanks() {
        let text = format!("{}\n{}", "a".repeat(60), "b".repeat(60));
        assert_eq!(split(&text, 64), ["a".repeat(60), "b".repeat(60)]);
        let words = "word ".repeat(30);
        assert!(split(&words, 64).iter().all(|part| part.split(' ').all(|word| word == "word" || word.is_empty())));
    }

    #[test]
    fn a_code_block_is_closed_and_opened_again() {
        let text = format!("Look:\n```rust\n{}```\nThat is all.", "let a = 1;\n".repeat(12));
        let parts = split(&text, 80);
        assert!(parts.len() > 1);
        for part in &parts {
            assert!(part.matches(FENCE).count() % 2 == 0, "{part}");
            assert!(units(part) <= 80, "{part}");
        }
        assert!(parts.iter().skip(1).all(|part| part.starts_with("```rust\n")), "{parts:?}");
        assert_eq!(parts.concat().matches("let a = 1;").count(), 12);
    }

    #[test]
    fn what_stands_behind_the_language_is_not_said_again() {
        let parts = split(&format!("```rust 😀\n{}", "let a = 1;\n".repeat(12)), 80);
        assert!(parts.len() > 1 && parts.iter().skip(1).all(|part| part.starts_with("```rust\nlet")), "{parts:?}");
        assert_eq!(parts.concat().matches('😀').count(), 1);
    }

    proptest! {
        #[test]
        fn no_part_is_too_long_or_blank_and_no_letter_is_lost(text in "(```[a-z]{0,40}\n|[a-z 😀]{0,90}|\n|`|.){0,40}", limit in 64_usize..200) {
            let parts = split(&text, limit);
            for part in &parts {
                prop_assert!(units(part) <= limit, "{} of {limit}: {part:?}", units(part));
                prop_assert!(!part.trim().is_empty());
            }
            let faces = |text: &str| text.matches('😀').count();
            prop_assert_eq!(faces(&text), parts.iter().map(|part| faces(part)).sum::<usize>());
        }
    }
}
