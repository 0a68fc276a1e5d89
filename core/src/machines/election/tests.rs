use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn start() -> Instant {
    crate::any_instant()
}

fn gateway(id: i64, now: Instant) -> Candidate {
    Candidate {
        id: GatewayId(id),
        configured: id == 1,
        usable: true,
        drained: false,
        held_until: None,
        priority: 0,
        active_sessions: 0,
        latency_us: 1_000,
        ready_since: Some(now),
        reconnect_until: None,
        outcome_known: true,
    }
}

fn down(mut candidate: Candidate) -> Candidate {
    candidate.usable = false;
    candidate.ready_since = None;
    candidate
}

fn election(now: Instant) -> Election {
    Election::new(ElectionSettings::default(), now)
}

#[test]
fn the_configured_primary_acts_as_soon_as_its_first_outcome_is_good() {
    let now = start();
    let mut election = election(now);
    let mut fleet = [gateway(1, now), gateway(2, now)];
    fleet[0].outcome_known = false;
    fleet[0].usable = false;
    assert_eq!(election.decide(now, &fleet, false), None, "nobody acts during the hold");
    let change = election.decide(now + Duration::from_secs(1), &[gateway(1, now), gateway(2, now)], false).unwrap();
    assert_eq!((change.from, change.to), (None, Some(GatewayId(1))));
}

#[test]
fn a_silent_primary_loses_the_start_after_the_hold() {
    let now = start();
    let mut election = election(now);
    let mut silent = down(gateway(1, now));
    silent.outcome_known = false;
    let fleet = [silent, gateway(2, now)];
    assert_eq!(election.decide(now, &fleet, false), None);
    let deadline = election.next_deadline().unwrap();
    assert_eq!(deadline, now + Duration::from_secs(10));
    assert_eq!(election.decide(deadline, &fleet, false).unwrap().to, Some(GatewayId(2)));
}

#[test]
fn a_failed_primary_is_replaced_at_once_and_takes_back_only_after_the_delay() {
    let now = start();
    let mut election = election(now);
    election.decide(now, &[gateway(1, now), gateway(2, now)], false);
    let change = election.decide(now, &[down(gateway(1, now)), gateway(2, now)], false).unwrap();
    assert_eq!((change.from, change.to), (Some(GatewayId(1)), Some(GatewayId(2))));
    let back = now + Duration::from_secs(100);
    let fleet = [gateway(1, back), gateway(2, now)];
    assert_eq!(election.decide(back, &fleet, false), None);
    let due = election.next_deadline().unwrap();
    assert_eq!(due, back + Duration::from_secs(30));
    assert_eq!(election.decide(due - Duration::from_millis(1), &fleet, false), None);
    assert_eq!(election.decide(due, &fleet, false).unwrap().to, Some(GatewayId(1)));
}

#[test]
fn a_primary_that_an_operator_reconnects_keeps_the_role_until_it_has_taken_too_long() {
    let now = start();
    let mut election = election(now);
    election.decide(now, &[gateway(1, now), gateway(2, now)], false);
    let until = now + Duration::from_secs(10);
    let away = Candidate { reconnect_until: Some(until), ..down(gateway(1, now)) };
    let fleet = [away, gateway(2, now)];
    assert_eq!(election.decide(now, &fleet, false), None);
    assert_eq!(election.next_deadline(), Some(until));
    assert_eq!(election.decide(until, &fleet, false).unwrap().to, Some(GatewayId(2)));
}

#[test]
fn where_the_configured_primary_and_its_stand_in_are_drained_the_reason_names_both() {
    let now = start();
    let mut fleet = [gateway(1, now), gateway(2, now), gateway(3, now)];
    let mut election = election(now);
    fleet[0].drained = true;
    election.decide(now, &fleet, false);
    fleet[1].drained = true;
    let change = election.decide(now, &fleet, false).unwrap();
    assert_eq!(
        (change.to, change.reason),
        (Some(GatewayId(3)), "the configured primary and the gateway that acted are drained")
    );
}

