use proptest::prelude::*;

use super::*;

fn row(key: &str, status: Option<SessionStatus>, updated_at_ms: i64) -> SessionRow {
    SessionRow { key: key.to_owned(), status, updated_at_ms: Some(updated_at_ms), ..SessionRow::default() }
}

fn run(key: &str, run_id: &str, running: bool) -> SessionsEvent {
    SessionsEvent::Run { key: key.to_owned(), run_id: Some(run_id.to_owned()), running, at_ms: Some(9) }
}

fn changed(row: SessionRow, whole: bool) -> SessionsEvent {
    SessionsEvent::Changed { row: Box::new(row), whole }
}

#[test]
fn a_list_replaces_what_was_known_and_only_then_the_count_is_known() {
    let mut table = SessionTable::default();
    assert!(!table.is_known());
    table.apply(run("a:1", "r", true));
    assert!(!table.is_known(), "an event is no list");
    table.replace(vec![row("b:1", Some(SessionStatus::Active), 1), row("b:2", None, 2)]);
    assert!(table.is_known());
    assert_eq!((table.len(), table.active_count()), (2, 1));
    assert!(table.get("a:1").is_none());
    table.clear();
    assert!(!table.is_known() && table.is_empty());
}

#[test]
fn a_partial_change_keeps_the_rest_and_a_whole_one_replaces_it() {
    let mut table = SessionTable::default();
    table.replace(vec![SessionRow { label: Some("L".into()), ..row("a:1", Some(SessionStatus::Active), 1) }]);
    assert_eq!(table.apply(changed(SessionRow { model: Some("m".into()), ..row("a:1", None, 2) }, false)), ["a:1"]);
    let known = table.get("a:1").unwrap();
    assert_eq!(
        (known.label.as_deref(), known.model.as_deref(), known.status),
        (Some("L"), Some("m"), Some(SessionStatus::Active))
    );
    table.apply(changed(row("a:1", Some(SessionStatus::Completed), 3), true));
    assert_eq!(table.get("a:1").unwrap(), &row("a:1", Some(SessionStatus::Completed), 3));
}

#[test]
fn a_part_of_many_sessions_changes_its_rows_and_forgets_no_others() {
    let mut table = SessionTable::default();
    table.replace(vec![row("a:1", Some(SessionStatus::Active), 1), row("a:2", None, 1)]);
    let part = vec![row("a:2", Some(SessionStatus::Active), 2), row("a:3", None, 2)];
    assert_eq!(table.apply(SessionsEvent::Part(part)), ["a:2", "a:3"]);
    assert_eq!((table.len(), table.active_count()), (3, 2));
    let mut unlisted = SessionTable::default();
    unlisted.apply(SessionsEvent::Part(vec![row("a:1", None, 1)]));
    assert!(!unlisted.is_known(), "a part is no list");
}

#[test]
fn a_change_that_changes_nothing_is_not_told() {
    let mut table = SessionTable::default();
    table.replace(vec![row("a:1", Some(SessionStatus::Active), 1)]);
    assert!(table.apply(changed(row("a:1", Some(SessionStatus::Active), 1), true)).is_empty());
    assert!(table.apply(SessionsEvent::Removed { key: "unknown".into() }).is_empty());
    assert_eq!(table.apply(SessionsEvent::Removed { key: "a:1".into() }), ["a:1"]);
    assert!(table.is_empty());
}

#[test]
fn the_end_of_an_earlier_run_does_not_end_the_one_under_way() {
    let mut table = SessionTable::default();
    table.apply(run("agent:main:a", "r1", true));
    table.apply(run("agent:main:a", "r2", true));
    assert!(table.apply(run("agent:main:a", "r1", false)).is_empty());
    assert_eq!(table.active_count(), 1);
    assert_eq!(table.apply(run("agent:main:a", "r2", false)), ["agent:main:a"]);
    assert_eq!(table.active_count(), 0);
    assert_eq!(table.get("agent:main:a").unwrap().agent.as_deref(), Some("main"));
}

#[test]
fn no_flood_of_sessions_grows_the_table_past_its_bound() {
    let mut table = SessionTable::default();
    for number in 0..(MAX_SESSIONS + 50) {
        table.apply(run(&format!("a:{number}"), "r", true));
    }
    assert_eq!(table.len(), MAX_SESSIONS);
    assert!(table.get("a:0").is_some());
    table.replace((0..(MAX_SESSIONS + 50)).map(|number| row(&format!("b:{number}"), None, 0)).collect());
    assert_eq!(table.len(), MAX_SESSIONS);
}

