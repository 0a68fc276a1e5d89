//! Devices that are new, or want more: approved at once where that is safe, else told to wait.

use serde_json::json;

use super::entry::{Connect, Decision, Rejected};
use super::{ProvenDevice, refusals, report};
use crate::caller::Scope;
use crate::devices::{Asking, Introduction, pending_row};
use crate::machine::GatewayMachine;
use crate::turn::Turn;

impl GatewayMachine {
    pub(super) fn approve_silently(
        &mut self,
        connect: &Connect<'_>,
        device: &ProvenDevice,
        introduction: Introduction,
        turn: &mut Turn<'_>,
    ) -> Decision<()> {
        let subscribers = &self.subscribers;
        let connected = |id: &str| subscribers.callers().any(|caller| caller.device_id.as_deref() == Some(id));
        let scopes = connect.params.scopes.clone();
        let now_ms = turn.now.wall_ms;
        match self.devices.approve_silently(&device.id, introduction, scopes, connected, now_ms) {
            Ok(gone) => {
                if let Some(gone) = gone {
                    report::revoked(
                        &gone.id,
                        "maxDevicesPerUser",
                        "device superseded by a new one of the same name",
                        turn,
                    );
                }
            }
            Err(no_room) => return connect.reject(refusals::too_many_devices(no_room.0), false),
        }
        if let Some(device) = self.devices.get(&device.id) {
            report::registered(device, "loopback", turn);
        }
        self.devices.save(turn);
        let request_id = turn.uuid();
        self.tell_resolved(&request_id, &device.id, "approved", turn);
        Ok(())
    }

    pub(super) fn ask_for_approval<T>(
        &mut self,
        connect: &Connect<'_>,
        asking: Asking<'_>,
        turn: &mut Turn<'_>,
    ) -> Decision<T> {
        let fresh_id = turn.uuid();
        let asked = self.devices.ask(asking, turn.now.wall_ms, || fresh_id);
        if asked.is_new {
            turn.audit(
                "device.pairing_requested",
                json!({"deviceId": asking.device_id, "requestId": asked.request.id, "remote": asking.remote}),
            );
            turn.tell(self.subscribers.holding(Scope::Pairing), "device.pair.requested", pending_row(&asked.request));
        }
        let refusal = refusals::pairing_required(
            connect.attempt.request.clone(),
            connect.protocol,
            refusals::PairingRequired {
                reason: asking.reason,
                request_id: &asked.request.id,
                device_id: asking.device_id,
                scopes: asking.scopes,
                approved: self.devices.get(asking.device_id).map(|device| device.scopes.as_slice()),
            },
        );
        Err(Box::new(Rejected { refusal, counts: false }))
    }

    pub(crate) fn tell_resolved(&self, request_id: &str, device_id: &str, decision: &str, turn: &mut Turn<'_>) {
        let payload =
            json!({"requestId": request_id, "deviceId": device_id, "decision": decision, "ts": turn.now.wall_ms});
        turn.tell(self.subscribers.holding(Scope::Pairing), "device.pair.resolved", payload);
    }
}
