//! What is written about those who come in and those who don't: audit log and log. No secrets.

use serde_json::{Value, json};

use super::lockout::LeftOut;
use super::{Peer, ProvenDevice};
use crate::call::CallError;
use crate::caller::Caller;
use crate::devices::Device;
use crate::effect::{Effect, LogLevel};
use crate::machine::GatewayMachine;
use crate::payload::joined_if;
use crate::turn::Turn;

const LONGEST_ORIGIN: usize = 256;

pub(super) struct Failure<'a> {
    pub(super) peer: &'a Peer,
    pub(super) client_id: &'a str,
    pub(super) device_id: Option<&'a str>,
    pub(super) error: &'a CallError,
    /// A wrong credential was shown: it counts towards the lock-out.
    pub(super) counts: bool,
}

impl GatewayMachine {
    /// Somebody was not let in.
    pub(super) fn report_failure(&mut self, failure: &Failure<'_>, turn: &mut Turn<'_>) {
        let Failure { peer, client_id, device_id, error, counts } = failure;
        let remote = peer.remote.to_string();
        // A stranger chooses it, up to the length of a whole head: the audit log must not be his to fill.
        let origin: Option<String> = peer.origin.as_ref().map(|origin| origin.chars().take(LONGEST_ORIGIN).collect());
        let reason = error.details.get("code").and_then(Value::as_str).unwrap_or(error.code);
        turn.push(Effect::CountAuthFailure);
        let (written, left_out) = self.auth.failure_log.failed(peer.remote, turn.now.at);
        if let Some(left_out) = left_out {
            report_left_out(left_out, turn);
        }
        if written {
            turn.audit(
                "auth.failure",
                json!({"clientId": client_id, "deviceId": device_id, "remote": remote, "origin": origin, "reason": reason}),
            );
            log(
                turn,
                LogLevel::Warn,
                format!("refused {client_id} from {remote}: {}", error.message),
                json!({"client_id": client_id, "device_id": device_id, "reason": reason}),
            );
        }
        if *counts && self.auth.lock_outs.failed(peer, turn.now.at) {
            let seconds = self.config.limits.lockout.as_secs();
            log(
                turn,
                LogLevel::Error,
                format!(
                    "locked {remote} out for {seconds} s after {} failed logins; everything from there is refused until then",
                    self.config.limits.auth_failures
                ),
                json!({"remote": remote, "origin": origin}),
            );
        }
    }

    /// Tells of failures that were not written, of addresses that have become quiet.
    pub(crate) fn report_left_out_failures(&mut self, turn: &mut Turn<'_>) {
        for left_out in self.auth.failure_log.take_over(turn.now.at) {
            report_left_out(left_out, turn);
        }
    }
}

fn report_left_out(LeftOut { network, failures }: LeftOut, turn: &mut Turn<'_>) {
    let remote = network.to_string();
    turn.audit("auth.failure", json!({"remote": remote, "reason": "LEFT_OUT", "leftOut": failures}));
    log(
        turn,
        LogLevel::Warn,
        format!("{failures} more failed logins from {remote} within a minute were not written one by one"),
        json!({"remote": remote, "left_out": failures}),
    );
}

/// `login`: that of Tailscale by which it was let in.
pub(super) fn success(caller: &Caller, method: &str, login: Option<&str>, turn: &mut Turn<'_>) {
    let Caller { client_id, device_id, remote, scopes, protocol, dialect, .. } = caller;
    let fields = json!({
        "clientId": client_id,
        "deviceId": device_id,
        "remote": remote,
        "method": method,
        "dialect": dialect.as_str(),
        "protocol": protocol,
        "role": caller.role,
        "scopes": scopes,
    });
    turn.audit("auth.success", joined_if(fields, login.is_some(), || json!({ "login": login })));
    log(
        turn,
        LogLevel::Info,
        "WebSocket connection established".to_owned(),
        json!({"client_id": client_id, "device_id": device_id, "role": caller.role, "method": method, "remote": remote}),
    );
}

/// A device has proven to have its key (document 002, "Logs").
pub(super) fn verified(device: &ProvenDevice, client_id: &str, turn: &mut Turn<'_>) {
    let extra = json!({"device_id": device.id, "client_id": client_id, "valid": true});
    log(turn, LogLevel::Info, "Device signature verified".to_owned(), extra);
}

/// A device was approved, by somebody or without asking.
pub(crate) fn registered(device: &Device, by: &str, turn: &mut Turn<'_>) {
    let who = &device.introduction;
    turn.audit(
        "device.registered",
        json!({
            "deviceId": device.id,
            "clientId": who.client_id,
            "displayName": who.display_name,
            "platform": who.platform,
            "roles": device.roles().collect::<Vec<_>>(),
            "scopes": device.scopes,
            "approvedBy": by,
        }),
    );
    log(
        turn,
        LogLevel::Info,
        format!("device approved by {by}"),
        json!({"device_id": device.id, "client_id": who.client_id, "scopes": device.scopes}),
    );
}

pub(crate) fn revoked(device_id: &str, by: &str, why: &str, turn: &mut Turn<'_>) {
    turn.audit("device.revoked", json!({"deviceId": device_id, "by": by, "reason": why}));
    log(turn, LogLevel::Warn, format!("{why}, by {by}"), json!({"device_id": device_id}));
}

fn log(turn: &mut Turn<'_>, level: LogLevel, message: String, extra: Value) {
    turn.log_with(level, "gateway/auth", None, message, extra);
}
