//! What the machine wants done: the only way from a decision to the outside world. The core carries these out in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A stream of a child's output.
pub use gatewarden_processes::Stream as OutputStream;
use gatewarden_protocol::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::call::{CallError, ReplyTo};
use crate::caller::ConnectionId;
use crate::config::{ChannelAccount, ChannelKind, Edit, GatewayConfig, Permissions, WebhookReach};
use crate::cron::webhook::WebhookUrl;
pub(crate) use crate::log_kinds::AUDIT_EVENTS;
pub use crate::log_kinds::LogLevel;

/// Who waits until a file is on disk as it was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AwaitedBy {
    /// A scheduled job's run, which begins then.
    Run(RunId),
    /// A channel's account, which has counted its changes up to this.
    Account(u64),
    /// A message of a job, which is sent then.
    Post(RunId),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Respond {
        to: ReplyTo,
        outcome: Result<Value, CallError>,
    },
    /// Send an event to these connections. The payload is serialized once.
    Tell {
        to: Vec<ConnectionId>,
        event: String,
        payload: Arc<Value>,
    },
    /// Send the event `presence` to these connections, with its version, which goes beside the payload.
    TellPresence {
        to: Vec<ConnectionId>,
        payload: Arc<Value>,
        version: u64,
    },
    /// Count a failed authentication, whether it is written to the logs or not.
    CountAuthFailure,
    /// Close a connection with a code and a reason (cut at 123 bytes on the wire).
    Close {
        connection: ConnectionId,
        /// For instance 1008, 1012, 4001.
        code: u16,
        reason: String,
    },
    /// Start a child process. Its news come back under `run`.
    Start(ProcessOrder),
    /// Do something to a child process and its whole group.
    Signal {
        run: RunId,
        signal: ProcessSignal,
    },
    /// Answer an agent that asked whether it may do something.
    Decide {
        run: RunId,
        question: u64,
        allow: bool,
    },
    /// A session is no more, by its id: what still runs for it ends.
    EndSession(String),
    /// Change a file of the state directory, in order with all others, off the actor's thread.
    Write(FileChange),
    /// Do something at a channel's service. What it says is news for the machine.
    Channel {
        account: ChannelKey,
        order: ChannelOrder,
    },
    /// Send what a job tells by HTTP. What becomes of it is news for the machine.
    Post(PostOrder),
    /// Say as news whether a file has all changes that were wanted so far: something must not begin without them.
    Confirm {
        file: PathBuf,
        awaited_by: AwaitedBy,
    },
    /// Answer a request with something that is on disk, in order with all changes of files.
    Disk {
        to: ReplyTo,
        query: DiskQuery,
    },
    /// Read or change the configuration's file, in order with all changes of files. What it says is news for the machine.
    ReadConfig(ConfigWish),
    /// From now on this configuration counts.
    Configure(Arc<GatewayConfig>),
    Audit(AuditEntry),
    /// Write a line of the gateway's log. It also goes to those who follow the log (`logs.tail`, event `log`).
    Log(LogLine),
}

/// What a job tells by HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PostOrder {
    pub run: RunId,
    pub url: WebhookUrl,
    pub body: String,
    pub token: Option<Secret>,
    pub reach: WebhookReach,
}

/// What is wanted of the configuration's file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ConfigWish {
    Show(ConfigAsker),
    /// The operator has changed it, and wants it to count (SIGHUP).
    Reload,
    Edit(ConfigAsker, Edit),
}

/// Who is answered, and what he may see.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfigAsker {
    pub to: ReplyTo,
    pub protocol: u32,
    /// Paths of the gateway's machine.
    pub sees_paths: bool,
    pub client: String,
    /// What a client wants remembered of its change.
    pub note: Option<String>,
}

/// A run: the caller's idempotency key where it gave one, else a UUID. Unique among the runs that are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub String);

/// Everything that is needed to start a child, already checked against the allow-list.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessOrder {
    /// Under which its news come back.
    pub run: RunId,
    /// Absolute path.
    pub program: PathBuf,
    /// Arguments, without the program.
    pub args: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Canonical working directory.
    pub cwd: PathBuf,
    /// The directory is the gateway's own, and made (0700) where it is missing.
    pub make_cwd: bool,
    /// Written to standard input, which is then closed. Message text reaches a process this way only.
    pub stdin: Option<String>,
    /// Standard output is read as JSON lines.
    pub json_lines: bool,
    /// Ended after this, as by a kill. None: no limit.
    pub timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// Files that it may have open; none: what it inherits.
    pub open_files: Option<u64>,
    /// Its address space, in bytes; none: what it inherits.
    pub memory: Option<u64>,
    /// Longest line that is passed on, in bytes; the rest of it is dropped.
    pub max_line_bytes: usize,
    /// Output passed on per second, in bytes; what exceeds it is dropped and counted, or waits where it is an ACP agent's.
    pub output_bytes_per_second: u64,
    /// The program is an agent that speaks ACP, and `stdin` its next prompt: it may run already.
    pub acp: Option<Box<AcpOrder>>,
}

/// What an agent that speaks ACP is told besides its prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpOrder {
    /// The gateway's session, by its id: each has a child of its own.
    pub session: String,
    /// The agent's id: for sentences, and for how often it has failed.
    pub agent: String,
    /// The conversation that the agent knows of this session, by its own name for it.
    pub conversation: Option<String>,
    /// What it is answered when it asks whether it may do something.
    pub permissions: Permissions,
    /// The model that it is to use.
    pub model: Option<String>,
    /// How hard it is to think.
    pub thinking: Option<String>,
    /// Ended after so long without a prompt.
    pub idle_timeout: Duration,
}

