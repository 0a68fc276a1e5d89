//! The one timer of an actor whose machine says what is due next.
//!
//! actix looks at everything that a context holds at every wake, so a timer for each change of a deadline would cost more with
//! every change until it fires. Here the former one is cancelled, or left to fire early.

use std::time::{Duration, Instant};

use actix::prelude::*;

/// Timers fire a little late; asking for less than this would only spin.
const SHORTEST: Duration = Duration::from_millis(1);

/// What is armed. A deadline that moves later leaves the timer as it is: when it fires, it is armed again.
#[derive(Debug, Default)]
pub(crate) struct DeadlineTimer {
    /// Grows with each arming; a late expiry of an older one is ignored.
    generation: u64,
    armed: Option<(Instant, SpawnHandle)>,
}

impl DeadlineTimer {
    /// Arms it for what is due, if it isn't armed for that or earlier. `fired` gets what [`DeadlineTimer::expire`] wants.
    pub(crate) fn arm<A: Actor<Context = Context<A>>>(
        &mut self,
        ctx: &mut Context<A>,
        now: Instant,
        due: Option<Instant>,
        fired: impl FnOnce(&mut A, &mut Context<A>, u64) + 'static,
    ) {
        let Some(due) = due else { return };
        if let Some((armed, handle)) = self.armed {
            if armed <= due {
                return;
            }
            ctx.cancel_future(handle);
        }
        self.generation += 1;
        let generation = self.generation;
        let wait = due.saturating_duration_since(now).max(SHORTEST);
        let handle = ctx.run_later(wait, move |actor, ctx| fired(actor, ctx, generation));
        self.armed = Some((due, handle));
    }

    /// It fired: whether that is the armed one.
    pub(crate) fn expire(&mut self, generation: u64) -> bool {
        let is_current = generation == self.generation;
        if is_current {
            self.armed = None;
        }
        is_current
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[derive(Default)]
    struct Sleeper {
        timer: DeadlineTimer,
        fired: u32,
        /// Held by each timer that the context knows.
        held: Rc<()>,
    }

    impl Actor for Sleeper {
        type Context = Context<Self>;
    }

    /// Arms for so many milliseconds from now, one after the other; answers with the timers known and fired by now.
    #[derive(Message)]
    #[rtype(result = "(usize, u32)")]
    struct Arm(Vec<u64>);

    impl Handler<Arm> for Sleeper {
        type Result = MessageResult<Arm>;

        fn handle(&mut self, Arm(waits): Arm, ctx: &mut Self::Context) -> Self::Result {
            let known = (Rc::strong_count(&self.held) - 1, self.fired);
            let now = tokio::time::Instant::now().into_std();
            for wait in waits {
                let held = self.held.clone();
                self.timer.arm(
                    ctx,
                    now,
                    Some(now + Duration::from_millis(wait)),
                    move |sleeper: &mut Self, _, armed| {
                        drop(held);
                        sleeper.fired += u32::from(sleeper.timer.expire(armed));
                    },
                );
            }
            MessageResult(known)
        }
    }

    #[actix::test]
    async fn a_storm_of_changes_leaves_one_timer() {
        tokio::time::pause();
        let sleeper = Sleeper::default().start();
        // Ever earlier deadlines are the worst case: each replaces the one before.
        let storm: Vec<u64> = (1..=5_000).map(|n| 3_600_000 - n).collect();
        sleeper.send(Arm(storm)).await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(sleeper.send(Arm(vec![3_600_000; 100])).await.unwrap(), (1, 0));
        tokio::time::sleep(Duration::from_secs(3_601)).await;
        assert_eq!(sleeper.send(Arm(vec![5])).await.unwrap(), (0, 1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(sleeper.send(Arm(vec![])).await.unwrap(), (0, 2), "it can be armed again");
    }
}
