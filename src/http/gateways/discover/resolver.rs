//! Questions to the resolvers of this machine (`/etc/resolv.conf`), one record type at a time: over UDP, and over TCP where the answer is
//! cut. What comes is anybody's word: an answer counts only for its own question, none is waited for long, and none is longer than 64 KiB.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use gatewarden_protocol::words::shown;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

const FILE: &str = "/etc/resolv.conf";
/// What is read of it, in bytes.
const MAX_FILE: u64 = 64 * 1024;
const PORT: u16 = 53;
/// Resolvers that are asked, as the system's own rule is.
const MOST_SERVERS: usize = 3;
/// How often all are asked.
const ROUNDS: u8 = 2;
/// One answer over UDP is awaited so long.
const UDP_WITHIN: Duration = Duration::from_millis(1_500);
const TCP_WITHIN: Duration = Duration::from_secs(3);
/// A longer answer over UDP isn't asked for.
const MAX_DATAGRAM: usize = 4_096;

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No resolver said anything in time.
    NoAnswer,
    /// One said that it can't or won't answer.
    Refused,
}

/// What came back.
#[derive(Debug, PartialEq)]
enum Reply {
    Records(Vec<RData<'static>>),
    Cut,
    Refused,
}

#[derive(Debug)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    /// Which of them is asked first: the one that answered last. One that is gone costs one wait, not one for each question.
    first: Cell<usize>,
}

impl Resolver {
    pub(super) async fn of_system() -> Self {
        let read = tokio::task::spawn_blocking(|| {
            let mut bytes = Vec::new();
            File::open(FILE)?.take(MAX_FILE).read_to_end(&mut bytes)?;
            io::Result::Ok(servers_in(&String::from_utf8_lossy(&bytes)))
        });
        Self::at(read.await.ok().and_then(io::Result::ok).unwrap_or_else(|| servers_in("")))
    }

    pub(super) fn at(servers: Vec<SocketAddr>) -> Self {
        Self { servers, first: Cell::default() }
    }

    /// The records of a name; none where there is no such name.
    pub(super) async fn ask(&self, name: &Name<'_>, kind: TYPE) -> Result<Vec<RData<'static>>, Fault> {
        let mut fault = Fault::NoAnswer;
        for _ in 0..ROUNDS {
            let in_turn = self.servers.iter().enumerate().cycle().skip(self.first.get()).take(self.servers.len());
            for (at, server) in in_turn {
                match ask_one(*server, name, kind).await {
                    Ok(Reply::Records(records)) => {
                        self.first.set(at);
                        return Ok(records);
                    }
                    Ok(Reply::Refused | Reply::Cut) => fault = Fault::Refused,
                    // The next one is asked.
                    Err(error) => tracing::debug!(%server, %error, "a resolver doesn't answer"),
                }
            }
        }
        Err(fault)
    }
}

/// The resolvers of a file; as the system does, this machine's where it names none.
fn servers_in(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let (keyword, rest) = line.trim().split_once(char::is_whitespace)?;
        let address = rest.split_whitespace().next().filter(|_| keyword == "nameserver")?;
        let server = server_at(address);
        if server.is_none() {
            tracing::warn!(nameserver = shown(address), "a resolver of {FILE} is not asked: this is no address of one");
        }
        server
    });
    let mut servers: Vec<SocketAddr> = named.take(MOST_SERVERS).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    }
    servers
}

/// One of a link has its interface behind it, by name or number: `fe80::1%eth0`.
fn server_at(address: &str) -> Option<SocketAddr> {
    let Some((address, interface)) = address.split_once('%') else {
        return Some(SocketAddr::new(address.parse().ok()?, PORT));
    };
    let number = interface.parse().ok().or_else(|| number_of(interface).ok())?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, number).into())
}

fn number_of(interface: &str) -> io::Result<u32> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(rustix::net::netdevice::name_to_index(&socket, interface)?)
}

async fn ask_one(server: SocketAddr, name: &Name<'_>, kind: TYPE) -> io::Result<Reply> {
    // Nobody who doesn't see the question knows its number, nor the port that it comes from.
    let mut number = [0; 2];
    getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
    let id = u16::from_be_bytes(number);
    let question = question(id, name, kind).map_err(|error| io::Error::other(error.to_string()))?;
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let until = Instant::now() + UDP_WITHIN;
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        let length = timeout_at(until, socket.recv(&mut buffer)).await??;
        match read(buffer.get(..length).unwrap_or_default(), id, name, kind) {
            Some(Reply::Cut) => break,
            Some(reply) => return Ok(reply),
            // It answers no question of ours.
            None => {}
        }
    }
    let whole = timeout(TCP_WITHIN, over_tcp(server, &question)).await??;
    read(&whole, id, name, kind).ok_or_else(|| io::Error::other("it answered another question"))
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn question(id: u16, name: &Name<'_>, kind: TYPE) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name.clone(), QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec()
}

