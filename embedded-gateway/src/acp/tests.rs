//! With real processes: agents that are shell scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use gatewarden_processes::Process;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::config::Permissions;
use crate::effect::{AcpOrder, News, ProcessNews, ProcessOrder, ProcessSignal, RunId};
use crate::processes::{Launcher, owner_of};

/// Far beyond what anything here takes: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// It counts its prompts; to `wait` it gives no answer.
const COUNTING: &str = r#"
n=0; conversation=new
while read -r line; do
  id=${line#*'"id":'}; id=${id%%,*}
  case $line in
    *'"method":"initialize"'*) result='{"protocolVersion":1,"agentCapabilities":{"loadSession":true}}';;
    *'"method":"session/new"'*) result='{"sessionId":"c-1"}';;
    *'"method":"session/load"'*) result='{}'; conversation=old;;
    *'"text":"wait"'*) continue;;
    *'"method":"session/prompt"'*) n=$((n+1)); result='{"stopReason":"end_turn"}'
      echo '{"method":"session/update","params":{"sessionId":"c-1","update":{"sessionUpdate":"agent_message_chunk",
        "content":{"type":"text","text":"'$conversation $n $$'"}}}}' | tr -d '\n'; echo;;
    *) continue;;
  esac
  echo '{"jsonrpc":"2.0","id":'$id',"result":'$result'}'
done
"#;

struct Stage {
    dir: TempDir,
    launcher: Launcher,
    news: mpsc::Receiver<News>,
}

/// How a run went.
#[derive(Debug)]
struct Told {
    lines: Vec<String>,
    remarks: Vec<String>,
    conversation: Option<String>,
    end: ProcessNews,
}

impl Told {
    fn completed(&self) -> bool {
        matches!(self.end, ProcessNews::Exited { code: Some(0), .. }) && !self.said().contains("\"error\"")
    }

    fn said(&self) -> String {
        self.lines.join("\n")
    }

    /// What the script said: which conversation, which prompt of the process, which process.
    fn counted(&self) -> (String, String, String) {
        let line: serde_json::Value = serde_json::from_str(&self.lines[0]).unwrap();
        let words: Vec<&str> = line["delta"].as_str().unwrap().split(' ').collect();
        (words[0].into(), words[1].into(), words[2].into())
    }
}

impl Stage {
    fn with_room_for(most: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, news) = mpsc::channel(64);
        let launcher = Launcher::new(owner_of(dir.path()), sender).with_room_for(most);
        Self { dir, launcher, news }
    }

    fn order(&self, run: &str, session: &str, script: &str) -> ProcessOrder {
        ProcessOrder {
            run: RunId(run.into()),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
            cwd: std::fs::canonicalize(self.dir.path()).unwrap(),
            make_cwd: false,
            stdin: Some("hello".into()),
            json_lines: true,
            timeout: None,
            kill_grace: Duration::from_secs(2),
            open_files: None,
            memory: None,
            max_line_bytes: 4_096,
            output_bytes_per_second: 1024 * 1024,
            acp: Some(Box::new(AcpOrder {
                session: session.into(),
                agent: "counter".into(),
                conversation: None,
                permissions: Permissions::Deny,
                model: None,
                thinking: None,
                idle_timeout: PATIENCE,
            })),
        }
    }

    async fn run(&mut self, order: ProcessOrder) -> Told {
        let run = order.run.clone();
        self.launcher.start(order);
        self.hear(&run).await
    }

    async fn next(&mut self) -> News {
        tokio::time::timeout(PATIENCE, self.news.recv()).await.expect("news in time").expect("the launcher lives")
    }

    async fn hear(&mut self, run: &RunId) -> Told {
        let (mut lines, mut remarks, mut conversation) = (Vec::new(), Vec::new(), None);
        loop {
            let News { run: of, news } = self.next().await;
            if of != *run {
                continue;
            }
            match news {
                ProcessNews::Line { text, .. } => lines.push(text),
                ProcessNews::Remark(_, said) => remarks.push(said),
                ProcessNews::Conversation(name) => conversation = Some(name),
                end @ (ProcessNews::Exited { .. } | ProcessNews::NotStarted { .. }) => {
                    return Told { lines, remarks, conversation, end };
                }
                _ => {}
            }
        }
    }

    async fn until_none_runs(&self) {
        let gone = async {
            while !self.launcher.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the process ends");
    }
}

