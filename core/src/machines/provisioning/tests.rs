use super::*;
use crate::gateway_report::PairingView;

fn named(is_control_ui: bool) -> Named {
    Named { name: "prod".to_owned(), host: "gw.example".to_owned(), port: 18789, is_control_ui }
}

fn creation(minimum: &str) -> Provisioning {
    Provisioning::new(named(false), MinimumVersion::new(minimum), true)
}

fn report(phase: Phase, version: Option<&str>) -> GatewayReport {
    GatewayReport { phase, version: version.map(str::to_owned), ..GatewayReport::unknown(1) }
}

fn blocked(code: &str) -> GatewayReport {
    let problem =
        Problem { code: code.to_owned(), message: format!("Gateway \"prod\": {code}"), help: "Do this.".to_owned() };
    GatewayReport { last_error: Some(problem), ..report(Phase::Blocked, None) }
}

fn undone(step: Step) -> Failure {
    match step {
        Step::Undo(failure) => failure,
        other => panic!("not undone: {other:?}"),
    }
}

#[test]
fn a_good_gateway_goes_through_all_steps_in_order() {
    let mut creation = creation("2026.02.9");
    for phase in [Phase::Idle, Phase::Dialing, Phase::AwaitingChallenge, Phase::Authenticating, Phase::Starting] {
        assert_eq!(creation.on_report(&report(phase, None)), Step::Wait, "{phase:?}");
    }
    assert_eq!(creation.on_report(&report(Phase::Ready, Some("2026.9.6"))), Step::ProvisionMainAgent);
    // The gateway talks on meanwhile.
    assert_eq!(creation.on_report(&report(Phase::Backoff, None)), Step::Wait);
    assert_eq!(creation.on_main_agent(Ok(())), Step::Record);
    assert_eq!(creation.on_recorded(Ok(())), Step::Done);
}

#[test]
fn a_check_ends_with_the_release() {
    let mut check = Provisioning::new(named(false), MinimumVersion::new("2026.2.9"), false);
    assert_eq!(check.on_report(&report(Phase::Ready, Some("2026.2.9"))), Step::Done);
}

#[test]
fn releases_are_judged_as_calendar_versions_with_a_revision() {
    for (minimum, version, admitted) in [
        ("2026.02.9", "2026.2.9", true),
        ("2026.02.9", "2026.2.19", true),
        ("2026.02.9", "2026.2.8", false),
        ("2026.2.9-1", "2026.2.9", false),
        ("2026.2.9-1", "2026.2.9-1", true),
        ("2026.2.9", "2026.2.9-beta.1", false),
        ("2026.3.1", "2026.2.19", false),
        ("2026.02.9", "2026.9.6+gatewarden.0.1.0", true),
    ] {
        let step = creation(minimum).on_report(&report(Phase::Ready, Some(version)));
        assert_eq!(step == Step::ProvisionMainAgent, admitted, "{version} against {minimum}: {step:?}");
        if !admitted {
            let failure = undone(step);
            assert_eq!(failure.code, ErrorCode::GatewayTooOld);
            assert!(failure.message.contains(version) && failure.message.contains("prod"), "{}", failure.message);
            assert!(failure.help.unwrap().contains("openclaw --version"));
        }
    }
    assert_eq!(MinimumVersion::new("latest"), None);
    let mut any = Provisioning::new(named(false), None, true);
    assert_eq!(any.on_report(&report(Phase::Ready, None)), Step::ProvisionMainAgent);
}

#[test]
fn a_gateway_that_calls_itself_dev_is_judged_by_its_configuration_else_refused() {
    for version in [None, Some("dev"), Some("unknown")] {
        let begin = || {
            let mut creation = creation("2026.02.9");
            assert_eq!(creation.on_report(&report(Phase::Ready, version)), Step::ReadConfiguration);
            creation
        };
        let touched = |version: &str| Ok(json!({"config": {"meta": {"lastTouchedVersion": version}}}));
        assert_eq!(begin().on_configuration(touched("2026.2.19")), Step::ProvisionMainAgent);
        assert_eq!(undone(begin().on_configuration(touched("2026.1.30"))).code, ErrorCode::GatewayTooOld);
        for nothing in [Ok(json!({})), touched("dev"), Err(Failure::unavailable("gateway"))] {
            let failure = undone(begin().on_configuration(nothing));
            assert_eq!(failure.code, ErrorCode::GatewayTooOld);
            assert!(failure.message.contains("does not tell its release"), "{}", failure.message);
        }
    }
}

