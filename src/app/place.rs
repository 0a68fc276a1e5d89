//! Where the daemon listens and lives: its socket and its state directory. As a node of a cluster it joins there, and stands by
//! until it acts: then it is started as after any stop.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use gatewarden_actors::clock::Clock;
use gatewarden_actors::cluster::RightToAct;
use gatewarden_actors::dialing::{Dialer, MemoryBudget, NetworkDialer};
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::placement::{CarriedGatewaysActor, CarriedParts, StarterOfCarried};
use gatewarden_actors::store::key_file::SealingKey;
use gatewarden_actors::store::member::{Member, Standing, View};
use gatewarden_actors::store::postgres::cluster::NodeFacts;
use gatewarden_actors::store::postgres::mesh_entry::MeshFacts;
use gatewarden_actors::store::{Database, StoreError, StoreOptions};
use gatewarden_listener::Limits;
use gatewarden_protocol::Secret;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{AdminKey, Connecting, GatewayThreads, Holder, StartError, StateDir, raise_file_limit, spawner};
use crate::config::Config;
use crate::http::Carry;
use crate::http::settings::{HttpSettings, connection_limits};
use crate::http::standby;
use crate::mesh::{Identity, Mesh};
use crate::shutdown::{Request, Signals};
use crate::systemd::{Notifier, feed_interval, watchdog_timeout};

/// A socket and a state directory that are ours.
pub(crate) struct Place {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    /// Somebody else holds the socket open, over our end.
    pub(super) was_passed: bool,
    pub(super) state_dir: StateDir,
    pub(super) http: HttpSettings,
    pub(super) clock: Clock,
    /// Where the database is a server's, once it has joined.
    pub(super) member: Option<Member>,
    /// With the right to write, once it has that.
    pub(super) options: StoreOptions,
    /// Where it takes connections of other nodes, once it has joined.
    pub(super) mesh: Option<MeshPlace>,
    pub(super) threads: GatewayThreads,
}

/// A socket for other nodes, and this node's end of the connections with them.
pub(super) struct MeshPlace {
    pub(super) listener: TcpListener,
    pub(super) mesh: Arc<Mesh>,
}

impl Place {
    /// Takes the port before the state directory is touched, unless that was `claimed` before. `passed` is a listening socket that
    /// somebody else holds open; without one `http.listen` is bound.
    pub(crate) fn take(
        config: &Config,
        metrics: &Metrics,
        passed: Option<TcpListener>,
        claimed: Option<StateDir>,
    ) -> Result<Self, StartError> {
        let clock = Clock::system();
        metrics.set_started(clock.wall_ms());
        let mut http = config.http.clone();
        let files = raise_file_limit();
        http.connections = within_file_limit(http.connections, files, for_nodes(config).is_some());
        if config.node.mesh_listen.is_some() && for_nodes(config).is_none() {
            tracing::warn!(
                "node.mesh_listen does nothing: the database is a file, so that there are no other nodes. Leave it out, or share a \
                 PostgreSQL with them (store.url)"
            );
        }
        let was_passed = passed.is_some();
        let unusable = |source| StartError::Listen { address: config.listen, source };
        let listener = passed.map_or_else(|| TcpListener::bind(config.listen), Ok).map_err(|source| {
            // Perhaps this very daemon runs already: then its directory says more than its port.
            let holder = (source.kind() == ErrorKind::AddrInUse).then(|| StateDir::holder(&config.state_dir).ok());
            match holder.flatten() {
                Some(Holder::Daemon { process, address }) if process != Some(std::process::id()) => {
                    StartError::InUse { path: config.state_dir.clone(), holder: process, address }
                }
                _ => unusable(source),
            }
        })?;
        let address = listener.local_addr().map_err(unusable)?;
        if was_passed && config.listen.port() != 0 && address != config.listen {
            tracing::warn!(%address, configured = %config.listen,
                "the service manager's socket counts, not http.listen: change the address in gatewarden.socket");
        }
        let state_dir = claimed.map_or_else(|| StateDir::claim(&config.state_dir), Ok)?;
        Ok(Self {
            listener,
            address,
            was_passed,
            state_dir,
            http,
            clock,
            member: None,
            options: config.store.clone(),
            mesh: None,
            threads: GatewayThreads::default(),
        })
    }

