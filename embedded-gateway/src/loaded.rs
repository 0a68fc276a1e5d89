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
    pub devices: Devices,
    pub sessions: Sessions,
    pub agents: BTreeMap<String, CreatedAgent>,
    /// What puts the files in order; carried out before anything else is written.
    pub repairs: Vec<FileChange>,
    pub remarks: Vec<String>,
    pub orphans: Vec<Orphan>,
    /// What was known of the wall clock, where anything was.
    pub steady_time: Option<String>,
    pub boot: String,
}

impl Loaded {
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
