//! The series of a gateway's process on this machine.

use super::catalogue;
use super::exposition::Exposition;
use super::gateway_series::{gateway_label, labels, one_if};
use crate::ids::GatewayId;
use crate::processes::view::{ProcessState, ProcessView};

/// The part of a view that is published.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LocalProcessSeries {
    state: ProcessState,
    restarts: u64,
    memory_bytes: Option<u64>,
    cpu_seconds: Option<f64>,
}

impl LocalProcessSeries {
    pub(super) fn of(view: &ProcessView) -> Self {
        Self {
            state: view.state,
            restarts: view.restarts,
            memory_bytes: view.usage.map(|usage| usage.memory_bytes),
            cpu_seconds: view.usage.map(|usage| usage.cpu_seconds),
        }
    }
}

/// All of them; nothing where no gateway is a process of this machine.
pub(super) fn render(processes: &[(GatewayId, LocalProcessSeries)], out: &mut Exposition) {
    out.gauges(
        &catalogue::LOCAL_PROCESS_STATE,
        processes.iter().flat_map(|(id, process)| {
            ProcessState::ALL.map(|state| (labels(*id, "state", state.as_str()), one_if(state == process.state)))
        }),
    );
    out.counters(
        &catalogue::LOCAL_PROCESS_RESTARTS,
        processes.iter().map(|(id, process)| (gateway_label(*id), process.restarts)),
    );
    out.gauges(
        &catalogue::LOCAL_PROCESS_MEMORY,
        processes.iter().filter_map(|(id, process)| Some((gateway_label(*id), as_f64(process.memory_bytes?)))),
    );
    out.gauges(
        &catalogue::LOCAL_PROCESS_CPU,
        processes.iter().filter_map(|(id, process)| Some((gateway_label(*id), process.cpu_seconds?))),
    );
}

#[expect(clippy::cast_precision_loss, reason = "the format's numbers are doubles; no memory has 2^53 bytes")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
