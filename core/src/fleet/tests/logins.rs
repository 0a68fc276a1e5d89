//! Logins: some at a time, settled once, each at the address that it is for.

use super::*;
use crate::machines::connection::{AuthPermit, AuthResult};

/// Its present actor wants to log in; who may then.
fn wants_to_log_in(fleet: &mut Fleet, time: Time, id: GatewayId, address: &str) -> Vec<GatewayId> {
    let wants = GatewayNotice::PermitWanted { address: address.to_owned() };
    fleet.on_notice(time, id, fleet.dialled(id).unwrap().incarnation, wants);
    permitted(fleet.take_effects(time)).into_iter().map(|(id, _)| id).collect()
}

/// Who may log in now, and where.
fn permitted(effects: Vec<Effect>) -> Vec<(GatewayId, String)> {
    let granted = effects.into_iter().filter_map(|effect| match effect {
        Effect::Permit(id, AuthPermit::Granted { address, .. }) => Some((id, address)),
        _ => None,
    });
    granted.collect()
}

/// What was permitted has ended; who may log in then, and where.
fn settle(fleet: &mut Fleet, time: Time, id: GatewayId, address: &str) -> Vec<(GatewayId, String)> {
    let settled = GatewayNotice::AuthSettled { address: address.to_owned(), result: AuthResult::Accepted };
    fleet.on_notice(time, id, fleet.dialled(id).unwrap().incarnation, settled);
    permitted(fleet.take_effects(time))
}

fn address_of(id: GatewayId) -> String {
    record(id).address_key()
}

#[test]
fn a_login_that_its_actor_died_over_is_settled_once_and_keeps_no_place() {
    let mut time = begin();
    let mut fleet = fleet(time, [PROD]);
    let address = fleet.get(PROD).unwrap().address.clone();
    for _ in 0..20 {
        say(&mut fleet, time, PROD, GatewayReport::unknown(1));
        let incarnation = fleet.get(PROD).unwrap().incarnation;
        assert_eq!(wants_to_log_in(&mut fleet, time, PROD, &address), [PROD]);
        fleet.on_actor_died(time, PROD);
        let late = GatewayNotice::AuthSettled { address: address.clone(), result: AuthResult::Failed };
        fleet.on_notice(time, PROD, incarnation, late);
        fleet.take_effects(time);
        fleet.on_failed_logins_stored(time, true);
        assert_eq!(fleet.waiting(), 0);
        time = time.after(Duration::from_secs(20));
    }
}

#[test]
fn a_whole_fleet_logs_in_some_at_a_time_its_primary_first_and_none_that_is_gone() {
    let mut time = begin();
    let began = time.now;
    let ids: Vec<GatewayId> = (1..=17).map(GatewayId).collect();
    let mut fleet = fleet(time, ids.clone());
    // One that is parked at its next death.
    (0..fleet.settings.restarts.max_restarts).for_each(|_| fleet.on_actor_died(time, GatewayId(8)));
    let others = ids.iter().copied().filter(|id| *id != PROD);
    let at_once: Vec<GatewayId> =
        others.flat_map(|id| wants_to_log_in(&mut fleet, time, id, &address_of(id))).collect();
    assert_eq!(at_once, ids[1..=5]);
    assert_eq!(wants_to_log_in(&mut fleet, time, PROD, &address_of(PROD)), []);
    let next = settle(&mut fleet, time, BACKUP, &address_of(BACKUP));
    assert_eq!(next, [(PROD, address_of(PROD))], "work waits for it");

    fleet.on_deleted(time, GatewayId(7));
    fleet.on_actor_died(time, GatewayId(8));
    fleet.take_effects(time);
    let mut later = Vec::new();
    while fleet.logins.waiting() > 0 {
        time = Time { now: fleet.next_deadline().unwrap().max(time.now), ..time };
        fleet.on_deadline(time);
        later.extend(permitted(fleet.take_effects(time)).into_iter().map(|(id, _)| id));
    }
    let rest: Vec<GatewayId> = ids.into_iter().filter(|id| id.0 > 8).collect();
    assert_eq!(later, rest, "none that was deleted or is parked");
    assert_eq!(
        time.now,
        began + Duration::from_millis(500),
        "nobody who is silent holds others up for longer than a quarter of a second"
    );
}

#[test]
fn who_acts_and_who_is_tried_log_in_before_those_that_nobody_waits_for() {
    let time = begin();
    let mut fleet = fleet(time, (2..=12).map(GatewayId));
    say(&mut fleet, time, BACKUP, online());
    assert_eq!(fleet.acting(), Some(BACKUP));
    (3..=12).map(GatewayId).for_each(|id| drop(wants_to_log_in(&mut fleet, time, id, &address_of(id))));
    let tried = fleet.try_unstored(time, GatewaySpec::at("lab", "127.0.0.1", 18_789)).unwrap();
    let tried_at = fleet.dialled(tried).unwrap().address.clone();
    wants_to_log_in(&mut fleet, time, tried, &tried_at);
    wants_to_log_in(&mut fleet, time, BACKUP, &address_of(BACKUP));
    let [third, fourth, fifth] = [3, 4, 5].map(GatewayId);
    assert_eq!(settle(&mut fleet, time, third, &address_of(third)), [(tried, tried_at)]);
    assert_eq!(settle(&mut fleet, time, fourth, &address_of(fourth)), [(BACKUP, address_of(BACKUP))]);
    let eighth = GatewayId(8);
    assert_eq!(settle(&mut fleet, time, fifth, &address_of(fifth)), [(eighth, address_of(eighth))]);
}

#[test]
fn one_whose_address_changes_while_it_waits_logs_in_at_the_new_one_only() {
    let time = begin();
    for is_primary in [true, false] {
        let mut fleet = fleet(time, (2..=8).map(GatewayId));
        (2..=6).map(GatewayId).for_each(|id| drop(wants_to_log_in(&mut fleet, time, id, &address_of(id))));
        let [second, seventh, eighth] = [2, 7, 8].map(GatewayId);
        let moved = record(seventh).with(|spec| {
            spec.port = 9_999;
            spec.is_primary = is_primary;
        });
        wants_to_log_in(&mut fleet, time, seventh, &address_of(seventh));
        wants_to_log_in(&mut fleet, time, eighth, &address_of(eighth));
        fleet.on_updated(time, moved.clone());
        assert_eq!(wants_to_log_in(&mut fleet, time, seventh, &moved.address_key()), []);
        assert_eq!(settle(&mut fleet, time, second, &address_of(second)), [(seventh, moved.address_key())]);
        assert_eq!(settle(&mut fleet, time, seventh, &moved.address_key()), [(eighth, address_of(eighth))]);
        for id in (3..=6).map(GatewayId).chain([eighth]) {
            assert_eq!(settle(&mut fleet, time, id, &address_of(id)), []);
        }
        assert_eq!((fleet.logins.waiting(), fleet.addresses.permits()), (0, 0));
    }
}
