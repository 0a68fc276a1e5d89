//! All connections of one listener: their places, the bytes that they hold together, and their ends.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::connection::{Connection, WhyEnded};
use crate::places::{Decision, Present, RefusalLog, Refused, decide, network_of};

/// How often connections are looked after.
const EVERY: Duration = Duration::from_secs(1);
/// How long a client may take nothing of an answer.
const MAX_STALL_MS: u64 = 10_000;
/// How long what came in may take to become a request. The first head of a connection has a shorter time with actix-http.
const MAX_HALF_OPEN_MS: u64 = 10_000;

/// How many there may be, and what they may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time.
    pub connections: usize,
    /// Those of one address; of IPv6 of one /64.
    pub per_address: usize,
    /// Those of an address through which many come: a trusted proxy, or this machine.
    pub per_shared_address: usize,
    /// Bytes held for clients that don't read, all together.
    pub bytes: usize,
}

/// What can be told of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Open now.
    pub open: usize,
    /// Bytes held now for clients that don't read.
    pub bytes: usize,
    /// Turned away since the start, by reason.
    pub refused: [(&'static str, u64); Refused::ALL.len()],
    /// Ended since the start, by reason.
    pub ended: [(&'static str, u64); WhyEnded::ALL.len()],
}

impl Limits {
    /// So many connections. A single address must not fill all places; this machine may have nearly all, as everybody behind a
    /// proxy comes from there.
    pub fn shared_out(connections: usize, bytes: usize) -> Self {
        Self {
            connections,
            per_address: (connections / 4).max(1),
            per_shared_address: connections.saturating_sub(connections / 8).max(1),
            bytes,
        }
    }
}

type IsShared = Box<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// All connections of one listener. Clones share them.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    limits: Limits,
    is_shared: IsShared,
    open: Mutex<Open>,
    bytes: AtomicUsize,
    counted: Arc<Counted>,
    log: Mutex<RefusalLog>,
    /// One before it all, so that no time is 0.
    started: Instant,
}

/// Since the start, by reason.
#[derive(Default)]
struct Counted {
    refused: [AtomicU64; Refused::ALL.len()],
    ended: [AtomicU64; WhyEnded::ALL.len()],
}

#[derive(Default)]
struct Open {
    /// By the order in which they came.
    connections: BTreeMap<u64, Arc<Connection>>,
    by_network: HashMap<IpAddr, usize>,
    next: u64,
}

impl Connections {
    /// None yet. `is_shared` says of an address whether many clients come through it.
    pub fn new(limits: Limits, is_shared: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self::counting(Arc::default(), limits, Box::new(is_shared))
    }

    /// None yet of what goes on for clients of this listener, each address for itself. Who is refused or ended counts here.
    pub fn on_behalf(&self) -> Self {
        Self::counting(self.0.counted.clone(), self.0.limits, Box::new(|_| false))
    }

    fn counting(counted: Arc<Counted>, limits: Limits, is_shared: IsShared) -> Self {
        Self(Arc::new(Shared {
            limits,
            is_shared,
            open: Mutex::default(),
            bytes: AtomicUsize::new(0),
            counted,
            log: Mutex::default(),
            started: Instant::now(),
        }))
    }

    /// A place for a connection from this address, where there is one; somebody else may have to go for it. What is refused is
    /// counted and said.
    pub fn enter(&self, peer: IpAddr) -> Option<Place> {
        self.enter_within(peer, self.0.limits.connections)
    }

    /// The same where there may be only `most` connections at present.
    pub fn enter_within(&self, peer: IpAddr, most: usize) -> Option<Place> {
        self.enter_for(None, peer, most)
    }

    /// The same for what goes on for a client of another listener: whose place is needed loses that connection. Nobody's is needed
    /// whose request was taken in whole, and is not answered yet.
    pub fn enter_for(&self, client: Option<Arc<Connection>>, peer: IpAddr, most: usize) -> Option<Place> {
        let network = network_of(peer);
        let most_here = if network.is_loopback() || (self.0.is_shared)(peer.to_canonical()) {
            self.0.limits.per_shared_address
        } else {
            self.0.limits.per_address
        };
        let mut open = self.0.open();
        let here = open.by_network.get(&network).copied().unwrap_or_default();
        let taken = (open.connections.len(), most);
        let present = open.connections.values().map(|one| Present {
            id: one.id,
            is_of_address: one.network == network,
            holder: one.holder(),
            waits_for_client: one.waits_for_client(),
            is_new: one.is_new(),
        });
        match decide(taken, (here, most_here), present) {
            Decision::Enter => {}
            Decision::Replace(id) => {
                if let Some(oldest) = open.remove(id) {
                    self.0.end(&oldest, WhyEnded::Replaced);
                }
            }
            Decision::Refuse(why) => {
                drop(open);
                self.0.refuse(peer, why);
                return None;
            }
        }
        open.next += 1;
        let connection = Arc::new(Connection::new(open.next, network, client));
        open.connections.insert(connection.id, connection.clone());
        *open.by_network.entry(network).or_default() += 1;
        Some(Place { connection, shared: self.0.clone() })
    }

    /// What can be told.
    pub fn figures(&self) -> Figures {
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut figures = Figures {
            open: self.0.open().connections.len(),
            bytes: self.0.bytes.load(Ordering::Relaxed),
            refused: Refused::ALL.map(|why| (why.as_str(), 0)),
            ended: WhyEnded::ALL.map(|why| (why.as_str(), 0)),
        };
        figures.refused.iter_mut().zip(&self.0.counted.refused).for_each(|(one, count)| one.1 = counted(count));
        figures.ended.iter_mut().zip(&self.0.counted.ended).for_each(|(one, count)| one.1 = counted(count));
        figures
    }

    /// Ends connections whose client takes nothing, or that sent what is no request. One timer for all; it ends with the last
    /// clone of this.
    pub fn look_after(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::downgrade(&self.0);
        async move {
            let mut ticks = interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(shared) = shared.upgrade() else { return };
                shared.look();
            }
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        // Nothing in there panics between two changes that belong together.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// A connection holds `now` bytes where it held `before`. Over the budget, those that wait for the longest have to go.
    fn count_bytes(&self, before: usize, now: usize) {
        // Two threads may report one connection in the wrong order: that must not wrap around.
        let count = |bytes: usize| Some(bytes.saturating_add(now).saturating_sub(before));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        while now > before && self.bytes.load(Ordering::Relaxed) > self.limits.bytes {
            let longest = {
                let open = self.open();
                let blocked = open.connections.values().filter(|one| one.why_ended().is_none());
                blocked
                    .filter_map(|one| Some((one.blocked_since()?, one)))
                    .min_by_key(|(since, one)| (*since, one.id))
                    .map(|(_, one)| one.clone())
            };
            let Some(longest) = longest else { return };
            self.end(&longest, WhyEnded::OverBudget);
        }
    }

    fn look(&self) {
        let now = self.now_ms();
        let is_over = |since: Option<u64>, most: u64| since.is_some_and(|since| now.saturating_sub(since) > most);
        let late: Vec<(Arc<Connection>, WhyEnded)> = self
            .open()
            .connections
            .values()
            .filter_map(|one| {
                let why = if is_over(one.blocked_since(), MAX_STALL_MS) {
                    WhyEnded::WriteStalled
                } else if is_over(one.unanswered_since(), MAX_HALF_OPEN_MS) {
                    WhyEnded::HalfOpen
                } else {
                    return None;
                };
                Some((one.clone(), why))
            })
            .collect();
        for (connection, why) in late {
            self.end(&connection, why);
        }
    }

    fn end(&self, connection: &Connection, why: WhyEnded) {
        if connection.end(why) {
            self.count_bytes(connection.give_bytes_back(), 0);
            let counter = WhyEnded::ALL.iter().position(|one| *one == why).and_then(|at| self.counted.ended.get(at));
            if let Some(counter) = counter {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            tracing::debug!(client.network = %connection.network, reason = why.as_str(), "ended a client's connection");
        }
    }

    fn refuse(&self, peer: IpAddr, why: Refused) {
        let counter = Refused::ALL.iter().position(|one| *one == why).and_then(|at| self.counted.refused.get(at));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let said =
            self.log.lock().unwrap_or_else(PoisonError::into_inner).note(network_of(peer), self.started.elapsed());
        if let Some(times) = said {
            tracing::warn!(client.address = %peer, reason = why.as_str(), times, "turned connections away: all places are taken");
        }
    }
}

impl Open {
    fn remove(&mut self, id: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&id)?;
        if let Some(of_network) = self.by_network.get_mut(&connection.network) {
            *of_network = of_network.saturating_sub(1);
            if *of_network == 0 {
                self.by_network.remove(&connection.network);
            }
        }
        Some(connection)
    }
}

/// One connection's place; given back when dropped.
pub struct Place {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
}

impl Place {
    /// Whose it is.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn end(&self, why: WhyEnded) {
        self.shared.end(&self.connection, why);
    }

    /// Bytes came in that are no request yet.
    pub(crate) fn received(&self) {
        self.connection.received(self.shared.now_ms());
    }

    /// A write of so many bytes waits for the client.
    pub(crate) fn blocked(&self, offered: usize) {
        let (before, now) = self.connection.blocked(offered, self.shared.now_ms());
        self.shared.count_bytes(before, now);
    }

    /// The client takes bytes again.
    pub(crate) fn unblocked(&self) {
        self.shared.count_bytes(self.connection.unblocked(), 0);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.count_bytes(self.connection.give_bytes_back(), 0);
        self.shared.open().remove(self.connection.id);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.connection).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 4, per_address: 2, per_shared_address: 3, bytes: 300 * 1024 };

    fn connections() -> Connections {
        Connections::new(LIMITS, |address| address == IpAddr::from([10, 0, 0, 1]))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn served(place: &Place) -> crate::BeingServed {
        place.connection().begin()
    }

    #[tokio::test]
    async fn an_address_gets_its_share_a_proxy_more_and_all_of_it_comes_back() {
        let all = connections();
        let mut places: Vec<(Place, _)> = Vec::new();
        let mut enter = |address| {
            let place = all.enter(address)?;
            let serving = served(&place);
            places.push((place, serving));
            Some(())
        };
        assert!(enter(address(1)).is_some() && enter(address(1)).is_some());
        assert!(enter(address(1)).is_none());
        drop(places);
        let shared: Vec<_> =
            (0..4).filter_map(|_| all.enter([10, 0, 0, 1].into())).map(|one| (served(&one), one)).collect();
        assert_eq!(shared.len(), 3);
        let here = all.enter(IpAddr::from([127, 0, 0, 1])).unwrap();
        let _busy = served(&here);
        assert!(all.enter(address(2)).is_none());
        assert_eq!(all.figures().refused, [("full", 1), ("address_full", 2)]);
        drop((shared, here));
        assert_eq!((all.figures().open, all.0.open().by_network.len()), (0, 0));
    }

    #[tokio::test]
    async fn the_oldest_idle_stranger_goes_for_a_newcomer() {
        let all = connections();
        let places: Vec<Place> = (1..=4).map(|last| all.enter(address(last)).unwrap()).collect();
        places[0].connection().mark_known(std::num::NonZeroU64::MIN);
        let _busy = served(&places[1]);
        let newcomer = all.enter(address(9)).unwrap();
        assert_eq!(
            places.iter().map(|one| one.connection().why_ended()).collect::<Vec<_>>(),
            [None, None, Some(WhyEnded::Replaced), None]
        );
        assert_eq!(all.figures().open, 4);
        drop(places);
        assert_eq!((newcomer.connection().why_ended(), all.figures().open), (None, 1));
    }

    #[tokio::test]
    async fn who_goes_for_a_newcomer_loses_the_connection_that_it_was_for_and_counts_there() {
        let front = connections();
        let behind = front.on_behalf();
        let (client, other) = (front.enter(address(1)).unwrap(), front.enter(address(2)).unwrap());
        let first = behind.enter_for(Some(client.connection().clone()), address(1), 1).unwrap();
        let _second = behind.enter_for(Some(other.connection().clone()), address(2), 1).unwrap();
        assert_eq!(first.connection().why_ended(), Some(WhyEnded::Replaced));
        assert_eq!(client.connection().why_ended(), Some(WhyEnded::Replaced));
        assert_eq!(other.connection().why_ended(), None);
        let replaced =
            |all: &Connections| all.figures().ended.into_iter().find(|(why, _)| *why == "replaced").unwrap().1;
        assert_eq!((replaced(&front), front.figures().open), (1, 2));
        // One that has ended is not counted again.
        other.end(WhyEnded::WriteStalled);
        let _third = behind.enter_for(Some(client.connection().clone()), address(3), 1).unwrap();
        assert_eq!(replaced(&front), 1);
    }

    #[tokio::test]
    async fn a_stranger_whose_request_was_taken_in_whole_keeps_its_place_until_the_answer() {
        let front = connections();
        let behind = front.on_behalf();
        let (client, newcomer) = (front.enter(address(1)).unwrap(), front.enter(address(2)).unwrap());
        let _requests = [served(&client), served(&newcomer)];
        client.connection().await_body(Some(10));
        let first = behind.enter_for(Some(client.connection().clone()), address(1), 1).unwrap();
        client.connection().body_is_over();
        let enter = || behind.enter_for(Some(newcomer.connection().clone()), address(2), 1);
        assert!(enter().is_none());
        assert_eq!((first.connection().why_ended(), front.figures().refused[0]), (None, ("full", 1)));
        // It doesn't take the answer.
        client.blocked(10);
        assert!(enter().is_some());
        assert_eq!(client.connection().why_ended(), Some(WhyEnded::Replaced));
    }

    #[tokio::test]
    async fn a_stranger_who_is_waited_for_goes_too_in_the_middle_of_a_request() {
        let all = connections();
        let places: Vec<Place> = (1..=4).map(|last| all.enter(address(last)).unwrap()).collect();
        let _requests: Vec<_> = places.iter().map(served).collect();
        places[1].connection().await_body(None);
        places[2].blocked(10);
        places[3].connection().await_body(None);
        places[3].connection().mark_known(std::num::NonZeroU64::MIN);
        let _newcomers = [
            all.enter(address(8)).map(|one| (served(&one), one)),
            all.enter(address(9)).map(|one| (served(&one), one)),
        ];
        assert_eq!(
            places.iter().map(|one| one.connection().why_ended()).collect::<Vec<_>>(),
            [None, Some(WhyEnded::Replaced), Some(WhyEnded::Replaced), None]
        );
        assert!(all.enter(address(10)).is_none());
    }

    #[tokio::test]
    async fn who_hides_in_a_body_without_an_end_is_waited_for_all_the_same() {
        let all = connections();
        let places: Vec<Place> = (1..=4).map(|last| all.enter(address(last)).unwrap()).collect();
        let _requests: Vec<_> = places.iter().map(served).collect();
        let body = || futures_util::stream::pending::<Result<bytes::Bytes, actix_http::error::PayloadError>>();
        let payload = crate::bodies::RequestBody::new(body(), places[2].connection().clone(), None);
        // All that was asked for came, and none of it was of the body: the lines between chunks may be as long as they like.
        places[2].connection().took_of_body(1 << 20);
        assert!(all.enter(address(9)).is_some());
        assert_eq!(places[2].connection().why_ended(), Some(WhyEnded::Replaced));
        drop(payload);
    }

    #[tokio::test(start_paused = true)]
    async fn over_the_budget_who_waits_for_the_longest_goes() {
        let all = connections();
        let places: Vec<Place> = (1..=4).map(|last| all.enter(address(last)).unwrap()).collect();
        for place in &places {
            place.blocked(16 * 1024);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(places[0].connection().why_ended(), Some(WhyEnded::OverBudget));
        assert!(places[1..].iter().all(|one| one.connection().why_ended().is_none()));
        assert_eq!(all.figures().bytes, 3 * 80 * 1024);
        places[1].unblocked();
        assert_eq!(all.figures().bytes, 2 * 80 * 1024);
        drop(places);
        assert_eq!(all.figures().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_or_never_finishes_a_request_is_ended_after_ten_seconds() {
        let all = connections();
        let looking = tokio::spawn(all.look_after());
        let (stalled, half, fine) =
            (all.enter(address(1)).unwrap(), all.enter(address(2)).unwrap(), all.enter(address(3)).unwrap());
        stalled.blocked(1);
        half.received();
        fine.received();
        let _serving = served(&fine);
        tokio::time::sleep(Duration::from_millis(9_500)).await;
        assert_eq!((stalled.connection().why_ended(), half.connection().why_ended()), (None, None));
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(stalled.connection().why_ended(), Some(WhyEnded::WriteStalled));
        assert_eq!(half.connection().why_ended(), Some(WhyEnded::HalfOpen));
        assert_eq!(fine.connection().why_ended(), None);
        drop((all, stalled, half, fine));
        looking.await.unwrap();
    }
}
