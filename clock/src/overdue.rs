//! Work that takes longer than its client should wait: the client is told that the outcome isn't known yet, and the work goes
//! on to its end.
//!
//! A request that changes something runs in a task of its own, on behalf of a client ([`on_behalf_of`]). What it waits for and
//! can't take back (a write that has begun, an actor that has the message) is waited for without a limit; once the limit for
//! the answer is over, [`tell_client`] answers in its place. So whoever owns the memory always learns what became of a write,
//! and memory and database agree as soon as the store answers.

use std::cell::Cell;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use gatewarden_core::error::Failure;

/// Into how many parts a limit is cut; see [`within`].
const PARTS: u32 = 10;

tokio::task_local! {
    /// Where the client of this task's work is told that it takes longer; gone once it was.
    static CLIENT: Cell<Option<oneshot::Sender<Failure>>>;
}

/// Does the work on behalf of a client, who is told at `client` if it takes longer than they should wait. To be run in a task
/// that nobody cancels.
pub async fn on_behalf_of<F: Future>(client: oneshot::Sender<Failure>, work: F) -> F::Output {
    CLIENT.scope(Cell::new(Some(client)), work).await
}

/// Answers the client of this task, once; false where the task works on nobody's behalf, so that nobody else will answer.
pub fn tell_client(failure: impl FnOnce() -> Failure) -> bool {
    CLIENT
        .try_with(|client| {
            if let Some(client) = client.take() {
                // A client who has gone needs no answer.
                let _ = client.send(failure());
            }
        })
        .is_ok()
}

/// Waits for the work, at most for the limit. An answer and a limit that are due at the same moment are the answer. A process
/// that was stopped or frozen meanwhile loses a tenth of the limit by it at most: what it waits for stood still as well.
pub async fn within<F: Future + ?Sized>(limit: Duration, mut work: Pin<&mut F>) -> Option<F::Output> {
    for _ in 0..PARTS {
        if let Ok(done) = timeout(limit / PARTS, work.as_mut()).await {
            return Some(done);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use gatewarden_core::error::ErrorCode;

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_the_answer_and_none_is_none_after_the_limit() {
        let limit = Duration::from_secs(10);
        let began = tokio::time::Instant::now();
        assert_eq!(within(limit, pin!(std::future::pending::<()>())).await, None);
        assert_eq!(began.elapsed().as_secs(), 10);
        let late = async {
            tokio::time::sleep(Duration::from_millis(9_900)).await;
            7
        };
        assert_eq!(within(limit, pin!(late)).await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_freeze_costs_no_more_than_a_tenth_of_the_limit() {
        let (answer, answered) = oneshot::channel();
        let waiting = tokio::spawn(async move { within(Duration::from_secs(10), pin!(answered)).await });
        tokio::task::yield_now().await;
        // As after a stop of the process: all the time passes at once, and the answer comes a moment later.
        tokio::time::advance(Duration::from_secs(60)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer.send(7).unwrap();
        assert_eq!(waiting.await.unwrap(), Some(Ok(7)));
    }

    #[tokio::test]
    async fn a_client_is_told_once_and_a_task_of_nobody_tells_nobody() {
        let failure = || Failure::new(ErrorCode::OutcomeUnknown, "it takes longer");
        assert!(!tell_client(failure));
        let (client, mut told) = oneshot::channel();
        on_behalf_of(client, async {
            assert!(tell_client(failure));
            assert!(tell_client(|| panic!("told already")));
        })
        .await;
        assert_eq!(told.try_recv().unwrap().code, ErrorCode::OutcomeUnknown);
        let (client, told) = oneshot::channel();
        on_behalf_of(client, async {}).await;
        assert!(told.await.is_err(), "what ended in time has nothing to tell");
    }
}
