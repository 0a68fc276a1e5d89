//! Who is there, who may be made, and where their files may be.

use super::*;
use crate::clock::{CountingChance, Now};
use crate::config::{Auth, ConfiguredAgent};
use crate::effect::Effect;

fn agents(configured: &[&str]) -> Agents {
    let mut config = GatewayConfig::defaults(PathBuf::from("/state"), Auth::None);
    for id in configured {
        let agent = ConfiguredAgent {
            name: (*id).to_owned(),
            command: Some("echo".to_owned()),
            acp: None,
            workspace: PathBuf::from("/elsewhere").join(id),
            model: None,
        };
        config.agents.insert((*id).to_owned(), agent);
    }
    config.default_agent = configured.first().map(|id| (*id).to_owned());
    Agents::new(Arc::new(config), BTreeMap::new())
}

fn turn<T>(act: impl FnOnce(&mut Turn<'_>) -> T) -> (T, Vec<Effect>) {
    let mut chance = CountingChance::default();
    let mut turn = Turn::new(Now::read(), &mut chance);
    let done = act(&mut turn);
    (done, turn.into_effects())
}

fn named(name: &str) -> AgentFields {
    AgentFields { name: Some(name.to_owned()), ..AgentFields::default() }
}

#[test]
fn there_is_always_a_main_agent() {
    let agents = agents(&[]);
    assert_eq!(agents.default_id(), "main");
    let ids: Vec<String> = agents.list().into_iter().map(|agent| agent.id).collect();
    assert_eq!(ids, ["main"]);
    assert!(agents.resolve(None).is_ok_and(|agent| agent.command.is_none()));
}

#[test]
fn a_created_agent_is_kept_and_has_no_command() {
    let mut agents = agents(&["coder"]);
    let (agent, effects) = turn(|turn| agents.create(named("Worker One"), turn));
    let agent = agent.expect("created");
    assert_eq!((agent.id.as_str(), agent.command.as_deref()), ("worker-one", None));
    assert_eq!(agent.workspace, PathBuf::from("/state/workspaces/worker-one"));
    let [Effect::Write(FileChange::Replace { file, text })] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(file, Path::new(FILE));
    let kept: BTreeMap<String, CreatedAgent> = serde_json::from_str(text).expect("readable");
    assert!(kept.contains_key("worker-one"));
}

#[test]
fn an_id_is_taken_only_once() {
    let mut agents = agents(&["coder"]);
    let message = |outcome: Result<Agent, CallError>| outcome.expect_err("refused").message;
    assert_eq!(message(turn(|turn| agents.create(named("Coder"), turn)).0), "agent \"coder\" already exists");
    assert!(turn(|turn| agents.create(named("A B"), turn)).0.is_ok());
    assert_eq!(message(turn(|turn| agents.create(named("a-b"), turn)).0), "agent \"a-b\" already exists");
    assert_eq!(message(turn(|turn| agents.create(named("main"), turn)).0), "\"main\" is reserved");
    assert!(message(turn(|turn| agents.create(named("???"), turn)).0).contains("makes no id"));
}

#[test]
fn workspaces_of_created_agents_stay_in_their_place() {
    let mut agents = agents(&[]);
    let mut at = |path: &str| {
        let fields = AgentFields { workspace: Some(PathBuf::from(path)), ..named("W") };
        let made = turn(|turn| agents.create(fields, turn)).0;
        let _ = turn(|turn| agents.delete("w", turn));
        made.is_ok()
    };
    for path in ["/", "/etc", "workspaces/w", "/state/workspaces", "/state/workspaces/../../etc", "/state/sessions"] {
        assert!(!at(path), "{path}");
    }
    assert!(at("/state/workspaces/other"));
}

#[test]
fn configured_agents_are_changed_in_the_configuration_only() {
    let mut agents = agents(&["coder"]);
    assert!(turn(|turn| agents.update("coder", named("X"), turn)).0.is_err());
    assert!(turn(|turn| agents.delete("coder", turn)).0.is_err());
    assert!(turn(|turn| agents.delete("main", turn)).0.is_err());
    let (unknown, effects) = turn(|turn| agents.delete("nope", turn));
    assert_eq!(unknown.map_err(|error| error.message), Err("agent \"nope\" not found".to_owned()));
    assert!(effects.is_empty());
}

#[test]
fn an_update_sets_what_is_given_and_leaves_the_rest() {
    let mut agents = agents(&[]);
    let fields = AgentFields { model: Some("mock/m1".into()), ..named("Worker") };
    turn(|turn| agents.create(fields, turn)).0.expect("created");
    let agent = turn(|turn| agents.update("worker", named("Other"), turn)).0.expect("updated");
    assert_eq!((agent.name.as_str(), agent.model.as_deref()), ("Other", Some("mock/m1")));
    assert!(turn(|turn| agents.delete("worker", turn)).0.is_ok());
    assert!(agents.find("worker").is_none());
}

#[test]
fn there_are_never_too_many_created_agents() {
    let mut agents = agents(&[]);
    for number in 0..CREATED {
        assert!(turn(|turn| agents.create(named(&format!("a{number}")), turn)).0.is_ok());
    }
    assert!(turn(|turn| agents.create(named("one more"), turn)).0.is_err_and(|error| error.code == "UNAVAILABLE"));
}

#[test]
fn names_become_ids() {
    for (name, id) in [
        ("Worker One", Some("worker-one")),
        ("  --Über 2!! ", Some("ber-2")),
        ("a_b", Some("a_b")),
        ("../../etc", Some("etc")),
        ("???", None),
        ("", None),
    ] {
        assert_eq!(slug(name).as_deref(), id, "{name:?}");
    }
    assert_eq!(slug(&"x".repeat(500)).map(|id| id.len()), Some(MAX_ID));
}
