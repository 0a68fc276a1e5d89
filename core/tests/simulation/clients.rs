//! Clients that want work done. Where a node doesn't act, or breaks off, they go on to the next one; with an idempotency key they send
//! again what may have begun.

use std::time::Duration;

use gatewarden_core::error::{ErrorCode, Failure};
use gatewarden_core::ids::GatewayId;
use gatewarden_core::machines::routing::RouteRequest;
use gatewarden_core::spawn::{SpawnRecord, SpawnRequest, SpawnState, Work};
use gatewarden_protocol::Secret;

use crate::world::{Owner, World};

/// How often one is sent again where nodes are several: longer than a takeover takes.
const TRIES: u32 = 20;
/// How long an answer of a node that is frozen is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a client wants.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    route: RouteRequest,
    timeout: Duration,
    text: String,
    pub(crate) key: Option<String>,
    tries: u32,
}

impl World {
    pub(crate) fn want_work(&mut self, id: GatewayId) {
        let requested = self.dice.happens(15).then_some(id);
        let preferred = self.dice.happens(10).then(|| id.to_string());
        let keyed =
            self.dice.happens(20).then(|| (self.dice.roll(40).to_string(), self.dice.roll(8).min(1).to_string()));
        let (key, text) = keyed.unzip();
        let timeout = self.dice.s(1, 30);
        let route = RouteRequest { requested, preferred, ..RouteRequest::default() };
        let tries = if self.is_cluster() { TRIES } else { 0 };
        let wish = Wish { route, timeout, text: text.unwrap_or_default(), key, tries };
        let node = usize::try_from(self.dice.roll(self.nodes.len() as u64)).unwrap();
        // Some ask two nodes at the same time.
        if self.is_cluster() && wish.key.is_some() && self.dice.happens(30) {
            self.post((node + 1) % self.nodes.len(), wish.clone());
        }
        self.post(node, wish);
    }

    fn post(&mut self, node: usize, wish: Wish) {
        if self.nodes[node].start.is_none() {
            return self.post_to_next(node, wish);
        }
        if !self.at_node(node, |world| world.is_asleep()) {
            return self.at_node(node, |world| world.take_post(wish));
        }
        // It finds the request when it wakes, and nobody waits for the answer.
        let owner = Owner::Daemon(self.process_of(node));
        let found = Wish { tries: 0, ..wish.clone() };
        self.after(Duration::ZERO, owner, |world| world.take_post(found));
        if wish.key.is_some() {
            self.after(PATIENCE, Owner::World, move |world| world.post_to_next(node, wish));
        }
    }

    fn post_to_next(&mut self, node: usize, wish: Wish) {
        let Some(tries) = wish.tries.checked_sub(1) else { return };
        let (wait, next) = (self.dice.ms(50, 1_000), (node + 1) % self.nodes.len());
        self.watch.figures.sent_again += 1;
        self.after(wait, Owner::World, move |world| world.post(next, Wish { tries, ..wish }));
    }

    /// `POST /api/spawn`.
    fn take_post(&mut self, wish: Wish) {
        let may_act = self.may_act();
        self.spawns_asked += 1;
        let Some(daemon) = self.nodes[self.me].daemon.as_mut().filter(|_| may_act) else {
            return self.post_to_next(self.me, wish);
        };
        let work = Work::Task {
            task: "say hello".into(),
            agent: None,
            session_key: None,
            model: None,
            label: None,
            timeout_seconds: None,
        };
        let (spawn_id, summary) = (format!("spawn-{}", self.spawns_asked), "say hello".to_owned());
        let record = SpawnRecord { spawn_id: spawn_id.clone(), summary, ..SpawnRecord::default() };
        let (route, timeout) = (wish.route.clone(), wish.timeout);
        let (text, key) = (Secret::new(wish.text.as_str()), wish.key.clone());
        daemon.spawners.insert(spawn_id, wish);
        self.feed(|fleet, time| fleet.spawn(time, SpawnRequest { record, route, work, timeout }, text, key));
    }

    /// An answer that invites to it is followed by the same request again.
    pub(crate) fn client_hears(&mut self, wish: Wish, answer: &Result<SpawnRecord, Failure>) {
        match answer {
            Ok(record) => assert!(
                record.state != SpawnState::Failed || record.reason.as_deref() != Some("it was not accepted"),
                "what never ran is no acceptance: {record:?}"
            ),
            Err(failure) => {
                let invites = match failure.code {
                    ErrorCode::NotActing | ErrorCode::Unavailable => true,
                    // Its record was in doubt: only with a key is it the same request.
                    ErrorCode::StoreUnavailable => failure.details.is_none() && wish.key.is_some(),
                    _ => false,
                };
                if invites {
                    self.post_to_next(self.me, wish);
                }
            }
        }
    }

    /// The connection broke before the answer: only with a key nothing can happen twice.
    pub(crate) fn client_is_cut_off(&mut self, wish: Wish) {
        if wish.key.is_some() {
            self.post_to_next(self.me, wish);
        }
    }
}
