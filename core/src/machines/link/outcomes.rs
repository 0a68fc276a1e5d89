//! Requests that were answered once and will be answered again: they wait here and not in the table of requests, whose
//! places are for answers that come soon.

use std::collections::{HashMap, VecDeque};

/// Second replies that are waited for; the oldest is given up beyond that.
const MAX_EXPECTED_OUTCOMES: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    runs: HashMap<String, Option<String>>,
    order: VecDeque<String>,
}

impl Outcomes {
    /// A second reply will come under this id, with the end of this run if it is one of ours.
    pub(super) fn expect(&mut self, id: String, run_id: Option<String>) {
        if self.order.len() >= MAX_EXPECTED_OUTCOMES
            && let Some(oldest) = self.order.pop_front()
        {
            self.runs.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.runs.insert(id, run_id);
    }

    /// Takes out what waits for this id; none where nothing does.
    pub(super) fn take(&mut self, id: &str) -> Option<Option<String>> {
        let run_id = self.runs.remove(id)?;
        self.order.retain(|waiting| waiting != id);
        Some(run_id)
    }
}