fn lives(pid: &str) -> bool {
    Process::read(pid.parse().unwrap()).is_some_and(|process| !process.is_dead())
}

#[tokio::test]
async fn a_session_has_one_process_for_all_its_prompts_and_another_session_another() {
    let mut stage = Stage::with_room_for(10);
    let first = stage.run(stage.order("1", "s-1", COUNTING)).await;
    assert!(first.completed(), "{first:?}");
    assert_eq!(first.conversation.as_deref(), Some("c-1"));
    let (_, count, pid) = first.counted();
    assert_eq!(count, "1");
    let other = stage.run(stage.order("2", "s-2", COUNTING)).await.counted();
    assert_eq!(other.1, "1");
    assert_ne!(other.2, pid);
    let second = stage.run(stage.order("3", "s-1", COUNTING)).await.counted();
    assert_eq!((second.1.as_str(), second.2), ("2", pid.clone()));
    assert_eq!(stage.launcher.len(), 2);
    stage.launcher.stop().await;
    assert!(!lives(&pid) && !lives(&other.2), "they end with the gateway");
}

#[tokio::test]
async fn one_that_rests_too_long_is_ended_and_its_conversation_goes_on_in_the_next_process() {
    let mut stage = Stage::with_room_for(10);
    let mut order = stage.order("1", "s-1", COUNTING);
    order.acp.as_mut().unwrap().idle_timeout = Duration::from_millis(50);
    let first = stage.run(order).await.counted();
    stage.until_none_runs().await;
    assert!(!lives(&first.2));
    let mut order = stage.order("2", "s-1", COUNTING);
    order.acp.as_mut().unwrap().conversation = Some("c-1".into());
    let second = stage.run(order).await;
    assert!(second.completed() && second.conversation.is_none() && second.remarks.is_empty());
    assert_eq!((second.counted().0.as_str(), second.counted().1.as_str()), ("old", "1"));
}

