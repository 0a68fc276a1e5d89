//! What the HTTP front does by itself every minute: forget idle rate limits and ended sessions, tell the store which keys
//! were used, and the audit log which refusals it lacks.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::web;
use gatewarden_actors::store::records::{AuditActor, AuditEntry, AuditResult};
use serde_json::json;

use super::front::Front;

const EVERY: Duration = Duration::from_secs(60);

/// Starts it on the current arbiter; it ends with the front.
pub fn start(front: &web::Data<Front>) {
    // Before the first request.
    front.app.keys.reach(front.app.clock.expiry_ms().div_euclid(1_000));
    let front: Weak<Front> = Arc::downgrade(&front.clone().into_inner());
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(front) = front.upgrade() else {
                return;
            };
            front.app.keys.reach(front.app.clock.expiry_ms().div_euclid(1_000));
            front.limits.purge();
            note_refusals(&front);
            note_used_keys(&front).await;
            let judged_s = front.app.clock.judged_ms(front.settings.session_lifetime).div_euclid(1_000);
            if let Err(failure) = front.app.store.purge_web_sessions(judged_s).await {
                tracing::debug!(error = %failure, "ended browser sessions were not removed");
            }
        }
    });
}

/// Tells the audit log how many refusals it lacks.
fn note_refusals(front: &Front) {
    let left_out = front.refusals.take_left_out();
    if left_out == 0 {
        return;
    }
    tracing::warn!(refusals.left_out = left_out, "the audit log lacks refusals: too many came within a minute");
    front.app.audit.note(AuditEntry {
        at_ms: front.app.clock.wall_ms(),
        actor: AuditActor::system(),
        address: None,
        request_id: None,
        action: "audit.refusals_left_out".to_owned(),
        target: None,
        result: AuditResult::Refused,
        details: json!({ "refusals": left_out }),
    });
}

/// Tells the store when keys were last used.
async fn note_used_keys(front: &Front) {
    let used = front.app.keys.take_used();
    if used.is_empty() {
        return;
    }
    if let Err(failure) = front.app.store.touch_keys(used).await {
        // The next use is noted again; nothing that matters is lost.
        tracing::debug!(error = %failure, "the last use of API keys was not stored");
    }
}
