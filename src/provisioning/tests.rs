use std::cell::RefCell;
use std::collections::BTreeMap;

use gatewarden_api::organization::{TemplatesSyncAnswer, TemplatesSyncFiles};

use super::agent_files::FilesDone;
use super::main_agent::provision;
use super::sync::{SyncOptions, sync};
use super::*;
use crate::templates;

/// A gateway in memory: agents, their files, and what it refuses.
#[derive(Default)]
struct Scripted {
    default: Option<&'static str>,
    agents: RefCell<Vec<String>>,
    files: RefCell<BTreeMap<(String, String), String>>,
    /// The names of files that it takes.
    takes: Vec<&'static str>,
    /// Methods that fail, with what.
    fails: RefCell<BTreeMap<&'static str, Failure>>,
    /// Whether a refused creation has been carried out all the same.
    creates_in_secret: bool,
    has_hashes: bool,
    called: RefCell<Vec<(String, Value)>>,
}

const BOTH: [&str; 3] = ["AGENTS.md", "HEARTBEAT.md", "TOOLS.md"];

fn gateway(default: Option<&'static str>, agents: &[&str]) -> Scripted {
    Scripted {
        default,
        agents: RefCell::new(agents.iter().map(|id| (*id).to_owned()).collect()),
        takes: BOTH.to_vec(),
        ..Scripted::default()
    }
}

fn refused(words: &str) -> Failure {
    Failure::new(ErrorCode::GatewayRefused, format!("Gateway \"prod\" refused: {words}"))
}

impl Scripted {
    fn fail(&self, method: &'static str, code: ErrorCode) {
        self.fails.borrow_mut().insert(method, Failure::new(code, format!("no {method} today")));
    }

    fn file(&self, agent: &str, name: &str) -> Option<String> {
        self.files.borrow().get(&(agent.to_owned(), name.to_owned())).cloned()
    }

    fn put(&self, agent: &str, name: &str, content: &str) {
        self.files.borrow_mut().insert((agent.to_owned(), name.to_owned()), content.to_owned());
    }

    fn asked(&self, method: &str) -> Vec<Value> {
        let called = self.called.borrow();
        called.iter().filter(|(name, _)| name == method).map(|(_, params)| params.clone()).collect()
    }

    fn create(&self, params: &Value) -> Value {
        let id = params["name"].as_str().unwrap().to_lowercase().replace(' ', "-");
        self.agents.borrow_mut().push(id.clone());
        self.put(&id, "AGENTS.md", "how gateways begin it\n");
        json!({"ok": true, "agentId": id, "name": params["name"], "workspace": params["workspace"]})
    }
}

impl GatewayCaller for Scripted {
    async fn call_once(&self, method: &str, params: Value) -> Result<Value, Failure> {
        self.call(method, params).await
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        self.called.borrow_mut().push((method.to_owned(), params.clone()));
        if let Some(failure) = self.fails.borrow().get(method) {
            if method == "agents.create" && self.creates_in_secret {
                self.create(&params);
            }
            return Err(failure.clone());
        }
        let (agent, name) =
            (params["agentId"].as_str().unwrap_or_default(), params["name"].as_str().unwrap_or_default());
        if method.starts_with("agents.files.") {
            if !self.takes.contains(&name) {
                return Err(refused(&format!("unsupported file \"{name}\"")));
            }
            if !self.agents.borrow().iter().any(|id| id == agent) {
                return Err(refused("unknown agent id"));
            }
        }
        Ok(match method {
            "agents.list" => {
                let agents: Vec<Value> = self.agents.borrow().iter().map(|id| json!({"id": id})).collect();
                json!({"defaultId": self.default, "mainKey": "main", "agents": agents})
            }
            "agents.create" => self.create(&params),
            "agents.files.get" => match self.file(agent, name) {
                None => json!({"agentId": agent, "file": {"name": name, "missing": true}}),
                Some(content) if self.has_hashes => {
                    json!({"file": {"name": name, "missing": false, "content": content, "hash": "h1"}})
                }
                Some(content) => json!({"file": {"name": name, "missing": false, "content": content}}),
            },
            "agents.files.set" => {
                self.put(agent, name, params["content"].as_str().unwrap());
                json!({"ok": true})
            }
            "sessions.reset" => json!({"ok": true}),
            other => panic!("nobody asks for {other}"),
        })
    }
}

fn facts() -> GatewayFacts {
    GatewayFacts {
        id: "55cc268a-4b45-400f-accf-201e025232ac".to_owned(),
        name: "prod".to_owned(),
        url: "ws://127.0.0.1:18789".to_owned(),
        organization_id: "0c0c0c0c-0000-4000-8000-000000000000".to_owned(),
        workspace_root: Some("/srv/workspaces/".to_owned()),
    }
}

