//! The daemon beside what people use instead: HAProxy's health checks and failover, Prometheus with the blackbox exporter, and the
//! real OpenClaw's own `gateway probe`, one after another in one run against the same 1,000 gateways, half of which are black holes.
//! Run by hand: `cargo bench --bench peers`, or with `-- gatewarden haproxy prometheus openclaw` for some of them; it installs nothing and says what is missing. Prints a table and judges nothing.
//!
//! Everybody asks each gateway every 10 s and waits 3 s for an answer.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark is run by hand, says what it finds and may end at the first surprise"
)]

#[path = "peers/deaths.rs"]
mod deaths;
#[path = "fleet/measured.rs"]
mod measured;
#[path = "peers/monitors.rs"]
mod monitors;
#[path = "peers/openclaw.rs"]
mod openclaw;

#[path = "../tests/daemon/support"]
mod support {
    #![expect(
        dead_code,
        unused_imports,
        reason = "the partners are shared with the black-box tests, which use all of them"
    )]
    pub(crate) mod background;
    pub(crate) mod daemon;
    pub(crate) mod http;
    pub(crate) mod ports;
    pub(crate) mod scripted_gateway;
    pub(crate) mod wait;
}

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use deaths::{Death, Deaths};
use measured::{load_average, mebibytes, processor_time};
use monitors::{Gatewarden, HaProxy, Monitor, Prometheus};
use support::scripted_gateway::{Behaviour, Form, Memory, ScriptedGateway};
use support::wait::{self, Stopwatch};

/// Those that live, and as many black holes.
const LIVE: usize = 500;
const SETTLES: Duration = Duration::from_secs(120);
const REST: Duration = Duration::from_secs(40);

/// The gateways.
pub(crate) struct Fleet {
    pub(crate) live: Vec<ScriptedGateway>,
    holes: Vec<Hole>,
}

impl Fleet {
    fn start() -> Self {
        let behaviour = || Behaviour::of(Form::Protocol4, "right").runs(Memory::Forgets);
        let live = (0..LIVE).map(|_| ScriptedGateway::start(behaviour())).collect();
        Self { live, holes: (0..LIVE).map(|_| Hole::dig()).collect() }
    }

    /// The ports of all, the living first.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.live.iter().map(ScriptedGateway::port).chain(self.holes.iter().map(|hole| hole.port))
    }
}

/// A port whose packets vanish: its queue is full, so that the kernel answers no further connection.
struct Hole {
    port: u16,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Hole {
    fn dig() -> Self {
        let _inside = support::background::runtime().enter();
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(1).expect("it listens").into_std().expect("its listener");
        let address = listener.local_addr().expect("bound");
        let queue = (0..2).map(|_| TcpStream::connect(address).expect("room for two")).collect();
        Self { port: address.port(), _listener: listener, _queue: queue }
    }
}

/// What was measured of one of them.
struct Row {
    name: String,
    /// Percent of one core, and bytes.
    processor: f64,
    memory: u64,
    deaths: Vec<(Death, Deaths)>,
}

fn measure(monitor: &dyn Monitor, fleet: &Fleet) -> Row {
    let watch = Stopwatch::start();
    wait::until_ok(&format!("{} knows all gateways", monitor.name()), SETTLES, || match monitor.up() {
        LIVE => Ok(()),
        others => Err(format!("{others} are up")),
    });
    println!("{}: knows the living from the others after {:.0} s", monitor.name(), watch.elapsed().as_secs_f64());
    let used = || monitor.processes().into_iter().map(processor_time).sum::<f64>();
    let (before, watch) = (used(), Stopwatch::start());
    wait::holds_for("a time at rest", REST, || true);
    let processor = 100.0 * (used() - before) / watch.elapsed().as_secs_f64();
    let memory = monitor.processes().into_iter().map(resident).sum();
    println!("{}: {processor:.1} % of one core, {:.1} MiB; load {}", monitor.name(), mebibytes(memory), load_average());
    let deaths = [Death::Killed, Death::Frozen].map(|death| (death, deaths::watch(monitor, fleet, death))).into();
    Row { name: monitor.name().to_owned(), processor, memory, deaths }
}

/// Resident memory, bytes; nothing of a process that has ended.
pub(crate) fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0)
}

fn main() {
    measured::with_many_files();
    let began = load_average();
    let fleet = Fleet::start();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    let mut rows = Vec::new();
    if runs("gatewarden") {
        rows.push(measure(&Gatewarden::start(&fleet), &fleet));
    }
    if runs("haproxy") {
        match HaProxy::start(&fleet) {
            Ok(proxy) => rows.push(measure(&proxy, &fleet)),
            Err(missing) => println!("HAProxy is left out: {missing}"),
        }
    }
    if runs("prometheus") {
        match Prometheus::start(&fleet) {
            Ok(prometheus) => rows.push(measure(&prometheus, &fleet)),
            Err(missing) => println!("Prometheus is left out: {missing}"),
        }
    }
    let date =
        std::process::Command::new("date").args(["-u", "+%F"]).output().map(|said| said.stdout).unwrap_or_default();
    println!("\n{}, load {began} before, {} after:\n", String::from_utf8_lossy(&date).trim(), load_average());
    if !rows.is_empty() {
        print_table(&rows);
    }
    println!();
    if runs("openclaw") {
        match openclaw::probe(&fleet.live[0], fleet.holes[0].port) {
            Ok(said) => println!("{said}"),
            Err(missing) => println!("openclaw gateway probe is left out: {missing}"),
        }
    }
}

fn print_table(rows: &[Row]) {
    let line = |name: &str, cell: &dyn Fn(&Row) -> String| {
        println!("| {name} | {} |", rows.iter().map(cell).collect::<Vec<_>>().join(" | "));
    };
    line("", &|row| row.name.clone());
    println!("| --- {}|", "| --- ".repeat(rows.len()));
    line("processor at rest, of one core", &|row| format!("{:.1} %", row.processor));
    line("memory", &|row| format!("{:.1} MiB", mebibytes(row.memory)));
    for death in [Death::Killed, Death::Frozen] {
        let of = |row: &Row| {
            row.deaths
                .iter()
                .find(|(one, _)| *one == death)
                .map(|(_, deaths)| deaths.clone())
                .expect("both were watched")
        };
        line(&format!("{death}: seen after (median, longest of {})", deaths::VICTIMS), &|row| of(row).seen());
        line(&format!("{death}: work is taken elsewhere after"), &|row| of(row).elsewhere());
    }
}
