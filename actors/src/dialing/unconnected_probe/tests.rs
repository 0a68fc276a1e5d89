use bytes::Bytes;

use super::*;
use crate::dialing::failure::DialStep;

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
) -> (Option<&'static str>, bool) {
    let findings = Findings { health, socket, transport };
    (findings.failed_step().map(|(step, _)| step), findings.is_reachable())
}

#[test]
fn the_first_layer_that_failed_is_named() {
    use Transport::{Auto, Http, Ws};
    let silent = || Some(Err(NoGreeting::Silent));
    let closed = || Some(Err(NoGreeting::Closed { code: Some(1013), reason: "gateway starting".into() }));
    for (name, health, socket, transport, expected) in [
        ("both answer", well(), greeting(), Auto, (None, true)),
        ("an old release with a web page", web_page(), greeting(), Auto, (None, true)),
        ("document 000's gateway", well(), refused_upgrade(404), Auto, (None, true)),
        ("the same, sockets only", well(), refused_upgrade(404), Ws, (Some("upgrade"), true)),
        ("a web server", web_page(), refused_upgrade(200), Auto, (Some("health_document"), true)),
        ("a refusing proxy", well(), refused_upgrade(403), Auto, (Some("upgrade"), true)),
        ("rpc or nothing", well(), silent(), Auto, (Some("challenge"), true)),
        ("starting", well(), closed(), Auto, (Some("challenge"), true)),
        ("a black hole", Err(BLACK_HOLE.into()), Some(Err(BLACK_HOLE.into())), Auto, (Some("connect"), false)),
        ("refused", Err(DialFailure::Refused.into()), None, Http, (Some("connect"), false)),
        ("http, a web page", web_page(), None, Http, (Some("health_document"), true)),
        ("http, well", well(), None, Http, (None, true)),
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
