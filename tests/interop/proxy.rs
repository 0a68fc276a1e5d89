//! The embedded gateway behind Debian's nginx with `packaging/nginx-gateway.conf`: TLS ends there, its clients are told apart, and their
//! WebSockets pass.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};
use serde_json::json;

use crate::support::daemon::PATIENCE;
use crate::support::own_gateway::GatewayHome;
use crate::support::rpc_client::RpcClient;
use crate::support::{http, ports, wait};

/// nginx in the foreground, on a folder of its own. Dropping it ends it.
struct Nginx {
    child: Child,
    /// Where it listens in place of port 443.
    address: SocketAddr,
    /// The same of port 80.
    plain: SocketAddr,
    certificate: CertificateDer<'static>,
    certificate_file: PathBuf,
}

const NAME: &str = "gateway.example";

impl Nginx {
    /// The site as it is packaged, but for ports, and with a certificate of its own.
    fn before(gateway: SocketAddr, home: &GatewayHome) -> Self {
        let [address, plain] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], ports::free_port())));
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new([NAME.to_owned()]).expect("a name").self_signed(&key).expect("signed");
        let certificate_file = home.path().join("nginx.pem");
        std::fs::write(&certificate_file, certificate.pem()).expect("written");
        std::fs::write(home.path().join("nginx.key"), key.serialize_pem()).expect("written");
        let site = include_str!("../../packaging/nginx-gateway.conf");
        let folder = home.path().display();
        let site: String = site
            .lines()
            .filter(|line| !line.contains("listen [::]"))
            .map(|line| line.replace("listen 443 ssl", &format!("listen {address} ssl")) + "\n")
            .map(|line| line.replace("listen 80;", &format!("listen {plain};")))
            .map(|line| line.replace("/etc/ssl/certs/gateway.example.pem", &format!("{folder}/nginx.pem")))
            .map(|line| line.replace("/etc/ssl/private/gateway.example.key", &format!("{folder}/nginx.key")))
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
            // To itself the name says which sockets it takes over.
            .env_remove("NGINX")
            .spawn()
            .expect("nginx runs: install Debian's nginx, or name it with $NGINX");
        wait::until_ok("nginx listens", PATIENCE, || {
            http::request(plain, "GET", "/health", &[("Host", NAME)], None).map_err(|error| {
                format!("{error:?} {}", std::fs::read_to_string(home.path().join("nginx.log")).unwrap_or_default())
            })
        });
        Self { child, address, plain, certificate: certificate.der().clone(), certificate_file }
    }

    /// The status that a client at an address of this machine gets; `claims` is what it says of itself.
    fn status(&self, from: &str, token: &str, claims: &str) -> String {
        self.asked(&format!("https://{NAME}/sessions"), from, token, claims).0
    }

    /// The status, and the address that it is of: redirects are followed, and the certificate is checked.
    fn asked(&self, url: &str, from: &str, token: &str, claims: &str) -> (String, String) {
        let output = Command::new("curl")
            .args([
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{url_effective}",
                "--interface",
                from,
                "--location-trusted",
            ])
            .args(["--noproxy", "*", "--cacert"])
            .arg(&self.certificate_file)
            .args(["--connect-to", &format!("{NAME}:443:{}", self.address)])
            .args(["--connect-to", &format!("{NAME}:80:{}", self.plain)])
            .args(["-H", &format!("Authorization: Bearer {token}"), "-H", &format!("X-Forwarded-For: {claims}"), url])
            .output()
            .expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let (status, url) = said.split_once(' ').expect("two words");
        (status.to_owned(), url.to_owned())
    }

    /// A connection over TLS, by its certificate.
    fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(NAME).expect("a name");
        let client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        StreamOwned::new(client, stream)
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
    let redirected = nginx.asked(&format!("http://{NAME}/sessions?limit=1"), "127.0.0.5", TOKEN, "1.2.3.4");
    assert_eq!(redirected, ("200".to_owned(), format!("https://{NAME}/sessions?limit=1")));
    let (mut client, answer) = RpcClient::over(nginx.connect(), &format!("wss://{NAME}/"), TOKEN);
    assert!(answer["error"].is_null(), "{answer}");
    assert!(client.call("ping", json!({}))["ts"].is_i64());
    // One guesses, and says each time to be another.
    for guess in 0..10 {
        assert_eq!(nginx.status("127.0.0.5", "wrong", &format!("203.0.113.{guess}")), "401");
    }
    assert_eq!(nginx.status("127.0.0.5", TOKEN, "203.0.113.99"), "429", "it is locked out, whatever it says");
    assert_eq!(nginx.status("127.0.0.6", TOKEN, "127.0.0.5"), "200", "and nobody else is");
}
