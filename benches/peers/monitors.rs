//! Those that watch the gateways, each set up as its manual says, all with the same interval and timeout.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Fleet;
use crate::measured::setup;
use crate::support::daemon::{ADMIN_KEY, Daemon};
use crate::support::http;
use crate::support::ports::free_port;
use crate::support::scripted_gateway::Fate;
use crate::support::wait;

const PATIENCE: Duration = Duration::from_secs(30);

/// Who watches gateways; these are numbered as the fleet has them.
pub(crate) trait Monitor: Sync {
    fn name(&self) -> &str;
    fn processes(&self) -> Vec<u32>;
    /// How many it takes for usable.
    fn up(&self) -> usize;
    fn is_up(&self, gateway: usize) -> bool;
    fn gives_work(&self) -> bool {
        true
    }
    /// Gives a piece of work; who took it.
    fn work(&self) -> Option<usize>;
}

pub(crate) struct Gatewarden {
    daemon: Daemon,
    ids: Vec<i64>,
}

impl Gatewarden {
    pub(crate) fn start(fleet: &Fleet) -> Self {
        let daemon = setup()
            .env("GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL", "10s")
            .env("GATEWARDEN_GATEWAY__HEARTBEAT_TIMEOUT", "3s")
            .env("GATEWARDEN_GATEWAY__DIAL_TIMEOUT", "3s")
            .env("GATEWARDEN_GATEWAY__BACKOFF", "10s")
            // What waits for a frozen gateway is not its limit.
            .env("GATEWARDEN_ROUTING__MAX_IN_FLIGHT", "1000")
            .start();
        let register = |(number, port)| daemon.register(&format!("gateway-{number:04}"), port, "right");
        let ids = fleet.ports().enumerate().map(register).collect();
        Self { daemon, ids }
    }
}

impl Monitor for Gatewarden {
    fn name(&self) -> &str {
        "gatewarden"
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.daemon.pid()]
    }

    fn up(&self) -> usize {
        let status = self.daemon.get("/api/status").expect(200).json();
        let by_status = &status["gateways"]["by_status"];
        // Until each has been tried, nothing is known.
        if by_status["unknown"] != 0 {
            return 0;
        }
        by_status["online"].as_u64().and_then(|count| usize::try_from(count).ok()).expect("a count")
    }

    fn is_up(&self, gateway: usize) -> bool {
        let shown = self.daemon.get(&format!("/api/gateways/{}", self.ids[gateway])).expect(200).json();
        shown["gateway"]["status"] == "online"
    }

    fn work(&self) -> Option<usize> {
        let task = serde_json::to_string(&Fate { takes_ms: 1, ..Fate::default() }).expect("plain");
        let answer = self.daemon.try_call(Some(ADMIN_KEY), "POST", "/api/spawn", Some(&json!({"task": task}))).ok()?;
        let taker = answer.json()["gateway"]["id"].as_i64().filter(|_| answer.status == 202)?;
        self.ids.iter().position(|id| *id == taker)
    }
}

/// A program of somebody else, ended when this is dropped.
struct Program(Child);

impl Program {
    /// Where it is: as the environment says, or where Debian puts it.
    fn find(variable: &str, package: &str, place: &str) -> Result<PathBuf, String> {
        let path = std::env::var_os(variable).map_or_else(|| PathBuf::from(place), PathBuf::from);
        let missing =
            || format!("{} is not there; install Debian's {package}, or unpack it and set {variable}", path.display());
        if path.exists() { Ok(path) } else { Err(missing()) }
    }

