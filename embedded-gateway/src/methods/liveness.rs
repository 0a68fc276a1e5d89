//! `ping`: the heartbeat of document 002.

use serde_json::json;

use super::Method;
use crate::call::Call;
use crate::call::Outcome;
use crate::caller::Scope;
use crate::machine::GatewayMachine;
use crate::turn::Turn;

pub(super) const METHODS: &[Method] = &[Method { name: "ping", scope: Scope::Connected, run: ping }];

fn ping(_: &mut GatewayMachine, _: &Call, turn: &mut Turn<'_>) -> Outcome {
    Ok(json!({"ts": turn.now.wall_ms}).into())
}
