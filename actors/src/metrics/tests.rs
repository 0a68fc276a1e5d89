use std::collections::{HashMap, HashSet};

use super::*;
use crate::gateway_report::{BreakerState, Status};
use gatewarden_protocol::Dialect;

const FIRST: GatewayId = GatewayId(1);
const SECOND: GatewayId = GatewayId(2);

fn online() -> GatewayReport {
    let mut report = GatewayReport::unknown(1_000);
    report.status = Status::Online;
    report.version = Some("2026.9.6".into());
    report.protocol = Some(4);
    report.dialect = Some(Dialect::Openclaw);
    report.sessions_count = Some(3);
    report.agents_count = Some(2);
    report.last_seen_ms = Some(1_700_000_000_500);
    report
}

/// Every kind of series once, for two gateways.
fn full() -> Metrics {
    let metrics = Metrics::new();
    metrics.set_started(1_700_000_000_000);
    for id in [FIRST, SECOND] {
        metrics.publish_gateway(id, "prod \"a\"\\\n", &online(), id == FIRST);
        metrics.observe_latency(id, Duration::from_millis(3));
        metrics.count_reconnect(id);
        metrics.count_refusal(id, "token_mismatch");
        metrics.count_rpc(id, "sessions.list", "ok");
        metrics.count_dropped_frame(id, "garbage");
        metrics.count_actor_restart(id);
    }
    metrics.set_store_queue("writer", 4);
    metrics.notice_sent();
    metrics.set_registry_requests(5);
    metrics.set_self_doubt(true);
    metrics.count_panic();
    metrics.observe_http("GET", "/api/gateways", 200, Duration::from_micros(700));
    metrics
}

/// A lint of the text format 0.0.4 and of the naming conventions; says what is wrong.
fn lint(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut kinds: HashMap<String, String> = HashMap::new();
    let mut helped = HashSet::new();
    let mut seen = HashSet::new();
    if !text.ends_with('\n') {
        problems.push("the last line has no end".to_owned());
    }
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if help.is_empty() || !helped.insert(name.to_owned()) {
                problems.push(format!("{name}: help is empty or given twice"));
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            if (kind == "counter") != name.ends_with("_total") {
                problems.push(format!("{name}: exactly counters end in _total"));
            }
            if kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                problems.push(format!("{name}: its family is split"));
            }
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or((line, ""));
            let name = series.split('{').next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| {
                    name.strip_suffix(end).filter(|base| kinds.get(*base).is_some_and(|k| k == "histogram"))
                })
                .unwrap_or(name);
            if !kinds.contains_key(family) || !helped.contains(family) {
                problems.push(format!("{name}: no TYPE or HELP before it"));
            }
            if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
                problems.push(format!("{name}: not a plain name"));
            }
            if value.parse::<f64>().is_err() {
                problems.push(format!("{series}: {value} is no number"));
            }
            if !seen.insert(series.to_owned()) {
                problems.push(format!("{series}: twice"));
            }
        }
    }
    problems
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn a_full_rendering_follows_format_and_naming() {
    assert_eq!(lint(&full().render()), Vec::<String>::new());
}

#[test]
fn an_empty_rendering_follows_format_and_naming() {
    assert_eq!(lint(&Metrics::new().render()), Vec::<String>::new());
}

#[test]
fn the_lint_finds_what_it_is_for() {
    assert_eq!(lint("# HELP a_count x\n# TYPE a_count counter\na_count 1\n").len(), 1);
    assert_eq!(lint("orphan 1\n").len(), 1);
    assert_eq!(lint("# HELP a x\n# TYPE a gauge\na 1\na 1\n").len(), 1);
}

#[test]
fn exactly_one_state_of_each_enum_is_one() {
    let metrics = full();
    let mut report = online();
    report.status = Status::Timeout;
    report.breaker.state = BreakerState::HalfOpen;
    metrics.publish_gateway(FIRST, "prod", &report, false);
    let text = metrics.render();
    assert_eq!(value(&text, "gatewarden_gateway_state{gateway=\"1\",state=\"timeout\"}"), Some(1.0));
    assert_eq!(value(&text, "gatewarden_gateway_state{gateway=\"1\",state=\"online\"}"), Some(0.0));
    assert_eq!(value(&text, "gatewarden_breaker_state{gateway=\"1\",state=\"half_open\"}"), Some(1.0));
    assert_eq!(value(&text, "gatewarden_breaker_state{gateway=\"1\",state=\"closed\"}"), Some(0.0));
    assert_eq!(value(&text, "gatewarden_gateway_acting_primary{gateway=\"1\"}"), Some(0.0));
    assert_eq!(value(&text, "gatewarden_gateways"), Some(2.0));
}

