//! Which children can be given a prompt, and which of them make room for others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Children that rest at a time: agents take a hundred MiB and more.
const RESTING: usize = 8;

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const OVER: u8 = 2;

/// Whether a child can be given a prompt. Changed by whoever takes the place, so that a prompt never meets a child that has just
/// been told to end.
#[derive(Debug)]
pub(super) struct Place {
    state: AtomicU8,
    over: Notify,
}

impl Place {
    pub(super) fn taken() -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(TAKEN), over: Notify::new() })
    }

    /// Takes it for a prompt, which has to follow.
    pub(super) fn take(&self) -> bool {
        self.change(TAKEN)
    }

    /// Has the child end, where it is free.
    pub(super) fn end(&self) -> bool {
        let ends = self.change(OVER);
        if ends {
            self.over.notify_one();
        }
        ends
    }

    /// Resolves once, when the child has to end.
    pub(super) async fn ended(&self) {
        self.over.notified().await;
    }

    /// The prompt is answered.
    pub(super) fn free(&self) {
        self.state.store(FREE, Ordering::Release);
    }

    /// There is no child any more.
    pub(super) fn close(&self) {
        self.state.store(OVER, Ordering::Release);
    }

    pub(super) fn is_taken(&self) -> bool {
        self.state.load(Ordering::Acquire) == TAKEN
    }

    fn change(&self, to: u8) -> bool {
        self.state.compare_exchange(FREE, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// The children that wait for a prompt, the one that has waited longest first.
#[derive(Debug, Default)]
pub(super) struct Resting(Mutex<VecDeque<Arc<Place>>>);

impl Resting {
    /// One more; beyond the bound the one that has waited longest ends.
    pub(super) fn add(&self, place: &Arc<Place>) {
        let mut places = self.places();
        places.retain(|other| other.state.load(Ordering::Acquire) == FREE && !Arc::ptr_eq(other, place));
        places.push_back(Arc::clone(place));
        while places.len() > RESTING
            && let Some(place) = places.pop_front()
        {
            place.end();
        }
    }

    /// Ends the one that has waited longest, if one waits.
    pub(super) fn make_room(&self) {
        let mut places = self.places();
        while places.pop_front().is_some_and(|place| !place.end()) {}
    }

    fn places(&self) -> MutexGuard<'_, VecDeque<Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> Arc<Place> {
        let place = Place::taken();
        place.free();
        place
    }

    #[test]
    fn a_place_is_taken_by_one_alone() {
        let place = Place::taken();
        assert!(!place.take() && !place.end());
        place.free();
        assert!(place.take() && place.is_taken() && !place.end());
        place.free();
        assert!(place.end() && !place.take() && !place.is_taken());
    }

    #[test]
    fn beyond_the_bound_the_one_that_has_waited_longest_ends() {
        let resting = Resting::default();
        let places: Vec<_> = (0..RESTING).map(|_| free()).collect();
        for place in &places {
            resting.add(place);
        }
        assert!(places[1].take(), "all of them can be had");
        resting.add(&free());
        assert!(places[0].take(), "one that has a prompt doesn't count");
        places[0].free();
        resting.add(&places[0]);
        resting.add(&free());
        assert!(!places[2].take() && places[0].take() && places[3].take());
        resting.make_room();
        assert!(!places[4].take() && places[5].take());
    }
}
