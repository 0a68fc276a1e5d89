//! `docs/operations.md` names everything that an operator may meet: codes and exit codes; `docs/metrics.md` each metric.

use gatewarden_actors::error::ErrorCode;
use gatewarden_protocol::refusal::RefusalCode;

use super::support::daemon::Setup;

const PAGE: &str = include_str!("../../docs/operations.md");
const METRICS: &str = include_str!("../../docs/metrics.md");

fn names(word: &str) -> bool {
    PAGE.contains(&format!("`{word}`"))
}

#[test]
fn every_error_code_is_on_the_page() {
    let missing: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).filter(|code| !names(code)).collect();
    assert!(missing.is_empty(), "docs/operations.md says nothing of {missing:?}");
}

#[test]
fn every_reason_of_a_gateway_is_on_the_page() {
    let missing: Vec<_> = RefusalCode::ALL.iter().map(|code| code.as_str()).filter(|code| !names(code)).collect();
    assert!(missing.is_empty(), "docs/operations.md says nothing of {missing:?}");
}

#[test]
fn every_metric_of_a_running_daemon_is_in_the_reference() {
    let daemon = Setup::new().start();
    daemon.get("/health").expect(200);
    let text = daemon.get("/metrics").expect(200).text;
    let metrics: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| !METRICS.contains(&format!("`{name}`")))
        .collect();
    assert!(metrics.is_empty(), "docs/metrics.md says nothing of {metrics:?}");
}
