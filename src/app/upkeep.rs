//! What goes on beside the work: the status line, the watchdog, and a look at whether the tree still lives.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use gatewarden_actors::clock::Clock;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::registry::RegistryActor;
use gatewarden_actors::registry::messages::Ping;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::member::{Member, Standing};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::App;
use super::place::show;
use crate::systemd::{Feeding, StatusLine, describe, feed_interval, watchdog_timeout};

/// How often the status line is compared, where anybody reads it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a database that couldn't be written is tried again, where nobody else writes.
const TRY_WRITING_EVERY: Duration = Duration::from_secs(10);

/// As a node of a cluster it beats only while registry and store answer. Ends with the reason when it must not act any more: what
/// it holds in memory is then another node's, and a new start stands by.
async fn as_a_node(
    member: Option<Member>,
    registry: Addr<RegistryActor>,
    store: StoreHandle,
    clock: Clock,
    metrics: Arc<Metrics>,
) -> String {
    let Some(member) = member else { return std::future::pending().await };
    let proven = async {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let stores = async { store.ping_writer().await.is_ok() && store.ping_readers().await.is_ok() };
            if registry.send(Ping).await.is_ok() && stores.await {
                member.prove(clock.uptime_ms());
            }
        }
    };
    let lost = async {
        let mut view = member.view();
        loop {
            let seen = view.borrow_and_update().clone();
            show(&metrics, &clock, member.right(), &seen);
            match seen.standing {
                Standing::Lost(why) => return format!("This node acts no longer: {why}"),
                Standing::Outdated(oldest) => {
                    return format!("This node acts no longer: the database is one for gatewarden {oldest} and later");
                }
                Standing::Acts(_) | Standing::StandsBy => {}
            }
            if view.changed().await.is_err() {
                return "The node's part that keeps the right to act has died".to_owned();
            }
        }
    };
    tokio::select! { never = proven => never, reason = lost => reason }
}

/// Runs until a part that nothing can replace is gone, and says which.
pub(super) async fn watch(app: &mut App) -> String {
    let watchdog = watchdog_timeout().filter(|_| app.notifier.is_active());
    let (registry, store, notifier) = (app.registry.clone(), app.store.clone(), app.notifier.clone());
    let fed = async move {
        let Some(after) = watchdog else { return std::future::pending::<()>().await };
        let every = feed_interval(after);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut feeding = Feeding::default();
        loop {
            ticks.tick().await;
            let registry_answers = async { matches!(timeout(every, registry.send(Ping)).await, Ok(Ok(()))) };
            let store_answers = async {
                let both = async { store.ping_writer().await.is_ok() && store.ping_readers().await.is_ok() };
                matches!(timeout(every, both).await, Ok(true))
            };
            let (registry_answered, store_answered) = futures_util::future::join(registry_answers, store_answers).await;
            if registry_answered {
                feeding.on_registry_answer();
            }
            if store_answered {
                feeding.on_store_answer();
            }
            if feeding.take() {
                notifier.feed_watchdog();
            } else {
                tracing::warn!(silent = feeding.missing(), "the watchdog is not fed");
            }
        }
    };
    let (registry, roster, notifier, clock) =
        (app.registry.clone(), app.roster.clone(), app.notifier.clone(), app.clock.clone());
    let (agent_sync, direct, notifications) = (app.agent_sync.clone(), app.direct.clone(), app.notifications.clone());
    let writable = {
        let store = app.store.clone();
        async move {
            let mut ticks = interval(TRY_WRITING_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                if store.last_write_fault().is_some() {
                    // What comes of it is the store's to remember, and to say.
                    let _ = store.try_a_write().await;
                }
            }
        }
    };
    let lives = async move {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut line = StatusLine::default();
        let mut seen = None;
        loop {
            ticks.tick().await;
            if !registry.connected() {
                return "The registry has died".to_owned();
            }
            if !agent_sync.connected() {
                return "The sync of agents has died".to_owned();
            }
            if !direct.connected() {
                return "The supervision of direct connections has died".to_owned();
            }
            if notifications.as_ref().is_some_and(|notifier| !notifier.connected()) {
                return "The notifier has died".to_owned();
            }
            // Nobody reads it: nothing to count. Nothing changed: nothing to say.
            let version = roster.version();
            if notifier.is_active() && seen != Some(version) {
                seen = Some(version);
                if let Some(told) = line.offer(clock.now(), describe(&roster)) {
                    notifier.status(&told);
                }
            }
        }
    };
    let clustered =
        as_a_node(app.member.clone(), app.registry.clone(), app.store.clone(), app.clock.clone(), app.metrics.clone());
    tokio::select! {
        reason = clustered => reason,
        () = fed => "The watchdog has ended".to_owned(),
        () = writable => "The care of the database has ended".to_owned(),
        reason = lives => reason,
        ended = &mut app.serving => match ended {
            Ok(Ok(())) => "The HTTP front has ended".to_owned(),
            Ok(Err(error)) => format!("The HTTP front has failed: {error}"),
            Err(error) => format!("The HTTP front has died: {error}"),
        },
    }
}
