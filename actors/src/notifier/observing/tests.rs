use std::sync::Arc;

use gatewarden_core::fleet::Failover;

use super::*;
use crate::gateway_record::{GatewayRecord, ProcessSource, TlsTrust};
use crate::machines::notification::WatchSettings;
use crate::notifier::destination::WebhookUrl;
use crate::notifier::tests_support::record;
use crate::processes::view::ProcessView;
use crate::registry::roster::ActingPrimary;

const NOW: i64 = 1_700_000_000_000;

fn destination() -> Destination {
    Destination {
        name: "ops".to_owned(),
        url: WebhookUrl::parse("http://127.0.0.1:1/").unwrap(),
        secret: None,
        tls: TlsTrust::System,
        conditions: Condition::ALL.into_iter().collect(),
        gateways: BTreeSet::new(),
        labels: BTreeMap::new(),
        timing: WatchSettings { after: Duration::ZERO, remind_every: None, recovered: true },
        give_up_after: Duration::from_secs(60),
        timeout: Duration::from_secs(1),
    }
}

fn report(phase: Phase, status: Status) -> GatewayReport {
    GatewayReport { phase, status, ..GatewayReport::unknown(NOW - 1_000) }
}

fn well() -> GatewayReport {
    report(Phase::Ready, Status::Online)
}

fn view(id: i64, report: GatewayReport) -> Arc<GatewayView> {
    viewed(record(id), report)
}

fn viewed(record: GatewayRecord, report: GatewayReport) -> Arc<GatewayView> {
    Arc::new(GatewayView::new(Arc::new(record), report, false))
}

/// Who acts in place of the configured primary, gateway 1; nobody where there is none, and no failover where it is that one.
fn acting(id: Option<i64>) -> Primary {
    let acting = id.map(|id| {
        let (name, reason) = (format!("gw{id}"), "It is the best".to_owned());
        Arc::new(ActingPrimary { id: GatewayId(id), name, reason, until_ms: None })
    });
    let failover = Failover { configured: GatewayId(1), since_ms: NOW - 700 };
    Primary { acting, failover: (id != Some(1)).then_some(failover) }
}

fn look<'a>(views: &'a [Arc<GatewayView>], primary: &'a Primary) -> Fleet<'a> {
    Fleet { views, primary, elected: true, doubts: false, now_ms: NOW }
}

fn of(id: i64, condition: Condition) -> Topic {
    Topic { subject: Subject::Gateway(GatewayId(id)), condition }
}

fn fleet_wide(condition: Condition) -> Topic {
    Topic { subject: Subject::Fleet, condition }
}

fn holds(seen: &Seen, topic: Topic) -> bool {
    matches!(seen.sights.get(&topic), Some(Sight::Holds { .. }))
}

#[test]
fn phases_and_states_say_what_is_wrong_with_a_gateway() {
    use GatewayIs::{Unclear, Well};
    let (since_ms, down) = (NOW - 1_000, GatewayIs::Down { since_ms: NOW - 1_000 });
    let blocked = GatewayIs::Blocked { since_ms };
    for (phase, status, expected) in [
        (Phase::Ready, Status::Online, Well),
        (Phase::Ready, Status::Degraded, Well),
        (Phase::Ready, Status::Timeout, down),
        (Phase::Ready, Status::Offline, down),
        (Phase::Ready, Status::Unknown, Unclear),
        (Phase::Backoff, Status::Offline, down),
        (Phase::Backoff, Status::Timeout, down),
        (Phase::Parked, Status::Offline, down),
        (Phase::Blocked, Status::Degraded, blocked),
        (Phase::Blocked, Status::Offline, blocked),
        (Phase::Dialing, Status::Offline, Unclear),
        (Phase::Authenticating, Status::Degraded, Unclear),
        (Phase::Idle, Status::Unknown, Unclear),
        (Phase::Starting, Status::Degraded, Unclear),
        (Phase::Restarting, Status::Degraded, Unclear),
        (Phase::Stopping, Status::Offline, Unclear),
    ] {
        assert_eq!(gateway_is(&report(phase, status), NOW), expected, "{phase:?} {status:?}");
    }
    let forgotten = GatewayReport::unknown(NOW - 300_000);
    assert_eq!(
        gateway_is(&forgotten, NOW),
        GatewayIs::Down { since_ms: forgotten.since_ms },
        "nothing known for five minutes"
    );
}

#[test]
fn a_gateway_that_turns_from_down_to_blocked_is_not_told_to_have_recovered() {
    let views = [view(1, report(Phase::Blocked, Status::Degraded)), view(2, report(Phase::Backoff, Status::Offline))];
    let seen = observe(&destination(), &look(&views, &Primary::default()));
    assert!(holds(&seen, of(1, Condition::Blocked)) && holds(&seen, of(2, Condition::Down)));
    assert_eq!(seen.sights.get(&of(1, Condition::Down)), Some(&Sight::Aside));
    assert_eq!(seen.sights.get(&of(2, Condition::Blocked)), Some(&Sight::Aside));
}

#[test]
fn a_drained_gateway_is_left_alone() {
    let drained = record(1).with(|spec| spec.drained = true);
    let views = [viewed(drained, report(Phase::Backoff, Status::Offline))];
    let seen = observe(&destination(), &look(&views, &Primary::default()));
    assert!(seen.sights.values().all(|sight| *sight == Sight::Aside), "{seen:?}");
    assert!(seen.present.contains(&GatewayId(1)), "it is there: nothing is taken back");
}

