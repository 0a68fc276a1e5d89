//! Requests that change something, each in a task of its own: once begun it ends, whoever leaves meanwhile.
//!
//! A handler is a future of its connection, and a connection that is reset drops it wherever it stands: after a commit and
//! before what should follow it. So the pipeline hands every such request to [`Mutations::run`], which leaves its client only
//! the waiting. The client may leave, or be told that the outcome isn't known yet ([`overdue`]); the work goes on.
//!
//! How many go on without a client is bounded: beyond that new ones are refused. The daemon's stop lets no new one begin, waits
//! for those that have, and gives up what doesn't end in time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gatewarden_actors::error::{ErrorCode, Failure};
use gatewarden_actors::overdue;
use tokio::sync::{oneshot, watch};

/// Changes that may go on without a client; the requests of clients who wait are bounded by their connections. More than all
/// doors and the store admit together, so that one kind of request can't keep the others out.
const MAX_UNATTENDED: usize = 4_096;
/// How long given up changes may take to leave their notes.
const LAST_NOTES: Duration = Duration::from_millis(100);

/// All of them. Clones share the count: the daemon keeps one to wait for their end.
#[derive(Debug, Clone)]
pub(crate) struct Mutations(watch::Sender<Count>);

#[derive(Debug, Default)]
struct Count {
    running: usize,
    /// Of these, how many have no client any more.
    unattended: usize,
    is_closed: bool,
    is_given_up: bool,
}

impl Default for Mutations {
    fn default() -> Self {
        Self(watch::Sender::new(Count::default()))
    }
}

impl Mutations {
    /// Runs a change to its end. The answer is its own, or one in its place: that the outcome isn't known yet, or that it
    /// isn't begun at all (`unavailable`).
    ///
    /// # Errors
    /// `unavailable`: nothing was begun. `outcome_unknown`, `internal`: it goes on, was given up, or panicked.
    pub(crate) async fn run<T: 'static, W: Future<Output = T> + 'static>(
        &self,
        begin: impl FnOnce() -> W,
    ) -> Result<T, Failure> {
        let running = self.begin()?;
        let waiting = Waiting { all: self.clone(), is_attended: running.is_attended.clone() };
        let (client, told) = oneshot::channel();
        let work = overdue::on_behalf_of(client, begin());
        let mut given_up = self.0.subscribe();
        let mut task = actix_rt::spawn(async move {
            let _running = running;
            tokio::select! {
                biased;
                done = work => Some(done),
                _ = given_up.wait_for(|count| count.is_given_up) => None,
            }
        });
        let answer = tokio::select! {
            biased;
            done = &mut task => match done {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => Err(Failure::outcome_unknown("The daemon stops, and the request did not end in time")),
                Err(_panicked) => Err(Failure::new(ErrorCode::Internal, "The request ended in a fault of the daemon")
                    .with_help("The cause is in the daemon's log; please report it.")),
            },
            Ok(failure) = told => Err(failure),
        };
        drop(waiting);
        answer
    }

    /// For the daemon's stop: no more begin; answers how many did not end within the limit and were given up.
    pub(crate) async fn finish(&self, limit: Duration) -> usize {
        self.0.send_modify(|count| count.is_closed = true);
        let mut ended = self.0.subscribe();
        let all_ended = async { ended.wait_for(|count| count.running == 0).await.is_ok() };
        if tokio::time::timeout(limit, all_ended).await.is_ok() {
            return 0;
        }
        let mut left = 0;
        self.0.send_modify(|count| {
            count.is_given_up = true;
            left = count.running;
        });
        // Whoever is given up says so in the audit log.
        let all_ended = async { ended.wait_for(|count| count.running == 0).await.is_ok() };
        let _ = tokio::time::timeout(LAST_NOTES, all_ended).await;
        left
    }

    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.0.borrow().running
    }

    fn begin(&self) -> Result<Running, Failure> {
        let mut refusal = None;
        self.quietly(|count| {
            if count.is_closed {
                refusal = Some("daemon is stopping and");
            } else if count.unattended >= MAX_UNATTENDED {
                refusal = Some("daemon has too many changes to end, and");
            } else {
                count.running += 1;
            }
        });
        match refusal {
            Some(why) => Err(Failure::unavailable(why)),
            None => Ok(Running { all: self.clone(), is_attended: Rc::new(Cell::new(Some(true))) }),
        }
    }

    /// Changes the count; only its last step is told.
    fn quietly(&self, change: impl FnOnce(&mut Count)) {
        self.0.send_if_modified(|count| {
            change(count);
            count.is_closed && count.running == 0
        });
    }
}