#[test]
fn a_deleted_gateways_series_all_disappear_and_stay_away() {
    let metrics = full();
    metrics.forget_gateway(SECOND);
    metrics.count_reconnect(SECOND);
    metrics.count_rpc(SECOND, "ping", "lost");
    metrics.publish_gateway(SECOND, "late", &online(), false);
    let text = metrics.render();
    assert!(!text.contains("gateway=\"2\""), "{text}");
    assert!(text.contains("gateway=\"1\""));
    assert_eq!(lint(&text), Vec::<String>::new());
}

#[test]
fn a_new_name_replaces_the_old_info_series() {
    let metrics = full();
    metrics.publish_gateway(FIRST, "renamed", &online(), true);
    let text = metrics.render();
    let infos: Vec<_> = text.lines().filter(|line| line.starts_with("gatewarden_gateway_info{gateway=\"1\"")).collect();
    assert_eq!(
        infos,
        [concat!(
            "gatewarden_gateway_info{gateway=\"1\",name=\"renamed\",",
            "version=\"2026.9.6\",protocol=\"4\",dialect=\"openclaw\"} 1"
        )]
    );
}

#[test]
fn labels_stay_bounded_whatever_callers_say() {
    let metrics = full();
    for number in 0..1_000 {
        metrics.count_rpc(FIRST, &format!("made.up.{number}"), "refused");
        metrics.count_refusal(FIRST, &format!("CODE_{number}"));
        metrics.observe_http(&format!("VERB{number}"), &format!("/path/{number}"), 404, Duration::ZERO);
    }
    let text = metrics.render();
    assert_eq!(value(&text, "gatewarden_rpcs_total{gateway=\"1\",method=\"other\",outcome=\"refused\"}"), Some(1000.0));
    assert!(text.lines().filter(|line| line.starts_with("gatewarden_refusals_total{gateway=\"1\"")).count() < 80);
    assert!(text.lines().filter(|line| line.starts_with("gatewarden_http_requests_total")).count() < 300);
    assert!(!text.contains("VERB1"));
}

#[test]
fn a_latency_falls_into_its_bucket_and_all_above() {
    let metrics = Metrics::new();
    metrics.publish_gateway(FIRST, "prod", &online(), true);
    for millis in [1, 30, 20_000] {
        metrics.observe_latency(FIRST, Duration::from_millis(millis));
    }
    let text = metrics.render();
    let bucket =
        |le: &str| value(&text, &format!("gatewarden_gateway_latency_seconds_bucket{{gateway=\"1\",le=\"{le}\"}}"));
    assert_eq!(bucket("0.0005"), Some(0.0));
    assert_eq!(bucket("0.001"), Some(1.0));
    assert_eq!(bucket("0.05"), Some(2.0));
    assert_eq!(bucket("10"), Some(2.0));
    assert_eq!(bucket("+Inf"), Some(3.0));
    assert_eq!(value(&text, "gatewarden_gateway_latency_seconds_sum{gateway=\"1\"}"), Some(20.031));
}

#[test]
fn an_unknown_count_is_absent_rather_than_zero() {
    let metrics = Metrics::new();
    metrics.publish_gateway(FIRST, "prod", &GatewayReport::unknown(0), false);
    let text = metrics.render();
    assert!(!text.contains("gatewarden_sessions{"));
    assert!(!text.contains("gatewarden_gateway_last_seen_timestamp_seconds{"));
}

#[test]
fn notices_wait_from_being_sent_until_they_are_taken() {
    let metrics = Metrics::new();
    let waiting = |metrics: &Metrics| value(&metrics.render(), "gatewarden_registry_mailbox_messages{kind=\"notice\"}");
    metrics.notice_sent();
    metrics.notice_sent();
    metrics.notice_taken();
    assert_eq!(waiting(&metrics), Some(1.0));
    metrics.notice_taken();
    assert_eq!(waiting(&metrics), Some(0.0));
}