/// What an agent wants to do and an operator has to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its number among those of its process.
    pub number: u64,
    /// What it is called.
    pub title: String,
    /// With what, as JSON: whole.
    pub input: Option<String>,
    /// Where.
    pub cwd: String,
    /// The call of the tool that waits for it.
    pub tool_call: Option<String>,
}

/// What can be done to a run's process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessSignal {
    /// SIGSTOP
    Pause,
    /// SIGCONT
    Resume,
    /// SIGTERM (and SIGCONT, so that a paused group takes it), then SIGKILL after the order's grace.
    Terminate,
}

/// News of a child process, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum ProcessNews {
    /// The program was executed.
    Started {
        /// Process id, which is also the id of its group.
        pid: u32,
    },
    /// The program could not be executed; there will be no more news.
    NotStarted {
        /// A sentence for people.
        reason: String,
    },
    /// A line of output.
    Line {
        /// Which stream.
        stream: OutputStream,
        /// Without its line end; invalid UTF-8 replaced.
        text: String,
        /// It was longer than allowed.
        cut: bool,
    },
    /// Something to know that the program itself doesn't say.
    Remark(LogLevel, String),
    /// An ACP agent asks whether it may do something, and waits for it.
    Asks(Question),
    /// An ACP agent has begun a conversation, or gone on with one: its own name for it.
    Conversation(String),
    /// Output that exceeded the rate was dropped.
    Dropped {
        /// How much, in bytes.
        bytes: u64,
    },
    /// A signal was delivered to the group, or could not be.
    Signalled {
        /// Which one.
        signal: ProcessSignal,
        /// The reason where it could not.
        failed: Option<String>,
    },
    /// It ended, and its output was read to the end; there will be no more news.
    Exited {
        /// Exit code, where it ended by itself.
        code: Option<i32>,
        /// Number of the signal that ended it.
        signal: Option<i32>,
        /// From execution to the end, in ms.
        duration_ms: u64,
        /// Processes of its group, or strays that it had left behind, that had to be killed.
        strays: u32,
        /// It ran into its timeout.
        timed_out: bool,
    },
}

/// A change of one file; the path is relative to the state directory. Modes are 0600, directories 0700.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FileChange {
    /// Add a line (the line end is added).
    Append {
        /// Relative path.
        file: PathBuf,
        /// Without line end.
        line: String,
    },
    /// Put this in place of the file, atomically (write beside it, sync, rename).
    Replace {
        /// Relative path.
        file: PathBuf,
        text: String,
    },
    Remove {
        /// Relative path.
        file: PathBuf,
    },
}

impl FileChange {
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Append { file, .. } | Self::Replace { file, .. } | Self::Remove { file } => file,
        }
    }
}

/// A line of the audit log (document 002, "Audit Logs").
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// `auth.success`, `auth.failure`, `device.registered`, `device.revoked`, ...
    pub event: &'static str,
    /// Who: device id, client id, remote address, as known. No secrets.
    pub fields: Value,
}

/// A line of the gateway's log (document 002, event `log`).
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// How loud.
    pub level: LogLevel,
    /// The agent or the part of the gateway that says it.
    pub source: String,
    /// The session that it belongs to.
    pub session: Option<String>,
    /// The text.
    pub message: String,
    /// More, for programs; null for none.
    pub extra: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskQuery {
    LogTail {
        file: PathBuf,
        /// After this offset in bytes; none: the last lines.
        cursor: Option<u64>,
        /// At most so many lines.
        limit: usize,
        /// At most so many bytes.
        bytes: u64,
    },
    WorkspaceList(Workspace),
    WorkspaceGet {
        workspace: Workspace,
        name: &'static str,
    },
    WorkspaceSet {
        workspace: Workspace,
        name: &'static str,
        content: String,
        /// Refuse unless the file's content has this SHA-256 (hex).
        expected_hash: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workspace {
    pub agent: String,
    pub folder: PathBuf,
    /// The folder must be below this one once links are resolved: set for agents that were created over the wire.
    pub below: Option<PathBuf>,
}

/// News of one run's process.
#[derive(Debug)]
pub struct News {
    /// Whose.
    pub run: RunId,
    /// What.
    pub news: ProcessNews,
}

/// One account of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelKey {
    pub kind: ChannelKind,
    pub id: String,
}

impl std::fmt::Display for ChannelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind.id(), self.id)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChannelOrder {
    /// Use this account from now on.
    Open(Arc<ChannelAccount>),
    /// The same way to the service; who may talk may have changed.
    Configure(Arc<ChannelAccount>),
    /// Give up whatever is under way.
    Close,
    /// The news carry the number of this life of the account; those of former ones are late.
    Ask { life: u64, request: ChannelRequest },
}

/// What a channel's service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChannelRequest {
    /// Who the bot is; by it, whether its token is accepted.
    Identify,
    /// Wait a while for messages after the cursor, which acknowledges those before it.
    Poll {
        cursor: Option<u64>,
        /// Where a service that sends by itself goes on.
        place: Option<String>,
        most: u8,
        me: Arc<ChannelIdentity>,
        /// Who was let in, besides those whom the settings name.
        approved: Arc<BTreeSet<String>>,
    },
    Send {
        to: Chat,
        text: String,
        /// Nobody asked for it there: it goes only where these settings have a place for it.
        unasked: Option<Arc<ChannelAccount>>,
    },
    /// Show that an answer is being written.
    Typing { to: Chat },
}

/// Who a bot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelIdentity {
    pub id: String,
    /// The name by which people mention it.
    pub name: String,
}

/// Where a message came from and its answer goes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Chat {
    pub id: String,
    /// A topic of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<i64>,
}
