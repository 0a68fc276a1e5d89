use gatewarden_actors::gateway_report::SessionSnapshot;
use gatewarden_actors::ids::GatewayId;
use proptest::prelude::*;

use super::*;

fn row(key: &str, updated_at_ms: Option<i64>) -> SessionRow {
    SessionRow { key: key.to_owned(), updated_at_ms, ..SessionRow::default() }
}

fn snapshot(rows: Vec<SessionRow>) -> SessionSnapshot {
    SessionSnapshot { rows: rows.into_iter().map(std::sync::Arc::new).collect(), as_of_ms: 1, complete: true }
}

fn sources(snapshots: &[SessionSnapshot]) -> Vec<Source<'_>> {
    snapshots
        .iter()
        .zip(1..)
        .map(|(sessions, id)| Source { id: GatewayId(id), name: "g", reachable: true, sessions })
        .collect()
}

fn shown(snapshots: &[SessionSnapshot], wanted: Wanted<'_>, limit: usize, offset: usize) -> (Vec<String>, usize) {
    let sources = sources(snapshots);
    let (page, total) = merge(&sources, wanted, Page { limit, offset });
    (page.iter().map(|found| format!("{}@{}", found.row.key, found.source.id.0)).collect(), total)
}

#[test]
fn the_newest_of_all_gateways_come_first_and_ties_are_settled_by_key_and_gateway() {
    let snapshots = [
        snapshot(vec![row("b", Some(5)), row("a", Some(5)), row("never", None)]),
        snapshot(Vec::new()),
        snapshot(vec![row("new", Some(9)), row("a", Some(5)), row("old", Some(1))]),
    ];
    let (keys, total) = shown(&snapshots, Wanted::default(), 50, 0);
    assert_eq!(keys, ["new@3", "a@1", "a@3", "b@1", "old@3", "never@1"]);
    assert_eq!(total, 6);
}

#[test]
fn a_page_is_cut_after_the_order_and_the_total_counts_all() {
    let snapshots = [snapshot(vec![row("a", Some(4)), row("b", Some(2))]), snapshot(vec![row("c", Some(3))])];
    assert_eq!(shown(&snapshots, Wanted::default(), 2, 1), (vec!["c@2".to_owned(), "b@1".to_owned()], 3));
    assert_eq!(shown(&snapshots, Wanted::default(), 2, 3), (Vec::new(), 3));
    assert_eq!(shown(&snapshots, Wanted::default(), 200, usize::MAX).1, 3);
}

#[test]
fn filters_count_and_show_only_what_they_take() {
    let of = |key: &str, agent: Option<&str>, status| SessionRow {
        agent: agent.map(str::to_owned),
        status,
        ..row(key, Some(1))
    };
    let snapshots = [snapshot(vec![
        of("a", Some("researcher"), Some(SessionStatus::Active)),
        of("b", Some("researcher"), Some(SessionStatus::Completed)),
        of("c", Some("main"), Some(SessionStatus::Active)),
        of("d", None, None),
    ])];
    let by_agent = Wanted { agent: Some("researcher"), status: None };
    assert_eq!(shown(&snapshots, by_agent, 50, 0), (vec!["a@1".to_owned(), "b@1".to_owned()], 2));
    let active = Wanted { agent: None, status: Some(SessionStatus::Active) };
    assert_eq!(shown(&snapshots, active, 50, 0), (vec!["a@1".to_owned(), "c@1".to_owned()], 2));
    let both = Wanted { agent: Some("researcher"), status: Some(SessionStatus::Active) };
    assert_eq!(shown(&snapshots, both, 50, 0), (vec!["a@1".to_owned()], 1));
    assert_eq!(shown(&snapshots, Wanted { agent: Some("nobody"), status: None }, 50, 0), (Vec::new(), 0));
}

#[test]
fn ten_thousand_gateways_with_few_sessions_hold_little_more_than_a_page() {
    let snapshots: Vec<_> = (0..10_000)
        .map(|id| {
            let rows = if id % 2 == 0 { Vec::new() } else { vec![row("k", Some(id)), row("l", Some(id - 1))] };
            snapshot(rows)
        })
        .collect();
    let sources = sources(&snapshots);
    let (page, total) = merge(&sources, Wanted::default(), Page { limit: 3, offset: 0 });
    assert_eq!(total, 10_000);
    let shown: Vec<_> = page.iter().map(|found| (found.row.updated_at_ms, found.source.id.0)).collect();
    assert_eq!(shown, [(Some(9_999), 10_000), (Some(9_998), 10_000), (Some(9_997), 9_998)]);
}

proptest! {
    #[test]
    fn pages_put_together_are_the_whole_sorted_list(
        times in proptest::collection::vec(proptest::collection::vec(proptest::option::of(0_i64..20), 0..12), 0..8),
        limit in 1_usize..7,
    ) {
        let snapshots: Vec<_> = times
            .iter()
            .map(|times| {
                let rows = times.iter().enumerate().map(|(number, time)| row(&format!("k{number}"), *time));
                snapshot(rows.collect())
            })
            .collect();
        let mut all: Vec<(i64, String, i64)> = Vec::new();
        for (snapshot, id) in snapshots.iter().zip(1_i64..) {
            all.extend(snapshot.rows.iter().map(|row| (-row.updated_at_ms.unwrap_or(-1), row.key.clone(), id)));
        }
        all.sort();
        let expected: Vec<String> = all.into_iter().map(|(_, key, id)| format!("{key}@{id}")).collect();
        let mut got = Vec::new();
        loop {
            let (page, total) = shown(&snapshots, Wanted::default(), limit, got.len());
            prop_assert_eq!(total, expected.len());
            if page.is_empty() {
                break;
            }
            got.extend(page);
        }
        prop_assert_eq!(got, expected);
    }
}