    /// Returns once this daemon acts: at once, where its database is a file or no other node acts. False where it was told to stop
    /// before. `announce` is called with the address where it stands by.
    pub(crate) async fn until_acting(
        &mut self,
        config: &Config,
        metrics: &Arc<Metrics>,
        notifier: &Notifier,
        signals: &mut Signals,
        announce: impl FnOnce(SocketAddr),
    ) -> Result<bool, StartError> {
        let Database::Server(server) = &config.store.database else { return Ok(true) };
        let key = SealingKey::load_or_create(config.credentials_dir.as_deref(), self.state_dir.path())?;
        let prepared = for_nodes(config).map(|listen| prepare_mesh(config, listen)).transpose()?;
        let facts = NodeFacts {
            name: config.node.name.clone(),
            url: url_of(config, self.address),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            home: self.state_dir.home(),
            mesh: prepared.as_ref().map(|(_, _, facts)| facts.clone()),
        };
        let state_dir = self.state_dir.path();
        let known = config.api_key.is_none().then(|| AdminKey::known(state_dir)).transpose()?;
        let settles = known.is_some();
        let member = Member::join(&config.store, server, key, facts, known, self.clock.clone()).await?;
        if settles {
            AdminKey::keep(state_dir, member.admin_key())?;
        }
        if let Some((listener, identity, facts)) = prepared {
            let mesh = Mesh::start(identity, member.view()).map_err(StartError::Mesh)?;
            tracing::info!(mesh.address = %facts.address, "takes connections of other nodes");
            metrics.show_forwarded();
            self.mesh = Some(MeshPlace { listener, mesh });
        }
        let seen = member.view().borrow().clone();
        let acts = match seen.standing {
            Standing::Acts(_) => true,
            _ => {
                let unstored = config.api_key.as_ref().or(member.admin_key()).cloned();
                self.stand_by(config, &member, unstored, metrics, notifier, signals, announce).await?
            }
        };
        let seen = member.view().borrow().clone();
        show(metrics, &self.clock, member.right(), &seen);
        if let Standing::Acts(epoch) = seen.standing {
            tracing::info!(node.name = %member.facts().name, epoch, "this node acts");
            self.options = config.store.clone().fenced(&seen.id, epoch);
        }
        self.member = Some(member);
        Ok(acts)
    }

