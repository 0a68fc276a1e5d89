//! What a gateway finds of its former life when it starts. Each part of the state directory adds its own field.

use std::collections::BTreeMap;

use crate::agents::CreatedAgent;
use crate::config::GatewayConfig;
use crate::devices::Devices;
use crate::effect::FileChange;
use crate::processes::Orphan;
use crate::sessions::{SessionBounds, Sessions};

/// What was read before the core actor starts.
#[derive(Debug)]
pub struct Loaded {
    /// The devices.
    pub devices: Devices,
    /// The conversations.
    pub sessions: Sessions,
    /// Agents that were created over the wire.
    pub agents: BTreeMap<String, CreatedAgent>,
    /// What puts the files in order; carried out before anything else is written.
    pub repairs: Vec<FileChange>,
    /// Sentences for the log.
    pub remarks: Vec<String>,
    /// Processes that a gateway which crashed left running.
    pub orphans: Vec<Orphan>,
    /// What was known of the wall clock, where anything was.
    pub steady_time: Option<String>,
    /// The machine's name for its present boot.
    pub boot: String,
}

impl Loaded {
    /// Nothing: a first start.
    pub fn nothing(config: &GatewayConfig) -> Self {
        Self {
            devices: Devices::new(&config.device_auth),
            sessions: Sessions::new(SessionBounds::from(&config.limits)),
            agents: BTreeMap::new(),
            repairs: Vec::new(),
            remarks: Vec::new(),
            orphans: Vec::new(),
            steady_time: None,
            boot: String::new(),
        }
    }
}
