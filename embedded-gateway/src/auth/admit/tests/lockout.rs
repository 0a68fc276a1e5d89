//! Guesses: who is locked out by them, and what is written of them.

use super::*;

#[test]
fn ten_failures_lock_a_page_out_for_five_minutes_but_not_the_machine() {
    for version in [3, 4] {
        let mut fixture = Fixture::new(config());
        let good = LoginAttempt { peer: page("http://localhost:5173"), device: None, ..protocol(version) };
        let bad = LoginAttempt { token: Some("wrong".into()), ..good.clone() };
        for failure in 1..=10 {
            assert_eq!(fixture.attempt(&bad).code(), "AUTH_TOKEN_MISMATCH", "{failure}");
        }
        fixture.pass(Duration::from_millis(9));
        let outcome = fixture.attempt(&bad);
        let refusal = outcome.refusal();
        assert_eq!(refusal.error.message, "unauthorized: too many failed authentication attempts (retry later)");
        let details = unauthorized("AUTH_RATE_LIMITED", "rate_limited", false, "wait_then_retry");
        assert_eq!(refusal.error.details, details);
        assert_eq!(refusal.error.retry_after_ms, (version == 4).then_some(299_991));
        // A broken proof learns nothing either; nor does a page over HTTP.
        let broken = LoginAttempt { device: Some(1), signed_token: Some("x"), ..good.clone() };
        assert_eq!(fixture.attempt(&broken).code(), "AUTH_RATE_LIMITED");
        assert_eq!(fixture.bearer(&good.peer, Some("wrong")).unwrap_err().details["code"], "AUTH_RATE_LIMITED");
        fixture.attempt(&LoginAttempt { peer: local(), ..good.clone() }).caller();
        fixture.pass(Duration::from_secs(300));
        assert_eq!(fixture.attempt(&bad).code(), "AUTH_TOKEN_MISMATCH");
    }
}

#[test]
fn who_cannot_have_guessed_is_let_in_from_an_address_that_is_locked_out() {
    let mut fixture = Fixture::new(config());
    let issued = fixture.attempt(&LoginAttempt::default()).device_token().unwrap();
    for _ in 0..10 {
        assert!(fixture.bearer(&remote(5), Some("wrong")).is_err());
    }
    let wrong = LoginAttempt { peer: remote(5), token: Some("wrong".into()), ..LoginAttempt::default() };
    assert_eq!(fixture.attempt(&wrong).code(), "AUTH_RATE_LIMITED");
    // The shared credential, over each way in.
    assert!(fixture.bearer(&remote(5), Some(SHARED)).is_ok());
    let shared = LoginAttempt { peer: remote(5), device: Some(9), ..LoginAttempt::default() };
    assert_eq!(fixture.attempt(&shared).code(), "PAIRING_REQUIRED", "judged as from everywhere else");
    let auth = json!({"method": "auth", "params": {"token": SHARED}}).to_string();
    fixture.first_frame(&remote(5), auth.as_bytes()).0.caller();
    // The token of a device with its signature; a wrong one beside it changes nothing.
    let device = LoginAttempt { peer: remote(5), token: None, device_token: Some(issued), ..LoginAttempt::default() };
    fixture.attempt(&device).caller();
    let other = LoginAttempt { device_token: Some("wrong".into()), ..device };
    assert_eq!(fixture.attempt(&other).code(), "AUTH_RATE_LIMITED");
    assert_eq!(fixture.attempt(&wrong).code(), "AUTH_RATE_LIMITED", "a success doesn't end the lock-out of the others");
}

#[test]
fn a_credential_that_can_be_guessed_is_not_told_from_wrong_ones_while_locked_out() {
    for short in ["hunter2", "aaaaaaaaaaaaaaaaaaaaaaaa", "123456781234567"] {
        let mut fixture =
            Fixture::new(crate::config::GatewayConfig { auth: Auth::Token(Secret::new(short)), ..config() });
        assert!(fixture.bearer(&remote(5), Some(short)).is_ok());
        for _ in 0..10 {
            assert!(fixture.bearer(&remote(5), Some("wrong")).is_err());
        }
        let right =
            LoginAttempt { peer: remote(5), token: Some(short.into()), device: None, ..LoginAttempt::default() };
        assert_eq!(fixture.attempt(&right).code(), "AUTH_RATE_LIMITED", "{short}");
        assert_eq!(fixture.bearer(&remote(5), Some(short)).unwrap_err().details["code"], "AUTH_RATE_LIMITED");
        fixture.pass(Duration::from_secs(300));
        assert!(fixture.bearer(&remote(5), Some(short)).is_ok());
    }
}

