use bytes::Bytes;
use gatewarden_protocol::decoding::Excess;
use proptest::prelude::*;

use super::*;
use crate::dialing::memory_budget::MemoryBudget;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const FINAL: u8 = 0x80;

fn reader(cap: usize) -> FrameReader {
    let frame_cap = FrameCap::before_connect();
    frame_cap.set(cap);
    FrameReader::new(frame_cap, MemoryAccount::default())
}

fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(length as u8),
        126..=0xffff => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes.extend(payload);
    bytes
}

fn read_all(reader: &mut FrameReader, bytes: &[u8]) -> Result<Vec<Incoming>, SocketError> {
    let mut source = BytesMut::from(bytes);
    let mut messages = Vec::new();
    while let Some(message) = reader.read(&mut source)? {
        messages.push(message);
    }
    Ok(messages)
}

#[test]
fn whole_messages_come_out_in_order() {
    let mut bytes = frame(FINAL | TEXT, b"hello");
    bytes.extend(frame(FINAL | BINARY, &[1, 2, 3]));
    bytes.extend(frame(FINAL | 0x9, b"are you there"));
    bytes.extend(frame(FINAL | 0xa, b""));
    bytes.extend(frame(FINAL | TEXT, b""));
    bytes.extend(frame(FINAL | 0x8, b"\x03\xf4service restart"));
    let messages = read_all(&mut reader(100), &bytes).unwrap();
    assert_eq!(
        messages,
        [
            Incoming::text("hello"),
            Incoming::Binary(vec![1, 2, 3], None),
            Incoming::Ping(Bytes::from_static(b"are you there")),
            Incoming::Pong(Bytes::new()),
            Incoming::text(""),
            Incoming::Close { code: Some(1012), reason: "service restart".into() },
        ]
    );
}

#[test]
fn a_frame_over_the_cap_is_refused_by_its_header_and_nothing_is_reserved() {
    for length in [101_usize, 0xffff, 400 << 20, usize::MAX] {
        let mut reader = reader(100);
        let refused = read_all(&mut reader, &header(FINAL | TEXT, length));
        assert_eq!(refused, Err(SocketError::FrameTooLarge { announced: length as u64, cap: 100 }));
        assert_eq!(reader.held_bytes(), 0);
    }
    assert_eq!(read_all(&mut reader(100), &frame(FINAL | TEXT, &[b'x'; 100])).unwrap().len(), 1);
}

#[test]
fn memory_grows_with_what_came_and_not_with_what_was_announced() {
    let mut reader = reader(26 << 20);
    let mut bytes = header(FINAL | TEXT, 25 << 20);
    bytes.extend([b'x'; 10]);
    assert_eq!(read_all(&mut reader, &bytes).unwrap(), []);
    assert!(reader.held_bytes() <= FIRST_RESERVE, "{}", reader.held_bytes());
}

#[test]
fn fragments_are_joined_around_control_frames() {
    let mut bytes = frame(TEXT, "h\u{e4}".as_bytes().split_at(2).0);
    bytes.extend(frame(FINAL | 0x9, b"p"));
    bytes.extend(frame(0, "h\u{e4}".as_bytes().split_at(2).1));
    bytes.extend(frame(0, b""));
    bytes.extend(frame(FINAL, b"!"));
    let messages = read_all(&mut reader(100), &bytes).unwrap();
    assert_eq!(messages, [Incoming::Ping(Bytes::from_static(b"p")), Incoming::text("h\u{e4}!")]);
}

#[test]
fn fragments_that_sum_up_to_more_than_the_cap_are_refused() {
    let mut bytes = frame(TEXT, &[b'x'; 60]);
    bytes.extend(header(FINAL, 41));
    assert_eq!(read_all(&mut reader(100), &bytes), Err(SocketError::FrameTooLarge { announced: 101, cap: 100 }));
}

#[test]
fn the_cap_can_be_raised_and_counts_from_the_next_header() {
    let mut reader = reader(10);
    let mut bytes = BytesMut::from(&frame(FINAL | TEXT, &[b'x'; 10])[..]);
    assert!(reader.read(&mut bytes).unwrap().is_some());
    reader.cap.set(20);
    bytes.extend_from_slice(&frame(FINAL | TEXT, &[b'x'; 20]));
    assert!(reader.read(&mut bytes).unwrap().is_some());
}