#[test]
fn a_process_that_is_given_up_is_told_until_it_runs_again() {
    let with_process = |state| {
        let mut process = ProcessView::unknown(ProcessSource::Command("openclaw".to_owned()), NOW);
        process.state = state;
        let view = GatewayView::new(Arc::new(record(1)), report(Phase::Backoff, Status::Offline), false);
        let views = [Arc::new(GatewayView { process: Some(Arc::new(process)), ..view })];
        observe(&destination(), &look(&views, &Primary::default())).sights.get(&of(1, Condition::CrashLoop)).cloned()
    };
    let holds = Some(Sight::Holds { since_ms: NOW, stand_in: None, at_once: true });
    for state in ProcessState::ALL {
        let expected = match state {
            ProcessState::GaveUp => holds.clone(),
            ProcessState::Unknown | ProcessState::Starting | ProcessState::Waiting => Some(Sight::Unclear),
            ProcessState::Running | ProcessState::Stopping | ProcessState::Stopped => None,
        };
        assert_eq!(with_process(state), expected, "{state:?}");
    }
}

#[test]
fn only_gateways_that_matter_are_seen() {
    let labels = [("environment".to_owned(), "production".to_owned())];
    let record_of_prod = record(1).with(|spec| spec.labels.extend(labels));
    let views = [
        viewed(record_of_prod, report(Phase::Backoff, Status::Offline)),
        view(2, report(Phase::Backoff, Status::Offline)),
    ];
    let mut by_label = destination();
    by_label.labels.insert("environment".to_owned(), "production".to_owned());
    let seen = observe(&by_label, &look(&views, &Primary::default()));
    assert_eq!(seen.present.into_iter().collect::<Vec<_>>(), [GatewayId(1)]);
    assert!(!seen.sights.contains_key(&of(2, Condition::Down)));
    let mut by_name = destination();
    by_name.gateways.insert("gw2".to_owned());
    let seen = observe(&by_name, &look(&views, &Primary::default()));
    assert_eq!(seen.present.into_iter().collect::<Vec<_>>(), [GatewayId(2)]);
}

#[test]
fn only_conditions_that_are_wanted_are_seen() {
    let mut only_blocked = destination();
    only_blocked.conditions = [Condition::Blocked].into();
    let views = [view(1, report(Phase::Backoff, Status::Offline))];
    let primary = Primary::default();
    let fleet = Fleet { doubts: true, ..look(&views, &primary) };
    let seen = observe(&only_blocked, &fleet);
    assert_eq!(seen.sights.keys().copied().collect::<Vec<_>>(), [of(1, Condition::Blocked)]);
}

#[test]
fn a_doubt_stands_for_all_that_failed_with_it() {
    let views = [view(1, report(Phase::Backoff, Status::Offline))];
    let primary = Primary::default();
    let fleet = Fleet { doubts: true, ..look(&views, &primary) };
    let seen = observe(&destination(), &fleet);
    assert!(holds(&seen, fleet_wide(Condition::NetworkDoubt)));
    assert_eq!(seen.sights.get(&of(1, Condition::Down)), Some(&Sight::Withheld { since_ms: NOW - 1_000 }));
    let mut without = destination();
    without.conditions.remove(&Condition::NetworkDoubt);
    assert!(holds(&observe(&without, &fleet), of(1, Condition::Down)), "who isn't told of the doubt hears of each");
}

#[test]
fn a_failover_is_that_another_acts_than_the_configured_primary() {
    let primary = record(1).with(|spec| spec.is_primary = true);
    let views = [viewed(primary, well()), view(2, well())];
    let topic = of(1, Condition::Failover);
    let sight = |acting: &Primary, elected| {
        observe(&destination(), &Fleet { elected, ..look(&views, acting) }).sights.get(&topic).cloned()
    };
    let holds_by = |stand_in, at_once| Some(Sight::Holds { since_ms: NOW - 700, stand_in: Some(stand_in), at_once });
    assert_eq!(sight(&acting(Some(1)), true), None);
    assert_eq!(sight(&acting(Some(2)), true), holds_by(StandIn::Gateway(GatewayId(2)), true));
    assert_eq!(sight(&acting(None), true), holds_by(StandIn::Nobody, false));
    assert_eq!(sight(&acting(None), false), Some(Sight::Unclear), "the daemon has just started");
    let nobody_configured = Primary { failover: None, ..acting(Some(2)) };
    assert_eq!(sight(&nobody_configured, true), None);
    assert!(!holds(&observe(&destination(), &look(&views[..1], &acting(None))), topic), "one alone is told to be down");
    let mut elsewhere = destination();
    elsewhere.gateways.insert("gw3".to_owned());
    assert!(!holds(&observe(&elsewhere, &look(&views, &acting(Some(2)))), topic));
}

#[test]
fn a_gateway_that_was_only_seeded_is_not_missed_before_it_was_there_once() {
    let seeded = |seeded, last_seen_ms| {
        let record = GatewayRecord { seeded, ..record(1).with(|spec| spec.is_primary = true) };
        let report = GatewayReport { last_seen_ms, ..report(Phase::Backoff, Status::Offline) };
        let views = [viewed(record, report), view(2, well())];
        let seen = observe(&destination(), &look(&views, &acting(Some(2))));
        (holds(&seen, of(1, Condition::Down)), holds(&seen, of(1, Condition::Failover)))
    };
    assert_eq!(seeded(true, None), (false, false));
    assert_eq!(seeded(true, Some(NOW - 5_000)), (true, true));
    assert_eq!(seeded(false, None), (true, true), "somebody added it, or changed it");
}