    #[expect(clippy::too_many_arguments, reason = "what a daemon lives by, once")]
    async fn stand_by(
        &self,
        config: &Config,
        member: &Member,
        unstored: Option<Secret>,
        metrics: &Arc<Metrics>,
        notifier: &Notifier,
        signals: &mut Signals,
        announce: impl FnOnce(SocketAddr),
    ) -> Result<bool, StartError> {
        let unusable = |source| StartError::Listen { address: self.address, source };
        let listener = self.listener.try_clone().map_err(unusable)?;
        let mesh = self.mesh.as_ref().map(|place| place.mesh.clone());
        // Dropped when it stands by no longer, however: the gateways that it carries end then.
        let (carries, until_over) = watch::channel(());
        let for_nodes = self.mesh.as_ref().map(|place| {
            let carry = carrying(config, member, metrics, &self.clock, &self.threads, until_over);
            Ok((place.listener.try_clone()?, carry))
        });
        let for_nodes = for_nodes.transpose().map_err(StartError::Mesh)?;
        let (http, clock) = (self.http.clone(), self.clock.clone());
        let standby = standby::Standby::new(http, member.clone(), unstored, metrics.clone(), clock, mesh);
        let server = standby::serve(standby, listener, for_nodes).map_err(unusable)?;
        let handle = server.handle();
        let mut serving = actix_rt::spawn(server);
        self.state_dir.note_address(self.address);
        notifier.ready();
        announce(self.address);
        let mut fed = interval(watchdog_timeout().map_or(Duration::from_secs(3600), feed_interval));
        fed.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut view = member.view();
        let mut told = String::new();
        let acts = loop {
            let seen = view.borrow_and_update().clone();
            match seen.standing.clone() {
                Standing::Acts(_) => break true,
                Standing::Lost(why) => return Err(StartError::NodeEnded(why)),
                Standing::Outdated(oldest) => {
                    return Err(StoreError::ReleaseTooOld { place: self.options.database.place(), oldest }.into());
                }
                Standing::StandsBy => {}
            }
            show(metrics, &self.clock, member.right(), &seen);
            let line = line(&seen);
            if line != told {
                tracing::info!(node.name = %member.facts().name, "{line}");
                notifier.status(&line);
                told = line;
            }
            tokio::select! {
                changed = view.changed() => if changed.is_err() {
                    return Err(StartError::NodeEnded("its thread has died".to_owned()));
                },
                // Its thread, which takes the role, lives: else the above says so.
                _ = fed.tick() => notifier.feed_watchdog(),
                request = signals.next() => match request {
                    Request::Stop(signal) => {
                        tracing::info!(signal, "asked to stop");
                        notifier.stopping("stopping");
                        member.leave().await;
                        break false;
                    }
                    Request::Reload => {
                        notifier.reloading();
                        tracing::warn!("a node that stands by reads its configuration again at its next start");
                        notifier.ready();
                    }
                },
                ended = &mut serving => {
                    let error = match ended {
                        Ok(Ok(())) => std::io::Error::other("the HTTP front has ended"),
                        Ok(Err(error)) => error,
                        Err(error) => std::io::Error::other(error),
                    };
                    return Err(unusable(error));
                }
            }
        };
        // While the connections that carry are still there.
        drop(carries);
        // What comes meanwhile waits in the socket's queue for the front of a daemon that acts. Who waits for another node's answer is
        // told what became of it.
        match (&self.mesh, acts) {
            (None, _) => handle.stop(false).await,
            (Some(_), false) => handle.stop(true).await,
            // The takeover waits for nobody.
            (Some(_), true) => drop(actix_rt::spawn(handle.stop(true))),
        }
        Ok(acts)
    }
}

/// How a node that stands by carries gateways for the one that acts, until then.
fn carrying(
    config: &Config,
    member: &Member,
    metrics: &Arc<Metrics>,
    clock: &Clock,
    threads: &GatewayThreads,
    until_over: watch::Receiver<()>,
) -> Carry {
    let memory = MemoryBudget::with_limits(config.gateway.memory_total, config.gateway.memory_each);
    metrics.set_gateway_memory(memory.clone());
    let dialer: Arc<dyn Dialer> = Arc::new(NetworkDialer::with_memory(memory));
    let settings = Arc::new(config.gateway.clone());
    let (metrics, clock, view, threads) = (metrics.clone(), clock.clone(), member.view(), threads.clone());
    // The highest epoch of whoever had gateways carried: where the database is out of reach, that is known first.
    let greeted = Arc::new(AtomicI64::new(i64::MIN));
    Arc::new(move |socket| {
        let greeted = greeted.clone();
        let (dialer, settings, view, own) = (dialer.clone(), settings.clone(), view.clone(), threads.clone());
        let (metrics, clock, until_over) = (metrics.clone(), clock.clone(), until_over.clone());
        let Some(thread) = threads.handles().first() else { return };
        // A thread that has ended takes the connection with it, and the other end learns of that.
        let _ = thread.spawn_fn(move || {
            let starter: StarterOfCarried = Box::new(move |identity, clock, right| {
                spawner(Connecting {
                    threads: own,
                    settings,
                    identity,
                    dialer,
                    clock,
                    metrics,
                    right,
                    is_carried: true,
                })
            });
            let epoch = Box::new(move |of_other: i64| {
                let greeted = greeted.fetch_max(of_other, Ordering::AcqRel).max(of_other);
                view.borrow().epoch.max(greeted)
            });
            CarriedGatewaysActor::start(CarriedParts { starter, epoch, until_over, clock }, socket);
        });
    })
}

