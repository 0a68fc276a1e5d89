//! The text of a run's answer: bounded, and told in pieces that don't come too often. A piece carries the whole text so far, as real
//! gateways' events do, so the longer the text, the rarer the pieces.

use std::time::{Duration, Instant};

use crate::sessions::MESSAGE_BYTES;

const PIECE_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Answer {
    text: String,
    told: usize,
    told_at: Option<Instant>,
    cut: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// What is new of it; all of it where the text was replaced.
    pub(super) delta: String,
}

impl Answer {
    /// Adds to the text; what exceeds the longest message is lost.
    pub(super) fn add(&mut self, more: &str) {
        let room = MESSAGE_BYTES.saturating_sub(self.text.len());
        let end = more.floor_char_boundary(room);
        self.cut |= end < more.len();
        self.text.push_str(more.get(..end).unwrap_or_default());
    }

    /// Puts the whole text. Where it only grew, the rest of it is what is new.
    pub(super) fn put(&mut self, whole: &str) {
        let told = self.text.get(..self.told).unwrap_or_default();
        if !whole.starts_with(told) {
            self.told = 0;
        }
        self.text.clear();
        self.cut = false;
        self.add(whole);
        self.told = self.told.min(self.text.len());
    }

    /// The text so far, without blank ends.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// When the next piece may be told; none where there is nothing new.
    pub(super) fn due(&self) -> Option<Instant> {
        let told_at = self.told_at?;
        (self.told < self.text.len()).then(|| told_at + self.interval())
    }

    pub(super) fn piece(&mut self, now: Instant) -> Option<Piece> {
        if self.told_at.is_some_and(|at| now < at + self.interval()) {
            return None;
        }
        self.rest(now)
    }

    /// What wasn't told yet, due or not.
    pub(super) fn rest(&mut self, now: Instant) -> Option<Piece> {
        let delta = self.text.get(self.told..).filter(|delta| !delta.is_empty())?.to_owned();
        self.told = self.text.len();
        self.told_at = Some(now);
        Some(Piece { text: self.text.clone(), delta })
    }

    fn interval(&self) -> Duration {
        PIECE_EVERY + Duration::from_millis(u64::try_from(self.text.len() / 1024).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Now;

    #[test]
    fn the_first_piece_is_told_at_once_and_the_next_ones_together() {
        let now = Now::read().at;
        let mut answer = Answer::default();
        assert_eq!(answer.due(), None);
        answer.add("one");
        assert_eq!(answer.piece(now), Some(Piece { text: "one".into(), delta: "one".into() }));
        answer.add(" two");
        answer.add(" three");
        assert_eq!(answer.piece(now), None);
        let due = answer.due().expect("something waits");
        assert_eq!(due, now + PIECE_EVERY);
        assert_eq!(answer.piece(due), Some(Piece { text: "one two three".into(), delta: " two three".into() }));
        assert_eq!((answer.due(), answer.rest(due)), (None, None));
    }

    #[test]
    fn a_replaced_text_is_told_whole_and_a_grown_one_by_what_is_new() {
        let now = Now::read().at;
        let mut answer = Answer::default();
        answer.put("a b");
        answer.rest(now);
        answer.put("a b c");
        assert_eq!(answer.rest(now).unwrap().delta, " c");
        answer.put("other");
        assert_eq!(answer.rest(now).unwrap().delta, "other");
        answer.put("other");
        assert_eq!(answer.rest(now), None);
    }

    #[test]
    fn a_text_longer_than_a_message_is_cut_at_a_character() {
        let mut answer = Answer::default();
        answer.add(&"ä".repeat(MESSAGE_BYTES));
        answer.add("more");
        assert!(answer.is_cut() && answer.text().len() <= MESSAGE_BYTES);
        answer.put("short");
        assert!(!answer.is_cut());
    }

    proptest! {
        #[test]
        fn the_pieces_make_up_the_text(parts in prop::collection::vec("[a-zä ]{0,10}", 0..20), steps in prop::collection::vec(0_u64..200, 20)) {
            let mut now = Now::read().at;
            let mut answer = Answer::default();
            let mut told = String::new();
            for (part, step) in parts.iter().zip(steps) {
                now += Duration::from_millis(step);
                answer.add(part);
                if let Some(piece) = answer.piece(now) {
                    told.push_str(&piece.delta);
                    prop_assert_eq!(&piece.text, &told);
                }
            }
            if let Some(piece) = answer.rest(now) {
                told.push_str(&piece.delta);
            }
            prop_assert_eq!(told, parts.concat());
        }
    }
}
