//! A gateway on loopback that speaks every form of the protocol correctly and misbehaves on command. It keeps a record of
//! what it saw, and its behaviour can be changed while it runs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::background::runtime;
use super::daemon::PATIENCE;
use super::ports::{free_port, is_alone};
use super::wait;

mod admission;
mod agents;
mod answers;
pub(crate) mod behaviour;
mod ledger;
pub(crate) mod record;
pub(crate) mod refusals;
mod runs;
mod session;
pub(crate) mod websocket;

pub(crate) use answers::log_line;
pub(crate) use behaviour::{Behaviour, Fault, Form, Replies, Step};
pub(crate) use ledger::{Ended, Memory, Truth};
pub(crate) use record::Record;
pub(crate) use refusals::Case;
pub(crate) use runs::{Fate, Moment, Strike};

/// Something for every open connection to do.
#[derive(Debug, Clone)]
enum Command {
    Send(String),
    Raw(Vec<u8>),
    Close(u16, String),
    Reset,
}

/// What the handle and the connections share.
#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    record: Mutex<Record>,
    issued: Mutex<Vec<(String, String)>>,
    nonces: Mutex<u64>,
    commands: broadcast::Sender<Command>,
    frozen: watch::Sender<bool>,
    listening: watch::Sender<bool>,
    ledger: Mutex<ledger::Ledger>,
    workspaces: Mutex<agents::Workspaces>,
    /// Grows with each death; what lives in one doesn't survive into the next.
    incarnation: watch::Sender<u64>,
    /// The ready connections.
    peers: Mutex<Vec<mpsc::UnboundedSender<String>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn behaviour(&self) -> Behaviour {
        lock(&self.behaviour).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Record)) {
        change(&mut lock(&self.record));
    }

    fn issued(&self) -> Vec<(String, String)> {
        lock(&self.issued).clone()
    }

    /// The device token of this device: the same one each time, as real gateways do.
    fn device_token(&self, device: &str) -> String {
        let mut issued = lock(&self.issued);
        if let Some((_, token)) = issued.iter().find(|(owner, _)| owner == device) {
            return token.clone();
        }
        let token = format!("devicetoken-{:0>31}", device.get(..16).unwrap_or(device));
        issued.push((device.to_owned(), token.clone()));
        token
    }

    fn next_nonce(&self) -> String {
        let mut nonces = lock(&self.nonces);
        *nonces += 1;
        format!("00000000-0000-4000-8000-{:012}", *nonces)
    }

    #[expect(clippy::disallowed_methods, reason = "the scripted gateway lives in real time, as a real one does")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the scripted gateway lives in real time, as a real one does")]
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        i64::try_from(since.as_millis()).expect("fits") + lock(&self.behaviour).clock_ahead_ms
    }

    fn commands(&self) -> broadcast::Receiver<Command> {
        self.commands.subscribe()
    }

    /// Ends this life: the port, the connections and the runs under way.
    fn die(&self) {
        self.incarnation.send_modify(|incarnation| *incarnation += 1);
    }

    /// Sends a frame on every ready connection; unlike a command, it waits for a busy one.
    fn broadcast(&self, frame: &Value) {
        let text = frame.to_string();
        lock(&self.peers).retain(|peer| peer.send(text.clone()).is_ok());
    }

    async fn thawed(&self) {
        let mut frozen = self.frozen.subscribe();
        let _ = frozen.wait_for(|frozen| !frozen).await;
    }
}

/// A running scripted gateway. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct ScriptedGateway {
    port: u16,
    shared: Arc<Shared>,
    task: Mutex<Option<AbortHandle>>,
}

