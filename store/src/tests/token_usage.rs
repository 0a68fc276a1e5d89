use super::*;
use crate::records::{TokenStats, TokenUsage};
use serde_json::json;
use std::collections::BTreeMap;

fn usage(at_ms: i64, agent: &str, input: i64, output: i64, cost: Option<f64>) -> TokenUsage {
    TokenUsage {
        at_ms,
        agent: agent.to_owned(),
        model: "m".to_owned(),
        input_tokens: input,
        output_tokens: output,
        cost,
        session_key: Some("a:main".to_owned()),
        source: "heartbeat".to_owned(),
    }
}

#[actix::test]
async fn usage_is_summed_by_agent_over_a_time() {
    let scratch = Scratch::open();
    let reports = vec![
        usage(10, "a", 1_000_000, 1, Some(9.0)),
        usage(20, "a", 1_500, 800, Some(0.25)),
        usage(30, "a", 500, 200, None),
        usage(40, "b", 7, 0, None),
    ];
    scratch.store.append_token_usage(reports).await.unwrap();
    let costs = scratch.store.agent_costs(20).await.unwrap();
    let a = TokenStats {
        total_tokens: 3_000,
        input_tokens: 2_000,
        output_tokens: 1_000,
        total_cost: 0.25,
        request_count: 2,
    };
    let b = TokenStats { total_tokens: 7, input_tokens: 7, request_count: 1, ..TokenStats::default() };
    assert_eq!(costs, BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]));
    let shown = json!({"totalTokens": 7, "inputTokens": 7, "outputTokens": 0, "totalCost": 0.0, "requestCount": 1});
    assert_eq!(serde_json::to_value(b).unwrap(), shown);
    assert_eq!(scratch.store.agent_costs(41).await.unwrap(), BTreeMap::new());
}

#[actix::test]
async fn what_a_damaged_database_claims_does_not_overflow_the_sums() {
    let scratch = Scratch::open();
    scratch.store.append_token_usage((0..3).map(|at| usage(at, "a", 5, 5, None)).collect()).await.unwrap();
    let huge = format!("UPDATE token_usage SET input_tokens = {}, output_tokens = {}", i64::MAX, i64::MIN);
    scratch.execute(&huge).unwrap();
    let costs = scratch.store.agent_costs(0).await.unwrap();
    assert_eq!((costs["a"].input_tokens, costs["a"].output_tokens), (3_000_000_000_000, 0));
}

#[actix::test]
async fn reports_come_back_newest_first_as_they_were_stored() {
    let scratch = Scratch::open();
    scratch.store.append_token_usage((0..5).map(|at| usage(at, "a", at, 1, None)).collect()).await.unwrap();
    scratch.store.append_token_usage(vec![]).await.unwrap();
    let page = scratch.store.list_tokens(0, 2, None).await.unwrap();
    assert_eq!(page[0].usage, usage(4, "a", 4, 1, None));
    assert_eq!(page.len(), 2);
    assert_eq!(scratch.store.list_tokens(0, 50, Some(3)).await.unwrap().len(), 2);
    assert_eq!(serde_json::to_value(&page[0]).unwrap()["inputTokens"], 4);
}

#[actix::test]
async fn absurd_numbers_spoil_no_sum() {
    let scratch = Scratch::open();
    for cost in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        let reports = vec![usage(1, "a", i64::MAX, i64::MIN, Some(cost)); 3];
        scratch.store.append_token_usage(reports).await.unwrap();
    }
    let costs = scratch.store.agent_costs(0).await.unwrap();
    let sum = costs["a"];
    assert_eq!((sum.input_tokens, sum.output_tokens, sum.request_count), (12_000_000_000_000, 0, 12));
    assert!(sum.total_cost.abs() < f64::EPSILON);
}

#[actix::test]
async fn usage_is_kept_for_ninety_days() {
    let scratch = Scratch::open();
    let now = 1_000 * 24 * 3_600_000_i64;
    let edge = now - 90 * 24 * 3_600_000;
    scratch
        .store
        .append_token_usage(vec![usage(edge - 1, "a", 1, 1, None), usage(edge, "a", 2, 2, None)])
        .await
        .unwrap();
    assert_eq!(scratch.store.thin_tokens(now, StoreHandle::TOKENS_KEPT).await.unwrap(), 1);
    let left = scratch.store.list_tokens(0, 50, None).await.unwrap();
    assert_eq!((left.len(), left[0].usage.at_ms), (1, edge));
}
