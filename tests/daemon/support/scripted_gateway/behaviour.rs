//! What a scripted gateway is and how it misbehaves. Changed as a whole while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::answers;
use super::ledger::Memory;
use super::refusals::{Case, Refusal, refusal};
use super::websocket::Pace;

/// Whom the gateway imitates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// 2026.9.6.
    Protocol4,
    /// 2026.3.24.
    Protocol3,
    /// 2026.2.19: protocol 3 with version `dev`, no device tokens in `auth`, no codes in refusals.
    Release219,
    /// The protocol as its documentation tells it: `result`, `deviceToken` in params, `ping`, flat features.
    Document002,
    /// `{"method":"auth"}` first, no challenge.
    Rpc,
    /// No WebSocket at all.
    Http,
    /// A web server that answers 200 with a page to everything, upgrades included.
    WebServer,
    /// Answers every request with a redirect to this place.
    Redirect(String),
}

/// Where on the way a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// After the TCP accept, before anything is read.
    Accept,
    /// After the request's head was read, in place of the answer.
    Upgrade,
    /// After the upgrade, in place of the challenge.
    Challenge,
    /// After the challenge, before the connect request is read.
    Connect,
    /// After the connect request, in place of its reply.
    Hello,
    /// Right after a good hello.
    Ready,
    /// At the first request after the hello, in place of its reply.
    Request,
}

/// What happens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing more, ever; the socket stays open and is not read.
    Silence,
    /// The stream ends.
    End,
    /// The connection is reset.
    Reset,
    /// A close frame with this code and reason.
    Close(u16, String),
    /// Bytes that are neither HTTP nor a frame, then the end.
    Garbage,
    /// A whole text frame that is not JSON; then things go on.
    NotJson,
    /// Half of an announced frame, then the end.
    Truncated,
    /// Half of an announced frame, then a reset.
    ResetMidFrame,
    /// The header of a frame of this many bytes and nothing of it.
    Announced(u64),
    /// A whole frame of this many bytes, really sent; then things go on.
    Giant(usize),
}

/// How requests are answered once the connection is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    /// Each once, in order.
    Normal,
    /// Under an id that nobody used.
    WrongId,
    /// Each twice.
    Twice,
    /// Two at a time, the later one first.
    Reversed,
    /// Not at all.
    Never,
    /// After this long.
    Late(Duration),
}

/// One gateway's behaviour. Start from [`Behaviour::of`].
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    /// Whom it imitates.
    pub(crate) form: Form,
    /// The shared token; none: everyone may come in.
    pub(crate) token: Option<String>,
    /// The version that it claims.
    pub(crate) version: String,
    /// Whether a device token is handed out with the hello (real releases do after pairing, document 002 always).
    pub(crate) issues_device_tokens: bool,
    /// Document 002's `deviceAuthRequired`.
    pub(crate) device_auth_required: bool,
    /// How bytes leave.
    pub(crate) pace: Pace,
    /// The fault, if any.
    pub(crate) fault: Option<(Step, Fault)>,
    /// Given in place of every hello.
    pub(crate) refusal: Option<Refusal>,
    /// How requests are answered.
    pub(crate) replies: Replies,
    /// Whether pings are answered.
    pub(crate) pongs: bool,
    /// Whether anything is read once the hello is out.
    pub(crate) reads: bool,
    /// Bytes of padding inside the hello.
    pub(crate) hello_padding: usize,
    /// Splits the hello into fragments of this size.
    pub(crate) hello_pieces: Option<usize>,
    /// Pings the client this often and drops it if nothing came back by the fifth one after.
    pub(crate) ping_every: Option<Duration>,
    /// Answers of its own to methods: results, which win over the built-in ones.
    pub(crate) results: BTreeMap<String, Value>,
    /// Errors of its own to methods.
    pub(crate) errors: BTreeMap<String, Value>,
    /// Whether it carries out runs, and what it remembers of them after its death. None: it knows no such methods.
    pub(crate) runs: Option<Memory>,
    /// Its agents, the default one first, where it keeps agents and their files.
    pub(crate) agents: Option<Vec<String>>,
    /// Whether it restarts in place of answering `agents.create`, having done it.
    pub(crate) restarts_on_create: bool,
    /// The lines of its log, each as long as all others.
    pub(crate) log: Vec<String>,
    /// The name of its log file.
    pub(crate) log_file: String,
    /// How far its clock is ahead of the right time, ms; negative: behind.
    pub(crate) clock_ahead_ms: i64,
}

impl Behaviour {
    /// A well-behaved gateway of this form that wants `token`.
    pub(crate) fn of(form: Form, token: &str) -> Self {
        let version = match form {
            Form::Protocol4 => "2026.9.6",
            Form::Protocol3 => "2026.3.24",
            Form::Document002 => "2026.3.4",
            _ => "2026.2.19",
        };
        Self {
            issues_device_tokens: form == Form::Document002,
            form,
            token: (!token.is_empty()).then(|| token.to_owned()),
            version: version.to_owned(),
            device_auth_required: true,
            pace: Pace::Full,
            fault: None,
            refusal: None,
            replies: Replies::Normal,
            pongs: true,
            reads: true,
            hello_padding: 0,
            hello_pieces: None,
            ping_every: None,
            results: BTreeMap::new(),
            errors: BTreeMap::new(),
            runs: None,
            agents: None,
            restarts_on_create: false,
            log: vec![answers::log_line("gateway is up")],
            log_file: "openclaw-2026-11-21.log".to_owned(),
            clock_ahead_ms: 0,
        }
    }

    /// Keeps these agents and their files; the first is its default one.
    pub(crate) fn agents(mut self, ids: &[&str]) -> Self {
        self.agents = Some(ids.iter().map(|id| (*id).to_owned()).collect());
        self
    }

    /// Carries out runs.
    pub(crate) fn runs(mut self, memory: Memory) -> Self {
        self.runs = Some(memory);
        self
    }

    /// Strikes with this fault at this step, on every connection.
    pub(crate) fn fails(mut self, step: Step, fault: Fault) -> Self {
        self.fault = Some((step, fault));
        self
    }

    /// Refuses every connect request in the words of this form.
    pub(crate) fn refuses(mut self, case: Case) -> Self {
        self.refusal = Some(refusal(&self.form, case));
        self
    }

    /// Whether the fault strikes at this step.
    pub(crate) fn fault_at(&self, step: Step) -> Option<Fault> {
        self.fault.as_ref().filter(|(at, _)| *at == step).map(|(_, fault)| fault.clone())
    }
}
