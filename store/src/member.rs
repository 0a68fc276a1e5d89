//! This daemon as a node of a cluster: a thread and a session of its own that beat, look, and take the role when it is free.
//!
//! Nobody waits for this thread but at the start and the end. What it knows is published: [`RightToAct`] for whoever is about to
//! act, [`View`] for people and for whoever waits for the role. What decides is [`gatewarden_core::cluster`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use gatewarden_clock::clock::Clock;
use gatewarden_core::cluster::{LOOK_MS, Lease, RightToAct, Step, may_work};
use gatewarden_protocol::Secret;
use tokio::sync::{oneshot, watch};

use crate::connection::Connection;
use crate::error::StoreError;
use crate::key_file::SealingKey;
use crate::postgres::address::{Fence, ServerAddress};
use crate::postgres::cluster::{self, ClusterNode, Look, NodeFacts};
use crate::postgres::mesh_entry::{Mesh, MeshKey};
use crate::postgres::release::RELEASE;
use crate::postgres::{PostgresConnection, start};
use crate::queue::StoreOptions;
use crate::tables::access::{ApiKey, WebSession, known_keys, latest_web_sessions};
use crate::tables::credentials::KnownAdminKey;

/// How long an answer to a beat is waited for: a second one has its turn before the first has run out.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a node that stands by reads which API keys and browser logins are good.
const KEYS_MS: i64 = 2_000;
/// Without a sign of life of the rest of the daemon for so long, it doesn't beat.
const PROOF_MS: i64 = 15_000;

/// What this node is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Another one acts, or nobody yet.
    StandsBy,
    /// It has the role, under this epoch.
    Acts(i64),
    /// It had the role and lost it, or can't come back: the reason. It must not act again before it is started anew.
    Lost(String),
    /// A newer release has changed the database so that this one can't work on it: the oldest release that can.
    Outdated(String),
}

/// All nodes as this one saw them last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What this node is.
    pub standing: Standing,
    /// The run of the daemon.
    pub id: String,
    /// All that live, by name.
    pub nodes: Vec<ClusterNode>,
    /// Grows with each change of the role.
    pub epoch: i64,
    /// Wall ms of the server at which the role changed hands.
    pub since_ms: i64,
    /// When that was seen: ms of [`Clock::uptime_ms`].
    pub seen_ms: i64,
    /// Why the last beat got no answer.
    pub fault: Option<String>,
}

impl View {
    /// The node that acts, as far as that is known.
    pub fn acting(&self) -> Option<&ClusterNode> {
        self.nodes.iter().find(|node| node.acts)
    }
}

/// The stored API keys and browser logins as a node that stands by read them last.
#[derive(Debug, Clone)]
pub struct KeysSeen {
    /// All of them; the same allocation while nothing of them changes.
    pub keys: Arc<Vec<ApiKey>>,
    /// Those that began last, by the hash of their cookie's token.
    pub web_sessions: Arc<HashMap<String, WebSession>>,
    /// When: ms of [`Clock::uptime_ms`].
    pub seen_ms: i64,
}

/// A node of a cluster. When the last clone is dropped the thread ends, and the node expires.
#[derive(Debug, Clone)]
pub struct Member {
    facts: Arc<NodeFacts>,
    right: RightToAct,
    view: watch::Receiver<View>,
    keys: watch::Receiver<Option<KeysSeen>>,
    /// When the daemon last proved that it works; ms of uptime.
    proof_ms: Arc<AtomicI64>,
    leaving: Sender<oneshot::Sender<()>>,
    admin_key: Option<Secret>,
}

/// What a thread answers once it has joined: what it sees, and the admin key that counts.
type Joined = Result<(watch::Receiver<View>, Option<Secret>), StoreError>;