impl ScriptedGateway {
    /// Starts one on a port of its own.
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            record: Mutex::default(),
            issued: Mutex::default(),
            nonces: Mutex::new(0),
            commands: broadcast::channel(256).0,
            frozen: watch::channel(false).0,
            listening: watch::channel(false).0,
            ledger: Mutex::default(),
            workspaces: Mutex::default(),
            incarnation: watch::channel(0).0,
            peers: Mutex::default(),
        });
        // Another process may be quicker to take a port that was free.
        let (port, listener) = wait::until_ok("a port of its own", PATIENCE, || {
            let port = free_port();
            Ok((port, bind(port).map_err(|error| error.to_string())?))
        });
        let gateway = Self { port, shared, task: Mutex::new(None) };
        gateway.listen_on(listener);
        gateway
    }

    /// A well-behaved one of this form that wants this token.
    pub(crate) fn of(form: Form, token: &str) -> Self {
        Self::start(Behaviour::of(form, token))
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Puts another behaviour in place; open connections follow from their next step on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Changes the behaviour.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.shared.behaviour));
    }

    /// What it saw so far.
    pub(crate) fn record(&self) -> Record {
        lock(&self.shared.record).clone()
    }

    /// Forgets what it saw, save the counts of open connections.
    pub(crate) fn forget(&self) {
        self.shared.note(|record| *record = Record { open: record.open, ready: record.ready, ..Record::default() });
    }

    /// The device tokens that it gave out: device id and token.
    pub(crate) fn issued(&self) -> Vec<(String, String)> {
        self.shared.issued()
    }

    /// Forgets every device token: those of old clients are wrong from now on.
    pub(crate) fn revoke_device_tokens(&self) {
        lock(&self.shared.issued).clear();
    }

    /// Sends a frame on every connection, once it is ready. So do all commands.
    pub(crate) fn send(&self, frame: &Value) {
        let _ = self.shared.commands.send(Command::Send(frame.to_string()));
    }

    /// Sends raw bytes on every ready connection.
    pub(crate) fn send_raw(&self, bytes: &[u8]) {
        let _ = self.shared.commands.send(Command::Raw(bytes.to_vec()));
    }

    /// Closes every ready connection.
    pub(crate) fn close(&self, code: u16, reason: &str) {
        let _ = self.shared.commands.send(Command::Close(code, reason.to_owned()));
    }

    /// Resets every ready connection.
    pub(crate) fn reset(&self) {
        let _ = self.shared.commands.send(Command::Reset);
    }

    /// What SIGSTOP does: the kernel still accepts, nobody answers.
    pub(crate) fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    /// What SIGCONT does.
    pub(crate) fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// A file of one of its agents.
    pub(crate) fn agent_file(&self, agent: &str, name: &str) -> Option<String> {
        lock(&self.shared.workspaces).file(agent, name)
    }

    /// Somebody writes into a file of one of its agents.
    pub(crate) fn write_agent_file(&self, agent: &str, name: &str, content: &str) {
        lock(&self.shared.workspaces).put(agent, name, content);
    }

    /// How often each run was begun, by its id; never forgotten.
    pub(crate) fn executed(&self) -> BTreeMap<String, usize> {
        lock(&self.shared.ledger).executed()
    }

    /// How often each job was begun, and what became of it; never forgotten.
    pub(crate) fn jobs(&self) -> BTreeMap<String, (usize, Truth)> {
        lock(&self.shared.ledger).jobs()
    }

    /// Whether it listens: a [`Strike::Die`] may have ended it.
    pub(crate) fn is_alive(&self) -> bool {
        *self.shared.listening.borrow()
    }

    /// What SIGKILL does: the port is closed and every connection with it, and every run. Returns when it is so.
    pub(crate) fn kill(&self) {
        self.shared.die();
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        wait::until("the scripted gateway is down", PATIENCE, || {
            !*self.shared.listening.borrow() && lock(&self.shared.record).open == 0
        });
    }

    /// Starts again on the same port. Returns when it listens.
    pub(crate) fn revive(&self) {
        let free = || bind(self.port).map_err(|error| error.to_string());
        self.listen_on(wait::until_ok("its port is free again", PATIENCE, free));
    }

    fn listen_on(&self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let life = *self.shared.incarnation.borrow();
        let task = runtime().spawn(async move { listen(listener, shared).await });
        *lock(&self.task) = Some(task.abort_handle());
        // a run's strike may end it again before anybody has looked
        wait::until("the scripted gateway listens", PATIENCE, || {
            *self.shared.listening.borrow() || *self.shared.incarnation.borrow() != life
        });
    }
}

impl Drop for ScriptedGateway {
    fn drop(&mut self) {
        self.shared.die();
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Says that nobody listens any more, however the task ends.
struct Listening<'a>(&'a watch::Sender<bool>);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut life = shared.incarnation.subscribe();
    let born = *life.borrow_and_update();
    if let Some(memory) = shared.behaviour().runs {
        let now_ms = shared.wall_ms();
        lock(&shared.ledger).come_back(memory, now_ms);
    }
    let _listening = Listening(&shared.listening);
    shared.listening.send_replace(true);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let at = shared.now();
                    shared.note(|record| record.accepts.push(at));
                    connections.spawn(session::serve(stream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
            _ = life.wait_for(|now| *now != born) => return,
        }
    }
}

fn bind(port: u16) -> std::io::Result<TcpListener> {
    let _inside = runtime().enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Alone it may be reached at all addresses of its network.
    let host = if is_alone() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    socket.bind(SocketAddr::V4(SocketAddrV4::new(host, port)))?;
    socket.listen(1024)
}
