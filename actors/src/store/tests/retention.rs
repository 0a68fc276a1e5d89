use super::*;
use crate::store::records::{AuditActor, AuditEntry, AuditResult, TokenUsage};
use serde_json::json;

#[actix::test]
async fn one_call_forgets_what_is_old_and_keeps_the_rest() {
    let scratch = Scratch::open();
    let now = Clock::system().wall_ms();
    for at_ms in [0, now] {
        let entry = AuditEntry {
            at_ms,
            actor: AuditActor::system(),
            address: None,
            request_id: None,
            action: "gateway.update".to_owned(),
            target: None,
            result: AuditResult::Ok,
            details: json!({}),
        };
        scratch.store.append_audit(vec![entry]).await.unwrap();
        let usage = TokenUsage {
            at_ms,
            agent: "a".to_owned(),
            model: "m".to_owned(),
            input_tokens: 1,
            output_tokens: 1,
            cost: None,
            session_key: None,
            source: "api".to_owned(),
        };
        scratch.store.append_token_usage(vec![usage]).await.unwrap();
    }
    scratch.store.forget_old(now, &RetentionSettings::default()).await.unwrap();
    assert_eq!(scratch.store.list_audit(9, None, None).await.unwrap().len(), 1);
    assert_eq!(scratch.store.list_tokens(9, None).await.unwrap().len(), 1);
}
