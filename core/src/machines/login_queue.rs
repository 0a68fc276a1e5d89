//! Whose turn it is to log in. A whole fleet may come back at once: thousands of logins at the same time would each take as long as all of
//! them, so that healthy gateways seem slow, and hold memory meanwhile. So they go one after another, so many at a time, which takes no
//! longer for all.
//!
//! Who doesn't answer keeps its place for a moment only: a fleet of which half is dead isn't held up by that half.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::GatewayId;

/// Logins at a time, but for those that take longer than [`HELD`].
const AT_A_TIME: usize = 512;
/// How long a login keeps others from theirs.
const HELD: Duration = Duration::from_millis(500);

/// Requests that wait for their turn, first come first served, and those whose turn it is.
#[derive(Debug)]
pub(crate) struct LoginQueue<T> {
    waiting: VecDeque<(GatewayId, T)>,
    /// The earliest first.
    begun: VecDeque<(GatewayId, Instant)>,
}

impl<T> Default for LoginQueue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), begun: VecDeque::new() }
    }
}

impl<T> LoginQueue<T> {
    /// A gateway wants to log in; `first`, before all others that wait.
    pub(crate) fn push(&mut self, id: GatewayId, request: T, first: bool) {
        if first { self.waiting.push_front((id, request)) } else { self.waiting.push_back((id, request)) }
    }

    /// The next one whose turn has come, if any. [`LoginQueue::end`] ends it.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<(GatewayId, T)> {
        while self.begun.front().is_some_and(|(_, since)| now >= *since + HELD) {
            self.begun.pop_front();
        }
        if self.begun.len() >= AT_A_TIME {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.begun.push_back((next.0, now));
        Some(next)
    }

    /// One that had begun is over, however it ended.
    pub(crate) fn end(&mut self, id: GatewayId) {
        if let Some(place) = self.begun.iter().position(|(begun, _)| *begun == id) {
            self.begun.remove(place);
        }
    }

    /// When [`LoginQueue::begin`] has another one, if none ends before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let (_, earliest) = self.begun.front().filter(|_| !self.waiting.is_empty())?;
        Some(*earliest + HELD)
    }

    /// Those whose turn has not come.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many that want to log in, in the order of their ids.
    fn queue_of(count: usize) -> LoginQueue<()> {
        let mut queue = LoginQueue::default();
        ids(0..count).into_iter().for_each(|id| queue.push(id, (), false));
        queue
    }

    fn ids(range: std::ops::Range<usize>) -> Vec<GatewayId> {
        range.map(|id| GatewayId(i64::try_from(id).unwrap())).collect()
    }

    fn all_that_begin(queue: &mut LoginQueue<()>, now: Instant) -> Vec<GatewayId> {
        std::iter::from_fn(|| queue.begin(now).map(|(id, ())| id)).collect()
    }

    #[test]
    fn a_fleet_that_fits_begins_at_once_and_leaves_no_deadline() {
        let (now, mut queue) = (crate::any_instant(), queue_of(AT_A_TIME));
        assert_eq!(all_that_begin(&mut queue, now), ids(0..AT_A_TIME));
        assert_eq!((queue.waiting(), queue.next_deadline()), (0, None));
    }

    #[test]
    fn one_that_ends_makes_room_for_the_next_in_line_and_for_no_more() {
        let (now, mut queue) = (crate::any_instant(), queue_of(AT_A_TIME + 2));
        all_that_begin(&mut queue, now);
        queue.end(GatewayId(7));
        queue.end(GatewayId(7));
        assert_eq!(all_that_begin(&mut queue, now), ids(AT_A_TIME..AT_A_TIME + 1));
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn those_that_never_end_hold_the_others_up_for_half_a_second_only() {
        let (now, mut queue) = (crate::any_instant(), queue_of(3 * AT_A_TIME));
        all_that_begin(&mut queue, now);
        let later = queue.next_deadline().unwrap();
        assert_eq!(later, now + Duration::from_millis(500));
        assert_eq!(all_that_begin(&mut queue, later - Duration::from_millis(1)), []);
        assert_eq!(all_that_begin(&mut queue, later), ids(AT_A_TIME..2 * AT_A_TIME));
        let last = queue.next_deadline().unwrap();
        assert_eq!(all_that_begin(&mut queue, last), ids(2 * AT_A_TIME..3 * AT_A_TIME));
        assert_eq!(queue.next_deadline(), None);
    }

    #[test]
    fn one_that_comes_first_waits_for_nobody_who_waits() {
        let (now, mut queue) = (crate::any_instant(), queue_of(AT_A_TIME + 1));
        all_that_begin(&mut queue, now);
        queue.push(GatewayId(-1), (), true);
        queue.end(GatewayId(0));
        assert_eq!(all_that_begin(&mut queue, now), [GatewayId(-1)]);
    }

    #[test]
    fn an_end_of_one_that_never_began_or_whose_time_is_over_changes_nothing() {
        let (now, mut queue) = (crate::any_instant(), queue_of(2 * AT_A_TIME + 1));
        queue.end(GatewayId(3));
        all_that_begin(&mut queue, now);
        all_that_begin(&mut queue, now + HELD);
        queue.end(GatewayId(0));
        assert_eq!(all_that_begin(&mut queue, now + HELD), [], "the place of 0 has been given to another");
    }
}
