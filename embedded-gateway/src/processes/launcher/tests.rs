//! With real programs: /bin/sh and what every system has.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use gatewarden_processes::proc_table::{self, Process};
use tempfile::TempDir;

use super::*;
use crate::effect::OutputStream;
use crate::processes::{find_orphans, owner_of};

/// Far beyond what anything here takes: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Stage {
    dir: TempDir,
    launcher: Launcher,
    news: mpsc::Receiver<News>,
}

/// Everything that a child told, up to its end.
#[derive(Debug, Default)]
struct Told {
    stdout: Vec<String>,
    stderr: Vec<String>,
    cut: usize,
    dropped: u64,
    end: Option<ProcessNews>,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (sender, news) = mpsc::channel(64);
        let launcher = Launcher::new(owner_of(dir.path()), sender);
        Self { dir, launcher, news }
    }

    fn home(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap()
    }

    fn order(&self, script: &str) -> ProcessOrder {
        ProcessOrder {
            run: RunId("run-1".into()),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
            cwd: self.home(),
            make_cwd: false,
            stdin: None,
            json_lines: false,
            timeout: None,
            kill_grace: Duration::from_secs(20),
            open_files: None,
            memory: None,
            max_line_bytes: 64 * 1024,
            output_bytes_per_second: 64 * 1024 * 1024,
            acp: None,
        }
    }

    async fn next(&mut self) -> ProcessNews {
        tokio::time::timeout(PATIENCE, self.news.recv()).await.expect("news in time").expect("the launcher lives").news
    }

    async fn started(&mut self) -> i32 {
        match self.next().await {
            ProcessNews::Started { pid } => i32::try_from(pid).unwrap(),
            other => panic!("not started: {other:?}"),
        }
    }

    async fn line(&mut self) -> String {
        loop {
            match self.next().await {
                ProcessNews::Line { text, .. } => return text,
                ProcessNews::Exited { .. } => panic!("ended without a line"),
                _ => {}
            }
        }
    }

    async fn signalled(&mut self) -> (ProcessSignal, Option<String>) {
        loop {
            if let ProcessNews::Signalled { signal, failed } = self.next().await {
                return (signal, failed);
            }
        }
    }

    async fn hear_it_out(&mut self) -> Told {
        let mut told = Told::default();
        loop {
            match self.next().await {
                ProcessNews::Line { stream, text, cut } => {
                    told.cut += usize::from(cut);
                    if stream == OutputStream::Stdout { told.stdout.push(text) } else { told.stderr.push(text) }
                }
                ProcessNews::Dropped { bytes } => told.dropped += bytes,
                end @ (ProcessNews::Exited { .. } | ProcessNews::NotStarted { .. }) => {
                    told.end = Some(end);
                    return told;
                }
                ProcessNews::Started { .. }
                | ProcessNews::Signalled { .. }
                | ProcessNews::Remark(..)
                | ProcessNews::Asks(_)
                | ProcessNews::Conversation(_) => {}
            }
        }
    }

    async fn whole_life(&mut self, order: ProcessOrder) -> Told {
        self.launcher.start(order);
        self.hear_it_out().await
    }
}

impl Told {
    fn exit(&self) -> (Option<i32>, Option<i32>, u32, bool) {
        match self.end {
            Some(ProcessNews::Exited { code, signal, strays, timed_out, .. }) => (code, signal, strays, timed_out),
            ref other => panic!("did not run: {other:?}"),
        }
    }

    fn reason(&self) -> &str {
        match &self.end {
            Some(ProcessNews::NotStarted { reason }) => reason,
            other => panic!("ran: {other:?}"),
        }
    }
}

/// Whether a process is there and not only waiting to be reaped.
fn lives(pid: i32) -> bool {
    Process::read(pid).is_some_and(|process| !process.is_dead())
}

/// Waits until the kernel shows what was ordered: signals are delivered soon, but not at once.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let watch = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.unwrap_or_else(|_| panic!("never seen: {what}"));
}

#[tokio::test]
async fn a_process_and_its_children_have_the_bounds_of_its_order() {
    let mut stage = Stage::new();
    // The bounds come a moment after the program: it waits for them.
    let script = "while [ \"$(ulimit -n)\" != 40 ]; do :; done; sh -c 'ulimit -n; ulimit -H -n; ulimit -v'";
    let order = ProcessOrder { open_files: Some(40), memory: Some(4 << 30), ..stage.order(script) };
    let told = stage.whole_life(order).await;
    assert_eq!(told.exit(), (Some(0), None, 0, false));
    assert_eq!(told.stdout[..2], ["40", "40"]);
    assert_eq!(told.stdout[2], (4_u64 << 20).to_string(), "the shell counts in KiB");
}