/// Where it takes connections of other nodes. With a database in a file there are none.
fn for_nodes(config: &Config) -> Option<SocketAddr> {
    config.node.mesh_listen.filter(|_| config.store.database.file().is_none())
}

/// Takes the port for other nodes, and makes what they know this node by.
fn prepare_mesh(config: &Config, listen: SocketAddr) -> Result<(TcpListener, Identity, MeshFacts), StartError> {
    let unusable = |source| StartError::ListenForNodes { address: listen, source };
    let listener = TcpListener::bind(listen).map_err(unusable)?;
    let bound = listener.local_addr().map_err(unusable)?;
    let identity = Identity::draw().map_err(StartError::Mesh)?;
    let address = match &config.node.mesh_address {
        Some(address) => address.clone(),
        None if bound.ip().is_unspecified() => format!("{}:{}", config.node.name, bound.port()),
        None => bound.to_string(),
    };
    let certificate = identity.fingerprint().to_owned();
    Ok((listener, identity, MeshFacts { address, certificate }))
}

/// What a node that stands by says of itself.
fn line(seen: &View) -> String {
    match (seen.acting(), &seen.fault) {
        (_, Some(_)) => "standing by; the database server does not answer".to_owned(),
        (Some(acting), None) => format!("standing by; node {} acts", acting.name),
        (None, None) => "standing by; no node acts".to_owned(),
    }
}

/// Publishes what the node sees. One that has the role and no right to act, since the database is silent, doesn't act.
pub(super) fn show(metrics: &Metrics, clock: &Clock, right: &RightToAct, seen: &View) {
    let seen_ms = clock.wall_ms() - clock.uptime_ms().saturating_sub(seen.seen_ms);
    let acts = matches!(seen.standing, Standing::Acts(_)) && right.holds(clock.uptime_ms());
    metrics.set_cluster(acts, seen.nodes.len(), seen.epoch, seen_ms);
}

/// Where this node is reached: as configured, else where it listens.
pub(super) fn url_of(config: &Config, address: SocketAddr) -> String {
    match &config.node.url {
        Some(url) => url.clone(),
        None if address.ip().is_unspecified() => format!("http://{}:{}", config.node.name, address.port()),
        None => format!("http://{address}"),
    }
}

/// So many connections that half of the open files are left for the gateways, the database and what comes up. In a mesh each of them may
/// stand for one with another node.
fn within_file_limit(wanted: Limits, files: usize, in_mesh: bool) -> Limits {
    let (part, named) = if in_mesh { (4, "a quarter") } else { (2, "half") };
    let most = (files / part).max(16);
    if wanted.connections <= most {
        return wanted;
    }
    tracing::warn!(
        configured = wanted.connections,
        taken = most,
        files,
        "http.max_connections is more than {named} of the limit of open files, which is what counts: raise LimitNOFILE"
    );
    connection_limits(most, wanted.per_address, wanted.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_half_of_the_open_files_and_in_a_mesh_a_quarter() {
        let taken = |files, in_mesh| within_file_limit(connection_limits(4_096, 256, 1), files, in_mesh).connections;
        assert_eq!((taken(1_024, false), taken(1_024, true)), (512, 256));
        assert_eq!((taken(16_384, false), taken(16_384, true)), (4_096, 4_096));
        assert_eq!((taken(20, false), taken(20, true)), (16, 16));
    }
}