#[test]
fn a_primary_that_is_no_longer_drained_takes_the_role_back_for_that_reason() {
    let now = start();
    let mut election = election(now);
    let mut all = [Candidate { configured: true, ..gateway(1, now) }, gateway(2, now)];
    election.decide(now, &all, false);
    all[0].drained = true;
    let later = now + Duration::from_secs(600);
    assert_eq!(election.decide(later, &all, false).unwrap().to, Some(GatewayId(2)));
    all[0].drained = false;
    let back = election.decide(later, &all, false).unwrap();
    assert_eq!((back.to, back.reason), (Some(GatewayId(1)), "the configured primary is no longer drained"));
}

#[test]
fn the_reason_is_that_of_whoever_lost_the_role() {
    let now = start();
    let all = || [gateway(1, now), gateway(2, now), gateway(3, now)];
    let mut election = election(now);
    election.decide(now, &all(), false);
    let mut fleet = all();
    fleet[0].drained = true;
    assert_eq!(election.decide(now, &fleet, false).unwrap().reason, "the configured primary is drained");
    fleet[1] = down(gateway(2, now));
    assert_eq!(election.decide(now, &fleet, false).unwrap().reason, "the gateway that acted is not usable any more");
    fleet[2].drained = true;
    let nobody = election.decide(now, &fleet, false).unwrap();
    assert_eq!((nobody.to, nobody.reason), (None, "every gateway that is usable is drained"));
    let mut unconfigured = gateway(2, now);
    unconfigured.configured = false;
    let change = Election::new(ElectionSettings { startup_hold: Duration::ZERO, ..ElectionSettings::default() }, now)
        .decide(now, &[unconfigured], false);
    assert_eq!(change.unwrap().reason, "no gateway is configured as primary");
}

#[test]
fn while_the_supervisor_doubts_itself_nothing_fails_back_but_an_unusable_one_is_left() {
    let now = start();
    let mut election = election(now);
    election.decide(now, &[gateway(1, now), gateway(2, now)], false);
    assert_eq!(election.decide(now, &[down(gateway(1, now)), gateway(2, now)], true).unwrap().to, Some(GatewayId(2)));
    let later = now + Duration::from_secs(3600);
    assert_eq!(election.decide(later, &[gateway(1, now), gateway(2, now)], true), None);
    assert_eq!(election.decide(later, &[gateway(1, now), down(gateway(2, now))], true).unwrap().to, Some(GatewayId(1)));
}

#[test]
fn a_primary_that_was_late_at_the_start_must_prove_itself_too() {
    let now = start();
    let mut election = election(now);
    assert_eq!(election.decide(now, &[down(gateway(1, now)), gateway(2, now)], false).unwrap().to, Some(GatewayId(2)));
    let fleet = [gateway(1, now), gateway(2, now)];
    assert_eq!(election.decide(now, &fleet, false), None);
    assert_eq!(election.decide(now + Duration::from_secs(30), &fleet, false).unwrap().to, Some(GatewayId(1)));
}

