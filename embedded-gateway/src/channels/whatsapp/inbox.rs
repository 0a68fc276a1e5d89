//! What the webhook got and the account hasn't taken: the service is told that it was taken when it is on disk.

use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};

use super::Update;

/// Updates that wait. The service calls again for those that find no room.
const MOST: usize = 1_024;

#[derive(Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Update>,
    /// How many came in all, and how many of those were taken.
    came: u64,
    taken: u64,
    /// Who waits until so many are on disk.
    calls: VecDeque<(u64, oneshot::Sender<()>)>,
    bell: Rc<Notify>,
}

impl Inbox {
    /// Rings when there is something to take.
    pub(super) fn came(&self) -> Rc<Notify> {
        Rc::clone(&self.bell)
    }

    /// Where there is no room, nobody waits: `stored` is dropped.
    pub(super) fn put(&mut self, updates: Vec<Update>, stored: oneshot::Sender<()>) {
        self.calls.retain(|(_, call)| !call.is_closed());
        if self.waiting.len().saturating_add(updates.len()) > MOST || self.calls.len() >= MOST {
            return;
        }
        self.came = self.came.saturating_add(u64::try_from(updates.len()).unwrap_or(u64::MAX));
        self.waiting.extend(updates);
        self.calls.push_back((self.came, stored));
        self.bell.notify_one();
    }

    pub(super) fn take(&mut self, most: usize) -> Vec<Update> {
        let updates: Vec<Update> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        self.taken = self.taken.saturating_add(u64::try_from(updates.len()).unwrap_or(u64::MAX));
        updates
    }

    /// All that was taken is on disk.
    pub(super) fn settle(&mut self) {
        while self.calls.front().is_some_and(|(wanted, _)| *wanted <= self.taken)
            && let Some((_, stored)) = self.calls.pop_front()
        {
            // Who doesn't wait any more gets the same answer when calling again.
            let _ = stored.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates(ids: std::ops::Range<u64>) -> Vec<Update> {
        ids.map(|id| Update { id, message: None }).collect()
    }

    #[test]
    fn a_call_is_answered_when_all_of_it_is_on_disk() {
        let mut inbox = Inbox::default();
        let (first, mut first_stored) = oneshot::channel();
        let (second, mut second_stored) = oneshot::channel();
        inbox.put(updates(0..3), first);
        inbox.put(updates(3..5), second);
        inbox.settle();
        assert!(first_stored.try_recv().is_err(), "nothing was taken");
        assert_eq!(inbox.take(4).len(), 4);
        assert!(first_stored.try_recv().is_err(), "it was taken, and isn't on disk");
        inbox.settle();
        assert!(first_stored.try_recv().is_ok() && second_stored.try_recv().is_err());
        assert_eq!(inbox.take(4).iter().map(|update| update.id).collect::<Vec<_>>(), [4]);
        inbox.settle();
        assert!(second_stored.try_recv().is_ok());
    }

    #[test]
    fn what_finds_no_room_is_refused_and_nothing_of_it_taken() {
        let mut inbox = Inbox::default();
        let (first, _first) = oneshot::channel();
        let (second, mut second_stored) = oneshot::channel();
        inbox.put(updates(0..1_000), first);
        inbox.put(updates(1_000..1_025), second);
        assert_eq!(second_stored.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(inbox.take(usize::MAX).len(), 1_000);
    }
}
