//! Pages of others, in the browser of somebody who is logged in here.

use crate::support::daemon::{ADMIN_KEY, Daemon};
use crate::support::http::{self, Answer};

fn ask(daemon: &Daemon, path: &str, headers: &[(&str, &str)]) -> Answer {
    http::request(daemon.address(), "GET", path, headers, None).expect("an answer")
}

#[test]
fn a_page_of_another_port_cannot_make_an_admins_browser_dial() {
    let daemon = Daemon::start();
    let body = format!("{{\"api_key\": \"{ADMIN_KEY}\"}}");
    let headers = [("Content-Type", "application/json")];
    let login = http::request(daemon.address(), "POST", "/api/auth/login", &headers, Some(body.as_bytes()));
    let login = login.expect("an answer").expect(200);
    let cookie = login.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("bound").port();
    let path = format!("/api/v1/gateways/status?gateway_url=ws://127.0.0.1:{port}");
    for site in ["same-site", "cross-site", "none"] {
        let refused = ask(&daemon, &path, &[("Cookie", &cookie), ("Sec-Fetch-Site", site)]).expect(403);
        assert_eq!(refused.json()["code"], "cross_origin", "{}", refused.text);
    }
    assert!(listener.accept().is_err(), "it dialled");
    drop(listener);
    ask(&daemon, &path, &[("Cookie", &cookie), ("Sec-Fetch-Site", "same-origin")]).expect(200);
    ask(&daemon, &path, &[("X-API-Key", ADMIN_KEY)]).expect(200);
}

#[test]
fn a_name_that_is_not_ours_reads_no_metrics() {
    let daemon = Daemon::start();
    let refused = ask(&daemon, "/metrics", &[("Host", "evil.example")]).expect(421);
    assert!(refused.text.contains("http.allowed_hosts"), "{}", refused.text);
    let to = daemon.address().to_string();
    for host in [to.as_str(), "localhost:3000"] {
        ask(&daemon, "/metrics", &[("Host", host)]).expect(200);
    }
}