impl Member {
    /// Checks and migrates the database as a daemon's start does, settles which admin key counts unless the configuration has one, and
    /// enters this node; answers when that is done.
    ///
    /// # Errors
    /// The database can't be used, or a living node has this name.
    pub async fn join(
        options: &StoreOptions,
        address: &ServerAddress,
        key: SealingKey,
        facts: NodeFacts,
        admin: Option<KnownAdminKey>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let facts = Arc::new(facts);
        let (right, proof_ms) = (RightToAct::none(), Arc::new(AtomicI64::new(i64::MAX)));
        let (leaving, left) = channel();
        let (joined, answer) = oneshot::channel();
        let (publish_keys, keys) = watch::channel(None);
        let member = Thread {
            options: options.clone(),
            address: address.clone(),
            mesh_key: None,
            facts: facts.clone(),
            clock,
            right: right.clone(),
            proof_ms: proof_ms.clone(),
            id: String::new(),
            lease: Lease::new(""),
            acted: false,
            session: None,
            keys: publish_keys,
            keys_due_ms: i64::MIN,
        };
        std::thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || member.run(key, admin, joined, &left))
            .map_err(StoreError::file(&options.database.place(), "joined"))?;
        let (view, admin_key) = answer.await.unwrap_or(Err(StoreError::BrokenOff))?;
        Ok(Self { facts, right, view, keys, proof_ms, leaving, admin_key })
    }

    /// What it says of itself.
    pub fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// The admin key that counts for this node, as of its start.
    pub fn admin_key(&self) -> Option<&Secret> {
        self.admin_key.as_ref()
    }

    /// For whoever is about to act.
    pub fn right(&self) -> &RightToAct {
        &self.right
    }

    /// All nodes, as they are seen.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// The stored API keys and browser logins, as this node read them while it stood by; none before it could.
    pub fn keys(&self) -> Option<KeysSeen> {
        self.keys.borrow().clone()
    }

    /// The rest of the daemon works. From the first time on this has to be said again and again.
    pub fn prove(&self, now_ms: i64) {
        self.proof_ms.store(now_ms, Ordering::Release);
    }

    /// Gives the role back and leaves. For the end, when nothing more is to be written.
    pub async fn leave(&self) {
        let (reply, done) = oneshot::channel();
        if self.leaving.send(reply).is_ok() {
            let _ = done.await;
        }
    }
}

struct Thread {
    options: StoreOptions,
    address: ServerAddress,
    /// Known once the database has said which key is the right one.
    mesh_key: Option<MeshKey>,
    facts: Arc<NodeFacts>,
    clock: Clock,
    right: RightToAct,
    proof_ms: Arc<AtomicI64>,
    id: String,
    lease: Lease,
    /// Whether it ever had the role: then it doesn't come back under another id.
    acted: bool,
    session: Option<PostgresConnection>,
    keys: watch::Sender<Option<KeysSeen>>,
    /// When the keys are to be read next; ms of uptime.
    keys_due_ms: i64,
}

