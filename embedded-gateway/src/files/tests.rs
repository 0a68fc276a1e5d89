//! The files' thread on a real folder.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::caller::ConnectionId;
use crate::effect::Workspace;

struct Fixture {
    folder: TempDir,
    files: Option<Files>,
    news: Receiver<FilesNews>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let (sender, news) = channel();
        let files = Files::start(folder.path().to_owned(), None, move |one| drop(sender.send(one))).expect("thread");
        Self { folder, files: Some(files), news }
    }

    fn change(&self, change: FileChange) {
        assert_eq!(self.files.as_ref().expect("runs").send(Order::Change(change)), None);
    }

    fn append(&self, file: &str, line: &str) {
        self.change(FileChange::Append { file: file.into(), line: line.into() });
    }

    fn replace(&self, file: &str, text: &str) {
        self.change(FileChange::Replace { file: file.into(), text: text.into() });
    }

    /// Everything that was wanted is done.
    fn done(&mut self) -> Vec<FilesNews> {
        self.files = None;
        self.news.try_iter().collect()
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).expect("readable")
    }

    fn ask(&self, query: DiskQuery) -> Result<Value, CallError> {
        let to = ReplyTo { connection: ConnectionId(1), request: Some("q".into()) };
        assert_eq!(self.files.as_ref().expect("runs").send(Order::Query { to, query }), None);
        match self.news.recv_timeout(Duration::from_secs(20)).expect("an answer") {
            FilesNews::Answered { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn workspace(&self, name: &str) -> Workspace {
        let root = self.folder.path().join("workspaces");
        Workspace { agent: name.into(), folder: root.join(name), below: Some(root) }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn changes_are_carried_out_in_order_and_nobody_else_may_read_the_files() {
    let mut fixture = Fixture::new();
    fixture.append("sessions/a.jsonl", "one");
    fixture.append("sessions/a.jsonl", "two");
    fixture.replace("agents.json", "{}");
    fixture.replace("gone", "x");
    fixture.change(FileChange::Remove { file: "gone".into() });
    fixture.change(FileChange::Remove { file: "never-was".into() });
    assert_eq!(fixture.done(), []);
    assert_eq!(fixture.text("sessions/a.jsonl"), "one\ntwo\n");
    assert!(!fixture.folder.path().join("gone").exists());
    assert!(!fixture.folder.path().join("agents.json.new").exists());
    assert_eq!(mode(&fixture.folder.path().join("sessions")), 0o700);
    assert_eq!(mode(&fixture.folder.path().join("sessions/a.jsonl")), 0o600);
    assert_eq!(mode(&fixture.folder.path().join("agents.json")), 0o600);
}

#[test]
fn a_path_that_leads_out_is_refused() {
    let mut fixture = Fixture::new();
    for file in ["../x", "/etc/x", "a/../../x", ""] {
        fixture.replace(file, "x");
    }
    let news = fixture.done();
    assert_eq!(news.len(), 4);
    assert!(news.iter().all(|one| matches!(one, FilesNews::Failed { .. })));
}

#[test]
fn a_file_that_lacks_a_line_takes_no_more_until_it_is_whole_again() {
    let mut fixture = Fixture::new();
    let path = fixture.folder.path().join("sessions/a.jsonl");
    fixture.append("sessions/b.jsonl", "there");
    // A folder in its place: it can't be appended to.
    while !fixture.folder.path().join("sessions").exists() {
        std::thread::yield_now();
    }
    std::fs::create_dir(&path).expect("made");
    fixture.append("sessions/a.jsonl", "lost");
    let failed = fixture.news.recv_timeout(Duration::from_secs(20)).expect("told");
    assert!(matches!(&failed, FilesNews::Failed { file, .. } if file == Path::new("sessions/a.jsonl")));
    std::fs::remove_dir(&path).expect("removed");
    fixture.append("sessions/a.jsonl", "would make a hole");
    fixture.replace("sessions/a.jsonl", "whole\n");
    fixture.append("sessions/a.jsonl", "goes on");
    let news = fixture.done();
    assert_eq!(news, [FilesNews::Restored { file: "sessions/a.jsonl".into() }]);
    assert_eq!(fixture.text("sessions/a.jsonl"), "whole\ngoes on\n");
}

#[test]
fn what_waits_for_a_slow_disk_is_bounded() {
    // Nobody takes orders here.
    let (orders, _kept) = channel();
    let files = Files { orders, waiting: Arc::new(AtomicUsize::new(0)), thread: None };
    let big = || FileChange::Replace { file: "a".into(), text: "x".repeat(WAITING_BYTES / 2) };
    assert_eq!(files.send(Order::Change(big())), None);
    assert!(matches!(files.send(Order::Change(big())), Some(FilesNews::Failed { .. })));
    assert_eq!(files.send(Order::Change(FileChange::Append { file: "b".into(), line: "small".into() })), None);
}

#[test]
fn the_files_of_an_agent_are_listed_written_and_read() {
    let fixture = Fixture::new();
    let listed = fixture.ask(DiskQuery::WorkspaceList(fixture.workspace("a"))).expect("listed");
    assert_eq!(listed["files"].as_array().map(Vec::len), Some(8));
    assert!(listed["files"].as_array().is_some_and(|files| files.iter().all(|file| file["missing"] == true)));
    let set = |content: &str, expected_hash: Option<String>| {
        fixture.ask(DiskQuery::WorkspaceSet {
            workspace: fixture.workspace("a"),
            name: "SOUL.md",
            content: content.into(),
            expected_hash,
        })
    };
    let written = set("# soul\n", None).expect("written");
    assert_eq!((&written["ok"], &written["file"]["size"]), (&Value::Bool(true), &Value::from(7)));
    let read =
        fixture.ask(DiskQuery::WorkspaceGet { workspace: fixture.workspace("a"), name: "SOUL.md" }).expect("read");
    assert_eq!((&read["file"]["content"], &read["file"]["missing"]), (&Value::from("# soul\n"), &Value::Bool(false)));
    let hash = read["file"]["hash"].as_str().map(str::to_owned);
    assert!(set("# other\n", hash.clone()).is_ok());
    assert!(set("# third\n", hash).is_err_and(|error| error.message.contains("changed since it was read")));
}

#[test]
fn links_lead_nowhere() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().expect("folder");
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "top secret").expect("written");
    let workspace = fixture.workspace("a");
    std::fs::create_dir_all(&workspace.folder).expect("made");
    symlink(&secret, workspace.folder.join("SOUL.md")).expect("linked");
    let get = |name| fixture.ask(DiskQuery::WorkspaceGet { workspace: fixture.workspace("a"), name });
    let refused = get("SOUL.md").expect_err("a link");
    assert!(!refused.message.contains("top secret"));
    let set = fixture.ask(DiskQuery::WorkspaceSet {
        workspace: fixture.workspace("a"),
        name: "SOUL.md",
        content: "overwritten".into(),
        expected_hash: None,
    });
    assert!(set.is_err());
    assert_eq!(std::fs::read_to_string(&secret).expect("there"), "top secret");

    // The whole workspace is a link, or its parent is.
    symlink(outside.path(), fixture.folder.path().join("workspaces/b")).expect("linked");
    let whole = fixture.ask(DiskQuery::WorkspaceList(fixture.workspace("b")));
    assert!(whole.is_err_and(|error| error.message.contains("leads out")));
    let below = fixture.ask(DiskQuery::WorkspaceSet {
        workspace: fixture.workspace("b/deep"),
        name: "SOUL.md",
        content: "x".into(),
        expected_hash: None,
    });
    assert!(below.is_err());
    assert!(!outside.path().join("deep").exists(), "nothing is made there");
}

#[test]
fn pipes_and_oversized_files_are_refused_without_waiting() {
    let fixture = Fixture::new();
    let workspace = fixture.workspace("a");
    std::fs::create_dir_all(&workspace.folder).expect("made");
    std::fs::write(workspace.folder.join("USER.md"), vec![b'x'; 1_048_577]).expect("written");
    let pipe = workspace.folder.join("SOUL.md");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600), 0)
        .expect("made");
    for name in ["USER.md", "SOUL.md"] {
        assert!(fixture.ask(DiskQuery::WorkspaceGet { workspace: fixture.workspace("a"), name }).is_err(), "{name}");
    }
}