    fn start(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("the program starts"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct HaProxy {
    program: Program,
    directory: TempDir,
    port: u16,
}

impl HaProxy {
    pub(crate) fn start(fleet: &Fleet) -> Result<Self, String> {
        let binary = Program::find("HAPROXY", "haproxy", "/usr/sbin/haproxy")?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let socket = directory.path().join("socket");
        // One that acts and spares for it, as the daemon has them. A server in doubt is asked every second; one that takes no
        // connection of a client is down at once.
        let mut text = format!(
            "global\n    stats socket {} mode 600 level admin\n    spread-checks 5\n\
             defaults\n    mode http\n    option redispatch\n    timeout connect 3s\n    timeout check 3s\n    timeout client 30s\n    \
             timeout server 30s\n    default-server inter 10s fastinter 1s fall 3 rise 2 \
             observe layer4 error-limit 1 on-error mark-down\n\
             frontend work\n    bind 127.0.0.1:{port}\n    default_backend gateways\n\
             backend gateways\n    option httpchk\n    http-check send meth GET uri /health ver HTTP/1.1 hdr Host gateway\n    \
             http-check expect status 200\n    http-response set-header X-Taken-By %s\n",
            socket.display()
        );
        for (number, port) in fleet.ports().enumerate() {
            let spare = if number == 0 { "" } else { " backup" };
            writeln!(text, "    server {number} 127.0.0.1:{port} check{spare}").expect("a string");
        }
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, text).expect("written");
        let program = Program::start(Command::new(binary).args(["-db", "-f"]).arg(&file));
        wait::until("HAProxy listens", PATIENCE, || UnixStream::connect(&socket).is_ok());
        Ok(Self { program, directory, port })
    }

    /// The states of these servers; -1: of all.
    fn states(&self, server: i64) -> Vec<String> {
        let mut socket = UnixStream::connect(self.directory.path().join("socket")).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // In one piece: it may not go on reading after the first.
        socket.write_all(format!("show stat gateways 4 {server}\n").as_bytes()).expect("sent");
        let mut said = String::new();
        socket.read_to_string(&mut said).expect("an answer");
        let rows = said.lines().filter(|line| line.starts_with("gateways,"));
        rows.filter_map(|row| row.split(',').nth(17)).map(str::to_owned).collect()
    }
}

impl Monitor for HaProxy {
    fn name(&self) -> &str {
        "HAProxy"
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.program.0.id()]
    }

    fn up(&self) -> usize {
        // "UP 1/3" is one in doubt, as all are until they were first asked.
        self.states(-1).iter().filter(|state| state.starts_with("UP")).count()
    }

    fn is_up(&self, gateway: usize) -> bool {
        let server = i64::try_from(gateway).expect("small") + 1;
        self.states(server).first().expect("a server of this number").starts_with("UP")
    }

    fn work(&self) -> Option<usize> {
        let address = ([127, 0, 0, 1], self.port).into();
        let answer = http::request(address, "GET", "/ready", &[], None).ok().filter(|answer| answer.status == 200)?;
        answer.header("x-taken-by")?.parse().ok()
    }
}

pub(crate) struct Prometheus {
    programs: [Program; 2],
    _directory: TempDir,
    port: u16,
    ports: Vec<u16>,
}

impl Prometheus {
    pub(crate) fn start(fleet: &Fleet) -> Result<Self, String> {
        let exporter = Program::find(
            "BLACKBOX_EXPORTER",
            "prometheus-blackbox-exporter",
            "/usr/bin/prometheus-blackbox-exporter",
        )?;
        let server = Program::find("PROMETHEUS", "prometheus", "/usr/bin/prometheus")?;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        let write = |name: &str, value: Value| std::fs::write(at(name), value.to_string()).expect("written");
        let (port, exporter_port) = (free_port(), free_port());
        let ports: Vec<u16> = fleet.ports().collect();
        let targets: Vec<String> = ports.iter().map(|port| instance(*port)).collect();
        // YAML takes JSON.
        write("blackbox.yml", json!({"modules": {"http_2xx": {"prober": "http", "timeout": "3s"}}}));
        write(
            "prometheus.yml",
            json!({
                "global": {"scrape_interval": "10s", "scrape_timeout": "3s"},
                "scrape_configs": [{
                    "job_name": "blackbox", "metrics_path": "/probe", "params": {"module": ["http_2xx"]},
                    "static_configs": [{"targets": targets}],
                    "relabel_configs": [
                        {"source_labels": ["__address__"], "target_label": "__param_target"},
                        {"source_labels": ["__param_target"], "target_label": "instance"},
                        {"target_label": "__address__", "replacement": format!("127.0.0.1:{exporter_port}")},
                    ],
                }],
            }),
        );
        let option = |name: &str, value: String| format!("--{name}={value}");
        let listen = |port: u16| option("web.listen-address", format!("127.0.0.1:{port}"));
        let file = |name: &str| option("config.file", at(name).display().to_string());
        let exporter = Program::start(Command::new(exporter).args([file("blackbox.yml"), listen(exporter_port)]));
        let data = option("storage.tsdb.path", at("data").display().to_string());
        let server = Program::start(Command::new(server).args([file("prometheus.yml"), listen(port), data]));
        let prometheus = Self { programs: [server, exporter], _directory: directory, port, ports };
        wait::until("Prometheus answers", PATIENCE, || prometheus.ask("vector(1)").is_some());
        Ok(prometheus)
    }

    /// The value of an expression.
    fn ask(&self, query: &str) -> Option<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let address = ([127, 0, 0, 1], self.port).into();
        let answer = http::request(address, "GET", &format!("/api/v1/query?query={encoded}"), &[], None).ok()?.json();
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

fn instance(port: u16) -> String {
    format!("http://127.0.0.1:{port}/health")
}

impl Monitor for Prometheus {
    fn name(&self) -> &str {
        "Prometheus with the blackbox exporter"
    }

    fn processes(&self) -> Vec<u32> {
        self.programs.iter().map(|program| program.0.id()).collect()
    }

    fn up(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = |query: &str| self.ask(query).unwrap_or(0.0) as usize;
        if count("count(up)") < self.ports.len() { 0 } else { count("sum(probe_success)") }
    }

    fn is_up(&self, gateway: usize) -> bool {
        self.ask(&format!("probe_success{{instance=\"{}\"}}", instance(self.ports[gateway]))) == Some(1.0)
    }

    fn gives_work(&self) -> bool {
        false
    }

    fn work(&self) -> Option<usize> {
        None
    }
}
