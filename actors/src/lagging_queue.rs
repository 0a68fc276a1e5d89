//! A bounded queue between one sender, who never waits, and one reader: a reader that is too slow loses the *oldest* items and
//! is told how many. Followers of events and of logs each have one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// What can be lost.
pub(crate) trait Lossy {
    /// What the reader gets in place of so many lost items.
    fn lagged(dropped: u64) -> Self;

    /// Its bytes, as far as they count.
    fn weight(&self) -> usize {
        0
    }
}

/// What may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// At least one.
    pub(crate) items: usize,
    /// The newest item waits though it is larger.
    pub(crate) bytes: usize,
}

/// The end that fills the queue. Dropping it ends the queue, once all is read.
#[derive(Debug)]
pub(crate) struct LaggingSender<T>(Arc<Shared<T>>);

/// The end that empties it. Dropping it tells the sender.
#[derive(Debug)]
pub(crate) struct LaggingReceiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    news: Notify,
}

#[derive(Debug)]
struct Queue<T> {
    /// What the reader begins with; never dropped.
    first: VecDeque<T>,
    waiting: VecDeque<T>,
    capacity: Capacity,
    bytes: usize,
    dropped: u64,
    ended: bool,
}

/// Makes both ends. What the queue begins with is bounded by whoever gives it, so that nothing of it is dropped.
pub(crate) fn lagging_queue<T: Lossy>(
    capacity: Capacity,
    first: impl IntoIterator<Item = T>,
) -> (LaggingSender<T>, LaggingReceiver<T>) {
    let first = first.into_iter().collect();
    let queue = Queue { first, waiting: VecDeque::new(), capacity, bytes: 0, dropped: 0, ended: false };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), news: Notify::new() });
    (LaggingSender(shared.clone()), LaggingReceiver(shared))
}

impl<T: Lossy> Queue<T> {
    fn push(&mut self, item: T) {
        self.bytes += item.weight();
        self.waiting.push_back(item);
        let Capacity { items, bytes } = self.capacity;
        while self.waiting.len() > items.max(1) || (self.bytes > bytes && self.waiting.len() > 1) {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.weight();
            self.dropped += 1;
        }
    }

    fn take(&mut self) -> Option<T> {
        if let Some(item) = self.first.pop_front() {
            return Some(item);
        }
        if self.dropped > 0 {
            return Some(T::lagged(std::mem::take(&mut self.dropped)));
        }
        let item = self.waiting.pop_front()?;
        self.bytes -= item.weight();
        Some(item)
    }
}

impl<T> Shared<T> {
    /// The queue is held for a few moves only and nothing in there panics, so poison carries no meaning.
    fn with<R>(&self, action: impl FnOnce(&mut Queue<T>) -> R) -> R {
        action(&mut self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Lossy> LaggingSender<T> {
    /// Whether somebody still reads.
    pub(crate) fn is_read(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Queues items, and says how many older ones had to go for them.
    pub(crate) fn send(&self, items: impl IntoIterator<Item = T>) -> u64 {
        let lost = self.0.with(|queue| {
            let before = queue.dropped;
            items.into_iter().for_each(|item| queue.push(item));
            queue.dropped - before
        });
        self.0.news.notify_one();
        lost
    }
}

impl<T> Drop for LaggingSender<T> {
    fn drop(&mut self) {
        self.0.with(|queue| queue.ended = true);
        self.0.news.notify_one();
    }
}

impl<T: Lossy> LaggingReceiver<T> {
    /// The next item; `None` once the sender is gone and all is read.
    pub(crate) async fn next(&self) -> Option<T> {
        loop {
            match self.0.with(|queue| (queue.take(), queue.ended)) {
                (None, false) => self.0.news.notified().await,
                (item, _) => return item,
            }
        }
    }

    /// The next item if one waits.
    pub(crate) fn try_next(&self) -> Option<T> {
        self.0.with(Queue::take)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Item {
        Sized(usize),
        Lagged(u64),
    }

    impl Lossy for Item {
        fn lagged(dropped: u64) -> Self {
            Self::Lagged(dropped)
        }

        fn weight(&self) -> usize {
            if let Self::Sized(bytes) = self { *bytes } else { 0 }
        }
    }

    fn all(receiver: &LaggingReceiver<Item>) -> Vec<Item> {
        std::iter::from_fn(|| receiver.try_next()).collect()
    }

    #[test]
    fn the_oldest_go_for_the_newest_but_never_what_the_queue_began_with() {
        let (sender, receiver) = lagging_queue(Capacity { items: 2, bytes: 100 }, [Item::Sized(500), Item::Sized(501)]);
        assert_eq!(sender.send((1..=5).map(Item::Sized)), 3);
        assert_eq!(sender.send([]), 0);
        assert_eq!(
            all(&receiver),
            [Item::Sized(500), Item::Sized(501), Item::Lagged(3), Item::Sized(4), Item::Sized(5)]
        );
        assert_eq!(sender.send([Item::Sized(60), Item::Sized(60)]), 1);
        assert_eq!(sender.send([Item::Sized(1_000)]), 1);
        assert_eq!(all(&receiver), [Item::Lagged(2), Item::Sized(1_000)]);
    }

    #[test]
    fn each_end_tells_the_other_that_it_is_gone() {
        let (sender, receiver) = lagging_queue::<Item>(Capacity { items: 2, bytes: 100 }, []);
        assert!(sender.is_read());
        assert_eq!(receiver.next().now_or_never(), None);
        sender.send([Item::Sized(1)]);
        drop(sender);
        assert_eq!(receiver.next().now_or_never(), Some(Some(Item::Sized(1))));
        assert_eq!(receiver.next().now_or_never(), Some(None));
        let (sender, receiver) = lagging_queue::<Item>(Capacity { items: 2, bytes: 100 }, []);
        drop(receiver);
        assert!(!sender.is_read());
    }
}
