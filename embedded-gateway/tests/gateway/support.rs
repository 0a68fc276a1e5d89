//! A gateway to talk to, and who talks to it.
//!
//! ```ignore
//! let gateway = Gateway::start(|config| config.limits.processes = 1).await;
//! let mut client = Client::connect(&gateway).await;
//! let payload = client.call("ping", json!({})).await;
//! let event = client.event("tick").await;
//! gateway.stop().await;
//! ```

mod client;
mod http;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use gatewarden_embedded_gateway::config::{Auth, ChannelAccount, GatewayConfig, Metrics};
use gatewarden_embedded_gateway::server::{self, Running};
use gatewarden_protocol::Secret;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use client::{Client, Connect, Incoming};
pub(crate) use http::{request, request_to};

/// The shared token of every gateway here.
pub(crate) const TOKEN: &str = "a-token-for-tests-0123456789";

/// What has to happen happens within this; far more than it takes.
const PATIENCE: Duration = Duration::from_secs(45);

/// A running gateway.
pub(crate) struct Gateway {
    running: Option<Running>,
    state: TempDir,
}

impl Gateway {
    /// Starts one. `change` has the last word about its configuration: defaults, the token [`TOKEN`], free ports.
    pub(crate) async fn start(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::start_in(TempDir::new().unwrap(), change).await
    }

    /// Starts one over the state that another one left.
    pub(crate) async fn start_in(state: TempDir, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut config = GatewayConfig::defaults(state.path().to_owned(), Auth::Token(Secret::new(TOKEN)));
        config.port = 0;
        config.metrics = Some(Metrics { port: 0, address: IpAddr::V4(Ipv4Addr::LOCALHOST) });
        change(&mut config);
        let running = server::start(config).await.unwrap();
        Self { running: Some(running), state }
    }

    /// The server.
    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Where its state is.
    pub(crate) fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// Stops it in order, and hands out its state.
    pub(crate) async fn stop(mut self) -> TempDir {
        within(self.running.take().unwrap().stop()).await;
        self.state
    }
}

/// Waits for something that has to happen. A test that hangs says so.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not happen in time")
}

/// What an account of a channel takes at rest, with its service's side in the same process, where there are ten or twenty: at most 5 MiB.
pub(crate) async fn cost_at_rest(channel: &str, account: impl Fn(String) -> ChannelAccount) {
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let measured = async |accounts: usize| {
        let named = (0..accounts).map(|number| account(format!("a{number}")));
        let gateway = Gateway::start(|config| config.channels.extend(named)).await;
        let mut client = Client::connect(&gateway).await;
        let connected = |status: &Value| {
            let rows = status["channelAccounts"][channel].as_array().unwrap();
            rows.iter().filter(|row| row["connected"] == true).count() == accounts
        };
        within(async { while !connected(&client.call("channels.status", json!({})).await) {} }).await;
        // By now each has asked its service for what there is.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let figure = resident();
        gateway.stop().await;
        figure
    };
    // What the first one needs for itself isn't counted.
    measured(1).await;
    let one = measured(1).await;
    for more in [10_u16, 19] {
        let all = measured(usize::from(more) + 1).await;
        let each = all.saturating_sub(one) / u64::from(more);
        println!("{channel}: {one} KiB with one account, {all} KiB with {more} more: {each} KiB each");
        assert!(each < 5 * 1_024, "{each} KiB");
    }
}
