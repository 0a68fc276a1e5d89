//! The gateway's state and its decisions, without IO: what comes in, what is to be done.

mod presence;
mod wall_clock;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::agents::{self, Agents};
use crate::auth::AuthState;
use crate::call::CallError;
use crate::caller::{Caller, ConnectionId, Role, Scope};
use crate::channels::Channels;
use crate::clock::Now;
use crate::config::{GatewayConfig, TailscaleMode};
use crate::cron::{self, Cron};
use crate::devices::Devices;
use crate::effect::{AwaitedBy, Effect, FileChange, LogLevel, LogLine, ProcessNews, RunId};
use crate::files::{FilesHealth, FilesNews};
use crate::loading::{CLOCK_FILE, Loaded};
use crate::nodes::Nodes;
use crate::processes::Orphan;
use crate::runs::{Parts, Runs};
use crate::sessions::{Sessions, tick_snapshot, transcript};
use crate::subscribers::Subscribers;
use crate::tailscale::RouteState;
use crate::turn::Turn;
use presence::Presence;
use wall_clock::WallClock;

/// What is known of the configuration's file: as of the last time that the gateway took it over, or tried to.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    /// Whether there is one to read and change; false where the configuration was given as a value.
    pub has_file: bool,
    /// Settings that wait for the next start.
    pub waiting: Vec<&'static str>,
    /// Why the file doesn't count.
    pub fault: Option<String>,
    /// Requests of clients about the file that are under way.
    pub asked: usize,
}

impl Configuration {
    /// Requests about the file at a time: an answer has the file several times over.
    const MOST_ASKED: usize = 4;

    /// One more request about the file, if there is room.
    pub(crate) fn ask(&mut self) -> Result<(), CallError> {
        if self.asked >= Self::MOST_ASKED {
            let said = "too many requests about the configuration are under way; ask again in a moment";
            return Err(CallError::unavailable(said).retry_after(1_000));
        }
        self.asked += 1;
        Ok(())
    }
}

/// Everything that the gateway knows. Owned by the core actor; its parts are changed by methods and by news alone.
#[derive(Debug)]
pub(crate) struct GatewayMachine {
    /// The configuration as it counts now.
    pub config: Arc<GatewayConfig>,
    /// What is known of its file.
    pub configuration: Configuration,
    pub started: Now,
    pub boot_id: String,
    pub subscribers: Subscribers,
    pub auth: AuthState,
    /// The devices that were approved, and those that wait for it.
    pub devices: Devices,
    pub sessions: Sessions,
    pub agents: Agents,
    /// Which of its files could not be written.
    pub files: FilesHealth,
    /// Memory of the process, in bytes, as of the last upkeep; none where unknown.
    pub resident_bytes: Option<u64>,
    pub presence: Presence,
    pub runs: Runs,
    /// Services by which people reach agents.
    pub channels: Channels,
    pub cron: Cron,
    /// Devices that carry out commands.
    pub nodes: Nodes,
    /// Processes that a gateway which crashed left running on this state directory.
    pub orphans: Vec<Orphan>,
    /// How it is with Tailscale's route, where there is to be one.
    pub route: Option<RouteState>,
    /// What is known of the wall clock.
    wall_clock: WallClock,
    logged: u64,
    stopping: bool,
}

impl GatewayMachine {
    pub(crate) fn new(config: Arc<GatewayConfig>, loaded: Loaded, turn: &mut Turn<'_>) -> Self {
        for repair in loaded.repairs {
            turn.write(repair);
        }
        for remark in loaded.remarks {
            turn.log(LogLevel::Warn, "files", None, remark);
        }
        let auth = AuthState::new(&config);
        let route = (config.tailscale.mode != TailscaleMode::Off).then_some(RouteState::Beginning);
        let channels = Channels::new(loaded.channels, &config, turn);
        let cron = Cron::resume(loaded.cron, loaded.zone, config.cron.clone(), turn);
        let wall_clock = WallClock::resume(loaded.steady_time.as_deref(), &loaded.boot, turn);
        let mut machine = Self {
            agents: Agents::new(Arc::clone(&config), loaded.agents),
            config,
            configuration: Configuration::default(),
            started: turn.now,
            boot_id: turn.uuid(),
            subscribers: Subscribers::default(),
            auth,
            devices: loaded.devices,
            sessions: loaded.sessions,
            files: FilesHealth::default(),
            resident_bytes: None,
            presence: Presence::default(),
            runs: Runs::new(),
            channels,
            cron,
            nodes: Nodes::default(),
            orphans: loaded.orphans,
            route,
            wall_clock,
            logged: 0,
            stopping: false,
        };
        machine.resume_jobs(turn);
        machine
    }

