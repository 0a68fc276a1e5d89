use super::*;
use crate::fleet::{FleetSettings, Stored};
use crate::gateway_record::GatewaySpec;
use crate::machines::auth_budget::{MAX_FAILURES, WINDOW};
use crate::machines::connection::{AuthPermit, GatewayNotice};
use crate::settings::{ElectionSettings, RestartSettings, RoutingSettings};
use gatewarden_protocol::Secret;

fn token() -> DeviceToken {
    DeviceToken { token: Secret::new("device"), role: "operator".into(), scopes: vec![], issued_at_ms: 1 }
}

#[test]
fn two_records_of_one_address_share_budget_and_token() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(vec![("h:1".into(), token())], &[], now);
    addresses.join("h:1", GatewayId(1));
    addresses.join("h:1", GatewayId(2));
    for _ in 0..5 {
        assert_eq!(addresses.reserve("h:1", now), Ok(Some(token())));
        addresses.settle("h:1", now, AuthResult::Failed);
    }
    assert!(addresses.reserve("h:1", now).is_err());
    assert!(addresses.reserve("other:1", now).is_ok());
}

#[test]
fn deleting_and_creating_a_record_doesnt_refill_the_budget() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(Vec::new(), &[], now);
    addresses.join("h:1", GatewayId(1));
    for _ in 0..5 {
        addresses.reserve("h:1", now).unwrap();
        addresses.settle("h:1", now, AuthResult::Failed);
    }
    assert!(addresses.leave("h:1", GatewayId(1)));
    addresses.prune(now + Duration::from_secs(1));
    addresses.join("h:1", GatewayId(2));
    assert!(addresses.reserve("h:1", now + Duration::from_secs(2)).is_err());
}

#[test]
fn the_last_record_takes_the_token_with_it() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(vec![("h:1".into(), token())], &[], now);
    addresses.join("h:1", GatewayId(1));
    addresses.join("h:1", GatewayId(2));
    assert!(!addresses.leave("h:1", GatewayId(1)));
    assert_eq!(addresses.reserve("h:1", now), Ok(Some(token())));
    assert!(addresses.leave("h:1", GatewayId(2)));
    assert_eq!(addresses.reserve("h:1", now), Ok(None));
}

fn fail(addresses: &mut Addresses, address: &str, now: Instant) {
    addresses.reserve(address, now).unwrap();
    addresses.settle(address, now, AuthResult::Failed);
}

#[test]
fn what_failed_before_a_restart_is_counted_at_its_address_alone() {
    let now = crate::any_instant();
    let mut before = Addresses::new(Vec::new(), &[], now);
    let mut stored = Vec::new();
    for _ in 0..MAX_FAILURES {
        fail(&mut before, "h:1", now);
        stored = before.take_unstored(now).unwrap();
        before.on_stored(now, true);
    }
    let later = now + WINDOW / 2;
    let mut after = Addresses::new(vec![("h:1".into(), token())], &stored, later);
    assert!(after.reserve("h:1", later).is_err());
    assert_eq!(after.take_unstored(later), None, "what was stored before need not be stored again");
    assert!(after.reserve("h:2", later).is_ok());
    assert_eq!(after.reserve("h:1", later + WINDOW * 2), Ok(Some(token())));
}

#[test]
fn one_write_at_a_time_stores_all_that_changed_meanwhile() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(Vec::new(), &[], now);
    assert_eq!(addresses.take_unstored(now), None);
    addresses.settle("quiet:1", now, AuthResult::Accepted);
    fail(&mut addresses, "a:1", now);
    let first = addresses.take_unstored(now).unwrap();
    assert_eq!(first, [("a:1".to_owned(), vec![FailedLogin { ago: Duration::ZERO, refused: true }])]);
    fail(&mut addresses, "b:1", now);
    fail(&mut addresses, "b:1", now);
    addresses.settle("a:1", now, AuthResult::Unknown);
    assert_eq!((addresses.take_unstored(now), addresses.next_deadline()), (None, None), "a write is under way");
    assert!(!addresses.are_stored());
    addresses.on_stored(now, true);
    let counts = |logins: &[(String, Vec<FailedLogin>)]| {
        logins.iter().map(|(address, failed)| (address.clone(), failed.len())).collect::<Vec<_>>()
    };
    let second = addresses.take_unstored(now).unwrap();
    assert_eq!(counts(&second), [("a:1".to_owned(), 2), ("b:1".to_owned(), 2)]);
    addresses.on_stored(now, true);
    assert!(addresses.are_stored() && addresses.take_unstored(now).is_none());
    // What was not answered is forgiven, what was refused is not.
    addresses.settle("a:1", now, AuthResult::Accepted);
    assert_eq!(counts(&addresses.take_unstored(now).unwrap()), [("a:1".to_owned(), 1)]);
}

#[test]
fn what_could_not_be_stored_is_tried_again_for_as_long_as_it_counts() {
    let mut now = crate::any_instant();
    let begin = now;
    let mut addresses = Addresses::new(Vec::new(), &[], now);
    fail(&mut addresses, "a:1", now);
    let mut tries = 0;
    while let Some(logins) = addresses.take_unstored(now) {
        assert_eq!(logins.len(), 1);
        addresses.on_stored(now, false);
        assert!(addresses.are_stored(), "nobody waits for a store that can't write");
        assert_eq!(addresses.take_unstored(now), None, "it rests");
        tries += 1;
        now = addresses.next_deadline().unwrap_or(now + RETRY);
    }
    assert_eq!((tries, addresses.next_deadline(), addresses.unstored()), (14, None, 0));
    assert!(now > begin + WINDOW);
}

