//! A gateway's process on this machine as readers see it.

use gatewarden_actors::processes::view::{Diagnosis as Findings, ProcessView, Verified};
use gatewarden_api::gateways::{Diagnosis, LastEnd, Member, OutputLine, Process};

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
        last_end: view.last_end.as_ref().map(|end| LastEnd {
            at: seconds(end.at_ms),
            message: end.words.clone(),
            code: end.code,
            signal: end.signal,
        }),
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

/// What a closer look has found.
pub(crate) fn diagnosis(found: Findings) -> Diagnosis {
    Diagnosis {
        findings: found.findings,
        program: found.program,
        members: found
            .members
            .into_iter()
            .map(|one| Member { pid: one.pid, parent: one.parent, name: one.name, state: one.state.to_string() })
            .collect(),
        output: found
            .output
            .into_iter()
            .map(|line| OutputLine { timestamp: line.at_ms, stream: line.stream.to_owned(), text: line.text })
            .collect(),
        output_dropped: found.output_dropped,
    }
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

/// Unix seconds of wall milliseconds.
pub(crate) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}