fn shipped(overwrite: bool) -> (Templates, bool) {
    (Templates::shipped(), overwrite)
}

fn writing((templates, overwrite): &(Templates, bool)) -> Writing<'_> {
    Writing { templates, overwrite: *overwrite }
}

const ALL: SyncOptions =
    SyncOptions { include_main: true, overwrite: false, reset_sessions: false, rotate_tokens: false };

async fn run(gateway: &Scripted, options: SyncOptions) -> TemplatesSyncAnswer {
    sync(gateway, &facts(), None, &[], options, &Templates::shipped()).await.unwrap().0
}

#[actix_web::test]
async fn the_gateways_own_default_agent_is_the_main_one_and_gets_its_files() {
    let gateway = gateway(Some("main"), &["worker", "main"]);
    let how = shipped(false);
    let (main, files) = provision(&gateway, &facts(), None, writing(&how)).await.unwrap();
    assert_eq!((main.agent.id.as_str(), main.created), ("main", false));
    assert_eq!(files.written, BOTH);
    let text = gateway.file("main", "AGENTS.md").unwrap();
    assert!(text.contains("main agent of prod") && text.contains("/srv/workspaces/"), "{text}");
    assert!(gateway.file("worker", "AGENTS.md").is_none() && gateway.asked("agents.create").is_empty());

    let (_, again) = provision(&gateway, &facts(), Some("main"), writing(&how)).await.unwrap();
    assert_eq!(again, FilesDone { unchanged: BOTH.map(str::to_owned).to_vec(), ..FilesDone::default() });
    assert_eq!(gateway.asked("agents.files.set").len(), 3, "nothing is written twice");
}

#[actix_web::test]
async fn what_was_recorded_goes_before_the_default_as_long_as_it_is_there() {
    let gateway = gateway(Some("main"), &["main", "chief"]);
    let how = shipped(false);
    let of = async |recorded| provision(&gateway, &facts(), recorded, writing(&how)).await.unwrap().0.agent.id;
    assert_eq!(of(Some("chief")).await, "chief");
    assert_eq!(of(Some("gone")).await, "main");
}

#[actix_web::test]
async fn a_gateway_without_a_default_agent_gets_one_and_only_one() {
    let gateway = gateway(None, &[]);
    let how = shipped(false);
    let (main, _) = provision(&gateway, &facts(), None, writing(&how)).await.unwrap();
    assert_eq!((main.agent.id.as_str(), main.created), ("gateway-agent-prod", true));
    let wanted = json!({"name": "Gateway Agent prod", "workspace": "/srv/workspaces/gateway-agent-prod"});
    assert_eq!(gateway.asked("agents.create"), [wanted]);
    gateway.agents.borrow_mut().extend(["a".to_owned(), "b".to_owned()]);
    let (again, _) = provision(&gateway, &facts(), None, writing(&how)).await.unwrap();
    assert_eq!((again.agent.id.as_str(), again.created), ("gateway-agent-prod", false));
    assert_eq!(gateway.asked("agents.create").len(), 1);
}

#[actix_web::test]
async fn a_creation_whose_answer_was_lost_is_found_and_not_repeated() {
    let gateway = Scripted { creates_in_secret: true, ..gateway(None, &[]) };
    gateway.fail("agents.create", ErrorCode::GatewayUnavailable);
    let how = shipped(false);
    let (main, _) = provision(&gateway, &facts(), None, writing(&how)).await.unwrap();
    assert_eq!((main.agent.id.as_str(), main.created), ("gateway-agent-prod", true));
    let text = gateway.file("gateway-agent-prod", "AGENTS.md").unwrap();
    assert!(templates::is_unchanged(&text), "the gateway's own beginning is nobody's words: {text}");
    assert_eq!(gateway.asked("agents.create").len(), 1);
}

#[actix_web::test]
async fn a_failure_tells_its_step_and_keeps_its_code() {
    for (method, step, default) in [
        ("agents.list", "list_agents", Some("main")),
        ("agents.create", "create_agent", None),
        ("agents.files.get", "write_files", Some("main")),
        ("agents.files.set", "write_files", Some("main")),
    ] {
        for code in [ErrorCode::GatewayRefused, ErrorCode::GatewayUnavailable] {
            let gateway = gateway(default, default.as_slice());
            gateway.fail(method, code);
            let how = shipped(false);
            let failure = provision(&gateway, &facts(), None, writing(&how)).await.unwrap_err();
            assert_eq!((failure.code, &failure.details.unwrap()["step"]), (code, &json!(step)), "{method}");
            assert!(failure.message.contains(&format!("no {method} today")), "{}", failure.message);
        }
    }
}

