//! Tailscale before the gateway (`gateway.tailscale`): Serve shows it to the tailnet, Funnel to the internet, and the one command
//! `tailscale` says who asks. As real releases do, the gateway hands Serve and Funnel a listener of their own on loopback, so that no
//! other program's request is taken for one of theirs by accident, and holds the route with a command in the foreground, so that it ends
//! with the gateway.
//!
//! [`answers`] is pure: what the command says, and what that lacks. [`command`] runs it, [`route`] keeps the route, [`logins`] asks who
//! has an address.

mod answers;
mod command;
mod doctor;
pub(crate) mod logins;
pub(crate) mod route;

use std::cell::RefCell;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Tailscale as Settings, TailscaleMode};
use answers::Fault;
use command::Command;
use logins::Logins;

pub use doctor::look;

/// What the parts of one gateway share.
#[derive(Debug)]
pub(crate) struct Tailscale {
    pub(crate) mode: TailscaleMode,
    command: Command,
    /// The name under which the route is reached while there is one.
    published: RefCell<Option<String>>,
    logins: Logins,
}

impl Tailscale {
    /// None where it is off.
    pub(crate) fn of(settings: &Settings, state_dir: &Path) -> Option<Self> {
        (settings.mode != TailscaleMode::Off).then(|| Self {
            mode: settings.mode,
            command: Command::new(settings.folders.clone(), state_dir),
            published: RefCell::default(),
            logins: Logins::default(),
        })
    }

    /// The one name that requests which came through Tailscale may ask for.
    pub(crate) fn published(&self) -> Option<String> {
        self.published.borrow().clone()
    }
}

/// How it is with the route, for `gateway.info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteState {
    Beginning,
    Active { url: String },
    Missing(Fault),
}

impl RouteState {
    pub(crate) fn to_value(&self, mode: TailscaleMode) -> Value {
        let mode = mode.as_str();
        match self {
            Self::Beginning => json!({"mode": mode, "active": false}),
            Self::Active { url } => json!({"mode": mode, "active": true, "url": url}),
            Self::Missing(fault) => json!({
                "mode": mode, "active": false, "code": fault.code(), "error": fault.to_string(), "help": fault.cure(),
            }),
        }
    }
}