#[test]
fn stand_ins_are_ordered_by_priority_sessions_latency_and_id() {
    let now = start();
    type Favour = (&'static str, fn(&mut Candidate));
    let cases: [Favour; 3] = [
        ("priority", |c| c.priority = 1),
        ("latency", |c| c.latency_us = 1),
        ("sooner in every way", |c| c.latency_us = 999),
    ];
    for (what, favour) in cases {
        let mut election = election(now);
        let mut fleet = [down(gateway(1, now)), gateway(2, now), gateway(3, now)];
        favour(&mut fleet[2]);
        assert_eq!(election.decide(now, &fleet, false).unwrap().to, Some(GatewayId(3)), "{what}");
    }
    let mut busy = election(now);
    let mut fleet = [down(gateway(1, now)), gateway(2, now), gateway(3, now)];
    fleet[1].active_sessions = 1;
    fleet[2].latency_us = 900_000;
    assert_eq!(busy.decide(now, &fleet, false).unwrap().to, Some(GatewayId(3)));
    let mut equal = election(now);
    assert_eq!(
        equal.decide(now, &[down(gateway(1, now)), gateway(3, now), gateway(2, now)], false).unwrap().to,
        Some(GatewayId(2))
    );
}

#[test]
fn a_stand_in_keeps_the_role_though_another_becomes_less_busy() {
    let now = start();
    let mut election = election(now);
    let mut fleet = [down(gateway(1, now)), gateway(2, now), gateway(3, now)];
    election.decide(now, &fleet, false);
    fleet[1].active_sessions = 500;
    fleet[1].latency_us = 10_000_000;
    assert_eq!(election.decide(now + Duration::from_secs(3600), &fleet, false), None);
}

#[test]
fn a_higher_priority_takes_over_from_a_stand_in_after_the_delay() {
    let now = start();
    let mut election = election(now);
    let mut better = down(gateway(3, now));
    better.priority = 5;
    election.decide(now, &[down(gateway(1, now)), gateway(2, now), better.clone()], false);
    better.usable = true;
    better.ready_since = Some(now);
    let fleet = [down(gateway(1, now)), gateway(2, now), better];
    assert_eq!(election.decide(now, &fleet, false), None);
    let due = election.next_deadline().unwrap();
    assert_eq!(election.decide(due, &fleet, false).unwrap().to, Some(GatewayId(3)));
}

#[test]
fn while_the_configured_primary_waits_to_come_back_the_reason_says_for_what_and_until_when() {
    let now = start();
    let mut election = election(now);
    election.decide(now, &[gateway(1, now), gateway(2, now)], false);
    election.decide(now, &[down(gateway(1, now)), gateway(2, now)], false);
    assert_eq!((election.reason(), election.reason_ends()), ("the configured primary is not usable", None));
    let back = now + Duration::from_secs(5);
    assert_eq!(election.decide(back, &[gateway(1, back), gateway(2, now)], false), None);
    assert!(election.reason().contains("takes over once it has stayed so"), "{}", election.reason());
    assert_eq!(election.reason_ends(), election.next_deadline());
    let mut held = gateway(1, back);
    held.held_until = Some(back + Duration::from_secs(300));
    election.decide(back, &[held.clone(), gateway(2, now)], false);
    assert!(election.reason().contains("held down"), "{}", election.reason());
    assert_eq!(election.reason_ends(), held.held_until);
    election.decide(back, &[gateway(1, back), gateway(2, now)], true);
    assert!(election.reason().contains("own network"), "{}", election.reason());
    election.decide(back, &[down(gateway(1, back)), gateway(2, now)], false);
    assert_eq!((election.reason(), election.reason_ends()), ("the configured primary is not usable", None));
}

#[test]
fn drained_gateways_never_act_and_held_down_ones_only_where_nobody_else_can() {
    let now = start();
    let mut election = election(now);
    let mut drained = gateway(2, now);
    drained.drained = true;
    let mut held = gateway(3, now);
    held.held_until = Some(now);
    let fleet = [down(gateway(1, now)), drained.clone(), held.clone()];
    assert_eq!(election.decide(now, &fleet, false).unwrap().to, Some(GatewayId(3)));
    assert_eq!(election.decide(now, &[down(gateway(1, now)), drained.clone(), down(held)], false).unwrap().to, None);
    let free = gateway(4, now);
    assert_eq!(election.decide(now, &[down(gateway(1, now)), drained, free], false).unwrap().to, Some(GatewayId(4)));
}

#[test]
fn naming_another_configured_primary_moves_the_role_at_once() {
    let now = start();
    let mut election = election(now);
    election.decide(now, &[gateway(1, now), gateway(2, now)], false);
    let mut fleet = [gateway(1, now), gateway(2, now)];
    fleet[0].configured = false;
    fleet[1].configured = true;
    let change = election.decide(now, &fleet, false).unwrap();
    assert_eq!(change.to, Some(GatewayId(2)));
}

#[test]
fn without_automatic_failover_nobody_else_ever_acts() {
    let now = start();
    let mut election = Election::new(ElectionSettings { auto_failover: false, ..ElectionSettings::default() }, now);
    assert_eq!(election.decide(now, &[gateway(1, now), gateway(2, now)], false).unwrap().to, Some(GatewayId(1)));
    assert_eq!(election.decide(now, &[down(gateway(1, now)), gateway(2, now)], false).unwrap().to, None);
}

fn any_candidate(now: Instant) -> impl Strategy<Value = (bool, bool, bool, i32, u32, u64, u64)> {
    let _ = now;
    (any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.2), -2..3_i32, 0..4_u32, 0..5_u64, 0..120_u64)
}