#[test]
fn broken_frames_end_the_connection() {
    let too_long_ping = header(FINAL | 0x9, 126);
    for (bytes, what) in [
        (&[FINAL | TEXT, 0x80 | 1, 0, 0, 0, 0, b'x'][..], "masked"),
        (&[FINAL | 0x40 | TEXT, 0], "reserved bits"),
        (&[FINAL | 0x3, 0], "unknown opcode"),
        (&[FINAL, 0], "continuation without a beginning"),
        (&[TEXT, 0, FINAL | TEXT, 0], "message inside a message"),
        (&[0x9, 0], "fragmented ping"),
        (&too_long_ping, "long ping"),
        (&[FINAL | 0x8, 1, 3], "half a close code"),
        (&[FINAL | TEXT, 1, 0xff], "not UTF-8"),
    ] {
        let outcome = read_all(&mut reader(100), bytes);
        assert!(matches!(outcome, Err(SocketError::Protocol { .. })), "{what}: {outcome:?}");
    }
}

#[test]
fn large_messages_hold_their_share_of_the_budget_until_dropped() {
    let budget = MemoryBudget::new(5 << 20);
    let cap = FrameCap::before_connect();
    cap.set(26 << 20);
    let bytes = frame(FINAL | TEXT, &vec![b'x'; 3 << 20]);

    let held = read_all(&mut FrameReader::new(cap.clone(), budget.account()), &bytes).unwrap();
    assert_eq!(budget.used(), 3 << 20);

    let mut refused = FrameReader::new(cap.clone(), budget.account());
    assert_eq!(read_all(&mut refused, &bytes), Err(SocketError::OutOfMemory(Excess::Shared)));
    assert_eq!(budget.used(), 3 << 20, "a refused message takes nothing");
    let small = frame(FINAL | TEXT, &vec![b'x'; 1 << 20]);
    assert_eq!(read_all(&mut FrameReader::new(cap.clone(), budget.account()), &small).unwrap().len(), 1);

    drop(held);
    assert_eq!(budget.used(), 0);
    assert_eq!(read_all(&mut FrameReader::new(cap, budget.account()), &bytes).unwrap().len(), 1);
}

#[test]
fn a_message_under_way_gives_its_share_back_when_the_connection_is_dropped() {
    let budget = MemoryBudget::default();
    let cap = FrameCap::before_connect();
    cap.set(26 << 20);
    let mut reader = FrameReader::new(cap, budget.account());
    let mut bytes = header(FINAL | TEXT, 20 << 20);
    bytes.extend(vec![b'x'; 10 << 20]);
    assert_eq!(read_all(&mut reader, &bytes).unwrap(), []);
    assert!(budget.used() >= 10 << 20);
    drop(reader);
    assert_eq!(budget.used(), 0);
}

proptest! {
    #[test]
    fn the_way_bytes_are_cut_into_reads_changes_nothing(
        parts in proptest::collection::vec("[a-z\u{e4}]{0,300}", 1..6),
        cuts in proptest::collection::vec(1_usize..40, 1..200),
    ) {
        let mut bytes = Vec::new();
        let last = parts.len() - 1;
        for (index, part) in parts.iter().enumerate() {
            let opcode = if index == 0 { TEXT } else { 0 };
            bytes.extend(frame(if index == last { FINAL | opcode } else { opcode }, part.as_bytes()));
        }
        let mut reader = reader(1 << 20);
        let mut source = BytesMut::new();
        let mut messages = Vec::new();
        let mut rest = &bytes[..];
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() {
            let (part, left) = rest.split_at(rest.len().min(cuts.next().unwrap()));
            rest = left;
            source.extend_from_slice(part);
            while let Some(message) = reader.read(&mut source).unwrap() {
                messages.push(message);
            }
            prop_assert!(source.len() <= 127 + 2);
        }
        prop_assert_eq!(messages, [Incoming::text(parts.concat())]);
    }

    #[test]
    fn no_bytes_make_it_panic_or_hold_more_than_the_cap(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut reader = reader(256);
        let _ = read_all(&mut reader, &bytes);
        prop_assert!(reader.held_bytes() <= 512);
    }
}

#[test]
fn a_full_queue_is_a_slow_peer_by_bytes_and_by_count() {
    let (outgoing, _end, _) = Outgoing::bounded(10);
    outgoing.try_send_text("1234567890".into()).unwrap();
    assert_eq!(outgoing.try_send_text("1".into()), Err(SocketError::SlowPeer));
    assert_eq!(outgoing.queued_bytes(), 10);

    let (outgoing, _end, _) = Outgoing::bounded(usize::MAX);
    for _ in 0..MAX_QUEUED {
        outgoing.pong(Bytes::new()).unwrap();
    }
    assert_eq!(outgoing.pong(Bytes::from_static(b"x")), Err(SocketError::SlowPeer));
    assert_eq!(outgoing.queued_bytes(), 0, "what was refused is not counted");
}

#[test]
fn a_closed_socket_says_so() {
    let (outgoing, end, _) = Outgoing::bounded(10);
    drop(end);
    assert_eq!(outgoing.ping(Bytes::new()), Err(SocketError::Closed));
}
