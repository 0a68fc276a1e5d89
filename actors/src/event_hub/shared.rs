//! What the hub, publishers and subscribers know of each other without a message.

use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

/// Events between publishers and hub, what subscribers want, and how far the hub is.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) on_their_way: AtomicUsize,
    pub(super) lost: AtomicUsize,
    /// The kinds that somebody follows.
    pub(super) wanted: AtomicU16,
    /// The number of the newest event that every subscriber was offered.
    pub(super) newest: AtomicU64,
}

impl Shared {
    /// How many events were dropped since the last call.
    pub(super) fn take_lost(&self) -> usize {
        self.lost.swap(0, Ordering::AcqRel)
    }
}
