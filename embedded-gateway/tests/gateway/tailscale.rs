//! The gateway behind Tailscale. The command `tailscale` is a stand-in, the script `tailscale_stand_in`: it says what the tests have written
//! into its folder, and keeps a route as the real one does.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use gatewarden_embedded_gateway::config::{Tailscale, TailscaleMode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Connect, Gateway, TOKEN, request, request_to, within};

const NAME: &str = "box.tail.ts.net";
const PAGE: &str = "https://box.tail.ts.net";
const LOGIN: &str = "ada@example.com";

struct StandIn(TempDir);

impl StandIn {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/tailscale_stand_in");
        symlink(program, folder.path().join("tailscale")).unwrap();
        let stand_in = Self(folder);
        stand_in.says(
            "status",
            &json!({
                "BackendState": "Running", "CertDomains": [NAME], "Self": {"DNSName": format!("{NAME}.")},
            }),
        );
        stand_in.says("routes", &json!({}));
        stand_in.says("whois-100.64.0.7", &json!({"UserProfile": {"LoginName": LOGIN}}));
        stand_in
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The stand-in may be reading it: it finds the one or the other.
    fn says(&self, file: &str, answer: &Value) {
        let beside = self.path().join("written");
        fs::write(&beside, answer.to_string()).unwrap();
        fs::rename(beside, self.path().join(file)).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap_or_default()
    }

    async fn gateway(&self, allow_logins: bool) -> Gateway {
        let folders = vec![self.path().to_owned()];
        Gateway::start(|config| config.tailscale = Tailscale { mode: TailscaleMode::Serve, allow_logins, folders })
            .await
    }

    /// Where Tailscale hands requests to.
    fn handed_to(&self) -> SocketAddr {
        let asked = self.read("asked");
        let line = asked.lines().find(|line| line.starts_with("serve --yes")).unwrap();
        assert!(line.starts_with("serve --yes --bg=false "), "{line}");
        SocketAddr::from(([127, 0, 0, 1], line.rsplit(' ').next().unwrap().parse().unwrap()))
    }
}

