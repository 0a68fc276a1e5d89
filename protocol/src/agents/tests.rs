use serde_json::json;

use super::*;

fn ids(rows: &[AgentRow]) -> Vec<(&str, bool)> {
    rows.iter().map(|row| (row.id.as_str(), row.is_default)).collect()
}

#[test]
fn the_agents_of_protocol_3_have_an_id_and_perhaps_a_name() {
    let rows = read_agents(&json!({"defaultId": "main", "mainKey": "main", "scope": "per-sender",
        "agents": [{"id": "main"}, {"id": "worker-one", "name": "Worker One"}]}))
    .unwrap();
    assert_eq!(ids(&rows), [("main", true), ("worker-one", false)]);
    assert_eq!((rows[0].shown_name(), rows[1].shown_name()), ("main", "Worker One"));
}

#[test]
fn the_agents_of_protocol_4_tell_model_and_workspace() {
    let rows = read_agents(&json!({"defaultId": "worker-one", "agents": [{"id": "worker-one",
        "identity": {"name": "Worker One"}, "workspace": "/srv/w", "model": {"primary": "mock/m1"}, "createdAt": 1}]}))
    .unwrap();
    assert_eq!(
        rows,
        [AgentRow {
            id: "worker-one".into(),
            name: Some("Worker One".into()),
            role: None,
            model: Some("mock/m1".into()),
            workspace: Some("/srv/w".into()),
            is_default: true,
        }]
    );
}

#[test]
fn a_configuration_lists_agents_in_either_form() {
    let list = json!({"path": "p", "config": {"agents": {"defaults": {"model": "x"}, "list": [
        {"id": "main", "workspace": "/w", "model": "mock/m1"}, {"id": "y", "name": "Y"}]}}});
    assert_eq!(ids(&read_config_agents(&list).unwrap()), [("main", true), ("y", false)]);
    let entries = json!({"parsed": {"agents": {"defaults": {}, "entries": {"main": {}, "y": {"name": "Y", "model": {"primary": "m"}}}}}});
    let rows = read_config_agents(&entries).unwrap();
    assert_eq!(ids(&rows), [("main", true), ("y", false)]);
    assert_eq!((rows[1].name.as_deref(), rows[1].model.as_deref()), (Some("Y"), Some("m")));
    let plain = json!({"agents": [{"name": "researcher", "role": "research", "model": "claude"}, "writer"]});
    let rows = read_config_agents(&plain).unwrap();
    assert_eq!(ids(&rows), [("researcher", false), ("writer", false)]);
    assert_eq!(rows[0].role.as_deref(), Some("research"));
    let map = json!({"agents": {"researcher": {"model": "claude"}}});
    assert_eq!(ids(&read_config_agents(&map).unwrap()), [("researcher", true)]);
}

#[test]
fn a_configuration_that_names_no_agent_has_the_one_that_always_exists() {
    for config in
        [json!({"parsed": {}}), json!({"agents": {"defaults": {"model": "m"}}}), json!({"agents": {"entries": {}}})]
    {
        assert_eq!(ids(&read_config_agents(&config).unwrap()), [("main", true)], "{config}");
    }
}

#[test]
fn what_is_no_list_of_agents_is_none_and_bad_rows_are_left_out() {
    for document in [json!(null), json!([]), json!("x"), json!({"agents": 5})] {
        assert_eq!(read_agents(&document), None, "{document}");
    }
    assert_eq!(read_config_agents(&json!("…trimmed…")), None);
    let rows = read_agents(&json!({"agents": [{}, 5, null, {"id": ""}, {"id": "a\nb"}, {"id": "ok"}]})).unwrap();
    assert_eq!(ids(&rows), [("ok", true)]);
}

#[test]
fn no_gateway_makes_us_hold_more_than_a_thousand_agents() {
    let many: Vec<Value> = (0..3_000).map(|number| json!({"id": format!("a{number}")})).collect();
    assert_eq!(read_agents(&json!({"agents": many})).unwrap().len(), MAX_AGENTS);
    let map: serde_json::Map<String, Value> = (0..3_000).map(|number| (format!("a{number}"), json!({}))).collect();
    assert_eq!(read_config_agents(&json!({"agents": {"entries": map}})).unwrap().len(), MAX_AGENTS);
}

#[test]
fn agents_of_long_names_are_kept_as_far_as_their_bytes_reach() {
    let name = |number: usize| format!("{number:0>512}");
    let row = |n: usize| json!({"id": format!("a{n}"), "name": name(n), "role": name(n), "model": name(n), "workspace": name(n)});
    let rows = read_agents(&json!({"agents": (0..1_000).map(row).collect::<Vec<_>>()})).unwrap();
    assert!(rows.iter().map(AgentRow::held_bytes).sum::<usize>() <= MAX_AGENTS_BYTES);
    assert!((300..1_000).contains(&rows.len()), "{}", rows.len());
}
