//! Guesses: who is locked out by them, and what is written of them.

use super::*;

#[test]
fn ten_failures_lock_a_page_out_for_five_minutes_but_not_the_machine() {
    for version in [3, 4] {
        let mut bench = Bench::new(config());
        let good = Knock { peer: page("http://localhost:5173"), device: None, ..protocol(version) };
        let bad = Knock { token: Some("wrong".into()), ..good.clone() };
        for failure in 1..=10 {
            assert_eq!(bench.knock(&bad).code(), "AUTH_TOKEN_MISMATCH", "{failure}");
        }
        bench.pass(Duration::from_millis(9));
        let outcome = bench.knock(&bad);
        let refusal = outcome.refusal();
        assert_eq!(refusal.error.message, "unauthorized: too many failed authentication attempts (retry later)");
        let details = unauthorized("AUTH_RATE_LIMITED", "rate_limited", false, "wait_then_retry");
        assert_eq!(refusal.error.details, details);
        assert_eq!(refusal.error.retry_after_ms, (version == 4).then_some(299_991));
        // A broken proof learns nothing either; nor does a page over HTTP.
        let broken = Knock { device: Some(1), signed_token: Some("x"), ..good.clone() };
        assert_eq!(bench.knock(&broken).code(), "AUTH_RATE_LIMITED");
        assert_eq!(bench.bearer(&good.peer, Some("wrong")).unwrap_err().details["code"], "AUTH_RATE_LIMITED");
        bench.knock(&Knock { peer: local(), ..good.clone() }).caller();
        bench.pass(Duration::from_secs(300));
        assert_eq!(bench.knock(&bad).code(), "AUTH_TOKEN_MISMATCH");
    }
}

#[test]
fn who_cannot_have_guessed_is_let_in_from_an_address_that_is_locked_out() {
    let mut bench = Bench::new(config());
    let issued = bench.knock(&Knock::default()).device_token().unwrap();
    for _ in 0..10 {
        assert!(bench.bearer(&remote(5), Some("wrong")).is_err());
    }
    let wrong = Knock { peer: remote(5), token: Some("wrong".into()), ..Knock::default() };
    assert_eq!(bench.knock(&wrong).code(), "AUTH_RATE_LIMITED");
    // The shared credential, over each way in.
    assert!(bench.bearer(&remote(5), Some(SHARED)).is_ok());
    let shared = Knock { peer: remote(5), device: Some(9), ..Knock::default() };
    assert_eq!(bench.knock(&shared).code(), "PAIRING_REQUIRED", "judged as from everywhere else");
    let auth = json!({"method": "auth", "params": {"token": SHARED}}).to_string();
    bench.first_frame(&remote(5), auth.as_bytes()).0.caller();
    // The token of a device with its signature; a wrong one beside it changes nothing.
    let device = Knock { peer: remote(5), token: None, device_token: Some(issued), ..Knock::default() };
    bench.knock(&device).caller();
    let other = Knock { device_token: Some("wrong".into()), ..device };
    assert_eq!(bench.knock(&other).code(), "AUTH_RATE_LIMITED");
    assert_eq!(bench.knock(&wrong).code(), "AUTH_RATE_LIMITED", "a success doesn't end the lock-out of the others");
}

#[test]
fn a_credential_that_can_be_guessed_is_not_told_from_wrong_ones_while_locked_out() {
    for short in ["hunter2", "aaaaaaaaaaaaaaaaaaaaaaaa", "123456781234567"] {
        let mut bench = Bench::new(crate::config::GatewayConfig { auth: Auth::Token(Secret::new(short)), ..config() });
        assert!(bench.bearer(&remote(5), Some(short)).is_ok());
        for _ in 0..10 {
            assert!(bench.bearer(&remote(5), Some("wrong")).is_err());
        }
        let right = Knock { peer: remote(5), token: Some(short.into()), device: None, ..Knock::default() };
        assert_eq!(bench.knock(&right).code(), "AUTH_RATE_LIMITED", "{short}");
        assert_eq!(bench.bearer(&remote(5), Some(short)).unwrap_err().details["code"], "AUTH_RATE_LIMITED");
        bench.pass(Duration::from_secs(300));
        assert!(bench.bearer(&remote(5), Some(short)).is_ok());
    }
}

#[test]
fn a_local_client_is_never_locked_out() {
    let mut bench = Bench::new(config());
    for _ in 0..30 {
        assert_eq!(
            bench.knock(&Knock { token: Some("wrong".into()), ..Knock::default() }).code(),
            "AUTH_TOKEN_MISMATCH"
        );
    }
    bench.knock(&Knock::default()).caller();
}

#[test]
fn remote_guesses_count_over_every_way_in() {
    let mut bench = Bench::new(config());
    let wrong_auth = json!({"method": "auth", "params": {"token": "wrong"}}).to_string();
    for round in 0..10 {
        let peer = remote(66);
        match round % 4 {
            0 => drop(bench.knock(&Knock { peer, token: Some("wrong".into()), ..Knock::default() })),
            1 => drop(bench.first_frame(&peer, wrong_auth.as_bytes())),
            2 => drop(bench.bearer(&peer, Some("wrong"))),
            _ => drop(bench.knock(&Knock { peer, signed_token: Some("x"), ..Knock::default() })),
        }
    }
    let wrong = Knock { peer: remote(66), token: Some("wrong".into()), ..Knock::default() };
    assert_eq!(bench.knock(&wrong).code(), "AUTH_RATE_LIMITED");
    assert_eq!(bench.knock(&Knock { peer: remote(67), ..Knock::default() }).code(), "PAIRING_REQUIRED");
}

#[test]
fn a_connect_without_any_credential_is_no_guess() {
    let mut bench = Bench::new(config());
    for _ in 0..30 {
        bench.knock(&Knock { peer: remote(8), token: None, ..Knock::default() }).refusal();
        assert!(bench.bearer(&remote(8), None).is_err());
    }
    assert_eq!(bench.knock(&Knock { peer: remote(8), ..Knock::default() }).code(), "PAIRING_REQUIRED");
}

#[test]
fn no_secret_reaches_the_logs_or_the_errors() {
    let mut bench = Bench::new(config());
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
    let (first, effects) = bench.knock_and_tell(&Knock::default());
    let token = first.device_token().unwrap();
    note((first, effects));
    for knock in [
        Knock { token: Some(secret.into()), ..Knock::default() },
        Knock { password: Some(secret.into()), token: None, ..Knock::default() },
        Knock { device_token: Some(secret.into()), token: None, ..Knock::default() },
        Knock { documented_token: Some(secret.into()), token: None, ..Knock::default() },
        Knock { token: Some(token.clone()), ..Knock::default() },
    ] {
        note(bench.knock_and_tell(&knock));
    }
    for secret in [secret, SHARED, &token] {
        assert!(!seen.contains(secret), "{seen}");
    }
    let (_, effects) = bench.knock_and_tell(&Knock { device: Some(3), ..Knock::default() });
    let written = format!("{effects:?}");
    assert!(written.contains("devices.json") && !written.contains(&token), "only hashes are kept");
}
