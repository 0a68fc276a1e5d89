mod reference;

use std::collections::{HashMap, HashSet};

use self::reference::{families, reference, series_names};
use super::*;
use crate::gateway_record::{GatewaySpec, ProcessSource};
use crate::gateway_report::{BreakerState, Status};
use crate::machines::connection::{DropReason, RpcOutcome};
use crate::processes::view::ProcessState;
use gatewarden_processes::usage::Usage;
use gatewarden_protocol::Dialect;
use gatewarden_protocol::refusal::RefusalCode;
use gatewarden_store::StoreMetrics as _;

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

fn record(id: GatewayId, name: &str, drained: bool) -> GatewayRecord {
    GatewaySpec { drained, ..GatewaySpec::at(name, "127.0.0.1", 1) }.into_record(id, "", 0)
}

fn process() -> ProcessView {
    let usage = Usage { memory_bytes: 7, cpu_seconds: 1.5, cpu_percent: None, processes: 1 };
    let view = ProcessView::unknown(ProcessSource::Command("openclaw".to_owned()), 1);
    ProcessView { state: ProcessState::Running, restarts: 2, usage: Some(usage), ..view }
}

/// Every kind of series once, for two gateways.
fn full() -> Metrics {
    let metrics = Metrics::new();
    metrics.set_started(1_700_000_000_000);
    for id in [FIRST, SECOND] {
        metrics.publish_gateway(&record(id, "prod \"a\"\\\n", false), &online(), id == FIRST);
        for count in [
            Count::Latency(Duration::from_millis(3)),
            Count::Reconnect,
            Count::Refusal(RefusalCode::TokenMismatch),
            Count::Rpc("sessions.list".to_owned(), RpcOutcome::Ok),
            Count::DroppedFrame(DropReason::Garbage),
        ] {
            metrics.count(id, &count);
        }
        metrics.count_actor_restart(id);
        metrics.publish_process(id, &process());
    }
    metrics.set_store_queue("writer", 4);
    metrics.notice_sent();
    metrics.set_registry_requests(5);
    metrics.set_connections(ConnectionFigures {
        open: 3,
        unread_bytes: 80_000,
        refused: vec![("full", 1)],
        ended: vec![("replaced", 2)],
    });
    metrics.set_log_lines_lost(Arc::default());
    metrics.set_self_doubt(true);
    metrics.count_panic();
    metrics.observe_http("GET", "/api/gateways", 200, Duration::from_micros(700));
    metrics.observe_store_job("writer", Duration::from_millis(2), true);
    metrics.observe_store_job("reader", Duration::from_millis(1), false);
    metrics.set_gateway_memory(MemoryBudget::default());
    metrics.set_database(Path::new("/proc/self/status"));
    metrics.set_cluster(true, 2, 7, 1_000);
    metrics.set_backup_interval(Duration::from_secs(86_400));
    metrics.set_newest_backup(1_000);
    metrics.count_backup(true);
    metrics.count_notification("ops", Attempt::Delivered, 1_700_000_000_000);
    metrics.show_forwarded();
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
    metrics.publish_gateway(&record(FIRST, "prod", false), &report, false);
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
    metrics.count(SECOND, &Count::Reconnect);
    metrics.count(SECOND, &Count::Rpc("ping".to_owned(), RpcOutcome::Lost));
    metrics.publish_gateway(&record(SECOND, "late", false), &online(), false);
    let text = metrics.render();
    assert!(!text.contains("gateway=\"2\""), "{text}");
    assert!(text.contains("gateway=\"1\""));
    assert_eq!(lint(&text), Vec::<String>::new());
}

#[test]
fn a_new_name_replaces_the_old_info_series() {
    let metrics = full();
    metrics.publish_gateway(&record(FIRST, "renamed", false), &online(), true);
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
        metrics.count(FIRST, &Count::Rpc(format!("made.up.{number}"), RpcOutcome::Refused));
    }
    let text = metrics.render();
    assert_eq!(value(&text, "gatewarden_rpcs_total{gateway=\"1\",method=\"other\",outcome=\"refused\"}"), Some(1000.0));
    assert!(!text.contains("made.up"));
}