impl Thread {
    fn run(
        mut self,
        key: SealingKey,
        admin: Option<KnownAdminKey>,
        joined: oneshot::Sender<Joined>,
        left: &Receiver<oneshot::Sender<()>>,
    ) {
        let prepared =
            start::prepare_node(&self.options, &self.address, key, admin, &self.facts.name, self.clock.wall_ms());
        let joining = prepared.and_then(|(mesh_key, admin_key)| {
            self.mesh_key = Some(mesh_key);
            self.join(left).map(|()| admin_key)
        });
        let admin_key = match joining {
            Ok(admin_key) => admin_key,
            Err(error) => {
                let _ = joined.send(Err(error));
                return;
            }
        };
        let (published, view) = watch::channel(View {
            standing: Standing::StandsBy,
            id: self.id.clone(),
            nodes: Vec::new(),
            epoch: 0,
            since_ms: 0,
            seen_ms: self.clock.uptime_ms(),
            fault: None,
        });
        // So that whoever waits for the start knows at once whether this node acts.
        let mut next_ms = self.beat(&published);
        let _ = joined.send(Ok((view, admin_key)));
        let mut is_mute = false;
        loop {
            let wait = u64::try_from(next_ms - self.clock.uptime_ms()).unwrap_or(0);
            match left.recv_timeout(Duration::from_millis(wait)) {
                Ok(reply) => {
                    self.right.set(i64::MIN);
                    if let Err(error) = self.with_session(|session, id| Ok(cluster::leave(session, id)?)) {
                        tracing::warn!(%error, "the node did not sign off; the others wait until it has expired");
                    }
                    let _ = reply.send(());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let silent_ms = self.clock.uptime_ms().saturating_sub(self.proof_ms.load(Ordering::Acquire));
            if silent_ms > PROOF_MS {
                if !is_mute {
                    tracing::error!(
                        silent_ms,
                        "the daemon does not work any more: its node gives no sign of life, so that another takes over"
                    );
                }
                is_mute = true;
                next_ms = self.clock.uptime_ms() + LOOK_MS;
                continue;
            }
            is_mute = false;
            next_ms = self.beat(&published);
            if matches!(published.borrow().standing, Standing::Lost(_) | Standing::Outdated(_)) {
                return;
            }
        }
    }

    /// Enters the node under a new id, once no other of its name lives.
    fn join(&mut self, left: &Receiver<oneshot::Sender<()>>) -> Result<(), StoreError> {
        self.id = uuid::Uuid::new_v4().to_string();
        // It only looks: whether the other one of its name beats, or is dead.
        let mut watching = Lease::new("");
        let mut first = None;
        loop {
            let facts = self.facts.clone();
            let sent_ms = self.clock.uptime_ms();
            let key = self.mesh_key.clone();
            let found = self.with_session(|session, id| {
                if cluster::join(session, id, &facts, key.as_ref())? {
                    return Ok(None);
                }
                Ok(Some(cluster::look(session, None)?))
            })?;
            let Some(look) = found else {
                self.lease = Lease::new(&self.id);
                return Ok(());
            };
            if let Some(other) = look.nodes.iter().find(|node| node.name == facts.name) {
                let before = first.get_or_insert_with(|| (other.node.clone(), other.beat));
                if *before != (other.node.clone(), other.beat) {
                    return Err(StoreError::NodeNameTaken { name: other.name.clone(), url: other.url.clone() });
                }
                for step in watching.answered(sent_ms, self.clock.uptime_ms(), &look.seen) {
                    if matches!(&step, Step::DeclareDead { node, .. } if *node == other.node) {
                        self.with_session(|session, id| Ok(cluster::take(session, id, &step)?))?;
                    }
                }
            }
            match left.recv_timeout(Duration::from_millis(LOOK_MS.unsigned_abs())) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return Err(StoreError::BrokenOff),
            }
        }
    }

    /// One beat with all that follows from it; when the next is due.
    fn beat(&mut self, published: &watch::Sender<View>) -> i64 {
        loop {
            let sent_ms = self.clock.uptime_ms();
            let key = self.mesh_key.clone();
            let look = match self.with_session(|session, id| Ok(cluster::beat(session, id, key.as_ref())?)) {
                Ok(Some(look)) => look,
                Ok(None) => return self.died(published, sent_ms),
                Err(error) => {
                    published.send_modify(|view| {
                        if view.fault.is_none() {
                            tracing::warn!(%error, "the database server did not take the node's sign of life");
                        }
                        view.fault = Some(error.to_string());
                    });
                    return sent_ms + LOOK_MS;
                }
            };
            if let Some(oldest) = look.oldest_release.clone().filter(|oldest| !may_work(RELEASE, Some(oldest))) {
                return self.step_aside(published, oldest);
            }
            let now_ms = self.clock.uptime_ms();
            let steps = self.lease.answered(sent_ms, now_ms, &look.seen);
            let lost = self.acted && self.lease.held().is_none();
            self.right.set(if lost { i64::MIN } else { self.lease.until_ms() });
            self.publish(published, look, now_ms, lost);
            let mut did = false;
            for step in steps.iter().filter(|_| !lost) {
                match self.with_session(|session, id| Ok(cluster::take(session, id, step)?)) {
                    Ok(true) => {
                        self.log(published, step);
                        did = true;
                    }
                    Ok(false) => {}
                    // What the last holder has in hand takes longer than a lock is waited for: again at the next look.
                    Err(error) => tracing::debug!(%error, ?step, "not done"),
                }
            }
            if !did {
                if self.lease.held().is_none() {
                    self.read_keys(now_ms);
                }
                return self.lease.next_ms(sent_ms);
            }
        }
    }

    /// Reads which API keys and browser logins are good, where it is time.
    fn read_keys(&mut self, now_ms: i64) {
        if now_ms < self.keys_due_ms {
            return;
        }
        self.keys_due_ms = now_ms + KEYS_MS;
        let Some(session) = self.session.take() else { return };
        let mut connection = Connection::Postgres(session);
        let read =
            known_keys(&mut connection).and_then(|keys| Ok((keys, Arc::new(latest_web_sessions(&mut connection)?))));
        let Connection::Postgres(session) = connection else { return };
        self.session = (!session.is_lost()).then_some(session);
        match read {
            Ok((keys, web_sessions)) => self.keys.send_modify(|seen| {
                let same = seen.as_ref().map(|seen| seen.keys.clone()).filter(|before| **before == keys);
                let keys = same.unwrap_or_else(|| Arc::new(keys));
                *seen = Some(KeysSeen { keys, web_sessions, seen_ms: now_ms });
            }),
            Err(error) => tracing::debug!(%error, "which API keys and logins are good was not read"),
        }
    }

    fn publish(&mut self, published: &watch::Sender<View>, look: Look, now_ms: i64, lost: bool) {
        let standing = match self.lease.held() {
            Some(epoch) => Standing::Acts(epoch),
            None if lost => Standing::Lost("another node has taken over".to_owned()),
            None => Standing::StandsBy,
        };
        self.acted |= matches!(standing, Standing::Acts(_));
        let id = self.id.clone();
        let Look { seen, nodes, since_ms, .. } = look;
        for node in newly_unproven(&published.borrow().nodes, &nodes) {
            tracing::warn!(node.name = %node.name,
                "node {} has another encryption key, or its entry in the database was changed: no connection is made to it, and \
                 none of its is taken", node.name);
        }
        published.send_replace(View { standing, id, nodes, epoch: seen.epoch, since_ms, seen_ms: now_ms, fault: None });
    }

    fn log(&self, published: &watch::Sender<View>, step: &Step) {
        let view = published.borrow();
        let name =
            |id: &str| view.nodes.iter().find(|node| node.node == id).map(|node| node.name.clone()).unwrap_or_default();
        match step {
            Step::DeclareDead { node, .. } => {
                tracing::warn!(node.name = %name(node), "node {} gives no sign of life any more: it is declared dead", name(node));
            }
            Step::Claim { epoch } => {
                tracing::info!(node.name = %self.facts.name, epoch = epoch + 1, "this node takes the role of the one that acts");
            }
        }
    }

    /// This release can't work on the database any more: a node that can takes over at once.
    fn step_aside(&mut self, published: &watch::Sender<View>, oldest: String) -> i64 {
        self.right.set(i64::MIN);
        if let Err(error) = self.with_session(|session, id| Ok(cluster::leave(session, id)?)) {
            tracing::warn!(%error, "the node did not sign off; the others wait until it has expired");
        }
        published.send_modify(|view| view.standing = Standing::Outdated(oldest));
        i64::MAX
    }

    /// The others declared this node dead: it was frozen, or cut off from the server.
    fn died(&mut self, published: &watch::Sender<View>, sent_ms: i64) -> i64 {
        self.right.set(i64::MIN);
        if self.acted {
            let why = "it was frozen or cut off from the database for too long, and was declared dead";
            published.send_modify(|view| view.standing = Standing::Lost(why.to_owned()));
            return i64::MAX;
        }
        tracing::warn!(node.name = %self.facts.name, "the node was declared dead while it stood by; it comes back as a new one");
        let facts = self.facts.clone();
        self.id = uuid::Uuid::new_v4().to_string();
        self.lease = Lease::new(&self.id);
        let key = self.mesh_key.clone();
        match self.with_session(|session, id| Ok(cluster::join(session, id, &facts, key.as_ref())?)) {
            Ok(true) => {}
            Ok(false) => {
                let why = format!("another node named {} lives by now", facts.name);
                published.send_modify(|view| view.standing = Standing::Lost(why));
                return i64::MAX;
            }
            Err(error) => tracing::warn!(%error, "the node did not come back; it tries again"),
        }
        sent_ms + LOOK_MS
    }

    /// Asks something in the session, opened anew where it was lost.
    fn with_session<T>(
        &mut self,
        ask: impl FnOnce(&mut PostgresConnection, &str) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut session = match self.session.take().filter(|session| !session.is_lost()) {
            Some(session) => session,
            None => cluster::open(&self.address, PATIENCE)?,
        };
        let answered = ask(&mut session, &self.id);
        let spoiled = session.is_lost() || answered.as_ref().is_err_and(StoreError::spoils_connection);
        self.session = (!spoiled).then_some(session);
        answered
    }
}

/// The nodes of which nothing may be relied on any more, or from the start on.
fn newly_unproven<'a>(before: &'a [ClusterNode], now: &'a [ClusterNode]) -> impl Iterator<Item = &'a ClusterNode> {
    let is_unproven = |node: &&ClusterNode| node.mesh == Mesh::Unproven;
    now.iter().filter(is_unproven).filter(move |node| {
        let was_unproven = before.iter().filter(is_unproven).any(|before| before.node == node.node);
        !was_unproven
    })
}

impl StoreOptions {
    /// The same for the node that has the role under this epoch: what it writes is refused once another one has it.
    #[must_use]
    pub fn fenced(mut self, id: &str, epoch: i64) -> Self {
        if let crate::database::Database::Server(address) = &mut self.database {
            address.fence = Some(Fence { node: id.to_owned(), epoch });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::mesh_entry::MeshFacts;

    fn node(id: &str, mesh: Mesh) -> ClusterNode {
        ClusterNode {
            node: id.to_owned(),
            name: id.to_owned(),
            url: String::new(),
            release: String::new(),
            acts: false,
            beat: 1,
            expired: false,
            beat_age_ms: 0,
            joined_ms: 0,
            mesh,
        }
    }

    #[test]
    fn an_entry_that_is_not_proven_is_spoken_of_once_whether_its_node_is_new_or_was_known() {
        let proven = Mesh::Proven(MeshFacts { address: "a:1".to_owned(), certificate: "ab".to_owned() });
        let spoken_of = |before: &Mesh| {
            let (before, now) = ([node("a", before.clone())], [node("a", Mesh::Unproven), node("b", proven.clone())]);
            newly_unproven(&before, &now).map(|node| node.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(spoken_of(&proven), ["a"], "it was changed");
        assert_eq!(spoken_of(&Mesh::None), ["a"]);
        assert!(spoken_of(&Mesh::Unproven).is_empty(), "that was said");
        let new = [node("c", Mesh::Unproven)];
        assert_eq!(newly_unproven(&[], &new).count(), 1);
    }
}