#[tokio::test]
async fn output_and_exit_code_are_told_in_order() {
    let mut stage = Stage::new();
    let order = stage.order("echo one; echo two; echo oops >&2; printf last; exit 3");
    stage.launcher.start(order);
    let pid = stage.started().await;
    assert!(pid > 1);
    let told = stage.hear_it_out().await;
    assert_eq!(told.stdout, ["one", "two", "last"]);
    assert_eq!(told.stderr, ["oops"]);
    assert_eq!(told.exit(), (Some(3), None, 0, false));
    until("reaped", || Process::read(pid).is_none()).await;
}

#[tokio::test]
async fn nothing_is_inherited_and_the_directory_is_the_ordered_one() {
    let mut stage = Stage::new();
    let mut order = stage.order("");
    order.program = "/usr/bin/env".into();
    order.args = Vec::new();
    order.env.insert("AGENT_NAME".into(), "agent1".into());
    let mut told = stage.whole_life(order).await;
    told.stdout.sort();
    let marker = format!("GATEWARDEN_GATEWAY_RUN={}", owner_of(stage.dir.path()).tag("run-1").variable().1);
    assert_eq!(told.stdout, ["AGENT_NAME=agent1", marker.as_str(), "PATH=/usr/local/bin:/usr/bin:/bin"]);
    let order = stage.order("pwd -P");
    assert_eq!(stage.whole_life(order).await.stdout, [stage.home().to_str().unwrap()]);
}