    pub(crate) fn upkeep(&mut self, turn: &mut Turn<'_>) {
        self.report_left_out_failures(turn);
        self.look_at_clocks(turn);
        let judged_ms = self.wall_clock.judged_ms(turn.now, self.sessions.age());
        self.sessions.prune(judged_ms, &self.subscribers, turn);
        self.run_due_jobs(turn);
        let broken: Vec<PathBuf> = self.files.broken().map(Path::to_owned).collect();
        for file in broken {
            let change = if file == Path::new(agents::FILE) {
                self.agents.as_file()
            } else if file == Path::new(CLOCK_FILE) {
                self.wall_clock.as_file()
            } else if file == Path::new(cron::file::FILE) {
                self.cron.as_file()
            } else if let Some(change) = self.sessions.as_file(&file) {
                change
            } else if self.channels.save_again(&file) {
                continue;
            } else if file.starts_with(transcript::FOLDER) {
                // No longer ours: it could not be removed.
                FileChange::Remove { file }
            } else {
                continue;
            };
            turn.write(change);
        }
    }

    pub(crate) fn files_news(&mut self, news: FilesNews, turn: &mut Turn<'_>) {
        match news {
            FilesNews::Failed { file, error } => {
                self.channels.unwritten(&file, &error, turn);
                self.files.failed(&file, &error, turn);
            }
            FilesNews::Restored { file } => {
                self.channels.settled(&file, None);
                self.files.restored(&file, turn);
            }
            FilesNews::Answered { to, outcome } => turn.respond(&to, outcome),
            FilesNews::Confirmed { awaited_by: AwaitedBy::Run(run), written, .. } => {
                self.confirmed(&run, written, turn)
            }
            FilesNews::Confirmed { awaited_by: AwaitedBy::Post(run), written, .. } => {
                self.post_confirmed(&run, written, turn);
            }
            FilesNews::Confirmed { file, awaited_by: AwaitedBy::Account(mark), written } => {
                // Where it isn't written, the change itself has failed and said so.
                if written {
                    self.channels.settled(&file, Some(mark));
                }
            }
            FilesNews::Config { wish, outcome } => self.configuration_news(wish, outcome, turn),
        }
    }

    /// From now on this configuration counts.
    pub(crate) fn configure(&mut self, config: GatewayConfig, turn: &mut Turn<'_>) {
        let config = Arc::new(config);
        self.auth.lock_outs.configure(&config.limits);
        self.devices.configure(&config.device_auth);
        self.sessions.configure(&config.limits);
        self.agents.configure(Arc::clone(&config));
        self.channels.configure(&config, turn);
        self.cron.configure(config.cron.clone(), turn.now);
        self.config = Arc::clone(&config);
        self.offer_again(turn);
        turn.push(Effect::Configure(config));
    }