#[test]
fn the_reason_stays_true_when_an_operator_names_another_configured_primary() {
    let now = start();
    let mut election = election(now);
    let mut fleet = [gateway(1, now), gateway(2, now)];
    election.decide(now, &fleet, false);
    assert_eq!(election.reason(), "the configured primary is usable");
    fleet[0].configured = false;
    assert_eq!(election.decide(now, &fleet, false), None, "the gateway that acts goes on");
    assert_eq!(election.reason(), "no gateway is configured as primary");
    fleet[0].configured = true;
    assert_eq!(election.decide(now, &fleet, false), None);
    assert_eq!(election.reason(), "it was made the configured primary");
    fleet[0].configured = false;
    fleet[1] = Candidate { configured: true, ..down(gateway(2, now)) };
    assert_eq!(election.decide(now, &fleet, false), None);
    assert_eq!(election.reason(), "the configured primary is not usable");
}

proptest! {
    #[test]
    fn the_acting_primary_is_always_usable_and_present_while_anybody_is(
        rounds in prop::collection::vec(
            (prop::collection::vec(any_candidate(start()), 0..6), 0_u64..90, any::<bool>(), 0_usize..7),
            1..60,
        )
    ) {
        let mut now = start();
        let mut election = election(now);
        now += Duration::from_secs(11);
        for (states, gap, doubts, configured) in rounds {
            now += Duration::from_secs(gap);
            let fleet: Vec<Candidate> = states
                .iter()
                .enumerate()
                .map(|(index, (usable, drained, held_down, priority, sessions, latency, ready_for))| Candidate {
                    id: GatewayId(index as i64 + 1),
                    configured: index == configured,
                    usable: *usable,
                    drained: *drained,
                    held_until: held_down.then_some(now),
                    priority: *priority,
                    active_sessions: *sessions,
                    latency_us: *latency,
                    ready_since: usable.then(|| now - Duration::from_secs(*ready_for)),
                    reconnect_until: None,
                    outcome_known: true,
                })
                .collect();
            let before = election.acting();
            let change = election.decide(now, &fleet, doubts);
            prop_assert_eq!(change.is_some(), before != election.acting());
            let may_act: Vec<&Candidate> = fleet.iter().filter(|c| c.usable && !c.drained).collect();
            match election.acting() {
                None => prop_assert!(may_act.is_empty()),
                Some(id) => {
                    let acting = may_act.iter().find(|c| c.id == id);
                    prop_assert!(acting.is_some(), "an unusable gateway acts");
                    if acting.unwrap().held_until.is_some() {
                        prop_assert!(may_act.iter().all(|c| c.held_until.is_some()));
                    }
                }
            }
            // Deciding again at the same moment changes nothing: the order is total.
            prop_assert_eq!(election.decide(now, &fleet, doubts), None);
        }
    }
}