/// A change under way; held by its task.
struct Running {
    all: Mutations,
    /// Whether its client waits; none once it has ended.
    is_attended: Rc<Cell<Option<bool>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let had_left = self.is_attended.replace(None) == Some(false);
        self.all.quietly(|count| {
            count.running = count.running.saturating_sub(1);
            if had_left {
                count.unattended = count.unattended.saturating_sub(1);
            }
        });
    }
}

/// Its client; held by the connection.
struct Waiting {
    all: Mutations,
    is_attended: Rc<Cell<Option<bool>>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_attended.get() == Some(true) {
            self.is_attended.set(Some(false));
            self.all.quietly(|count| count.unattended += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    async fn until(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if holds() {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{what}");
    }

    fn unattended(mutations: &Mutations) -> usize {
        mutations.0.borrow().unattended
    }

    #[actix_web::test]
    async fn what_began_ends_when_its_client_leaves() {
        let mutations = Mutations::default();
        let (release, released) = oneshot::channel::<()>();
        let done = Rc::new(Cell::new(false));
        let noted = done.clone();
        let mut waiting = Box::pin(mutations.run(|| async move {
            released.await.unwrap();
            noted.set(true);
        }));
        assert!((&mut waiting).now_or_never().is_none());
        drop(waiting);
        assert_eq!((mutations.running(), unattended(&mutations)), (1, 1));
        release.send(()).unwrap();
        until("it ends", || done.get() && mutations.running() == 0).await;
        assert_eq!(unattended(&mutations), 0);
    }

    #[actix_web::test]
    async fn who_left_before_it_began_has_begun_nothing() {
        let mutations = Mutations::default();
        drop(mutations.run(|| async { panic!("begun") }));
        assert_eq!((mutations.running(), unattended(&mutations)), (0, 0));
    }

    #[actix_web::test]
    async fn a_client_is_told_that_it_takes_longer_and_the_work_goes_on() {
        let mutations = Mutations::default();
        let (release, released) = oneshot::channel::<()>();
        let done = Rc::new(Cell::new(false));
        let noted = done.clone();
        let answer = mutations
            .run(|| async move {
                overdue::tell_client(|| Failure::outcome_unknown("it takes longer"));
                released.await.unwrap();
                noted.set(true);
            })
            .await;
        assert_eq!(answer.unwrap_err().code, ErrorCode::OutcomeUnknown);
        assert!(!done.get());
        release.send(()).unwrap();
        until("it ends", || done.get() && mutations.running() == 0).await;
        assert_eq!(unattended(&mutations), 0);
    }

    #[actix_web::test]
    async fn a_panic_is_the_answer_and_leaves_nothing_counted() {
        let mutations = Mutations::default();
        let answer = mutations.run(|| async { panic!("on purpose") }).await;
        assert_eq!(answer.map(|_: ()| ()).unwrap_err().code, ErrorCode::Internal);
        assert_eq!((mutations.running(), unattended(&mutations)), (0, 0));
    }

    #[actix_web::test]
    async fn so_many_without_a_client_and_no_more_begin() {
        let mutations = Mutations::default();
        for _ in 0..MAX_UNATTENDED {
            let mut waiting = Box::pin(mutations.run(std::future::pending::<()>));
            assert!((&mut waiting).now_or_never().is_none());
        }
        let refused = mutations.run(|| async { panic!("begun") }).await.map(|_: ()| ()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unavailable);
        assert!(refused.retry_after.is_some());
        assert_eq!(mutations.finish(Duration::ZERO).await, MAX_UNATTENDED);
        until("all were given up", || (mutations.running(), unattended(&mutations)) == (0, 0)).await;
    }

    #[actix_web::test]
    async fn the_end_waits_for_what_began_lets_nothing_begin_and_gives_up_the_rest() {
        tokio::time::pause();
        let mutations = Mutations::default();
        assert_eq!(mutations.finish(Duration::from_secs(1)).await, 0);
        assert!(mutations.run(|| async {}).await.is_err());

        let mutations = Mutations::default();
        let slow = |after: u64| {
            let mutations = mutations.clone();
            actix_rt::spawn(async move {
                mutations.run(|| async move { tokio::time::sleep(Duration::from_secs(after)).await }).await
            })
        };
        let (quick, never) = (slow(1), slow(1_000));
        until("both began", || mutations.running() == 2).await;
        assert_eq!(mutations.finish(Duration::from_secs(3)).await, 1);
        assert!(quick.await.unwrap().is_ok());
        assert_eq!(never.await.unwrap().unwrap_err().code, ErrorCode::OutcomeUnknown);
        assert_eq!(mutations.running(), 0);
    }
}