#[test]
fn a_latency_falls_into_its_bucket_and_all_above() {
    let metrics = Metrics::new();
    metrics.publish_gateway(&record(FIRST, "prod", false), &online(), true);
    for millis in [1, 30, 20_000] {
        metrics.count(FIRST, &Count::Latency(Duration::from_millis(millis)));
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
    metrics.publish_gateway(&record(FIRST, "prod", false), &GatewayReport::unknown(0), false);
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

#[test]
fn a_full_rendering_holds_every_declared_family_and_nothing_else() {
    let text = full().render();
    let rendered: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let declared: HashSet<&str> = families().map(|family| family.name).collect();
    assert_eq!(rendered, declared);
}

#[test]
fn every_family_is_declared_once_with_a_sentence() {
    let mut seen = HashSet::new();
    for family in families() {
        assert!(seen.insert(family.name), "{} twice", family.name);
        assert!(family.help.ends_with('.') && family.help.len() > 10, "{}", family.name);
        assert!(!family.help.contains('|'), "{}: would break the table", family.name);
    }
}

#[test]
fn a_usable_a_blocked_and_a_drained_gateway_show_as_such() {
    let metrics = Metrics::new();
    let mut report = online();
    report.phase = crate::gateway_report::Phase::Ready;
    metrics.publish_gateway(&record(FIRST, "prod", true), &report, true);
    report.phase = crate::gateway_report::Phase::Blocked;
    metrics.publish_gateway(&record(SECOND, "spare", false), &report, false);
    let text = metrics.render();
    for (series, expected) in [
        ("gatewarden_gateway_up{gateway=\"1\"}", 1.0),
        ("gatewarden_gateway_up{gateway=\"2\"}", 0.0),
        ("gatewarden_gateway_blocked{gateway=\"1\"}", 0.0),
        ("gatewarden_gateway_blocked{gateway=\"2\"}", 1.0),
        ("gatewarden_gateway_drained{gateway=\"1\"}", 1.0),
        ("gatewarden_gateway_state_changed_timestamp_seconds{gateway=\"1\"}", 1.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}");
    }
}

#[test]
fn spawns_events_and_the_stores_jobs_are_counted() {
    let metrics = Metrics::new();
    metrics.count_spawn(SpawnState::Completed);
    metrics.count_spawn(SpawnState::Completed);
    metrics.set_spawns_open(3);
    metrics.count_event(EventKind::GatewayStatus, 4, 2);
    metrics.count_events_lost(5);
    metrics.observe_store_job("writer", Duration::from_millis(3), true);
    metrics.observe_store_job("writer", Duration::from_millis(3), false);
    metrics.set_config_reload(false);
    metrics.count_primary_change();
    let text = metrics.render();
    for (series, expected) in [
        ("gatewarden_spawns_total{state=\"completed\"}", 2.0),
        ("gatewarden_spawns_total{state=\"lost\"}", 0.0),
        ("gatewarden_spawns_open", 3.0),
        ("gatewarden_events_total{type=\"gateway.status\"}", 1.0),
        ("gatewarden_events_dropped_total{reason=\"slow_subscriber\"}", 2.0),
        ("gatewarden_events_dropped_total{reason=\"hub_full\"}", 5.0),
        ("gatewarden_event_subscribers", 4.0),
        ("gatewarden_store_job_duration_seconds_count{pool=\"writer\"}", 2.0),
        ("gatewarden_store_failures_total{pool=\"writer\"}", 1.0),
        ("gatewarden_config_last_reload_successful", 0.0),
        ("gatewarden_primary_changes_total", 1.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}");
    }
}

mod pages {
    //! What is written about metrics elsewhere must be true.

    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn file(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    fn read(path: &str) -> String {
        std::fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Words of a text that name a metric of this daemon.
    fn named(text: &str) -> BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("gatewarden_") || word.starts_with("process_"))
            // A crate, as in a filter of the log; and all names that begin so, as in `gatewarden_*`.
            .filter(|word| *word != "gatewarden_actors" && !word.ends_with('_'))
            // Codes of errors.
            .filter(|word| crate::error::ErrorCode::from_name(word).is_none())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_reference_is_what_the_code_says() {
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(file("docs/metrics.md"), reference()).unwrap();
        }
        assert!(
            read("docs/metrics.md") == reference(),
            "docs/metrics.md is out of date: UPDATE_DOCS=1 cargo test -p gatewarden-actors --lib metrics"
        );
    }

    #[test]
    fn rules_dashboard_and_pages_name_only_metrics_that_exist() {
        let known: BTreeSet<String> = series_names().into_iter().collect();
        for path in
            ["monitoring/alerts.yml", "monitoring/alerts-test.yml", "monitoring/dashboard.json", "docs/operations.md"]
        {
            let unknown: Vec<_> = named(&read(path)).into_iter().filter(|name| !known.contains(name)).collect();
            assert!(unknown.is_empty(), "{path} names {unknown:?}, which the daemon doesn't have");
        }
    }

    #[test]
    fn the_dashboard_is_json_and_every_panel_asks_for_something() {
        let dashboard: serde_json::Value = serde_json::from_str(&read("monitoring/dashboard.json")).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        assert!(panels.len() > 10);
        let mut ids = HashSet::new();
        for panel in panels {
            assert!(ids.insert(panel["id"].as_i64().unwrap()), "two panels of one id: {panel}");
            if panel["type"] == "row" {
                continue;
            }
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{panel}");
            for target in targets {
                assert!(!named(target["expr"].as_str().unwrap()).is_empty(), "{target}");
            }
        }
    }
}
