//! A real gateway that has a model, and a daemon that is told of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::mock_model::{MockModel, Stream};
use crate::peer::Peer;
use crate::support::daemon::{Daemon, PATIENCE};
use crate::support::wait;

/// The first run of a fresh gateway prepares its workspace; a busy machine has been seen to take fifteen seconds.
pub(crate) const RUN_MOVES_WITHIN: Duration = Duration::from_secs(180);

/// A daemon with one real gateway whose agents have a model.
pub(crate) struct Scene {
    pub(crate) model: MockModel,
    pub(crate) peer: Peer,
    pub(crate) daemon: Daemon,
    pub(crate) gateway: i64,
}

impl Scene {
    /// With the gateway online.
    pub(crate) fn set(version: &'static str) -> Self {
        let scene = Self::begin(version);
        scene.daemon.until_status(scene.gateway, "online");
        scene
    }

    /// With the gateway just registered.
    pub(crate) fn begin(version: &'static str) -> Self {
        let model = MockModel::start();
        let peer = Peer::start_with_model(version, &model);
        let daemon = Daemon::start();
        let gateway = daemon.register("real", peer.port, &peer.token);
        Self { model, peer, daemon, gateway }
    }

    pub(crate) fn spawn(&self, task: &str) -> Value {
        self.daemon.post("/api/spawn", &json!({ "task": task, "gateway_id": self.gateway })).expect(202).json()
    }

    pub(crate) fn spawn_until(&self, spawn: &Value, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/spawn/{}", spawn["spawnId"].as_str().expect("a spawn has an id"));
        wait::until_ok(what, RUN_MOVES_WITHIN, || {
            let spawn = self.daemon.get(&path).expect(200).json();
            if wanted(&spawn) { Ok(spawn) } else { Err(spawn.to_string()) }
        })
    }

    pub(crate) fn session(&self, key: &str) -> Option<Value> {
        let listed = self.daemon.get("/api/sessions?limit=200").expect(200).json();
        let rows = listed["sessions"].as_array().cloned().expect("a list");
        rows.into_iter().find(|row| row["key"] == key)
    }

    pub(crate) fn until_session_is(&self, key: &str, status: &str) {
        wait::until_ok(&format!("{key} is {status}"), PATIENCE, || match self.session(key) {
            Some(row) if row["status"] == status => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    pub(crate) fn until_slow_streams(&self, wanted: &[Stream]) {
        wait::until_ok("the model's streams are as wanted", RUN_MOVES_WITHIN, || {
            let streams = self.model.slow_streams();
            if streams == wanted { Ok(()) } else { Err(format!("{streams:?}")) }
        });
    }

    pub(crate) fn control(&self, key: &str, action: &str) -> crate::support::http::Answer {
        self.daemon.post(&format!("/api/sessions/{key}/control"), &json!({ "action": action }))
    }
}
