//! `gatewarden mcp`: an MCP server on standard input and output, which an AI assistant starts and which asks a running daemon.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{LocalBoxStream, unfold};
use rmcp::transport::IntoTransport;
use rmcp::transport::io::stdio;
use rmcp::{RoleServer, ServiceExt as _};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::EXIT_OK;
use super::daemon::{Daemon, DaemonArgs};
use super::error::CliError;
use crate::event_stream::StreamEvent;
use crate::mcp::{Excerpt, McpServer, Ordered, Refusal, RestApi, RestCall, Toolbox};

/// Requests to the daemon at one time; further ones wait.
const AT_ONE_TIME: usize = 8;
/// Standard input and output take a thread each.
const THREADS: usize = AT_ONE_TIME + 4;
/// Events that wait to be taken.
const QUEUE: usize = 64;

/// Serves until standard input ends. The assistant may do what the key may.
pub(super) fn run(args: &DaemonArgs) -> u8 {
    if args.reads_key_from_input() {
        let error = CliError::usage("The key can't come from standard input, which the assistant speaks over.")
            .cure("Name a file with --key-file, or put the key into $GATEWARDEN_API_KEY.");
        return super::finish(Err(error));
    }
    args.run(|daemon| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build();
        let runtime = runtime.map_err(|error| CliError::new(format!("The MCP server cannot start: {error}.")))?;
        let ended = LocalSet::new().block_on(&runtime, serve(daemon.clone()));
        // Nobody is left to hear what the daemon still answers.
        runtime.shutdown_background();
        ended
    })
}

async fn serve(daemon: Daemon) -> Result<u8, CliError> {
    let document = serde_json::to_value(crate::http::openapi()).unwrap_or_default();
    let api = RemoteApi { daemon: Arc::new(daemon), places: Arc::new(Semaphore::new(AT_ONE_TIME)) };
    let server = McpServer::new(api, Arc::new(Toolbox::of(&document)));
    let transport = IntoTransport::<RoleServer, _, _>::into_transport(stdio());
    let ended = |error: &dyn std::fmt::Display| {
        CliError::new(format!("The MCP client broke off: {error}."))
            .cure("This command is started by an AI assistant that speaks MCP; docs/mcp.md says how to set one up.")
    };
    let running = server.serve(Ordered::over(transport)).await.map_err(|error| ended(&error))?;
    running.waiting().await.map_err(|error| ended(&error))?;
    Ok(EXIT_OK)
}

/// The daemon, asked over HTTP. Its client blocks, so each request has a thread.
struct RemoteApi {
    daemon: Arc<Daemon>,
    places: Arc<Semaphore>,
}

impl RemoteApi {
    async fn on_thread<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Daemon) -> Result<T, CliError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = self.places.clone().acquire_owned().await;
        let daemon = self.daemon.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _place = place;
            ask(&daemon)
        });
        match asked.await {
            Ok(said) => said.map_err(|error| Excerpt::of(&error.for_assistant())),
            Err(_ended) => Err(Excerpt::of("The request ended in a fault of this program")),
        }
    }
}

impl RestApi for RemoteApi {
    async fn ask(&self, call: RestCall) -> Result<Excerpt, Refusal> {
        self.on_thread(move |daemon| {
            let answer =
                daemon.once::<Value>(call.method, &call.path, call.body.as_ref(), call.idempotency_key.as_deref())?;
            Ok(Excerpt::of(&answer.text))
        })
        .await
    }

    async fn follow(&self, call: RestCall, at_most: Duration) -> Result<LocalBoxStream<'static, StreamEvent>, Refusal> {
        let mut stream = self.on_thread(move |daemon| daemon.stream(&call.path, None, Some(at_most))).await?;
        let (take, taken) = mpsc::channel(QUEUE);
        let place = self.places.clone().acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let _place = place;
            while let Some(event) = stream.next() {
                if take.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Ok(unfold(taken, async |mut taken| taken.recv().await.map(|event| (event, taken))).boxed_local())
    }
}
