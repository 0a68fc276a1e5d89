//! The registry's published view: readers take it without a message and never see half a change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use gatewarden_core::fleet::Failover;

use crate::gateway::GatewayHandle;
use crate::gateway_record::SharedRecord;
use crate::gateway_report::{GatewayReport, SessionSnapshot, SharedSessions};
use crate::ids::GatewayId;
use crate::processes::view::ProcessView;
use crate::spawn::SpawnDoubt;

/// One gateway as readers see it: the stored record and the last report, together with its rendering.
#[derive(Debug)]
pub struct GatewayView {
    /// What is stored.
    pub record: SharedRecord,
    /// What is known.
    pub report: GatewayReport,
    /// Whether it is the acting primary.
    pub acting_primary: bool,
    /// Its process on this machine, where its record names one.
    pub process: Option<Arc<ProcessView>>,
    /// Wall ms until which it is held down from acting as primary since it bounced, while it is.
    pub held_until_ms: Option<i64>,
    /// The other node that holds its connection, by name.
    pub on_node: Option<Arc<str>>,
    /// Filled by the first reader that renders it (the HTTP front), used by all later ones.
    pub rendered: OnceLock<Bytes>,
    /// The same of [`Self::address`].
    pub address_made: OnceLock<String>,
}

impl GatewayView {
    /// A view that nobody has rendered yet.
    pub fn new(record: SharedRecord, report: GatewayReport, acting_primary: bool) -> Self {
        Self {
            record,
            report,
            acting_primary,
            process: None,
            held_until_ms: None,
            on_node: None,
            rendered: OnceLock::new(),
            address_made: OnceLock::new(),
        }
    }

    /// Its address in the form that is compared; made once.
    pub fn address(&self) -> &str {
        self.address_made.get_or_init(|| self.record.address_key())
    }
}

/// The place of one gateway in the roster; its view is swapped as a whole.
#[derive(Debug)]
pub struct Slot {
    /// Whose place it is.
    pub id: GatewayId,
    view: ArcSwap<GatewayView>,
    sessions: ArcSwap<SessionSnapshot>,
    /// The way to its actor, as of the last publication.
    handle: ArcSwapOption<GatewayHandle>,
}

impl Slot {
    fn of(view: Arc<GatewayView>) -> Arc<Self> {
        let (sessions, handle) = Default::default();
        Arc::new(Self { id: view.record.id, view: ArcSwap::new(view), sessions, handle })
    }

    /// The present view.
    pub fn view(&self) -> Arc<GatewayView> {
        self.view.load_full()
    }

    /// The sessions as last known.
    pub fn sessions(&self) -> SharedSessions {
        self.sessions.load_full()
    }
}

#[derive(Debug, Default)]
struct Index {
    /// The configured primary first, then by name: the order of `GET /api/gateways`.
    ordered: Vec<Arc<Slot>>,
    by_id: HashMap<GatewayId, Arc<Slot>>,
}

/// Who acts as primary, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActingPrimary {
    /// Which gateway.
    pub id: GatewayId,
    /// Its name.
    pub name: String,
    /// One sentence.
    pub reason: String,
    /// Wall ms at which that ends by itself, where it does: when the configured primary takes the role back.
    pub until_ms: Option<i64>,
}

/// Who acts, and in whose place: published together, so that nobody takes a change by halves for a failover.
#[derive(Debug, Clone, Default)]
pub struct Primary {
    /// Who acts as primary.
    pub acting: Option<Arc<ActingPrimary>>,
    /// The failover that lasts.
    pub failover: Option<Failover>,
}

/// The reading side: cheap to clone, never blocks, never waits for the registry.
#[derive(Debug, Clone, Default)]
pub struct RosterReader {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    index: ArcSwap<Index>,
    primary: ArcSwap<Primary>,
    /// Why the daemon doubts its own network, while it does.
    self_doubt: ArcSwapOption<String>,
    /// Spawns in doubt.
    spawn_doubts: ArcSwap<HashMap<String, SpawnDoubt>>,
    version: AtomicU64,
}

impl RosterReader {
    /// One gateway.
    pub fn get(&self, id: GatewayId) -> Option<Arc<GatewayView>> {
        self.shared.index.load().by_id.get(&id).map(|slot| slot.view())
    }

    /// The name of one that is usable, and the way to its actor.
    pub(crate) fn usable(&self, id: GatewayId) -> Option<(String, Arc<GatewayHandle>)> {
        let index = self.shared.index.load();
        let slot = index.by_id.get(&id)?;
        let view = slot.view.load();
        let handle = slot.handle.load_full().filter(|_| view.report.is_usable())?;
        Some((view.record.name.clone(), handle))
    }

    /// All gateways with their sessions, in the same order.
    pub fn slots(&self) -> Vec<Arc<Slot>> {
        self.shared.index.load().ordered.clone()
    }

