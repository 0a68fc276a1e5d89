//! The gateway's state and its decisions, without IO: what comes in, what is to be done.

mod lifecycle;
mod log_event;
mod presence;
mod run_news;
mod wall_clock;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::agents::{self, Agents};
use crate::auth::AuthState;
use crate::call::Call;
use crate::call::{Answer, CallError};
use crate::caller::ConnectionId;
use crate::clock::Now;
use crate::config::GatewayConfig;
use crate::devices::Devices;
use crate::effect::{FileChange, LogLevel};
use crate::files::{FilesHealth, FilesNews};
use crate::loading::{CLOCK_FILE, Loaded};
use crate::methods;
use crate::processes::Orphan;
use crate::runs::Runs;
use crate::sessions::{Sessions, transcript};
use crate::subscribers::Subscribers;
use crate::turn::Turn;
use presence::Presence;
use wall_clock::WallClock;

const STOPPING_RETRY_MS: u64 = 1_000;

/// Everything that the gateway knows. Owned by the core actor actor; its parts are changed by methods and by news alone.
#[derive(Debug)]
pub(crate) struct GatewayMachine {
    /// The configuration; it doesn't change while the gateway runs.
    pub config: Arc<GatewayConfig>,
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
    /// Processes that a gateway which crashed left running on this state directory.
    pub orphans: Vec<Orphan>,
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
        let wall_clock = WallClock::resume(loaded.steady_time.as_deref(), &loaded.boot, turn);
        Self {
            agents: Agents::new(Arc::clone(&config), loaded.agents),
            config,
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
            orphans: loaded.orphans,
            wall_clock,
            logged: 0,
            stopping: false,
        }
    }

    pub(crate) fn upkeep(&mut self, turn: &mut Turn<'_>) {
        self.report_left_out_failures(turn);
        self.look_at_clocks(turn);
        let judged_ms = self.wall_clock.judged_ms(turn.now, self.sessions.age());
        self.sessions.prune(judged_ms, &self.subscribers, turn);
        let broken: Vec<PathBuf> = self.files.broken().map(Path::to_owned).collect();
        for file in broken {
            let change = if file == Path::new(agents::FILE) {
                self.agents.as_file()
            } else if file == Path::new(CLOCK_FILE) {
                self.wall_clock.as_file()
            } else if let Some(change) = self.sessions.as_file(&file) {
                change
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
            FilesNews::Failed { file, error } => self.files.failed(&file, &error, turn),
            FilesNews::Restored { file } => self.files.restored(&file, turn),
            FilesNews::Answered { to, outcome } => turn.respond(&to, outcome),
        }
    }

    /// A caller asks for something. The answer is among the effects, at once or in a later turn.
    pub(crate) fn call(&mut self, call: &Call, turn: &mut Turn<'_>) {
        if self.stopping {
            let error = CallError::unavailable("the gateway is stopping").retry_after(STOPPING_RETRY_MS);
            return turn.respond(&call.reply_to(), Err(error));
        }
        match methods::dispatch(self, call, turn) {
            Ok(Answer::Payload(payload)) => turn.respond(&call.reply_to(), Ok(payload)),
            Ok(Answer::Later) => {}
            Err(error) => turn.respond(&call.reply_to(), Err(error)),
        }
    }

    /// A connection is gone; nothing more can be sent to it.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId, now: Now) {
        if let Some(caller) = self.subscribers.leave(connection) {
            self.has_left(caller, now);
        }
        self.runs.disconnected(connection);
    }

    /// How long the gateway has been up, in ms.
    pub(crate) fn uptime_ms(&self, now: Now) -> u64 {
        u64::try_from(now.at.saturating_duration_since(self.started.at).as_millis()).unwrap_or(u64::MAX)
    }
}
