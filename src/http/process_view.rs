//! A gateway's process on this machine as readers see it.

use gatewarden_actors::processes::view::{ProcessView, Verified};
use gatewarden_api::gateways::Process;

/// A gateway's process on this machine.
pub(crate) fn process(view: &ProcessView) -> Process {
    let (verified, missing) = match &view.verified {
        None => (None, Vec::new()),
        Some(Verified::Pending) => (Some("pending"), Vec::new()),
        Some(Verified::Yes) => (Some("yes"), Vec::new()),
        Some(Verified::No(missing)) => (Some("no"), missing.clone()),
    };
    let usage = view.usage.as_ref();
    Process {
        kind: view.source.kind().to_owned(),
        name: view.source.name().to_owned(),
        state: view.state.as_str().to_owned(),
        since: seconds(view.since_ms),
        pid: view.pid,
        started_at: view.started_ms.map(seconds),
        restarts: view.restarts,
        last_end: view.last_end.clone(),
        next_start: view.next_start_ms.map(seconds),
        reason: view.reason.clone(),
        verified: verified.map(str::to_owned),
        missing,
        memory_bytes: usage.map(|usage| usage.memory_bytes),
        cpu_percent: usage.and_then(|usage| usage.cpu_percent).map(tenths),
        cpu_seconds: usage.map(|usage| usage.cpu_seconds),
        processes: usage.map(|usage| usage.processes),
        diagnosis: None,
    }
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// Unix seconds of wall milliseconds.
pub(crate) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}
