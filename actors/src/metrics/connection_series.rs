//! Connections of HTTP clients, as the front last told of them.

use std::sync::{Mutex, PoisonError};

use super::exposition::Exposition;
use super::{as_f64, catalogue};

/// What the front tells of its clients' connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionFigures {
    /// Open now.
    pub open: usize,
    /// Bytes held now for clients that don't read.
    pub unread_bytes: usize,
    /// Turned away since the start, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// Ended by the daemon since the start, by reason.
    pub ended: Vec<(&'static str, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct ConnectionSeries(Mutex<ConnectionFigures>);

impl ConnectionSeries {
    pub(super) fn set(&self, figures: ConnectionFigures) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let by_reason = |counts: Vec<(&'static str, u64)>| {
            counts.into_iter().map(|(reason, count)| (vec![("reason", reason.to_owned())], count))
        };
        out.gauges(&catalogue::HTTP_CONNECTIONS, [(vec![], as_f64(figures.open))]);
        out.gauges(&catalogue::HTTP_UNREAD, [(vec![], as_f64(figures.unread_bytes))]);
        out.counters(&catalogue::HTTP_REFUSED, by_reason(figures.refused));
        out.counters(&catalogue::HTTP_ENDED, by_reason(figures.ended));
    }
}
