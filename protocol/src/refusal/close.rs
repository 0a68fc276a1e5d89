//! WebSocket closes, read as reasons.

use super::wire::{by_message, request_id_in};
use super::{Pairing, Refusal, RefusalClass, RefusalCode};

/// Reads a close. `code` is none where the connection just ended; `ready` is whether the handshake was done. Where an error
/// reply came before the close, that reply says more: use it instead.
pub fn classify_close(code: Option<u16>, reason: &str, ready: bool) -> Refusal {
    let plain = if ready { RefusalCode::Closed } else { RefusalCode::ClosedInHandshake };
    let mut refusal = match code {
        None | Some(1006) => Refusal::new(RefusalCode::ConnectionReset, reason),
        Some(1002) if !ready => Refusal::new(RefusalCode::ProtocolMismatch, reason),
        Some(1008) => match by_message(reason) {
            // A connection that had been let in lost something; whether for good, the next handshake will tell.
            Some(code) if ready && code.class() == RefusalClass::Blocked => {
                let mut refusal = Refusal::new(code, reason);
                refusal.class = RefusalClass::Retryable;
                refusal
            }
            Some(code) => Refusal::new(code, reason),
            None if ready => Refusal::new(plain, reason),
            None => Refusal::new(RefusalCode::RefusedByGateway, reason),
        },
        Some(1009) => Refusal::new(RefusalCode::FrameTooLarge, reason),
        Some(1011) => Refusal::new(RefusalCode::GatewayError, reason),
        Some(1012) => Refusal::new(RefusalCode::GatewayRestarting, reason),
        Some(1013) => Refusal::new(RefusalCode::GatewayStarting, reason),
        // Document 002 and protocol 4 agree that 4001 must not be retried.
        Some(4001) => Refusal::new(RefusalCode::DeviceRemoved, reason),
        Some(4000..=4999) => match by_message(reason) {
            Some(code) => Refusal::new(code, reason),
            None => Refusal::new(plain, reason),
        },
        Some(_) => Refusal::new(plain, reason),
    };
    if refusal.code == RefusalCode::PairingRequired {
        refusal.pairing = Some(Pairing { request_id: request_id_in(reason), ..Pairing::default() });
    }
    refusal
}
