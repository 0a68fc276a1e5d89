//! Keeps the route while the gateway runs: claims it, reads back what came of it, and tries again where it is missing. The gateway
//! itself serves this machine meanwhile. (Real releases don't start without the route.)

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::answers::{self, Fault};
use super::command::Ongoing;
use super::{RouteState, Tailscale};
use crate::context::GatewayContext;

/// What the command says once the route is there.
const READY: &str = "Press Ctrl+C to exit";
/// The claim is given up after this, as in real releases.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// The first pause before another attempt; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A route that was there so long begins anew with the first pause.
const HELD: Duration = Duration::from_secs(60);
/// Its end is not awaited longer.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// The task that keeps it.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins. `port` is where the gateway takes what comes through Tailscale.
    pub(crate) fn begin(tailscale: Rc<Tailscale>, context: Rc<GatewayContext>, port: u16) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = actix_rt::spawn(async move {
            keep(&tailscale, &context, port, stopped).await;
            // A claim that was broken off has a command as well.
            tailscale.command.end().await;
        });
        Self { stop, task }
    }

    /// Takes the route back.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(());
        if timeout(ENDED_WITHIN, self.task).await.is_err() {
            tracing::warn!("Tailscale's route did not end in time");
        }
    }
}

async fn keep(tailscale: &Tailscale, context: &GatewayContext, port: u16, mut stopped: oneshot::Receiver<()>) {
    let mode = tailscale.mode;
    tailscale.command.end_former_route().await;
    let mut pause = FIRST_PAUSE;
    let mut told = None;
    loop {
        let claimed = tokio::select! {
            biased;
            _ = &mut stopped => return,
            claimed = claim(tailscale, port) => claimed,
        };
        let fault = match claimed {
            Ok((route, name)) => {
                let url = format!("https://{name}{}", path_of(context));
                tracing::info!(mode = mode.as_str(), url, "the gateway is reached through Tailscale");
                *tailscale.published.borrow_mut() = Some(name);
                tell(context, RouteState::Active { url }).await;
                let since = tokio::time::Instant::now();
                let fault = tokio::select! {
                    biased;
                    _ = &mut stopped => None,
                    fault = route.ended() => Some(fault),
                };
                *tailscale.published.borrow_mut() = None;
                route.end().await;
                let Some(fault) = fault else {
                    tracing::info!(mode = mode.as_str(), "Tailscale's route was taken back");
                    return;
                };
                told = None;
                if since.elapsed() >= HELD {
                    pause = FIRST_PAUSE;
                }
                fault
            }
            Err(fault) => fault,
        };
        // Once for each cause: it may stay for days.
        if told.as_ref() != Some(&fault) {
            let (code, help) = (fault.code(), fault.cure());
            tracing::warn!(
                mode = mode.as_str(),
                code,
                "the gateway is not reached through Tailscale: {fault}; {help}. It serves this machine, and tries again"
            );
            tell(context, RouteState::Missing(fault.clone())).await;
            told = Some(fault);
        }
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn tell(context: &GatewayContext, state: RouteState) {
    let _ = context.in_turn(move |machine, _| machine.route = Some(state)).await;
}

/// Where the pages are.
fn path_of(context: &GatewayContext) -> String {
    let base = context.config().control_ui.base_path.clone();
    if base == "/" { base } else { format!("{base}/") }
}

/// The route, and the name that it has.
async fn claim(tailscale: &Tailscale, port: u16) -> Result<(Ongoing, String), Fault> {
    let (command, mode) = (&tailscale.command, tailscale.mode);
    let name = look(tailscale).await?;
    let route = command.start(&[mode.as_str(), "--yes", "--bg=false", &port.to_string()])?;
    if let Ok(said) = timeout(READY_WITHIN, route.says(READY)).await {
        said?;
    } else {
        let what = format!("tailscale {}", mode.as_str());
        // It waits for somebody who clicks on a link, for instance.
        let fault = Fault::of_words(&route.said(), &what);
        route.end().await;
        return Err(if matches!(fault, Fault::Other(..)) { Fault::NoAnswer(what) } else { fault });
    }
    let shown = command.ask(&["serve", "status", "--json"]).await;
    match shown.map(|status| answers::shows_route(&status, &name, port, mode)) {
        Ok(true) => Ok((route, name)),
        Ok(false) => {
            route.end().await;
            Err(Fault::NotShown)
        }
        Err(fault) => {
            route.end().await;
            Err(fault)
        }
    }
}

/// The name of this machine, where it can serve.
pub(super) async fn look(tailscale: &Tailscale) -> Result<String, Fault> {
    let status = tailscale.command.ask(&["status", "--json", "--peers=false"]).await?;
    answers::ready(&status, tailscale.mode)
}
