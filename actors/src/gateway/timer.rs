//! The one armed deadline, always derived from the link's next one.

use std::time::{Duration, Instant};

use actix::prelude::*;

use super::{GatewayActor, moment_of};
use crate::machines::link::Link;

/// Timers fire a little late; asking for less than this would only spin.
const SHORTEST: Duration = Duration::from_millis(1);

/// What is armed. A deadline that moves later leaves the timer as it is: when it fires, it is set again.
#[derive(Debug, Default)]
pub(super) struct Timer {
    /// Grows with each arming; a late expiry of an older one is ignored.
    generation: u64,
    armed: Option<(Instant, SpawnHandle)>,
}

impl GatewayActor {
    /// Arms the timer for what is due next, if it isn't armed for that or earlier.
    pub(super) fn rearm(&mut self, ctx: &mut Context<Self>) {
        let moment = moment_of(&self.clock);
        let Some(due) = self.link.next_deadline(moment) else { return };
        if let Some((armed, handle)) = self.timer.armed {
            if armed <= due {
                return;
            }
            ctx.cancel_future(handle);
        }
        self.timer.generation += 1;
        let generation = self.timer.generation;
        let wait = due.saturating_duration_since(moment.now).max(SHORTEST);
        let handle = ctx.run_later(wait, move |actor, ctx| actor.timer_fired(generation, ctx));
        self.timer.armed = Some((due, handle));
    }

    fn timer_fired(&mut self, generation: u64, ctx: &mut Context<Self>) {
        if generation == self.timer.generation {
            self.timer.armed = None;
            self.drop_gone_followers();
            self.feed(ctx, Link::on_deadline);
        }
    }
}
