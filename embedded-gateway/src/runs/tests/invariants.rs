//! Whatever the order of what happens.

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Send(u8, u8),
    Spawn(u8),
    Start(u8),
    NotStart(u8),
    Say(u8),
    Exit(u8),
    Abort(u8),
    Control(u8, u8),
    Wait(u8),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..12_u8, 0..3_u8).prop_map(|(run, session)| Step::Send(run, session)),
        (0..12_u8).prop_map(Step::Spawn),
        (0..12_u8).prop_map(Step::Start),
        (0..12_u8).prop_map(Step::NotStart),
        (0..12_u8).prop_map(Step::Say),
        (0..12_u8).prop_map(Step::Exit),
        (0..3_u8).prop_map(Step::Abort),
        (0..3_u8, 0..3_u8).prop_map(|(session, action)| Step::Control(session, action)),
        (0..12_u8).prop_map(Step::Wait),
        Just(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_sessions_have_one_process_and_every_request_is_answered(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::with(|config| {
            config.limits.processes = 4;
            config.limits.finished_runs = 5;
        });
        // Requests, and how many replies each had.
        let mut asked: std::collections::BTreeMap<String, (bool, usize)> = Default::default();
        // Processes as the launcher would have them: whether it was executed.
        let mut processes: std::collections::BTreeMap<String, bool> = Default::default();
        let mut drain: Vec<Step> = Vec::new();
        let mut at = 0;
        loop {
            let step = match steps.get(at) {
                Some(step) => step.clone(),
                None => {
                    // In the end all processes end, and so does all waiting.
                    if drain.is_empty() {
                        let Some(next) = processes.keys().next().cloned() else { break };
                        let number: u8 = next[1..].parse().unwrap();
                        drain = vec![Step::Exit(number), Step::Start(number)];
                    }
                    drain.pop().unwrap()
                }
            };
            at += 1;
            let request = format!("q{at}");
            match step {
                Step::Send(run, session) => {
                    asked.insert(request.clone(), (run % 2 == 0, 0));
                    let params = json!({"message": "x", "sessionKey": format!("agent:main:s{session}"), "idempotencyKey": format!("k{run}")});
                    world.call(&request, if run % 2 == 0 { "agent" } else { "chat.send" }, params);
                }
                Step::Spawn(run) => {
                    asked.insert(request.clone(), (false, 0));
                    world.call(&request, "spawn", json!({"command": "plain", "idempotencyKey": format!("k{run}")}));
                }
                Step::Start(run) => {
                    let Some(executed) = processes.get_mut(&format!("k{run}")) else { continue };
                    if std::mem::replace(executed, true) { continue }
                    world.start(&format!("k{run}"));
                }
                Step::NotStart(run) => {
                    let key = format!("k{run}");
                    if processes.get(&key) != Some(&false) { continue }
                    processes.remove(&key);
                    world.news(&key, ProcessNews::NotStarted { reason: "no".into() });
                }
                Step::Say(run) => {
                    if processes.get(&format!("k{run}")) != Some(&true) { continue }
                    world.says(&format!("k{run}"), r#"{"type":"text","delta":"a"}"#);
                }
                Step::Exit(run) => {
                    let key = format!("k{run}");
                    if processes.get(&key) != Some(&true) { continue }
                    processes.remove(&key);
                    world.exit(&key, i32::from(run % 3));
                }
                Step::Abort(session) => {
                    asked.insert(request.clone(), (false, 0));
                    world.call(&request, "chat.abort", json!({"sessionKey": format!("agent:main:s{session}")}));
                }
                Step::Control(session, action) => {
                    asked.insert(request.clone(), (false, 0));
                    let action = ["pause", "resume", "kill"][usize::from(action)];
                    world.call(&request, "control", json!({"sessionKey": format!("agent:main:s{session}"), "action": action}));
                }
                Step::Wait(run) => {
                    asked.insert(request.clone(), (false, 0));
                    world.call(&request, "agent.wait", json!({"runId": format!("k{run}"), "timeoutMs": 100}));
                }
                Step::Pass => world.pass(Duration::from_millis(60)),
            }
            for effect in std::mem::take(&mut world.effects) {
                match effect {
                    Effect::Start(order) => {
                        prop_assert!(processes.insert(order.run.0.clone(), false).is_none(), "{} runs twice", order.run.0);
                    }
                    Effect::Respond { to, outcome } => {
                        let (twice, count) = asked.get_mut(to.request.as_deref().unwrap()).unwrap();
                        *count += 1;
                        let accepted = outcome.is_ok_and(|payload| payload["status"] == "accepted");
                        prop_assert!(*count <= 1 + usize::from(*twice), "answered too often");
                        prop_assert!(!(accepted && *count == 2), "accepted twice");
                    }
                    _ => {}
                }
            }
            prop_assert!(processes.len() <= 4);
            prop_assert_eq!(world.machine.runs.processes(), processes.len());
            let mut sessions = std::collections::BTreeSet::new();
            for run in world.machine.runs.under_way().filter(|run| run.state.has_process()) {
                prop_assert!(sessions.insert(run.session_key.clone()), "two processes in one session");
            }
        }
        world.pass(Duration::from_secs(1));
        for effect in &world.effects {
            if let Effect::Respond { to, .. } = effect {
                asked.get_mut(to.request.as_deref().unwrap()).unwrap().1 += 1;
            }
        }
        prop_assert_eq!((world.machine.runs.processes(), world.machine.runs.queued()), (0, 0));
        prop_assert_eq!(world.machine.runs.queued_bytes, 0);
        prop_assert!(world.machine.runs.lanes.is_empty());
        prop_assert!(world.machine.sessions.iter().all(|session| !session.is_busy()));
        prop_assert!(asked.values().all(|(_, count)| *count >= 1), "somebody waits for ever: {:?}", asked);
    }
}
