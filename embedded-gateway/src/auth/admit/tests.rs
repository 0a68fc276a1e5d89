//! Every row of what real releases answer (protocol 3 as 2026.3.24, protocol 4 as 2026.9.6), and what is ours alone.

mod credentials;
mod devices;
mod lockout;
mod refusals;

use std::time::Duration;

use gatewarden_protocol::Secret;
use gatewarden_protocol::signing::SignatureVersion;
use serde_json::{Value, json};

use crate::config::Auth;
use crate::effect::Effect;
use crate::tests::fixture::{
    Fixture, LoginAttempt, Outcome, SHARED, audited, config, identity, local, page, remote, told,
};

const OWN_PAGE: &str = "http://127.0.0.1:18789";

fn scopes_of(outcome: &Outcome) -> Vec<String> {
    outcome.caller().scopes.clone()
}

fn protocol(version: u32) -> LoginAttempt {
    LoginAttempt { protocols: (version, version), ..LoginAttempt::default() }
}

fn unauthorized(code: &str, reason: &str, retry: bool, next: &str) -> Value {
    json!({"code": code, "authReason": reason, "canRetryWithDeviceToken": retry, "recommendedNextStep": next})
}