/// None: this is no answer to the question.
fn read(bytes: &[u8], id: u16, name: &Name<'_>, kind: TYPE) -> Option<Reply> {
    let packet = Packet::parse(bytes).ok()?;
    let [asked] = packet.questions.as_slice() else { return None };
    let is_ours = asked.qtype == QTYPE::TYPE(kind) && asked.qclass == QCLASS::CLASS(CLASS::IN) && asked.qname == *name;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !is_ours {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Reply::Cut);
    }
    Some(match packet.rcode() {
        RCODE::NoError => {
            let own = packet.answers.into_iter().filter(|record| record.class == CLASS::IN && record.name == *name);
            let wanted = own.map(|record| record.rdata.into_owned()).filter(|data| data.type_code() == kind);
            Reply::Records(wanted.collect())
        }
        RCODE::NameError => Reply::Records(Vec::new()),
        _ => Reply::Refused,
    })
}

#[cfg(test)]
mod tests {
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, SRV};

    use super::*;

    fn name(text: &'static str) -> Name<'static> {
        Name::new_unchecked(text)
    }

    fn answer(id: u16, asked: &'static str, flags: PacketFlag, records: Vec<ResourceRecord<'static>>) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        packet.set_flags(flags);
        packet.questions.push(Question::new(name(asked), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false));
        packet.answers = records;
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn address(of: &'static str) -> ResourceRecord<'static> {
        ResourceRecord::new(name(of), CLASS::IN, 60, RData::A(A { address: 1 }))
    }

    #[test]
    fn an_answer_counts_for_its_own_question() {
        let none = PacketFlag::empty();
        let asked = name("Host.a.example");
        let ours = answer(7, "host.A.example", none, vec![address("HOST.a.example"), address("other.a.example")]);
        let Some(Reply::Records(records)) = read(&ours, 7, &asked, TYPE::A) else { panic!("it is the answer") };
        assert_eq!(records.len(), 1, "what wasn't asked for is left out");
        assert_eq!(read(&ours, 8, &asked, TYPE::A), None);
        assert_eq!(read(&ours, 7, &asked, TYPE::AAAA), None);
        assert_eq!(read(&ours, 7, &name("x.a.example"), TYPE::A), None);
        let asked_back = question(7, &asked, TYPE::A).unwrap();
        assert_eq!(read(&asked_back, 7, &asked, TYPE::A), None, "a question is no answer");
        let cut = answer(7, "host.a.example", PacketFlag::TRUNCATION, Vec::new());
        assert_eq!(read(&cut, 7, &asked, TYPE::A), Some(Reply::Cut));
        let other_kind = RData::SRV(SRV { priority: 0, weight: 0, port: 1, target: name("b.example") });
        let other =
            answer(7, "host.a.example", none, vec![ResourceRecord::new(asked.clone(), CLASS::IN, 1, other_kind)]);
        assert_eq!(read(&other, 7, &asked, TYPE::A), Some(Reply::Records(Vec::new())));
        let other_class =
            answer(7, "host.a.example", none, vec![ResourceRecord { class: CLASS::CH, ..address("host.a.example") }]);
        assert_eq!(read(&other_class, 7, &asked, TYPE::A), Some(Reply::Records(Vec::new())));
        let mut chaos = Packet::new_reply(7);
        chaos.questions.push(Question::new(asked.clone(), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::CH), false));
        assert_eq!(read(&chaos.build_bytes_vec().unwrap(), 7, &asked, TYPE::A), None, "that is another question");
    }

    #[test]
    fn whatever_comes_is_read_to_an_end() {
        let asked = name("host.a.example");
        let whole = answer(7, "host.a.example", PacketFlag::empty(), vec![address("host.a.example"); 3]);
        for end in 0..whole.len() {
            read(&whole[..end], 7, &asked, TYPE::A);
        }
        // Each byte once as a pointer to itself, before it, and to what is not there.
        for at in 12..whole.len() - 1 {
            for pointer in [at, at.saturating_sub(1), 0, 12, 0x3fff] {
                let mut looped = whole.clone();
                let [high, low] = (0xc000 | u16::try_from(pointer).unwrap()).to_be_bytes();
                (looped[at], looped[at + 1]) = (high, low);
                read(&looped, 7, &asked, TYPE::A);
            }
            for value in [0, 1, 0x3f, 0x40, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = value;
                read(&changed, 7, &asked, TYPE::A);
            }
        }
    }

    #[test]
    fn the_systems_resolvers_are_asked() {
        let text = "# one\nsearch a.example\nnameserver 192.0.2.1\nnameserver  2001:db8::1 # two\noptions x\nnameserver nonsense\n";
        let servers = servers_in(text);
        assert_eq!(servers, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
        assert_eq!(servers_in(""), ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(servers_in(&"nameserver 192.0.2.1\n".repeat(9)).len(), 3);
        // Loopback is an interface of every machine, and its first.
        let of_link = servers_in("nameserver fe80::1%lo\nnameserver fe80::2%7\nnameserver fe80::3%no-such-one\n");
        assert_eq!(of_link, ["[fe80::1%1]:53".parse().unwrap(), "[fe80::2%7]:53".parse().unwrap()]);
    }
}