#[test]
fn a_local_client_is_never_locked_out() {
    let mut fixture = Fixture::new(config());
    for _ in 0..30 {
        assert_eq!(
            fixture.attempt(&LoginAttempt { token: Some("wrong".into()), ..LoginAttempt::default() }).code(),
            "AUTH_TOKEN_MISMATCH"
        );
    }
    fixture.attempt(&LoginAttempt::default()).caller();
}

#[test]
fn remote_guesses_count_over_every_way_in() {
    let mut fixture = Fixture::new(config());
    let wrong_auth = json!({"method": "auth", "params": {"token": "wrong"}}).to_string();
    for round in 0..10 {
        let peer = remote(66);
        match round % 4 {
            0 => drop(fixture.attempt(&LoginAttempt { peer, token: Some("wrong".into()), ..LoginAttempt::default() })),
            1 => drop(fixture.first_frame(&peer, wrong_auth.as_bytes())),
            2 => drop(fixture.bearer(&peer, Some("wrong"))),
            _ => drop(fixture.attempt(&LoginAttempt { peer, signed_token: Some("x"), ..LoginAttempt::default() })),
        }
    }
    let wrong = LoginAttempt { peer: remote(66), token: Some("wrong".into()), ..LoginAttempt::default() };
    assert_eq!(fixture.attempt(&wrong).code(), "AUTH_RATE_LIMITED");
    assert_eq!(
        fixture.attempt(&LoginAttempt { peer: remote(67), ..LoginAttempt::default() }).code(),
        "PAIRING_REQUIRED"
    );
}

#[test]
fn a_connect_without_any_credential_is_no_guess() {
    let mut fixture = Fixture::new(config());
    for _ in 0..30 {
        fixture.attempt(&LoginAttempt { peer: remote(8), token: None, ..LoginAttempt::default() }).refusal();
        assert!(fixture.bearer(&remote(8), None).is_err());
    }
    assert_eq!(
        fixture.attempt(&LoginAttempt { peer: remote(8), ..LoginAttempt::default() }).code(),
        "PAIRING_REQUIRED"
    );
}

#[test]
fn no_secret_reaches_the_logs_or_the_errors() {
    let mut fixture = Fixture::new(config());
    let secret = "guess-9f2c";
    let mut seen = String::new();
    let mut note = |(outcome, effects): (Outcome, Vec<Effect>)| {
        let said = effects.iter().filter(|effect| !matches!(effect, Effect::Write(_)));
        for effect in said {
            seen.push_str(&format!("{effect:?}"));
        }
        if let Outcome::Refused(refusal) = outcome {
            seen.push_str(&format!("{refusal:?}"));
        }
    };
    let (first, effects) = fixture.attempt_with_effects(&LoginAttempt::default());
    let token = first.device_token().unwrap();
    note((first, effects));
    for attempt in [
        LoginAttempt { token: Some(secret.into()), ..LoginAttempt::default() },
        LoginAttempt { password: Some(secret.into()), token: None, ..LoginAttempt::default() },
        LoginAttempt { device_token: Some(secret.into()), token: None, ..LoginAttempt::default() },
        LoginAttempt { documented_token: Some(secret.into()), token: None, ..LoginAttempt::default() },
        LoginAttempt { token: Some(token.clone()), ..LoginAttempt::default() },
    ] {
        note(fixture.attempt_with_effects(&attempt));
    }
    for secret in [secret, SHARED, &token] {
        assert!(!seen.contains(secret), "{seen}");
    }
    let (_, effects) = fixture.attempt_with_effects(&LoginAttempt { device: Some(3), ..LoginAttempt::default() });
    let written = format!("{effects:?}");
    assert!(written.contains("devices.json") && !written.contains(&token), "only hashes are kept");
}
