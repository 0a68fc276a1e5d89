//! How the daemon ends: signals, phases, and one deadline for all of them.
//!
//! Not ready any more -> accepted requests finish -> gateways are closed with a reason -> everything is on disk. Each
//! phase may take its share; one that overruns it is logged and left behind, because a stop that hangs is worse than one
//! that cuts something short. The shares add up to less than 10 s.

use std::time::Duration;

use gatewarden_actors::clock_watch;
use gatewarden_actors::event_hub::messages::EndStreams;
use gatewarden_actors::notifier::EndLooks;
use gatewarden_actors::processes::messages::EndProcess;
use gatewarden_actors::registry::messages::Drain;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::app::App;

/// Event streams are told to end.
const STREAMS: Duration = Duration::from_millis(200);
/// What was accepted a moment ago sends its request.
const ACCEPTED: Duration = Duration::from_millis(250);
/// Accepted requests finish; the HTTP front has a limit of its own (5 s) below this one.
const HTTP: Duration = Duration::from_millis(5_500);
/// Of these 5.5 s, how long changes have that began, with or without a client.
const MUTATIONS: Duration = Duration::from_millis(4_000);
/// Gateways are closed.
const GATEWAYS: Duration = Duration::from_millis(2_000);
/// Gateways that are processes of this machine end, while requests and gateways do.
const PROCESSES: Duration = Duration::from_millis(7_500);
/// What is queued is committed.
const STORE: Duration = Duration::from_millis(1_500);
/// By which parts are told to end earlier than they are left behind.
const MARGIN: Duration = Duration::from_millis(250);
/// A node of a cluster gives its role back.
const SIGN_OFF: Duration = Duration::from_millis(500);
/// The write-ahead log is folded into the database: nice to have.
const CHECKPOINT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Stop(&'static str),
    Reload,
}

/// The process's signals, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over from the system, inside a running runtime. From here on they no longer end the process.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.hang_up.recv() => Request::Reload,
        }
    }

    /// Waits for a stop, passing over reloads: a second one means at once.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            if let Request::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

/// Stops everything in order. True if nothing was lost: all that was acknowledged before is on disk in any case.
pub(crate) async fn drain(app: &mut App) -> bool {
    app.readiness.set_stopping();
    app.notifier.stopping("stopping: open requests finish");
    tracing::info!("stopping: open requests finish");
    if let Some(notifications) = &app.notifications {
        notifications.do_send(EndLooks);
    }
    // Streams have no end of their own: without this the HTTP front would wait for them in vain.
    within("event streams", STREAMS, app.event_hub.send(EndStreams)).await;
    if app.socket_is_passed {
        // Attempts from here on wait in the socket's queue for the next daemon. What was accepted is read and answered.
        app.server.pause().await;
        tokio::time::sleep(ACCEPTED).await;
    }
    let processes = app.processes.clone();
    let end = EndProcess { within: PROCESSES - MARGIN };
    tokio::join!(within("local processes", PROCESSES, processes.send(end)), async {
        within("open requests", HTTP, async {
            // Before the workers stop: what has lost its connection would end with them.
            let given_up = app.mutations.finish(MUTATIONS).await;
            if given_up > 0 {
                tracing::warn!(
                    requests = given_up,
                    "stopping: changes did not end in time: the audit log names them as unknown"
                );
            }
            app.server.stop(true).await;
        })
        .await;
        app.notifier.status("stopping: gateways are closed");
        within("gateways", GATEWAYS, app.registry.send(Drain)).await;
    });

    app.notifier.status("stopping: the last observations are written");
    let (health_log, audit) = (app.health_log.clone(), app.audit.clone());
    let store = app.store.clone();
    let flushed = within("the store", STORE, async {
        health_log.flush().await;
        audit.flush().await;
        if let Err(failure) = clock_watch::remember(&app.clock, &store).await {
            tracing::debug!(%failure, "the time of the stop is not stored");
        }
        store.flush().await
    });
    let saved = match flushed.await {
        Some(Ok(())) => true,
        Some(Err(error)) => {
            tracing::error!(%error, "the last observations could not be written");
            false
        }
        None => false,
    };
    if let Some(Err(error)) = within("the checkpoint", CHECKPOINT, app.store.checkpoint()).await {
        tracing::debug!(%error, "the write-ahead log stays; the next start reads it");
    }
    if let Some(member) = &app.member {
        // Nothing more is written: another node may begin.
        within("signing off", SIGN_OFF, member.leave()).await;
    }
    tracing::info!("stopped");
    saved
}

async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let done = timeout(limit, work).await.ok();
    if done.is_none() {
        tracing::warn!(limit_ms = limit.as_millis(), "stopping: {what} took too long and is left behind");
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_phases_together_stay_below_ten_seconds() {
        assert!(
            STREAMS + ACCEPTED + (HTTP + GATEWAYS).max(PROCESSES) + STORE + CHECKPOINT.max(SIGN_OFF)
                < Duration::from_secs(10)
        );
    }
}
