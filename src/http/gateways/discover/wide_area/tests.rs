//! What a domain says, by a server of DNS on loopback.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use simple_dns::rdata::{A, CNAME, PTR, SRV, TXT};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

const SERVICE: &str = "_openclaw-gw._tcp.a.example";

/// What comes of a question; none: no answer.
type Said = Option<Result<Vec<RData<'static>>, RCODE>>;

struct Server {
    address: SocketAddr,
    /// How many questions came.
    asked: Rc<Cell<usize>>,
}

impl Server {
    async fn start(says: impl Fn(&str, TYPE) -> Said + 'static) -> Self {
        let (socket, listener) = sockets().await;
        let (address, asked) = (socket.local_addr().unwrap(), Rc::new(Cell::new(0)));
        let (count, says) = (Rc::clone(&asked), Rc::new(says));
        let of_tcp = Rc::clone(&says);
        actix_web::rt::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                count.set(count.get() + 1);
                let Some(reply) = reply(&buffer[..length], says.as_ref(), 4_096) else { continue };
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        actix_web::rt::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                let reply = reply(&question, of_tcp.as_ref(), usize::MAX).unwrap();
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        });
        Self { address, asked }
    }
}

/// Of one port, of which somebody else may have the other kind.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            return (socket, listener);
        }
    }
}

/// One of at most so many bytes, or one that says that it is cut.
fn reply(question: &[u8], says: &dyn Fn(&str, TYPE) -> Said, longest: usize) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).unwrap();
    let question = packet.questions[0].clone();
    let QTYPE::TYPE(kind) = question.qtype else { panic!("one type is asked for") };
    let said = says(&question.qname.to_string(), kind)?;
    let mut reply = Packet::new_reply(packet.id());
    let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data);
    match said {
        Ok(records) => reply.answers = records.into_iter().map(record).collect(),
        Err(code) => *reply.rcode_mut() = code,
    }
    reply.questions.push(question.clone());
    let bytes = reply.build_bytes_vec().unwrap();
    if bytes.len() <= longest {
        return Some(bytes);
    }
    reply.answers.clear();
    reply.set_flags(PacketFlag::TRUNCATION);
    Some(reply.build_bytes_vec().unwrap())
}

/// What the daemon says of a domain.
async fn said_of(server: &Server, wait: Duration) -> (Vec<String>, Vec<String>) {
    let found = find(&Resolver::at(vec![server.address]), "a.example", wait).await.unwrap();
    let listed = super::super::listed(found, |_| None);
    (listed.gateways.into_iter().map(|gateway| gateway.name).collect(), listed.left_out)
}

fn name(text: &str) -> Name<'static> {
    Name::new(text).unwrap().into_owned()
}

fn instances(names: &[&str]) -> Said {
    Some(Ok(names.iter().map(|one| RData::PTR(PTR(name(&format!("{one}.{SERVICE}"))))).collect()))
}

/// A gateway that takes TLS only, at 192.0.2.7.
fn gateway(kind: TYPE) -> Said {
    Some(match kind {
        TYPE::SRV => Ok(vec![RData::SRV(SRV { priority: 0, weight: 0, port: 18_789, target: name("host.a.example") })]),
        TYPE::TXT => Ok(vec![RData::TXT(TXT::new().with_string("gatewayTls=1").unwrap())]),
        TYPE::A => Ok(vec![RData::A(A { address: u32::from(Ipv4Addr::new(192, 0, 2, 7)) })]),
        // As some servers say that there is none.
        _ => Err(RCODE::NotImplemented),
    })
}

#[actix_web::test]
async fn a_gateway_of_which_an_answer_is_missing_is_left_out_and_named() {
    let server = Server::start(|asked, kind| match (asked.split('.').next().unwrap(), kind) {
        ("_openclaw-gw", _) => instances(&["whole", "refused", "lost", "gone"]),
        ("refused", TYPE::TXT) => Some(Err(RCODE::ServerFailure)),
        ("lost", TYPE::TXT) => None,
        ("gone", _) => Some(Err(RCODE::NameError)),
        _ => gateway(kind),
    });
    let resolver = Resolver::at(vec![server.await.address]);
    let found = find(&resolver, "a.example", Duration::from_secs(20)).await.unwrap();
    let [one] = found.gateways.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.instance.as_str(), one.port), ("whole", 18_789));
    assert_eq!(one.addresses, [IpAddr::from([192, 0, 2, 7])]);
    assert_eq!(one.texts, [("gatewayTls".to_owned(), "1".to_owned())].into());
    assert_eq!(super::super::listed(found, |_| None).left_out, ["lost", "refused"]);
}