    /// All gateways: the configured primary first, then by name.
    pub fn list(&self) -> Vec<Arc<GatewayView>> {
        self.shared.index.load().ordered.iter().map(|slot| slot.view()).collect()
    }

    /// How many gateways there are.
    pub fn len(&self) -> usize {
        self.shared.index.load().ordered.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The acting primary.
    pub fn acting_primary(&self) -> Option<Arc<ActingPrimary>> {
        self.shared.primary.load().acting.clone()
    }

    /// The same, with the failover that lasts.
    pub fn primary(&self) -> Arc<Primary> {
        self.shared.primary.load_full()
    }

    /// Why the daemon doubts its own network, while it does.
    pub fn self_doubt(&self) -> Option<Arc<String>> {
        self.shared.self_doubt.load_full()
    }

    /// The doubt about a spawn, where there is one.
    pub fn spawn_doubt(&self, spawn_id: &str) -> Option<SpawnDoubt> {
        self.shared.spawn_doubts.load().get(spawn_id).copied()
    }

    /// Grows with each published change: a reader may keep what it made from an unchanged version.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }
}

/// The writing side; the registry holds the only one.
#[derive(Debug, Default)]
pub struct RosterWriter {
    reader: RosterReader,
}

impl RosterWriter {
    /// A reader of what this writer publishes.
    pub fn reader(&self) -> RosterReader {
        self.reader.clone()
    }

    /// Publishes a gateway: new, or with a changed record. O(gateways) only where membership or order changes.
    pub fn publish(&self, view: GatewayView) -> Arc<GatewayView> {
        let view = Arc::new(view);
        let index = self.reader.shared.index.load();
        match index.by_id.get(&view.record.id) {
            Some(slot) => {
                let before = slot.view.swap(view.clone());
                if sort_key(&before) != sort_key(&view) {
                    self.store(index.ordered.iter().cloned());
                }
            }
            None => {
                let (mut ordered, mut by_id) = (index.ordered.clone(), index.by_id.clone());
                let place = ordered.partition_point(|slot| sort_key(&slot.view.load()) < sort_key(&view));
                let slot = Slot::of(view.clone());
                ordered.insert(place, slot.clone());
                by_id.insert(slot.id, slot);
                self.reader.shared.index.store(Arc::new(Index { ordered, by_id }));
            }
        }
        self.bump();
        view
    }

    /// Publishes a whole roster at once: the start of the daemon.
    pub fn publish_all(&self, views: Vec<GatewayView>) {
        self.store(views.into_iter().map(|view| Slot::of(Arc::new(view))));
        self.bump();
    }

    /// Publishes the way to a gateway's actor.
    pub(crate) fn publish_handle(&self, id: GatewayId, handle: Option<Arc<GatewayHandle>>) {
        if let Some(slot) = self.reader.shared.index.load().by_id.get(&id) {
            slot.handle.store(handle);
        }
    }

    /// Publishes the sessions of a gateway; gives back those that readers saw before.
    pub fn publish_sessions(&self, id: GatewayId, sessions: SharedSessions) -> Option<SharedSessions> {
        self.reader.shared.index.load().by_id.get(&id).map(|slot| slot.sessions.swap(sessions))
    }

    /// Removes a gateway.
    pub fn remove(&self, id: GatewayId) {
        let index = self.reader.shared.index.load();
        self.store(index.ordered.iter().filter(|slot| slot.id != id).cloned());
        self.bump();
    }

    /// Says who acts as primary, and the failover that lasts.
    pub fn publish_acting(&self, acting: Option<ActingPrimary>, failover: Option<Failover>) {
        self.reader.shared.primary.store(Arc::new(Primary { acting: acting.map(Arc::new), failover }));
        self.bump();
    }

    /// Says why the daemon doubts its own network, or that it doesn't.
    pub fn publish_self_doubt(&self, reason: Option<String>) {
        self.reader.shared.self_doubt.store(reason.map(Arc::new));
        self.bump();
    }

    /// Says which spawns are in doubt.
    pub fn publish_spawn_doubts(&self, doubts: HashMap<String, SpawnDoubt>) {
        self.reader.shared.spawn_doubts.store(Arc::new(doubts));
    }

    fn store(&self, slots: impl Iterator<Item = Arc<Slot>>) {
        let mut ordered: Vec<Arc<Slot>> = slots.collect();
        ordered.sort_by(|a, b| sort_key(&a.view.load()).cmp(&sort_key(&b.view.load())));
        let by_id = ordered.iter().map(|slot| (slot.id, slot.clone())).collect();
        self.reader.shared.index.store(Arc::new(Index { ordered, by_id }));
    }

    fn bump(&self) {
        self.reader.shared.version.fetch_add(1, Ordering::AcqRel);
    }
}

fn sort_key(view: &GatewayView) -> (bool, &str, GatewayId) {
    (!view.record.is_primary, &view.record.name, view.record.id)
}