#[tokio::test]
async fn a_program_that_doesnt_exist_or_isnt_executable_is_never_running() {
    let mut stage = Stage::new();
    let file = stage.home().join("tool");
    std::fs::write(&file, "#!/nowhere/interpreter\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let missing = ProcessOrder { program: "/nowhere/tool".into(), ..stage.order("") };
    let told = stage.whole_life(missing).await;
    assert!(told.reason().contains("program /nowhere/tool doesn't exist"), "{}", told.reason());
    let not_executable = ProcessOrder { program: file, ..stage.order("") };
    let told = stage.whole_life(not_executable).await;
    assert!(told.reason().contains("chmod +x"), "{}", told.reason());
    let with_nul = ProcessOrder { args: vec!["a\0b".into()], ..stage.order("") };
    assert!(stage.whole_life(with_nul).await.reason().contains("could not be executed"));
    assert!(stage.launcher.running.values().all(|running| running.task.is_finished() || running.orders.is_closed()));
}

#[tokio::test]
async fn a_missing_or_linked_working_directory_is_named() {
    let mut stage = Stage::new();
    let gone = ProcessOrder { cwd: stage.home().join("gone"), ..stage.order("echo never") };
    let told = stage.whole_life(gone).await;
    assert!(told.reason().contains("gone doesn't exist"), "{}", told.reason());
    std::os::unix::fs::symlink("/", stage.home().join("link")).unwrap();
    let linked = ProcessOrder { cwd: stage.home().join("link"), ..stage.order("echo never") };
    let told = stage.whole_life(linked).await;
    assert!(told.reason().contains("by a link") && told.stdout.is_empty(), "{}", told.reason());
}

#[tokio::test]
async fn input_larger_than_the_pipe_arrives_whole_and_ends() {
    let mut stage = Stage::new();
    let text = "0123456789abcde\n".repeat(32 * 1024);
    let order = ProcessOrder { stdin: Some(text.clone()), ..stage.order("wc -c; cat") };
    let told = stage.whole_life(order).await;
    assert_eq!(told.stdout.first().map(|line| line.trim().to_owned()), Some(text.len().to_string()));
    let order = ProcessOrder { stdin: Some(text), ..stage.order("echo unread; exit 0") };
    assert_eq!(stage.whole_life(order).await.exit(), (Some(0), None, 0, false), "a child need not read its input");
    let order = stage.order("cat; echo done");
    assert_eq!(stage.whole_life(order).await.stdout, ["done"], "no input is an empty one");
}

#[tokio::test]
async fn a_flood_is_dropped_and_counted_and_the_child_runs_on() {
    let mut stage = Stage::new();
    let mut order = stage.order("head -c 3000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo end >&2");
    order.output_bytes_per_second = 10_000;
    let told = stage.whole_life(order).await;
    assert_eq!(told.exit(), (Some(0), None, 0, false));
    let passed: u64 = told.stdout.iter().map(|line| line.len() as u64).sum();
    assert!(passed < 600_000, "{passed}");
    assert!(told.dropped > 2_400_000, "{}", told.dropped);
}

#[tokio::test]
async fn a_long_line_is_cut_and_bad_utf_8_replaced() {
    let mut stage = Stage::new();
    let mut order = stage.order("printf '0123456789abc\\n'; printf 'a\\377b\\n'");
    order.max_line_bytes = 10;
    let told = stage.whole_life(order).await;
    assert_eq!(told.stdout, ["0123456789", "a\u{fffd}b"]);
    assert_eq!(told.cut, 1);
}

#[tokio::test]
async fn a_signal_that_ended_it_is_told() {
    let mut stage = Stage::new();
    let order = stage.order("kill -SEGV $$");
    assert_eq!(stage.whole_life(order).await.exit(), (None, Some(11), 0, false));
}

#[tokio::test]
async fn pause_and_resume_reach_the_whole_group() {
    let mut stage = Stage::new();
    let order = stage.order("cat /dev/zero > /dev/null & echo $!; wait");
    stage.launcher.start(order);
    let leader = stage.started().await;
    let child: i32 = stage.line().await.parse().unwrap();
    let run = RunId("run-1".into());
    let state = |pid: i32| Process::read(pid).map(|process| process.state);
    assert_eq!(Process::read(child).unwrap().group, leader);

    stage.launcher.signal(&run, ProcessSignal::Pause);
    assert_eq!(stage.signalled().await, (ProcessSignal::Pause, None));
    until("both stopped", || state(leader) == Some('T') && state(child) == Some('T')).await;

    stage.launcher.signal(&run, ProcessSignal::Resume);
    assert_eq!(stage.signalled().await, (ProcessSignal::Resume, None));
    until("both go on", || state(leader) != Some('T') && state(child) == Some('R')).await;

    stage.launcher.signal(&run, ProcessSignal::Pause);
    assert_eq!(stage.signalled().await, (ProcessSignal::Pause, None));
    stage.launcher.signal(&run, ProcessSignal::Terminate);
    assert_eq!(stage.signalled().await, (ProcessSignal::Terminate, None));
    let (code, signal, _, _) = stage.hear_it_out().await.exit();
    assert_eq!((code, signal), (None, Some(15)), "a paused group takes the end at once");
    until("all gone", || !lives(child)).await;
}

#[tokio::test]
async fn who_ignores_the_request_to_end_is_killed_after_the_grace() {
    let mut stage = Stage::new();
    let mut order = stage.order("trap '' TERM; echo ready; while :; do read x < /dev/zero; done");
    order.kill_grace = Duration::from_millis(50);
    stage.launcher.start(order);
    let pid = stage.started().await;
    assert_eq!(stage.line().await, "ready");
    stage.launcher.signal(&RunId("run-1".into()), ProcessSignal::Terminate);
    assert_eq!(stage.hear_it_out().await.exit(), (None, Some(9), 0, false));
    assert!(!lives(pid));
}

#[tokio::test]
async fn who_handles_the_request_to_end_has_its_say() {
    let mut stage = Stage::new();
    let order = stage.order("trap 'echo bye; exit 7' TERM; echo ready; cat /dev/zero > /dev/null & wait");
    stage.launcher.start(order);
    stage.started().await;
    assert_eq!(stage.line().await, "ready");
    stage.launcher.signal(&RunId("run-1".into()), ProcessSignal::Terminate);
    let told = stage.hear_it_out().await;
    assert_eq!((told.stdout.as_slice(), told.exit().0), (&["bye".to_owned()][..], Some(7)));
}

#[tokio::test]
async fn a_timeout_ends_it_as_a_kill_does() {
    let mut stage = Stage::new();
    let mut order = stage.order("exec cat /dev/zero > /dev/null");
    order.timeout = Some(Duration::from_millis(50));
    assert_eq!(stage.whole_life(order).await.exit(), (None, Some(15), 0, true));
}

#[tokio::test]
async fn what_the_leader_leaves_behind_in_its_group_is_ended_and_counted() {
    let mut stage = Stage::new();
    let order = stage.order("cat /dev/zero > /dev/null & echo $!; exit 0");
    let told = stage.whole_life(order).await;
    assert_eq!(told.exit(), (Some(0), None, 1, false));
    assert!(!lives(told.stdout[0].parse().unwrap()));
}

#[tokio::test]
async fn who_forks_away_into_a_session_of_its_own_is_found_and_ended() {
    let mut stage = Stage::new();
    // Twice forked, in a session of its own, with its own output: a daemon as it is in the book.
    let order = stage.order("(setsid sh -c 'echo $$ > pid; exec cat /dev/zero' > /dev/null 2>&1 &); while ! [ -s pid ]; do :; done; cat pid");
    let told = stage.whole_life(order).await;
    let daemon: i32 = told.stdout[0].parse().unwrap();
    assert_eq!(told.exit(), (Some(0), None, 1, false));
    until("ended", || !lives(daemon)).await;
}

#[tokio::test]
async fn who_shed_every_mark_and_floods_the_output_keeps_no_run_from_ending() {
    let mut stage = Stage::new();
    let script = "prlimit --locks=7 env -i setsid sh -c ': > ready; exec yes' & while [ ! -e ready ]; do sleep 0.01; done; exit 0";
    let mut order = stage.order(script);
    order.output_bytes_per_second = 10_000;
    let told = stage.whole_life(order).await;
    let (code, signal, _, _) = told.exit();
    assert_eq!((code, signal), (Some(0), None));
    assert!(told.stdout.iter().any(|line| line == "y"), "it was outside of the group when the leader ended");
}

#[tokio::test]
async fn what_left_the_group_is_paused_with_it() {
    let mut stage = Stage::new();
    let order = stage.order("setsid sh -c 'echo $$; exec cat /dev/zero > /dev/null' & wait");
    stage.launcher.start(order);
    stage.started().await;
    let away: i32 = stage.line().await.parse().unwrap();
    until("away", || proc_table::name(away).as_deref() == Some("cat")).await;
    stage.launcher.signal(&RunId("run-1".into()), ProcessSignal::Pause);
    assert_eq!(stage.signalled().await, (ProcessSignal::Pause, None));
    until("stopped", || Process::read(away).unwrap().state == 'T').await;
    stage.launcher.signal(&RunId("run-1".into()), ProcessSignal::Terminate);
    stage.hear_it_out().await;
    until("ended", || !lives(away)).await;
}

#[tokio::test]
async fn stopping_ends_everything_within_the_grace() {
    let mut stage = Stage::new();
    for number in 0..3 {
        let mut order = stage.order("trap '' TERM; echo $$; while :; do read x < /dev/zero; done");
        order.run = RunId(format!("run-{number}"));
        order.kill_grace = Duration::from_millis(50);
        stage.launcher.start(order);
    }
    let mut pids = Vec::new();
    while pids.len() < 3 {
        pids.push(stage.line().await.parse::<i32>().unwrap());
    }
    assert_eq!(stage.launcher.len(), 3);
    let stopping = stage.launcher.stop();
    assert!(stage.launcher.is_empty());
    drop(stage.news);
    tokio::time::timeout(PATIENCE, stopping).await.unwrap();
    assert!(pids.iter().all(|pid| Process::read(*pid).is_none()), "ended and reaped");
}

#[tokio::test]
async fn orders_to_what_has_ended_say_so() {
    let mut stage = Stage::new();
    let order = stage.order("true");
    stage.whole_life(order).await;
    for run in ["run-1", "never"] {
        stage.launcher.signal(&RunId(run.into()), ProcessSignal::Pause);
        let (_, failed) = stage.signalled().await;
        assert_eq!(failed.as_deref(), Some("the process has ended"));
    }
}

#[tokio::test]
async fn what_a_crashed_gateway_left_is_found_by_the_mark_of_its_state_directory() {
    let mut stage = Stage::new();
    let order = stage.order("setsid sh -c 'echo $$; exec cat /dev/zero > /dev/null' & wait");
    stage.launcher.start(order);
    stage.started().await;
    let away: i32 = stage.line().await.parse().unwrap();
    until("away", || proc_table::name(away).as_deref() == Some("cat")).await;
    assert!(find_orphans(stage.dir.path(), Some(std::process::id())).is_empty(), "they are of the gateway that runs");
    let orphans = find_orphans(stage.dir.path(), None);
    let orphan = orphans.iter().find(|orphan| orphan.pid == away).expect("found");
    assert_eq!((orphan.run.as_str(), orphan.program.as_str(), orphan.group), ("run-1", "cat", away));
    assert!(orphan.sentence().contains(&format!("kill -TERM -- -{away}")));
    assert!(find_orphans(Path::new("/"), None).is_empty());
    tokio::time::timeout(PATIENCE, stage.launcher.stop()).await.unwrap();
    assert!(find_orphans(stage.dir.path(), None).is_empty());
}