#[test]
fn sessions_are_shown_newest_first() {
    let mut table = SessionTable::default();
    table.replace(vec![
        row("b", None, 5),
        row("a", None, 5),
        row("c", None, 9),
        SessionRow { key: "d".into(), ..SessionRow::default() },
    ]);
    let keys: Vec<&str> = table.newest_first().iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys, ["c", "a", "b", "d"]);
}

#[test]
fn a_row_that_was_overtaken_fills_gaps_and_changes_nothing_else() {
    let mut table = SessionTable::default();
    table.replace(vec![row("a:1", Some(SessionStatus::Active), 10)]);
    table.apply(changed(SessionRow { label: Some("L".into()), ..row("a:1", Some(SessionStatus::Completed), 9) }, true));
    let known = table.get("a:1").unwrap();
    assert_eq!(
        (known.status, known.label.as_deref(), known.updated_at_ms),
        (Some(SessionStatus::Active), Some("L"), Some(10))
    );
    let certain = SessionRow { has_active_run: Some(false), ..row("a:1", Some(SessionStatus::Completed), 9) };
    table.apply(changed(certain, true));
    assert_eq!(table.active_count(), 0);
}

#[test]
fn the_sign_of_an_active_run_follows_the_run() {
    let mut table = SessionTable::default();
    let running = SessionRow {
        has_active_run: Some(true),
        run_id: Some("r".into()),
        ..row("a:1", Some(SessionStatus::Active), 1)
    };
    table.replace(vec![running]);
    table.apply(run("a:1", "r", false));
    assert_eq!(table.get("a:1").unwrap().has_active_run, Some(false));
}

#[test]
fn a_row_without_a_status_does_not_undo_the_end_of_a_run() {
    let mut table = SessionTable::default();
    table.replace(vec![row("a:1", None, 1)]);
    assert_eq!(table.get("a:1").unwrap().status, None, "it has had no run");
    table.apply(run("a:1", "r", true));
    table.apply(run("a:1", "r", false));
    table.apply(changed(row("a:1", None, 10), true));
    assert_eq!(table.get("a:1").unwrap().status, Some(SessionStatus::Completed));
    table.replace(vec![row("a:1", None, 10)]);
    assert_eq!(table.get("a:1").unwrap().status, Some(SessionStatus::Completed));
}

#[test]
fn a_row_that_sticks_at_running_does_not_bring_an_aborted_run_back() {
    let running = |started_at: i64, updated_at: i64| SessionRow {
        started_at_ms: Some(started_at),
        ..row("agent:main:a", Some(SessionStatus::Active), updated_at)
    };
    let status = |table: &SessionTable| table.get("agent:main:a").unwrap().status;
    let mut table = SessionTable::default();
    table.replace(vec![running(1, 1)]);
    table.apply(run("agent:main:a", "r1", false));
    assert_eq!(status(&table), Some(SessionStatus::Completed));

    table.apply(changed(running(1, 10), true));
    assert_eq!(status(&table), Some(SessionStatus::Completed), "a whole row");
    table.apply(changed(running(1, 11), false));
    assert_eq!(status(&table), Some(SessionStatus::Completed), "a partial row");
    table.replace(vec![running(1, 12)]);
    assert_eq!(status(&table), Some(SessionStatus::Completed), "a list");
    table.replace(vec![running(1, 12)]);
    assert_eq!(status(&table), Some(SessionStatus::Completed), "a second list");

    table.replace(vec![running(13, 13)]);
    assert_eq!(status(&table), Some(SessionStatus::Active), "another run of this session");
    table.apply(run("agent:main:a", "r2", false));
    table.apply(run("agent:main:a", "r3", true));
    assert_eq!(status(&table), Some(SessionStatus::Active), "another run, told by its begin");
    let certain = SessionRow { has_active_run: Some(true), ..running(13, 14) };
    table.apply(run("agent:main:a", "r3", false));
    table.apply(changed(certain, true));
    assert_eq!(status(&table), Some(SessionStatus::Active), "a row that says so itself is believed");
}

#[test]
fn rows_of_long_names_are_taken_in_as_far_as_their_bytes_reach() {
    let long = |n: usize| {
        let name = Some(format!("{n:0>512}"));
        SessionRow {
            agent: name.clone(),
            model: name.clone(),
            kind: name.clone(),
            label: name,
            ..row(&n.to_string(), None, 1)
        }
    };
    let mut table = SessionTable::default();
    table.replace((0..MAX_SESSIONS).map(long).collect());
    assert!(table.len() < MAX_SESSIONS && table.held_bytes() <= MAX_SESSIONS_BYTES);
    let left_out = MAX_SESSIONS + 1;
    assert!(table.apply(changed(long(left_out), true)).is_empty(), "there is no room for it");
    assert_eq!(table.apply(SessionsEvent::Removed { key: "0".into() }), ["0"]);
    assert_eq!(table.apply(changed(long(left_out), true)), [left_out.to_string()], "there is now");
}

