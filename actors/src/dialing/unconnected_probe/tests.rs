use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::time::sleep;

use super::*;
use crate::dialing::MemoryAccount;
use crate::dialing::failure::DialStep;
use crate::dialing::{Dialed, HttpReply, HttpRequest};

const BLACK_HOLE: DialFailure = DialFailure::Timeout { step: DialStep::Connect };

fn well() -> Result<Health, HealthFailure> {
    Ok(Health { document: Default::default(), is_healthy: true, took: Duration::from_millis(7) })
}

fn web_page() -> Result<Health, HealthFailure> {
    Err(HealthFailure::NotAHealthDocument { status: 200, content_type: Some("text/html".into()) })
}

fn greeting() -> Option<Result<Greeting, NoGreeting>> {
    Some(Ok(Greeting { took: Duration::from_millis(5), timings: DialTimings::default() }))
}

fn refused_upgrade(status: u16) -> Option<Result<Greeting, NoGreeting>> {
    let refused = DialFailure::UpgradeRefused { status, content_type: None, body: Bytes::new(), retry_after: None };
    Some(Err(refused.into()))
}

fn step(
    health: Result<Health, HealthFailure>,
    socket: Option<Result<Greeting, NoGreeting>>,
    transport: Transport,
) -> Option<&'static str> {
    let findings = Findings { health, socket, transport };
    findings.failed_step().map(|(step, _)| step)
}

#[test]
fn the_first_layer_that_failed_is_named() {
    use Transport::{Auto, Http, Ws};
    let silent = || Some(Err(NoGreeting::Silent));
    let closed = || Some(Err(NoGreeting::Closed { code: Some(1013), reason: "gateway starting".into() }));
    for (name, health, socket, transport, expected) in [
        ("both answer", well(), greeting(), Auto, None),
        ("an old release with a web page", web_page(), greeting(), Auto, None),
        ("document 000's gateway", well(), refused_upgrade(404), Auto, None),
        ("the same, sockets only", well(), refused_upgrade(404), Ws, Some("upgrade")),
        ("a web server", web_page(), refused_upgrade(200), Auto, Some("health_document")),
        ("a refusing proxy", well(), refused_upgrade(403), Auto, Some("upgrade")),
        ("rpc or nothing", well(), silent(), Auto, Some("challenge")),
        ("starting", well(), closed(), Auto, Some("challenge")),
        ("a black hole", Err(BLACK_HOLE.into()), Some(Err(BLACK_HOLE.into())), Auto, Some("connect")),
        ("refused", Err(DialFailure::Refused.into()), None, Http, Some("connect")),
        ("http, a web page", web_page(), None, Http, Some("health_document")),
        ("http, well", well(), None, Http, None),
    ] {
        assert_eq!(step(health, socket, transport), expected, "{name}");
    }
}

#[test]
fn the_greeting_counts_before_the_health_document() {
    let took = |health, socket| Findings { health, socket, transport: Transport::Auto }.took();
    assert_eq!(took(well(), greeting()), Some(Duration::from_millis(5)));
    assert_eq!(took(well(), Some(Err(NoGreeting::Silent))), Some(Duration::from_millis(7)));
    assert_eq!(took(web_page(), Some(Err(NoGreeting::Silent))), None);
}

/// Accepts and never answers.
struct BlackHole;

impl Dialer for BlackHole {
    fn dial(&self, request: DialRequest, _: &MemoryAccount) -> LocalBoxFuture<'static, Result<Dialed, DialFailure>> {
        async move {
            sleep(request.timeout).await;
            Err(DialFailure::Timeout { step: DialStep::Upgrade })
        }
        .boxed_local()
    }

    fn http(&self, request: HttpRequest, _: &MemoryAccount) -> LocalBoxFuture<'static, Result<HttpReply, DialFailure>> {
        async move {
            sleep(request.timeout).await;
            Err(DialFailure::Timeout { step: DialStep::Request })
        }
        .boxed_local()
    }
}

/// Opens at once and says nothing more.
struct Mute;

impl Dialer for Mute {
    fn dial(&self, _: DialRequest, _: &MemoryAccount) -> LocalBoxFuture<'static, Result<Dialed, DialFailure>> {
        async {
            let (dialed, mut peer) = Dialed::scripted();
            actix_rt::spawn(async move { while peer.sent.recv().await.is_some() {} });
            Ok(dialed)
        }
        .boxed_local()
    }

    fn http(
        &self,
        request: HttpRequest,
        memory: &MemoryAccount,
    ) -> LocalBoxFuture<'static, Result<HttpReply, DialFailure>> {
        BlackHole.http(request, memory)
    }
}

#[actix::test]
async fn a_probe_takes_its_budget_once_however_many_ways_stay_silent() {
    tokio::time::pause();
    let budget = Duration::from_secs(5);
    let address = GatewayAddress::parse("127.0.0.1", Some(1)).unwrap().address;
    for (dialer, step) in [(&BlackHole as &dyn Dialer, "upgrade"), (&Mute as &dyn Dialer, "challenge")] {
        let started = Instant::now();
        let findings = probe_unconnected(dialer, &address, &TlsTrust::System, Transport::Auto, budget).await;
        assert_eq!(started.elapsed().as_secs(), budget.as_secs());
        assert_eq!(findings.failed_step().map(|(step, _)| step), Some(step));
    }
}
