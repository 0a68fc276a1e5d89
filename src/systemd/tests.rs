use std::sync::Arc;
use std::time::Instant;

use gatewarden_actors::gateway_record::GatewaySpec;
use gatewarden_actors::gateway_report::{GatewayReport, Status};
use gatewarden_actors::ids::GatewayId;
use gatewarden_actors::registry::roster::{ActingPrimary, GatewayView, RosterWriter};

use super::*;

/// A clock that starts anywhere.
fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[test]
fn the_watchdog_is_fed_only_after_both_have_answered() {
    let mut feeding = Feeding::default();
    assert!(!feeding.take());
    feeding.on_registry_answer();
    feeding.on_registry_answer();
    assert!(!feeding.take(), "the store is silent");
    assert_eq!(feeding.missing(), "store");
    feeding.on_store_answer();
    assert!(feeding.take());
    assert!(!feeding.take(), "each feeding needs new answers of both");
    feeding.on_store_answer();
    assert!(!feeding.take(), "the registry is silent");
    assert_eq!(feeding.missing(), "registry");
}

#[test]
fn an_answer_that_came_early_still_counts() {
    let mut feeding = Feeding::default();
    feeding.on_store_answer();
    assert!(!feeding.take());
    feeding.on_registry_answer();
    assert!(feeding.take());
}

#[test]
fn a_status_line_is_told_when_it_changes_and_at_most_once_a_second() {
    let mut line = StatusLine::default();
    let now = start();
    assert_eq!(line.offer(now, "a".into()), Some("a".into()));
    assert_eq!(line.offer(now + Duration::from_millis(500), "b".into()), None, "too soon");
    assert_eq!(line.offer(now + Duration::from_secs(1), "b".into()), Some("b".into()));
    assert_eq!(line.offer(now + Duration::from_secs(60), "b".into()), None, "nothing new");
}

fn view(id: i64, status: Status) -> GatewayView {
    let record = GatewaySpec::at(format!("gateway {id}"), "127.0.0.1", 18789).into_record(GatewayId(id), "", 0);
    let mut report = GatewayReport::unknown(0);
    report.status = status;
    GatewayView::new(Arc::new(record), report, false)
}

#[test]
fn the_status_line_counts_gateways_and_names_the_primary() {
    let roster = RosterWriter::default();
    let reader = roster.reader();
    assert_eq!(describe(&reader), "0 of 0 gateways online, no primary");
    roster.publish(view(1, Status::Online));
    roster.publish_acting(
        Some(ActingPrimary {
            id: GatewayId(1),
            name: "prod\nREADY=1".into(),
            reason: "configured".into(),
            until_ms: None,
        }),
        None,
    );
    assert_eq!(describe(&reader), "1 of 1 gateway online, primary prod READY=1");
    roster.publish(view(2, Status::Degraded));
    roster.publish_self_doubt(Some("most of the fleet failed at once".into()));
    assert_eq!(describe(&reader), "1 of 2 gateways online, primary prod READY=1, own network in doubt");
}

fn received(socket: &UnixDatagram) -> String {
    let mut buffer = [0_u8; 512];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn a_real_socket_gets_each_notification_as_one_datagram() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let notifier = Notifier::connect(path.as_os_str()).unwrap();
    notifier.ready();
    assert_eq!(received(&manager), "READY=1\n");
    notifier.status("1 of 1 gateway online, primary prod");
    assert_eq!(received(&manager), "STATUS=1 of 1 gateway online, primary prod\n");
    notifier.feed_watchdog();
    assert_eq!(received(&manager), "WATCHDOG=1\n");
    notifier.reloading();
    let reloading = received(&manager);
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    notifier.stopping("stopping");
    assert_eq!(received(&manager), "STOPPING=1\nSTATUS=stopping\n");
}

#[test]
fn an_abstract_socket_works_too() {
    let name = format!("gatewarden-test-{}", std::process::id());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    Notifier::connect(OsStr::new(&format!("@{name}"))).unwrap().ready();
    assert_eq!(received(&manager), "READY=1\n");
}

#[test]
fn a_service_manager_that_is_gone_or_does_not_read_stops_nothing() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let notifier = Notifier::connect(path.as_os_str()).unwrap();
    for _ in 0..10_000 {
        notifier.feed_watchdog();
    }
    drop(manager);
    notifier.ready();
    Notifier::default().ready();
    assert!(!Notifier::default().is_active());
}
