//! Whose turn it is to log in. A whole fleet may come back at once: thousands of logins at the same time would each take as long as all of
//! them, so that healthy gateways seem slow, and hold memory meanwhile. So they go one after another, so many at a time; where all answer,
//! that takes no longer for all.
//!
//! Who doesn't answer keeps its place for a moment only. Those that are dead still cost the living such a moment for each round of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::ids::GatewayId;

/// How long a login keeps others from theirs.
const HELD: Duration = Duration::from_millis(250);

/// Who is first has the lower one: those that others wait for, then whoever came earlier.
type Place = (bool, u64);

/// Requests that wait for their turn, one of each gateway, and those whose turn it is.
#[derive(Debug)]
pub(crate) struct LoginQueue<T> {
    at_a_time: usize,
    waiting: BTreeMap<Place, (GatewayId, T)>,
    places: HashMap<GatewayId, Place>,
    /// Requests that ever came.
    came: u64,
    /// The earliest first.
    begun: VecDeque<(GatewayId, Instant)>,
}

impl<T> LoginQueue<T> {
    /// So many log in at a time.
    pub(crate) fn new(at_a_time: usize) -> Self {
        Self { at_a_time, waiting: BTreeMap::new(), places: HashMap::new(), came: 0, begun: VecDeque::new() }
    }

    /// A gateway wants to log in; `is_awaited`, before all whom nobody waits for. What it wanted before and still waits for is dropped: it
    /// keeps that one's place, or gets a better one.
    pub(crate) fn push(&mut self, id: GatewayId, request: T, is_awaited: bool) {
        self.came += 1;
        let mut place = (!is_awaited, self.came);
        if let Some(former) = self.places.remove(&id) {
            self.waiting.remove(&former);
            place = place.min(former);
        }
        self.places.insert(id, place);
        self.waiting.insert(place, (id, request));
    }

    /// The next one whose turn has come, if any. [`LoginQueue::end`] ends it.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<(GatewayId, T)> {
        while self.begun.front().is_some_and(|(_, since)| now >= *since + HELD) {
            self.begun.pop_front();
        }
        if self.begun.len() >= self.at_a_time {
            return None;
        }
        let (_, (id, request)) = self.waiting.pop_first()?;
        self.places.remove(&id);
        self.begun.push_back((id, now));
        Some((id, request))
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

    const AT_A_TIME: usize = 5;

    /// So many that want to log in, in the order of their ids.
    fn queue_of(count: i64) -> LoginQueue<()> {
        let mut queue = LoginQueue::new(AT_A_TIME);
        (0..count).for_each(|id| queue.push(GatewayId(id), (), false));
        queue
    }

    fn all_that_begin(queue: &mut LoginQueue<()>, now: Instant) -> Vec<i64> {
        std::iter::from_fn(|| queue.begin(now).map(|(id, ())| id.0)).collect()
    }

    #[test]
    fn a_fleet_that_fits_begins_at_once_and_leaves_no_deadline() {
        let (now, mut queue) = (crate::any_instant(), queue_of(5));
        assert_eq!(all_that_begin(&mut queue, now), [0, 1, 2, 3, 4]);
        assert_eq!((queue.waiting(), queue.next_deadline()), (0, None));
    }

    #[test]
    fn one_that_ends_makes_room_for_the_next_in_line_and_for_no_more() {
        let (now, mut queue) = (crate::any_instant(), queue_of(7));
        all_that_begin(&mut queue, now);
        queue.end(GatewayId(2));
        queue.end(GatewayId(2));
        assert_eq!(all_that_begin(&mut queue, now), [5]);
        assert_eq!(queue.waiting(), 1);
    }

    #[test]
    fn those_that_never_end_hold_the_others_up_for_a_quarter_of_a_second_only() {
        let (now, mut queue) = (crate::any_instant(), queue_of(15));
        all_that_begin(&mut queue, now);
        let later = queue.next_deadline().unwrap();
        assert_eq!(later, now + Duration::from_millis(250));
        assert_eq!(all_that_begin(&mut queue, later - Duration::from_millis(1)), [0; 0]);
        assert_eq!(all_that_begin(&mut queue, later), [5, 6, 7, 8, 9]);
        let last = queue.next_deadline().unwrap();
        assert_eq!(all_that_begin(&mut queue, last), [10, 11, 12, 13, 14]);
        assert_eq!(queue.next_deadline(), None);
    }

    #[test]
    fn those_that_others_wait_for_begin_before_the_rest_in_the_order_in_which_they_came() {
        let (now, mut queue) = (crate::any_instant(), queue_of(7));
        all_that_begin(&mut queue, now);
        queue.push(GatewayId(-1), (), true);
        queue.push(GatewayId(-2), (), true);
        assert_eq!(all_that_begin(&mut queue, now + HELD), [-1, -2, 5, 6]);
    }

    #[test]
    fn an_end_of_one_that_waits_or_whose_time_is_over_makes_no_room() {
        let (now, mut queue) = (crate::any_instant(), queue_of(12));
        all_that_begin(&mut queue, now);
        queue.end(GatewayId(6));
        assert_eq!(all_that_begin(&mut queue, now), [0; 0]);
        assert_eq!(all_that_begin(&mut queue, now + HELD), [5, 6, 7, 8, 9]);
        queue.end(GatewayId(0));
        assert_eq!(all_that_begin(&mut queue, now + HELD), [0; 0], "its place has been given to another");
    }

    #[test]
    fn one_that_asks_again_while_it_waits_gets_one_turn_for_what_it_asked_last_and_loses_no_place() {
        let (now, mut queue) = (crate::any_instant(), LoginQueue::new(3));
        for (id, wants, is_awaited) in [
            (1, "old", false),
            (2, "only", false),
            (3, "old", false),
            (1, "new", false),
            (3, "new", true),
            (3, "newest", false),
        ] {
            queue.push(GatewayId(id), wants, is_awaited);
        }
        assert_eq!(queue.waiting(), 3);
        let begun: Vec<_> = std::iter::from_fn(|| queue.begin(now)).map(|(id, wants)| (id.0, wants)).collect();
        assert_eq!(begun, [(3, "newest"), (1, "new"), (2, "only")]);
        assert_eq!((queue.waiting(), queue.places.len()), (0, 0));
        queue.push(GatewayId(1), "later", false);
        assert_eq!(queue.begin(now + HELD), Some((GatewayId(1), "later")));
    }
}