#[test]
fn ten_thousand_sessions_as_gateways_have_them_are_all_taken_in() {
    let real = |n: usize| SessionRow {
        agent: Some("researcher".into()),
        model: Some("claude-sonnet-4-5".into()),
        kind: Some("direct".into()),
        label: Some("Weekly report of the team".into()),
        run_id: Some("11111111-2222-4333-8444-555555555555".into()),
        ..row(&format!("agent:researcher:telegram:direct:{n:010}"), Some(SessionStatus::Completed), 1)
    };
    let mut table = SessionTable::default();
    table.replace((0..MAX_SESSIONS).map(real).collect());
    assert_eq!(table.len(), MAX_SESSIONS);
}

#[test]
fn rows_that_were_given_out_are_counted_until_others_are() {
    let mut table = SessionTable::default();
    let rows = |label: &'static str| {
        (0..100).map(|n| SessionRow { label: Some(label.into()), ..row(&n.to_string(), None, 1) })
    };
    table.replace(rows("a").collect());
    let once = table.held_bytes();
    let given = table.give_out();
    assert_eq!(table.held_bytes(), once, "shared");
    table.replace(rows("a").collect());
    assert_eq!(table.held_bytes(), once, "nothing changed: still shared");
    table.replace(rows("b").collect());
    assert_eq!(table.held_bytes(), 2 * once, "the old ones are still held");
    drop(given);
    let _given = table.give_out();
    assert_eq!(table.held_bytes(), once);
}

#[test]
fn a_row_that_names_an_ended_run_as_the_active_one_is_behind_until_that_run_is_tried_again() {
    let mut table = SessionTable::default();
    let stale =
        SessionRow { has_active_run: Some(true), run_id: Some("r".into()), ..row("a", Some(SessionStatus::Active), 2) };
    table.replace(vec![stale.clone()]);
    table.apply(run("a", "r", false));
    for news in
        [changed(stale.clone(), true), changed(stale.clone(), false), SessionsEvent::Snapshot(vec![stale.clone()])]
    {
        table.apply(news);
        assert_eq!(table.get("a").unwrap().status, Some(SessionStatus::Completed));
    }
    table.apply(run("a", "r", true));
    assert!(table.get("a").unwrap().is_active(), "a new try of the same run");
    table.apply(run("a", "r", false));
    table.apply(changed(SessionRow { run_id: Some("next".into()), ..stale }, true));
    assert!(table.get("a").unwrap().is_active(), "another run");
}

fn any_row() -> impl Strategy<Value = SessionRow> {
    let status = prop::option::of(prop_oneof![Just(SessionStatus::Active), Just(SessionStatus::Completed)]);
    let error = prop::option::of(0_usize..400_000);
    (0_u32..40, status, 0_usize..400_000, error).prop_map(|(key, status, label, error)| SessionRow {
        label: Some("l".repeat(label)),
        run_error: error.map(|length| "e".repeat(length)),
        ..row(&key.to_string(), status, 1)
    })
}

fn any_event() -> impl Strategy<Value = SessionsEvent> {
    prop_oneof![
        prop::collection::vec(any_row(), 0..60).prop_map(SessionsEvent::Snapshot),
        prop::collection::vec(any_row(), 0..10).prop_map(SessionsEvent::Part),
        (any_row(), any::<bool>()).prop_map(|(row, whole)| changed(row, whole)),
        (0_u32..40).prop_map(|key| SessionsEvent::Removed { key: key.to_string() }),
        (0_u32..40, any::<bool>()).prop_map(|(key, running)| run(&key.to_string(), "r", running)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn whatever_comes_the_rows_keep_within_their_bytes_and_the_active_ones_are_counted(events in prop::collection::vec(any_event(), 0..30)) {
        let mut table = SessionTable::default();
        let mut given = Vec::new();
        for (number, event) in events.into_iter().enumerate() {
            table.apply(event);
            let kept: usize = table.newest_first().iter().map(|row| row.held_bytes()).sum();
            prop_assert!(kept <= MAX_SESSIONS_BYTES);
            prop_assert_eq!(kept, table.bytes);
            let active = table.newest_first().iter().filter(|row| row.is_active()).count();
            prop_assert_eq!(active, table.active_count() as usize);
            let outdated: usize = given
                .iter()
                .filter(|row: &&Arc<SessionRow>| !table.rows.get(&row.key).is_some_and(|kept| Arc::ptr_eq(kept, row)))
                .map(|row| row.held_bytes())
                .sum();
            prop_assert_eq!(outdated, table.outdated_bytes);
            if number.is_multiple_of(3) {
                given = table.give_out();
            }
        }
    }
}