    /// A connection is gone; nothing more can be sent to it.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId, now: Now) {
        if let Some(caller) = self.subscribers.leave(connection) {
            if let Some(node) = caller.device_id.as_deref().filter(|_| caller.role == Role::Node)
                && self.nodes.leave(node, connection, now).is_some()
            {
                self.devices.note_node(node, |last| last.disconnected_at_ms = Some(now.wall_ms));
            }
            self.has_left(caller, now);
        }
        self.runs.disconnected(connection);
    }

    /// How long the gateway has been up, in ms.
    pub(crate) fn uptime_ms(&self, now: Now) -> u64 {
        u64::try_from(now.at.saturating_duration_since(self.started.at).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn runs(&mut self) -> (&mut Runs, Parts<'_>) {
        let parts = Parts {
            sessions: &mut self.sessions,
            agents: &self.agents,
            subscribers: &self.subscribers,
            config: &self.config,
        };
        (&mut self.runs, parts)
    }

    pub(crate) fn process_news(&mut self, run: &RunId, news: ProcessNews, turn: &mut Turn<'_>) {
        let (runs, mut parts) = self.runs();
        runs.on_news(run, news, &mut parts, turn);
        self.settle_jobs(turn);
    }

    /// Says in the log what a gateway that crashed left running.
    pub(crate) fn report_orphans(&mut self, turn: &mut Turn<'_>) {
        for orphan in &self.orphans {
            turn.log(LogLevel::Warn, "processes", None, orphan.sentence());
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let parts = [
            self.runs.next_deadline(),
            self.presence.deadline(),
            self.channels.deadline(),
            // A gateway that stops begins no job and sends no post: what is due stays so.
            if self.stopping { None } else { self.cron.deadline() },
            self.nodes.deadline(),
        ];
        parts.into_iter().flatten().min()
    }

    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) {
        let (runs, parts) = self.runs();
        runs.on_time(&parts, turn);
        self.tell_presence(turn);
        self.attend_nodes(turn);
        self.run_due_jobs(turn);
    }

    /// The `tick` event. Real releases send the time alone; document 002 shows the sessions with it. Those go only to who may
    /// read them.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.wall_ms;
        let (readers, others): (Vec<_>, Vec<_>) =
            self.subscribers.callers().cloned().partition(|caller| caller.holds(Scope::Read));
        let numbers = |callers: Vec<Arc<Caller>>| -> Vec<ConnectionId> {
            callers.iter().map(|caller| caller.connection).collect()
        };
        if !readers.is_empty() {
            let snapshot = tick_snapshot(&self.sessions, now);
            turn.tell(numbers(readers), "tick", json!({"ts": now, "snapshot": snapshot}));
        }
        turn.tell(numbers(others), "tick", json!({"ts": now}));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The gateway stops: everybody is told before anything is ended.
    pub(crate) fn stopping(&mut self, turn: &mut Turn<'_>) {
        self.stopping = true;
        let all = self.subscribers.callers().map(|caller| caller.connection).collect();
        turn.tell(all, "shutdown", json!({"reason": "gateway stopping", "restartExpectedMs": null}));
        self.channels.stop(turn);
        self.stop_nodes(turn);
        self.take_jobs_back(turn);
        let (runs, mut parts) = self.runs();
        runs.stop(&mut parts, turn);
    }

    /// The event for a line; none where nobody listens, or the line is below the configured level.
    pub(crate) fn log_event(&mut self, line: &LogLine, now: Now) -> Option<Effect> {
        if line.level < self.config.log.level {
            return None;
        }
        let to = self.subscribers.holding(Scope::Read);
        if to.is_empty() {
            return None;
        }
        self.logged += 1;
        let payload = json!({
            "id": format!("log-{}", self.logged),
            "timestamp": now.wall_ms,
            "level": line.level.as_str(),
            "source": line.source,
            "session": line.session,
            "message": line.message,
            "extra": line.extra,
        });
        Some(Effect::Tell { to, event: "log".to_owned(), payload: Arc::new(payload) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::caller::caller_with;
    use crate::clock::{CountingChance, Now};
    use crate::config::{Auth, GatewayConfig};
    use crate::effect::Effect;
    use crate::loading::Loaded;

    fn told(decide: impl FnOnce(&mut GatewayMachine, &mut Turn<'_>)) -> Vec<(u64, String, serde_json::Value)> {
        let config = Arc::new(GatewayConfig::defaults(PathBuf::from("state"), Auth::None));
        let mut chance = CountingChance::default();
        let mut turn = Turn::new(Now::read(), &mut chance);
        let loaded = Loaded::nothing(&config);
        let mut machine = GatewayMachine::new(config, loaded, &mut turn);
        for (number, scope) in [(1, "operator.read"), (2, "operator.pairing")] {
            let mut caller = caller_with(&[scope]);
            caller.connection = ConnectionId(number);
            machine.subscribers.join(Arc::new(caller));
        }
        decide(&mut machine, &mut turn);
        let mut told = Vec::new();
        for effect in turn.into_effects() {
            if let Effect::Tell { to, event, payload } = effect {
                told.extend(to.iter().map(|connection| (connection.0, event.clone(), (*payload).clone())));
            }
        }
        told
    }

    #[test]
    fn a_tick_shows_sessions_only_to_those_who_may_read_them() {
        let told = told(GatewayMachine::tick);
        assert_eq!(told.len(), 2);
        for (connection, event, payload) in told {
            assert_eq!(event, "tick");
            assert!(payload["ts"].is_i64());
            assert_eq!(payload["snapshot"]["sessions"].is_array(), connection == 1, "{payload}");
        }
    }

    #[test]
    fn everybody_is_told_of_the_end() {
        let told = told(GatewayMachine::stopping);
        assert_eq!(
            told.iter().map(|(connection, event, _)| (*connection, event.as_str())).collect::<Vec<_>>(),
            [(1, "shutdown"), (2, "shutdown")]
        );
    }
}
