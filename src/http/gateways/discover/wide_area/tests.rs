//! What a domain says, by a server of DNS on loopback.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use simple_dns::rdata::{A, PTR, SRV, TXT};
use simple_dns::{CLASS, Packet, QTYPE, RCODE, ResourceRecord};
use tokio::net::UdpSocket;

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
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Rc::new(Cell::new(0)));
        let count = Rc::clone(&asked);
        actix_web::rt::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                count.set(count.get() + 1);
                let packet = Packet::parse(&buffer[..length]).unwrap();
                let question = packet.questions[0].clone();
                let QTYPE::TYPE(kind) = question.qtype else { panic!("one type is asked for") };
                let Some(said) = says(&question.qname.to_string(), kind) else { continue };
                let mut reply = Packet::new_reply(packet.id());
                let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data);
                match said {
                    Ok(records) => reply.answers = records.into_iter().map(record).collect(),
                    Err(code) => *reply.rcode_mut() = code,
                }
                reply.questions.push(question.clone());
                socket.send_to(&reply.build_bytes_vec().unwrap(), from).await.unwrap();
            }
        });
        Self { address, asked }
    }
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
    assert_eq!(found.left_out, ["lost", "refused"]);
}

#[actix_web::test]
async fn gateways_without_an_address_that_was_answered_are_left_out() {
    let server = Server::start(|asked, kind| match (asked.split('.').next().unwrap(), kind) {
        ("_openclaw-gw", _) => instances(&["whole"]),
        (_, TYPE::A) => Some(Err(RCODE::ServerFailure)),
        _ => gateway(kind),
    });
    let resolver = Resolver::at(vec![server.await.address]);
    let found = find(&resolver, "a.example", Duration::from_secs(20)).await.unwrap();
    assert_eq!((found.gateways, found.left_out), (Vec::new(), vec!["whole".to_owned()]));
}

#[actix_web::test]
async fn what_there_was_no_time_for_is_named() {
    let names: Vec<String> = (10..30).map(|number| format!("studio-{number}")).collect();
    let told = names.clone();
    let server = Server::start(move |_, kind| match kind {
        TYPE::PTR => instances(&told.iter().map(String::as_str).collect::<Vec<_>>()),
        _ => None,
    });
    let resolver = Resolver::at(vec![server.await.address]);
    let found = find(&resolver, "a.example", Duration::from_secs(1)).await.unwrap();
    assert_eq!((found.gateways, found.left_out), (Vec::new(), names));
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