#[test]
fn what_was_forgiven_while_the_store_was_down_is_forgiven_there_too() {
    let begin = crate::any_instant();
    let mut addresses = Addresses::new(Vec::new(), &[], begin);
    addresses.reserve("a:1", begin).unwrap();
    addresses.settle("a:1", begin, AuthResult::Unknown);
    let stored = addresses.take_unstored(begin).unwrap();
    addresses.on_stored(begin, true);
    let mut now = begin + Duration::from_secs(20);
    addresses.settle("a:1", now, AuthResult::Accepted);
    let forgiven = [("a:1".to_owned(), Vec::new())];
    for _ in 0..3 {
        assert_eq!(addresses.take_unstored(now).as_deref(), Some(forgiven.as_slice()));
        addresses.on_stored(now, false);
        assert_eq!((stored[0].1.len(), addresses.unstored()), (1, 1), "what is stored counts after a restart");
        now = addresses.next_deadline().unwrap();
    }
    // One that fails meanwhile counts as it is then, and an old one that is stored counts no more.
    fail(&mut addresses, "a:1", now);
    assert_eq!(addresses.take_unstored(now).unwrap()[0].1.len(), 1);
    addresses.on_stored(now, true);
    assert_eq!((addresses.take_unstored(now), addresses.unstored()), (None, 0));
    addresses.settle("a:1", now, AuthResult::Accepted);
    assert_eq!(addresses.take_unstored(now), None, "what was refused isn't forgiven");
}

#[test]
fn a_large_fleet_s_failures_are_stored_in_several_writes() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(Vec::new(), &[], now);
    for host in 0..MAX_STORED + 10 {
        fail(&mut addresses, &format!("h{host}:1"), now);
    }
    let mut stored = BTreeSet::new();
    for expected in [MAX_STORED, 10] {
        let logins = addresses.take_unstored(now).unwrap();
        assert_eq!(logins.len(), expected);
        stored.extend(logins.into_iter().map(|(address, _)| address));
        addresses.on_stored(now, true);
    }
    assert_eq!(stored.len(), MAX_STORED + 10);
}

fn fleet(time: Time, failed_logins: Vec<(String, Vec<FailedLogin>)>) -> Fleet {
    let settings = FleetSettings {
        election: ElectionSettings::default(),
        routing: RoutingSettings::default(),
        restarts: RestartSettings::default(),
        heartbeat_interval: Duration::from_secs(30),
        logins_at_a_time: 5,
    };
    Fleet::new(settings, Stored { failed_logins, ..Stored::default() }, time)
}

/// A gateway is dialled until it may be no more; what was stored last of its address, and how often it was.
fn log_in_until_denied(fleet: &mut Fleet, time: Time) -> (Vec<(String, Vec<FailedLogin>)>, usize) {
    let id = fleet.try_unstored(time, GatewaySpec::at("lab", "127.0.0.1", 18_789)).unwrap();
    let (mut stored, mut logins) = (Vec::new(), 0);
    loop {
        let member = fleet.dialled(id).unwrap();
        let (address, incarnation) = (member.address.clone(), member.incarnation);
        fleet.on_notice(time, id, incarnation, GatewayNotice::PermitWanted { address: address.clone() });
        let denied = |effect: &Effect| matches!(effect, Effect::Permit(_, AuthPermit::Denied { .. }));
        if fleet.take_effects(time).iter().any(denied) {
            return (stored, logins);
        }
        logins += 1;
        let settled = GatewayNotice::AuthSettled { address, result: AuthResult::Failed };
        fleet.on_notice(time, id, incarnation, settled);
        for effect in fleet.take_effects(time) {
            if let Effect::StoreFailedLogins(logins) = effect {
                stored = logins;
            }
        }
        assert!(!fleet.has_settled(), "a stop waits for the write");
        fleet.on_failed_logins_stored(time, true);
        assert!(fleet.has_settled());
    }
}

#[test]
fn however_often_the_daemon_starts_a_gateway_sees_five_failed_logins_in_a_minute() {
    let mut time = Time { now: crate::any_instant(), wall_ms: 1 };
    let (mut stored, logins) = log_in_until_denied(&mut fleet(time, Vec::new()), time);
    assert_eq!(logins, MAX_FAILURES);
    for seconds in [1, 20, 38] {
        let passed = Duration::from_secs(seconds);
        time.now += passed;
        stored.iter_mut().flat_map(|(_, failed)| failed).for_each(|failed| failed.ago += passed);
        assert_eq!(log_in_until_denied(&mut fleet(time, stored.clone()), time).1, 0, "after {seconds} s");
    }
    time.now += Duration::from_secs(2);
    stored.iter_mut().flat_map(|(_, failed)| failed).for_each(|failed| failed.ago += Duration::from_secs(2));
    assert_eq!(log_in_until_denied(&mut fleet(time, stored), time).1, MAX_FAILURES);
}
