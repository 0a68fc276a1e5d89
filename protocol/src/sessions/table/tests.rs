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