#[test]
fn whoever_cannot_be_reached_or_refuses_is_said_so_with_the_troubleshooting_text() {
    let refused = GatewayReport { phase: Phase::Backoff, ..blocked("connection_refused") };
    let failure = undone(creation("2026.2.9").on_report(&refused));
    assert_eq!(failure.code, ErrorCode::GatewayUnreachable);
    let help = failure.help.unwrap();
    assert!(help.contains("ps aux | grep openclaw") && help.contains("nc -zv gw.example 18789"), "{help}");
    let tls = undone(creation("2026.2.9").on_report(&blocked("tls_not_trusted")));
    assert_eq!(tls.code, ErrorCode::GatewayUnreachable);
    let help = tls.help.unwrap();
    assert!(help.contains("allow_insecure_tls") && !help.contains("Do this."), "{help}");
    let token = undone(creation("2026.2.9").on_report(&blocked("token_mismatch")));
    assert_eq!(token.code, ErrorCode::GatewayRefused);
    assert!(token.help.unwrap().contains("gateway.auth.token"));
    let spent = GatewayReport { phase: Phase::Idle, ..blocked("login_budget_spent") };
    assert_eq!(undone(creation("2026.2.9").on_report(&spent)).code, ErrorCode::GatewayRefused);
    let away = GatewayReport { phase: Phase::Backoff, ..blocked("closed") };
    let away = GatewayReport {
        last_error: away.last_error.map(|said| Problem { help: "It is connected again by itself.".to_owned(), ..said }),
        ..away
    };
    let help = undone(creation("2026.2.9").on_report(&away)).help.unwrap();
    assert!(!help.contains("by itself") && help.contains("send this request again"), "{help}");
    let mut control_ui = Provisioning::new(named(true), None, true);
    let failure = undone(control_ui.on_report(&blocked("device_identity_required")));
    assert_eq!(failure.code, ErrorCode::GatewayRefused);
    assert!(failure.help.unwrap().contains("dangerouslyDisableDeviceAuth: true"));
    let pairing = Some(PairingView { request_id: Some("r1".to_owned()), command: None, device_id: "d".to_owned() });
    let waiting = GatewayReport { pairing, ..blocked("pairing_required") };
    assert_eq!(undone(creation("2026.2.9").on_report(&waiting)).details.unwrap()["pairing"]["request_id"], "r1");
    let silent = undone(creation("2026.2.9").on_silence(&report(Phase::Dialing, None)));
    assert_eq!(silent.code, ErrorCode::GatewayUnreachable);
    assert!(silent.message.contains("unreachable"), "{}", silent.message);
}

#[test]
fn a_gateway_that_goes_away_in_the_middle_is_unreachable_and_one_that_says_no_has_refused() {
    for code in [ErrorCode::GatewayUnavailable, ErrorCode::GatewayTimeout] {
        let mut creation = creation("2026.2.9");
        creation.on_report(&report(Phase::Ready, Some("2026.9.6")));
        let failure = undone(creation.on_main_agent(Err(Failure::new(code, "not connected"))));
        assert_eq!(failure.code, ErrorCode::GatewayUnreachable);
        assert!(failure.message.contains("went away") && failure.help.unwrap().contains("nothing was stored"));
    }
    let mut creation = creation("2026.2.9");
    creation.on_report(&report(Phase::Ready, Some("2026.9.6")));
    let words = "Gateway \"prod\" refused agents.list: missing scope: operator.read";
    let failure = undone(creation.on_main_agent(Err(Failure::new(ErrorCode::GatewayRefused, words))));
    assert_eq!((failure.code, failure.message.as_str()), (ErrorCode::GatewayRefused, words));
    assert!(failure.help.unwrap().contains("dangerouslyDisableDeviceAuth"));
}

#[test]
fn whatever_comes_after_the_end_changes_nothing() {
    let mut ended = creation("2026.2.9");
    undone(ended.on_report(&blocked("token_mismatch")));
    assert_eq!(ended.on_report(&report(Phase::Ready, Some("2026.9.6"))), Step::Wait);
    assert_eq!(ended.on_configuration(Ok(json!({}))), Step::Wait);
    assert_eq!(ended.on_main_agent(Ok(())), Step::Wait);
    assert_eq!(ended.on_recorded(Ok(())), Step::Wait);
    assert_eq!(ended.on_silence(&report(Phase::Idle, None)), Step::Wait);
    let mut written = creation("2026.2.9");
    written.on_report(&report(Phase::Ready, Some("2026.9.6")));
    written.on_main_agent(Ok(()));
    let full = Failure::new(ErrorCode::StoreUnavailable, "disk full");
    assert_eq!(undone(written.on_recorded(Err(full.clone()))), full);
}