#[actix_web::test]
async fn gateways_without_an_address_that_was_answered_are_left_out() {
    let server = Server::start(|asked, kind| match (asked.split('.').next().unwrap(), kind) {
        ("_openclaw-gw", _) => instances(&["whole"]),
        (_, TYPE::A) => Some(Err(RCODE::ServerFailure)),
        _ => gateway(kind),
    });
    assert_eq!(said_of(&server.await, Duration::from_secs(20)).await, (vec![], vec!["whole".to_owned()]));
}

#[actix_web::test]
async fn gateways_that_can_not_be_connected_to_are_named() {
    let server = Server::start(|asked, kind| match (asked.split('.').next().unwrap(), kind) {
        ("_openclaw-gw", _) => instances(&["whole", "aliased", "local", "closed"]),
        ("closed", TYPE::SRV) => {
            Some(Ok(vec![RData::SRV(SRV { priority: 0, weight: 0, port: 0, target: name("host.a.example") })]))
        }
        (instance @ ("aliased" | "local"), TYPE::SRV) => {
            let target = name(&format!("of-{instance}.a.example"));
            Some(Ok(vec![RData::SRV(SRV { priority: 0, weight: 0, port: 18_789, target })]))
        }
        ("of-aliased", TYPE::A | TYPE::AAAA) => Some(Ok(vec![RData::CNAME(CNAME(name("host.a.example")))])),
        ("of-local", TYPE::A) => Some(Ok(vec![RData::A(A { address: u32::from(Ipv4Addr::LOCALHOST) })])),
        _ => gateway(kind),
    });
    let (listed, left_out) = said_of(&server.await, Duration::from_secs(20)).await;
    assert_eq!(
        (listed, left_out),
        (vec!["whole".to_owned()], ["aliased", "closed", "local"].map(str::to_owned).into())
    );
}

#[actix_web::test]
async fn gateways_beyond_the_most_that_are_listed_are_named() {
    let names: Vec<String> = (1_000..1_000 + MAX_FOUND + 9).map(|number| format!("g{number}")).collect();
    let told = names.clone();
    let server = Server::start(move |_, kind| match kind {
        TYPE::PTR => instances(&told.iter().map(String::as_str).collect::<Vec<_>>()),
        kind => gateway(kind),
    });
    let (listed, left_out) = said_of(&server.await, Duration::from_secs(60)).await;
    assert_eq!((listed.as_slice(), left_out.as_slice()), names.split_at(MAX_FOUND));
}

#[actix_web::test]
async fn what_there_was_no_time_for_is_named() {
    let names: Vec<String> = (10..30).map(|number| format!("studio-{number}")).collect();
    let told = names.clone();
    let server = Server::start(move |_, kind| match kind {
        TYPE::PTR => instances(&told.iter().map(String::as_str).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(said_of(&server.await, Duration::from_secs(1)).await, (vec![], names));
}

#[actix_web::test]
async fn a_resolver_that_is_silent_is_waited_for_once() {
    let (silent, other) = tokio::join!(Server::start(|_, _| None), Server::start(|_, kind| gateway(kind)));
    let resolver = Resolver::at(vec![silent.address, other.address]);
    let host = name("host.a.example");
    for _ in 0..3 {
        assert_eq!(resolver.ask(&host, TYPE::A).await.unwrap().len(), 1);
    }
    assert_eq!((silent.asked.get(), other.asked.get()), (1, 3));
}

#[test]
fn an_instance_is_one_label_before_its_own_domains_service() {
    let service = Name::new_unchecked("_openclaw-gw._tcp.a.example");
    let is_one = |name: &'static str| instance_in(RData::PTR(PTR(Name::new_unchecked(name))), &service).is_some();
    assert!(is_one("studio._OpenClaw-gw._tcp.A.example"));
    for other in
        ["studio._openclaw-gw._tcp.b.example", "a.b._openclaw-gw._tcp.a.example", "_openclaw-gw._tcp.a.example"]
    {
        assert!(!is_one(other), "{other}");
    }
}

#[test]
fn only_texts_that_are_known_are_kept_and_the_first_of_each() {
    let mut text = TXT::new();
    for part in ["gatewayTls=1", "GATEWAYTLS=0", "displayName=x", "gatewayTlsSha256", "=nothing"] {
        text.add_string(part).unwrap();
    }
    let texts = texts_in(&[RData::TXT(text)]);
    let expected = [("gatewayTls", "1"), ("gatewayTlsSha256", "")];
    assert_eq!(texts, expected.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
}
