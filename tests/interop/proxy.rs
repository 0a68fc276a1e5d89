//! The embedded gateway behind Debian's nginx with `packaging/nginx-gateway.conf`: its clients are told apart, and their
//! WebSockets pass.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::daemon::PATIENCE;
use crate::support::own_gateway::GatewayHome;
use crate::support::rpc_client::RpcClient;
use crate::support::{http, wait};

/// nginx in the foreground, on a folder of its own. Dropping it ends it.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    /// The site as it is packaged, but for ports and certificate.
    fn before(gateway: SocketAddr, home: &GatewayHome) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let site = include_str!("../../packaging/nginx-gateway.conf");
        let folder = home.path().display();
        let site: String = site
            .lines()
            .filter(|line| !line.contains("listen [::]") && !line.contains("ssl_"))
            .map(|line| line.replace("listen 443 ssl", &format!("listen {free}")) + "\n")
            .map(|line| line.replace("listen 80;", &format!("listen unix:{folder}/redirect.sock;")))
            .map(|line| line.replace("127.0.0.1:18789", &gateway.to_string()))
            .collect();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {folder}/nginx-{name};\n"))
            .concat();
        let whole = format!(
            "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n\
             events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}\n}}\n"
        );
        let file = home.path().join("nginx.conf");
        std::fs::write(&file, whole).expect("written");
        let program = std::env::var_os("NGINX").unwrap_or_else(|| "nginx".into());
        let child = Command::new(program)
            .args(["-e", &format!("{folder}/nginx.log"), "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx runs: install Debian's nginx, or name it with $NGINX");
        wait::until_ok("nginx listens", PATIENCE, || {
            http::request(free, "GET", "/health", &[("Host", "gateway.example")], None).map_err(|error| {
                format!("{error:?} {}", std::fs::read_to_string(home.path().join("nginx.log")).unwrap_or_default())
            })
        });
        Self { child, address: free }
    }

    /// The status that a client at an address of this machine gets; `claims` is what it says of itself.
    fn status(&self, from: &str, token: &str, claims: &str) -> String {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--interface", from])
            .args(["-H", "Host: gateway.example", "-H", &format!("Authorization: Bearer {token}")])
            .args(["-H", &format!("X-Forwarded-For: {claims}"), &format!("http://{}/sessions", self.address)])
            .output()
            .expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn clients_behind_nginx_are_told_apart_and_their_sockets_pass() {
    const TOKEN: &str = "short-token";
    let home = GatewayHome::with(
        "openclaw.json",
        &json!({
            "gateway": {"auth": {"token": TOKEN}, "trustedProxies": ["127.0.0.1"]},
            "gatewarden": {"metrics": {"enabled": false}, "allowedHosts": ["gateway.example"]},
        })
        .to_string(),
    );
    let gateway = home.start(&[]);
    let nginx = Nginx::before(gateway.address, &home);
    assert_eq!(nginx.status("127.0.0.5", TOKEN, "1.2.3.4"), "200");
    let (mut client, answer) = RpcClient::open(nginx.address, TOKEN);
    assert!(answer["error"].is_null(), "{answer}");
    assert!(client.call("ping", json!({}))["ts"].is_i64());
    // One guesses, and says each time to be another.
    for guess in 0..10 {
        assert_eq!(nginx.status("127.0.0.5", "wrong", &format!("203.0.113.{guess}")), "401");
    }
    assert_eq!(nginx.status("127.0.0.5", TOKEN, "203.0.113.99"), "429", "it is locked out, whatever it says");
    assert_eq!(nginx.status("127.0.0.6", TOKEN, "127.0.0.5"), "200", "and nobody else is");
}
