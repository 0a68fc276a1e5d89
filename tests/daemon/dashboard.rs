//! How the dashboard is served: to whom, under which policy, and the login without scripts. What its pages do is tested in a
//! browser (`web/tests/`).

use serde_json::json;

use crate::support::daemon::{ADMIN_KEY, Daemon, Setup};
use crate::support::http::{self, Answer};

fn get(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    http::request(daemon.address(), "GET", path, headers, None).expect("an answer")
}

const PAGE: (&str, &str) = ("Accept", "text/html,application/xhtml+xml");

fn log_in(daemon: &Daemon, body: &str, more: &[(&str, &str)]) -> Answer {
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let headers: Vec<_> = form.iter().chain(more).copied().collect();
    http::request(daemon.address(), "POST", "/login", &headers, Some(body.as_bytes())).expect("an answer")
}

#[test]
fn pages_are_for_who_asks_for_pages_and_others_are_answered_as_before() {
    let daemon = Setup::new().start();
    for path in ["/", "/gateways/1", "/sessions", "/status?x=1"] {
        let page = get(&daemon, path, &[PAGE]).expect(200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        let policy = page.header("content-security-policy").unwrap();
        for part in
            ["default-src 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'", "form-action 'self'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(get(&daemon, path, &[("Accept", "application/json")]).expect(404).json()["code"], "not_found");
    }
    for path in ["/gateways/x", "/nowhere", "/api", "/api/nothing"] {
        get(&daemon, path, &[PAGE]).expect(404);
    }
    for headers in [&[("Accept", "*/*")][..], &[]] {
        get(&daemon, "/", headers).expect(200);
        get(&daemon, "/sessions", headers).expect(404);
    }
    let posted = http::request(daemon.address(), "POST", "/", &[PAGE], None).unwrap();
    assert_eq!(posted.expect(404).json()["code"], "not_found");
    assert_eq!(get(&daemon, "/api/gateways", &[PAGE]).expect(401).json()["code"], "unauthorized");
}

#[test]
fn what_a_page_loads_is_kept_for_good_and_of_this_release_only() {
    let daemon = Setup::new().start();
    let page = get(&daemon, "/", &[PAGE]).expect(200).text;
    let (_, rest) = page.split_once("<script type=\"module\" src=\"").unwrap();
    let (main, _) = rest.split_once('"').unwrap();
    let plain = get(&daemon, main, &[]).expect(200);
    assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(plain.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert!(plain.header("content-encoding").is_none() && plain.text.contains("FleetPage"));
    assert_eq!(get(&daemon, main, &[("Accept-Encoding", "gzip")]).expect(200).header("content-encoding"), Some("gzip"));
    get(&daemon, "/assets/0123456789abcdef/main.js", &[]).expect(404);
    get(&daemon, &main.replace("main.js", "nothing.js"), &[]).expect(404);
    get(&daemon, &main.replace("main.js", "../../Cargo.toml"), &[]).expect(404);
}

#[test]
fn a_form_logs_in_and_goes_on_to_a_page_of_ours() {
    let daemon = Setup::new().start();
    let page = get(&daemon, "/login?next=%2Fgateways%2F3%22%3E", &[]).expect(200);
    assert!(page.text.contains("name=\"api_key\"") && !page.text.contains("3\">\""));
    let answer = log_in(&daemon, &format!("api_key={ADMIN_KEY}&next=%2Fgateways%2F3"), &[]).expect(303);
    assert_eq!(answer.header("location"), Some("/gateways/3"));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let session = get(&daemon, "/api/auth/session", &[("Cookie", cookie)]).expect(200).json();
    assert_eq!((&session["role"], &session["browser"]), (&json!("admin"), &json!(true)));
    let foreign = log_in(&daemon, &format!("api_key={ADMIN_KEY}&next=%2F%2Fevil.example"), &[]).expect(303);
    assert_eq!(foreign.header("location"), Some("/"));
    let audit = daemon.call("GET", "/api/audit", None).expect(200).json();
    assert_eq!((&audit["audit"][0]["action"], &audit["audit"][0]["result"]), (&json!("auth.login"), &json!("ok")));
}

#[test]
fn a_login_that_fails_says_why_and_sets_no_cookie() {
    let daemon = Setup::new().start();
    for (body, more, status, words) in [
        ("api_key=wrong&next=%2F", None, 401, "The API key is wrong, expired or revoked"),
        ("next=%2F", None, 401, "The API key is wrong, expired or revoked"),
        ("api_key=x", Some(("Sec-Fetch-Site", "cross-site")), 403, "does not come from a page of this daemon"),
        (&"x".repeat(3_000), None, 413, "larger than"),
    ] {
        let answer = log_in(&daemon, body, more.as_slice()).expect(status);
        assert!(answer.text.contains(words) && answer.text.contains("role=\"alert\""), "{}", answer.text);
        assert!(!answer.text.contains('`'), "marks of code: {}", answer.text);
        assert!(answer.header("set-cookie").is_none());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    for _ in 0..5 {
        log_in(&daemon, "api_key=wrong", &[]);
    }
    let limited = log_in(&daemon, "api_key=wrong", &[]).expect(429);
    assert!(limited.header("retry-after").is_some() && limited.text.contains("Too many"), "{}", limited.text);
    log_in(&daemon, &format!("api_key={ADMIN_KEY}"), &[]).expect(303);
}
