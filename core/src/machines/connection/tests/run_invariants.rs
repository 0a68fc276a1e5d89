//! Whatever a gateway says of runs, in any order: each ends at most once, nothing follows an end, and work that has left is
//! never said not to have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::run_sim::{command, is_final, task};
use super::sim::Sim;
use crate::spawn::{Certainty, SessionAction};

#[derive(Debug, Clone)]
enum Act {
    Start,
    Reply(u8, u8),
    Lifecycle(u8, u8),
    Chat(u8, u8),
    SpawnResult(u8, u8),
    Kill(u8),
    LookUp(u8),
    Unsent(u8),
    Pass(u64),
    Cut,
    Return,
}

fn act() -> impl Strategy<Value = Act> {
    let run = 0_u8..6;
    prop_oneof![
        6 => Just(Act::Start),
        8 => (0_u8..8, 0_u8..7).prop_map(|(back, which)| Act::Reply(back, which)),
        6 => (run.clone(), 0_u8..6).prop_map(|(run, which)| Act::Lifecycle(run, which)),
        6 => (run.clone(), 0_u8..6).prop_map(|(run, which)| Act::Chat(run, which)),
        4 => (run.clone(), 0_u8..6).prop_map(|(run, which)| Act::SpawnResult(run, which)),
        2 => run.clone().prop_map(Act::Kill),
        2 => run.clone().prop_map(Act::LookUp),
        1 => run.prop_map(Act::Unsent),
        4 => (0_u64..20_000).prop_map(Act::Pass),
        1 => Just(Act::Cut),
        2 => Just(Act::Return),
    ]
}

fn connect(kind: u8) -> Sim {
    match kind {
        0 => Sim::documented(),
        1 => Sim::rpc(),
        3 => Sim::release(3),
        _ => Sim::release(4),
    }
}

/// Ids of requests on the present connection, newest first.
fn asked(sim: &Sim) -> Vec<Value> {
    sim.frames()
        .into_iter()
        .rev()
        .filter(|frame| frame["method"] != "connect")
        .map(|frame| frame["id"].clone())
        .collect()
}

fn apply(sim: &mut Sim, kind: u8, started: &mut u64, input: &Act) {
    let run = |number: u8| format!("run-{number}");
    match input {
        Act::Start => {
            let work = if kind == 0 { command() } else { task() };
            sim.starts_as(*started, &run(u8::try_from(*started % 250).unwrap()), work);
            *started += 1;
        }
        Act::Reply(back, which) => {
            let Some(id) = asked(sim).get(usize::from(*back)).cloned() else { return };
            let payload = match which {
                0 => json!({"status":"accepted"}),
                1 => json!({"status":"started"}),
                2 => json!({"status":"ok","result":{"payloads":[{"text":"x"}]}}),
                3 => json!({"status":"timeout","summary":"aborted","stopReason":"rpc"}),
                4 => json!({"ok":true,"abortedRunId":null,"status":"aborted"}),
                5 => json!({}),
                _ => return sim.says(json!({"type":"res","id":id,"ok":false,"error":{"code":"X","message":"no"}})),
            };
            sim.says(json!({"type":"res","id":id,"ok":true,"payload":payload}));
        }
        Act::Lifecycle(number, which) => {
            let data = match which {
                0 => json!({"phase":"start"}),
                1 => json!({"phase":"end"}),
                2 => json!({"phase":"end","aborted":true,"status":"cancelled"}),
                3 => json!({"phase":"error","error":"x"}),
                4 => json!({"phase":"error","aborted":true,"executionSettled":true}),
                _ => json!({"phase":"finishing"}),
            };
            sim.event("agent", json!({"runId":run(*number),"stream":"lifecycle","data":data}));
        }
        Act::Chat(number, which) => {
            let mut payload = match which {
                0 => json!({"state":"delta"}),
                1 => json!({"state":"final"}),
                2 => json!({"state":"final","message":{"content":"done"}}),
                3 => json!({"state":"error","errorMessage":"x"}),
                4 => json!({"state":"aborted","stopReason":"rpc"}),
                _ => json!({"state":"final","message":{"content":"⚠️ Agent failed before reply: x"}}),
            };
            payload["runId"] = json!(run(*number));
            sim.event("chat", payload);
        }
        Act::SpawnResult(number, which) => {
            let status = ["accepted", "running", "completed", "failed", "killed", "?"][usize::from(*which)];
            sim.event("spawn_result", json!({"id":run(*number),"status":status,"result":{"exitCode":which}}));
        }
        Act::Kill(number) => {
            let key = format!("agent:main:gatewarden-{}", run(*number));
            sim.controls(1_000, &key, SessionAction::Kill);
        }
        Act::LookUp(number) => sim.looks_up(2_000, &run(*number), None),
        Act::Unsent(number) => {
            let open = sim.started().len() < usize::try_from(*started).unwrap();
            if open {
                let epoch = sim.epoch();
                sim.feed(|connection, moment| connection.on_run_unsent(moment, CallToken(u64::from(*number))));
                let error = crate::dialing::SocketError::OutOfMemory(gatewarden_protocol::decoding::Excess::Own);
                sim.feed(|connection, moment| connection.on_socket_failed(moment, epoch, &error));
            }
        }
        Act::Pass(ms) => sim.pass(Duration::from_millis(*ms)),
        Act::Cut => sim.closes(None, ""),
        Act::Return => {
            if sim.connection.phase() == Phase::Dialing {
                sim.reach_login();
                sim.says(super::run_sim::hello_of(4));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn a_run_ends_at_most_once_and_work_that_left_unrefused_is_never_said_not_to_be_taken(
        kind in prop::sample::select(vec![0_u8, 1, 3, 4]),
        inputs in prop::collection::vec(act(), 1..120),
    ) {
        let mut sim = connect(kind);
        let mut started = 0;
        for input in &inputs {
            let before = (sim.started().len(), sim.runs_sent());
            apply(&mut sim, kind, &mut started, input);
            // Work that has left is only said not to be taken when the gateway refuses it or the socket didn't take it.
            let told: Vec<_> = sim.started().split_off(before.0);
            let may_say_so = matches!(input, Act::Start | Act::Reply(_, 6) | Act::Unsent(_));
            for answer in told.into_iter().filter_map(Result::err) {
                prop_assert!(answer.certainty == Certainty::Unknown || may_say_so, "{input:?}: {answer:?}");
            }
        }
        sim.pass(Duration::from_secs(700));
        prop_assert_eq!(sim.started().len(), usize::try_from(started).unwrap(), "every caller is answered once");

        let mut stages: BTreeMap<String, Vec<crate::spawn::RunStage>> = BTreeMap::new();
        for notice in sim.notices() {
            stages.entry(notice.run_id).or_default().push(notice.stage);
        }
        for (run_id, stages) in &stages {
            prop_assert!(stages.iter().rev().skip(1).all(|stage| !is_final(stage)), "{run_id}: {stages:?}");
            let running = stages.iter().filter(|stage| !is_final(stage)).count();
            prop_assert!(running <= 1, "{run_id} began {running} times");
        }
        // A run is sent once, and one that was certainly not taken has no stage.
        let sent: Vec<String> = sim.frames().iter()
            .filter(|frame| frame["params"]["idempotencyKey"].is_string())
            .map(|frame| frame["params"]["idempotencyKey"].as_str().unwrap().to_owned())
            .collect();
        prop_assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len());
    }
}