#[tokio::test]
async fn the_one_that_has_rested_longest_makes_room() {
    let mut stage = Stage::with_room_for(2);
    let first = stage.run(stage.order("1", "s-1", COUNTING)).await.counted();
    let second = stage.run(stage.order("2", "s-2", COUNTING)).await.counted();
    let third = stage.run(stage.order("3", "s-3", COUNTING)).await.counted();
    let again = stage.run(stage.order("4", "s-2", COUNTING)).await.counted();
    assert_eq!(again.2, second.2, "it was not its turn");
    assert_ne!(third.2, first.2);
    let gone = async {
        while lives(&first.2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the first one ends");
}

#[tokio::test]
async fn a_run_that_is_killed_ends_the_agent_that_heeds_no_cancel_and_the_next_one_starts_anew() {
    let mut stage = Stage::with_room_for(10);
    let order = ProcessOrder { stdin: Some("wait".into()), ..stage.order("1", "s-1", COUNTING) };
    stage.launcher.start(order);
    while !matches!(stage.next().await.news, ProcessNews::Conversation(_)) {}
    let run = RunId("1".into());
    stage.launcher.signal(&run, ProcessSignal::Terminate);
    let told = stage.hear(&run).await;
    assert!(matches!(told.end, ProcessNews::Exited { code: None, signal: Some(15), .. }), "{told:?}");
    assert!(told.lines.is_empty());
    stage.launcher.signal(&run, ProcessSignal::Terminate);
    let late = stage.next().await.news;
    assert!(matches!(late, ProcessNews::Signalled { failed: Some(_), .. }), "{late:?}");
    assert!(stage.run(stage.order("2", "s-1", COUNTING)).await.completed());
}

#[tokio::test]
async fn one_that_keeps_failing_is_not_started_again_at_once() {
    let mut stage = Stage::with_room_for(10);
    for (run, script) in [("1", "echo oops >&2; exit 3"), ("2", "exit 0")] {
        let told = stage.run(stage.order(run, "s-1", script)).await;
        assert!(told.said().contains("ended before it could be spoken to"), "{told:?}");
    }
    let refused = stage.run(stage.order("3", "s-1", COUNTING)).await;
    let ProcessNews::NotStarted { reason } = refused.end else { panic!("started: {refused:?}") };
    assert!(reason.contains("failed 2 times in a row") && reason.contains("agents.entries.counter.acp"), "{reason}");
    let missing = ProcessOrder { program: "/nowhere/agent".into(), ..stage.order("4", "s-2", "") };
    let missing =
        ProcessOrder { acp: missing.acp.map(|acp| Box::new(AcpOrder { agent: "other".into(), ..*acp })), ..missing };
    let told = stage.run(missing).await;
    assert!(matches!(told.end, ProcessNews::NotStarted { .. }), "{told:?}");
}

#[tokio::test]
async fn one_that_does_not_read_is_ended_and_its_flood_costs_no_more_than_its_pace() {
    let mut stage = Stage::with_room_for(10);
    let flood = r#"while :; do echo '{"id":1,"method":"terminal/create","params":{}}'; done"#;
    let told = stage.run(stage.order("1", "s-1", flood)).await;
    assert!(told.said().contains("does not read what it is told"), "{told:?}");
}

#[tokio::test]
async fn one_that_writes_something_else_without_end_is_ended_soon_and_floods_no_log() {
    let mut stage = Stage::with_room_for(10);
    let order = ProcessOrder { program: "/usr/bin/yes".into(), args: Vec::new(), ..stage.order("1", "s-1", "") };
    let told = stage.run(order).await;
    assert!(told.said().contains("writes what is no message of ACP"), "{told:?}");
    assert!(told.lines.len() <= 101, "{}", told.lines.len());
    assert!(matches!(told.end, ProcessNews::Exited { duration_ms: ..10_000, .. }), "{:?}", told.end);
}

#[tokio::test]
async fn one_that_dies_of_a_conversation_is_there_for_the_others() {
    let mut stage = Stage::with_room_for(10);
    let dying = COUNTING.replace("*'\"text\":\"wait\"'*) continue", "*'\"text\":\"wait\"'*) exit 3");
    for run in ["1", "2", "3"] {
        let mut order = stage.order(run, "s-1", &dying);
        order.stdin = Some("wait".into());
        let told = stage.run(order).await;
        assert!(told.said().contains("ended in the midst of its work (exit code 3)"), "{told:?}");
    }
    assert!(stage.run(stage.order("4", "s-2", &dying)).await.completed());
}

#[tokio::test]
async fn the_process_of_a_session_ends_with_the_session() {
    let mut stage = Stage::with_room_for(10);
    let (_, _, resting) = stage.run(stage.order("1", "s-1", COUNTING)).await.counted();
    let mut order = stage.order("2", "s-2", COUNTING);
    order.stdin = Some("wait".into());
    stage.launcher.start(order);
    stage.launcher.end_session("s-1");
    stage.launcher.signal(&RunId("2".into()), ProcessSignal::Terminate);
    stage.launcher.end_session("s-2");
    let told = stage.hear(&RunId("2".into())).await;
    assert!(!told.said().contains("error"), "it was ended on request: {told:?}");
    let gone = async {
        while lives(&resting) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the process ends");
}

#[tokio::test]
async fn what_an_agent_leaves_behind_ends_with_it() {
    let mut stage = Stage::with_room_for(10);
    let script = format!("setsid sleep 600 & echo $! >left; {COUNTING}");
    let mut order = stage.order("1", "s-1", &script);
    order.acp.as_mut().unwrap().idle_timeout = Duration::from_millis(50);
    assert!(stage.run(order).await.completed());
    stage.until_none_runs().await;
    let left = std::fs::read_to_string(stage.dir.path().join("left")).unwrap();
    assert!(!lives(left.trim()));
}