/// What the gateway says of its route, once that is as wanted.
async fn route(gateway: &Gateway, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut client = Client::connect(gateway).await;
    within(async {
        loop {
            let info = client.call("gateway.info", json!({})).await;
            if wanted(&info["tailscale"]) {
                return info["tailscale"].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

async fn active(gateway: &Gateway) -> Value {
    route(gateway, |route| route["active"] == true).await
}

/// On a machine with much to do another cause may come first, such as an answer that is late.
async fn failed(gateway: &Gateway, code: &str) -> Value {
    route(gateway, |route| route["code"] == code).await
}

fn through_serve(address: &str, login: &str) -> Vec<(&'static str, String)> {
    vec![
        ("host", NAME.to_owned()),
        ("origin", PAGE.to_owned()),
        ("x-forwarded-for", address.to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-forwarded-host", NAME.to_owned()),
        ("tailscale-user-login", login.to_owned()),
    ]
}

/// The gateway's page in a browser, without a credential.
fn page(headers: Vec<(&'static str, String)>) -> Connect {
    Connect {
        client_id: "openclaw-control-ui",
        mode: "ui",
        auth: json!({}),
        signed_token: String::new(),
        headers,
        ..Connect::default()
    }
}

/// `auth.method` of the hello, or the code of the refusal.
async fn outcome(address: SocketAddr, gateway: &Gateway, connect: Connect) -> String {
    match Client::connect_at(address, gateway, connect).await {
        Ok(client) => client.hello["auth"]["method"].as_str().unwrap_or("in").to_owned(),
        Err(refused) => refused.error["details"]["code"].as_str().unwrap_or_default().to_owned(),
    }
}

#[actix::test]
async fn serve_leads_to_a_listener_of_its_own_until_the_gateway_ends() {
    let stand_in = StandIn::new();
    let gateway = stand_in.gateway(false).await;
    assert_eq!(active(&gateway).await, json!({"mode": "serve", "active": true, "url": format!("{PAGE}/")}));
    let handed_to = stand_in.handed_to();
    assert_ne!(handed_to, gateway.running().address);
    let bearer = format!("Bearer {TOKEN}");
    let owned = through_serve("100.64.0.7", LOGIN);
    let mut headers: Vec<(&str, &str)> = owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("authorization", &bearer));
    assert_eq!(request_to(handed_to, "GET", "/sessions", &headers, "").await.status, 200);
    // What doesn't come through Tailscale has no business there.
    let direct = request_to(handed_to, "GET", "/sessions", &[("host", NAME), ("authorization", &bearer)], "").await;
    assert_eq!((direct.status, direct.json()["error"]["type"].as_str()), (403, Some("proxy_attribution_required")));
    headers[0].1 = "localhost";
    assert_eq!(request_to(handed_to, "GET", "/sessions", &headers, "").await.status, 403, "under another name");
    gateway.stop().await;
    assert_eq!(stand_in.read("routes"), "{}\n", "the route is taken back");
}

#[actix::test]
async fn a_login_that_the_command_confirms_lets_the_gateways_page_in_and_nothing_else_does() {
    let stand_in = StandIn::new();
    let gateway = stand_in.gateway(true).await;
    active(&gateway).await;
    let at = stand_in.handed_to();
    assert_eq!(outcome(at, &gateway, page(through_serve("100.64.0.7", "Ada@Example.com"))).await, "tailscale");
    for (address, login) in [
        ("100.64.0.7", "eve@example.com"),
        ("100.64.0.8", LOGIN),
        ("192.168.1.7", LOGIN),
        ("100.64.0.9, 100.64.0.7", LOGIN),
    ] {
        let told = outcome(at, &gateway, page(through_serve(address, login))).await;
        assert_eq!(told, "AUTH_TOKEN_MISSING", "{address} {login}");
    }
    assert!(!stand_in.read("asked").contains("192.168.1.7"), "nobody is asked about addresses outside of the tailnet");
    // The same headers at the gateway's own port are anybody's.
    let mut own = through_serve("100.64.0.7", LOGIN);
    own.retain(|(name, _)| *name != "host" && *name != "origin");
    own.push(("origin", gateway.running().url()));
    let ordinary = gateway.running().address;
    assert_eq!(outcome(ordinary, &gateway, page(own)).await, "AUTH_TOKEN_MISSING");
    // No other client is let in, and no page without a device.
    let program = Connect { client_id: "cli", mode: "cli", ..page(through_serve("100.64.0.7", LOGIN)) };
    assert_eq!(outcome(at, &gateway, program).await, "AUTH_TOKEN_MISSING");
    let bare = Connect { device: None, ..page(through_serve("100.64.0.7", LOGIN)) };
    assert_ne!(outcome(at, &gateway, bare).await, "tailscale");
    let wrong = Connect {
        auth: json!({"token": "wrong"}),
        signed_token: "wrong".to_owned(),
        ..page(through_serve("100.64.0.7", LOGIN))
    };
    assert_eq!(outcome(at, &gateway, wrong).await, "AUTH_TOKEN_MISMATCH");
    // HTTP asks for the token in any case.
    let owned = through_serve("100.64.0.7", LOGIN);
    let headers: Vec<(&str, &str)> = owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(request_to(at, "GET", "/sessions", &headers, "").await.status, 401);
    gateway.stop().await;
}

#[actix::test]
async fn without_the_setting_a_login_is_worth_nothing() {
    let stand_in = StandIn::new();
    let gateway = stand_in.gateway(false).await;
    active(&gateway).await;
    let told = outcome(stand_in.handed_to(), &gateway, page(through_serve("100.64.0.7", LOGIN))).await;
    assert_eq!(told, "AUTH_TOKEN_MISSING");
    assert!(!stand_in.read("asked").contains("whois"));
    gateway.stop().await;
}

#[actix::test]
async fn what_tailscale_lacks_is_said_and_the_gateway_serves_its_machine() {
    let stand_in = StandIn::new();
    stand_in.says("status", &json!({"BackendState": "NeedsLogin", "Self": {}}));
    let gateway = stand_in.gateway(false).await;
    let told = failed(&gateway, "logged_out").await;
    assert_eq!(told["active"], json!(false));
    assert!(told["help"].as_str().unwrap().contains("tailscale up"), "{told}");
    assert_eq!(request(&gateway, "GET", "/health", &[], "").await.status, 200);
    // It is tried again.
    stand_in.says("status", &json!({"BackendState": "Running", "CertDomains": [NAME], "Self": {"DNSName": NAME}}));
    active(&gateway).await;
    gateway.stop().await;
}

#[actix::test]
async fn a_command_that_hangs_is_given_up_and_holds_up_neither_start_nor_stop() {
    let stand_in = StandIn::new();
    fs::write(stand_in.path().join("hangs"), "").unwrap();
    let gateway = stand_in.gateway(false).await;
    failed(&gateway, "no_answer").await;
    gateway.stop().await;
}

#[actix::test]
async fn a_stop_during_the_claim_waits_for_the_end_of_its_command() {
    let stand_in = StandIn::new();
    fs::write(stand_in.path().join("unconfirmed"), "").unwrap();
    let gateway = stand_in.gateway(false).await;
    within(async {
        while !stand_in.read("routes").contains("Proxy") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    gateway.stop().await;
    assert_eq!(stand_in.read("routes"), "{}\n", "the route is taken back");
}

#[actix::test]
async fn without_the_command_or_the_right_to_use_it_that_is_said() {
    let stand_in = StandIn::new();
    fs::write(stand_in.path().join("fails"), "Access denied: serve config denied\n").unwrap();
    let gateway = stand_in.gateway(false).await;
    failed(&gateway, "not_permitted").await;
    gateway.stop().await;
    fs::remove_file(stand_in.path().join("tailscale")).unwrap();
    let gateway = stand_in.gateway(false).await;
    failed(&gateway, "not_installed").await;
    gateway.stop().await;
}