#[actix_web::test]
async fn a_file_that_the_release_does_not_take_is_skipped_and_no_error() {
    let gateway = Scripted { takes: vec!["AGENTS.md"], ..gateway(Some("main"), &["main"]) };
    let how = shipped(false);
    let done = provision(&gateway, &facts(), None, writing(&how)).await.unwrap().1;
    assert_eq!((done.written.len(), done.skipped), (1, vec!["HEARTBEAT.md".to_owned(), "TOOLS.md".to_owned()]));

    gateway.fail("agents.files.get", ErrorCode::NotSupportedByGateway);
    let done = provision(&gateway, &facts(), None, writing(&how)).await.unwrap().1;
    assert!(done.none_taken() && done.skipped.len() == 3, "{done:?}");
}

#[actix_web::test]
async fn what_somebody_else_wrote_stays_unless_overwriting_is_asked_for() {
    let gateway = Scripted { has_hashes: true, ..gateway(Some("main"), &["main"]) };
    gateway.put("main", "AGENTS.md", "the operator's own words\n");
    gateway.put("main", "TOOLS.md", &format!("{}\nand a note of the agent\n", templates::marked("sent before")));
    gateway.put("main", "HEARTBEAT.md", &templates::marked("sent before, of an older template"));
    let synced = run(&gateway, ALL).await;
    assert_eq!(synced.files, TemplatesSyncFiles { written: 1, unchanged: 0, kept: 2, skipped: 0 });
    assert!(synced.main_updated && !synced.overwrite);
    assert_eq!(gateway.file("main", "AGENTS.md").unwrap(), "the operator's own words\n");
    assert!(gateway.file("main", "HEARTBEAT.md").unwrap().contains("HEARTBEAT_OK"));
    assert_eq!(gateway.asked("agents.files.set")[0]["expectedHash"], "h1", "no change of others is lost");

    let synced = run(&gateway, SyncOptions { overwrite: true, ..ALL }).await;
    assert_eq!(synced.files, TemplatesSyncFiles { written: 2, unchanged: 1, kept: 0, skipped: 0 });
    assert!(synced.overwrite);
    assert!(gateway.file("main", "AGENTS.md").unwrap().contains("main agent of prod"));
}

#[actix_web::test]
async fn a_sync_counts_agents_and_tells_who_failed() {
    let gateway = gateway(Some("main"), &["main", "one", "two"]);
    let known = ["main", "main-55cc268a", "one", "by-hand"].map(str::to_owned);
    let (synced, main) = sync(&gateway, &facts(), None, &known, ALL, &Templates::shipped()).await.unwrap();
    assert_eq!((synced.agents_updated, synced.agents_skipped, synced.main_updated), (2, 1, true), "{synced:?}");
    assert_eq!((main.unwrap().agent.id.as_str(), synced.main_created), ("main", false));
    assert!(synced.errors.is_empty() && synced.sessions_reset == 0 && gateway.asked("sessions.reset").is_empty());
    assert!(!gateway.file("one", "AGENTS.md").unwrap().contains("main agent of"));

    let without = SyncOptions { include_main: false, ..ALL };
    let (without, main) = sync(&gateway, &facts(), None, &[], without, &Templates::shipped()).await.unwrap();
    assert_eq!((without.agents_updated, without.agents_skipped, without.main_updated, main), (2, 1, false, None));

    gateway.fail("sessions.reset", ErrorCode::NotSupportedByGateway);
    let failing = run(&gateway, SyncOptions { reset_sessions: true, ..ALL }).await;
    assert_eq!((failing.agents_updated, failing.main_updated), (0, false));
    let who: Vec<&str> = failing.errors.iter().map(|error| error.agent_name.as_str()).collect();
    assert_eq!(who, ["main", "one", "two"]);

    gateway.fails.borrow_mut().clear();
    let reset = run(&gateway, SyncOptions { reset_sessions: true, ..ALL }).await;
    assert_eq!((reset.agents_updated, reset.sessions_reset), (2, 3));
    assert_eq!(gateway.asked("sessions.reset")[3]["key"], "agent:main:main");
}

#[actix_web::test]
async fn a_gateway_that_goes_away_is_not_asked_again_for_each_agent() {
    let agents: Vec<String> = (0..100).map(|number| format!("agent-{number}")).collect();
    let names: Vec<&str> = agents.iter().map(String::as_str).collect();
    let gateway = gateway(Some("agent-0"), &names);
    gateway.fail("agents.files.get", ErrorCode::GatewayUnavailable);
    let synced = run(&gateway, ALL).await;
    assert_eq!((synced.errors.len(), gateway.asked("agents.files.get").len()), (100, 1));
    assert!(synced.errors[99].message.starts_with("Not reached: "), "{:?}", synced.errors[99]);
}
