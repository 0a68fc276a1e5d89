use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

const MASK: [u8; 4] = [7, 0, 255, 19];

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=65535 => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

const CAP: usize = 64 * 1024;
const FIRST_RESERVE: usize = 4 * 1024;

type Read = Result<Option<WsMessage<usize>>, ReadFault<&'static str>>;

fn reader() -> MessageReader<usize> {
    MessageReader::new(FrameSender::Client, FIRST_RESERVE)
}

/// Reads with a memory of two MiB.
fn read(reader: &mut MessageReader<usize>, source: &mut BytesMut, cap: usize) -> Read {
    reader.read(source, cap, |permit, bytes| {
        *permit = Some(bytes);
        if bytes <= 2 * 1024 * 1024 { Ok(()) } else { Err("no memory") }
    })
}

fn read_one(bytes: &[u8]) -> Read {
    read(&mut reader(), &mut BytesMut::from(bytes), CAP)
}

fn message(read: Option<WsMessage<usize>>) -> Vec<u8> {
    match read {
        Some(WsMessage::Text(text, _)) => text.into_bytes(),
        Some(WsMessage::Binary(bytes, _)) => bytes,
        other => panic!("no message: {other:?}"),
    }
}

#[test]
fn text_and_binary_are_read_alike_and_unmasked() {
    for first in [0x81, 0x82] {
        assert_eq!(message(read_one(&frame(first, b"hello")).unwrap()), b"hello");
    }
}

#[test]
fn a_fragmented_message_is_joined_with_a_ping_between_its_parts() {
    let mut source = BytesMut::new();
    source.extend_from_slice(&frame(0x01, b"one "));
    source.extend_from_slice(&frame(0x89, b"are you there"));
    source.extend_from_slice(&frame(0x00, b"two "));
    source.extend_from_slice(&frame(0x80, b"three"));
    let mut reader = reader();
    assert!(
        matches!(read(&mut reader, &mut source, CAP).unwrap(), Some(WsMessage::Ping(payload)) if payload == "are you there")
    );
    assert_eq!(message(read(&mut reader, &mut source, CAP).unwrap()), b"one two three");
    assert!(read(&mut reader, &mut source, CAP).unwrap().is_none());
}

#[test]
fn a_frame_that_announces_too_much_is_refused_by_its_header_alone() {
    let mut header = vec![0x82, 0x80 | 127];
    header.extend((1_u64 << 40).to_be_bytes());
    header.extend(MASK);
    assert_eq!(read_one(&header).unwrap_err(), ReadFault::TooLarge { announced: 1 << 40, cap: 64 * 1024 });
}

#[test]
fn continuations_count_under_the_same_cap() {
    let mut reader = reader();
    let mut source = BytesMut::from(frame(0x02, &vec![0; 40_000]).as_slice());
    assert!(read(&mut reader, &mut source, CAP).unwrap().is_none());
    source.extend_from_slice(&frame(0x80, &vec![0; 40_000]));
    assert!(matches!(read(&mut reader, &mut source, CAP), Err(ReadFault::TooLarge { announced: 80_000, .. })));
}

#[test]
fn memory_grows_with_what_came_and_not_with_what_was_announced() {
    let mut reader = reader();
    let mut source = BytesMut::new();
    source.extend_from_slice(&[0x82, 0x80 | 127]);
    source.extend_from_slice(&(1_u64 << 40).to_be_bytes());
    source.extend_from_slice(&MASK);
    source.extend_from_slice(b"ten bytes.");
    assert!(read(&mut reader, &mut source, usize::MAX).unwrap().is_none());
    assert!(reader.held_bytes() <= FIRST_RESERVE);
}

#[test]
fn a_message_is_covered_before_it_grows() {
    let large = frame(0x82, &vec![1; 2 * 1024 * 1024]);
    let mut source = BytesMut::from(large.as_slice());
    let Ok(Some(WsMessage::Binary(bytes, permit))) = read(&mut reader(), &mut source, usize::MAX) else { panic!() };
    assert_eq!((bytes.len(), permit), (2 * 1024 * 1024, Some(2 * 1024 * 1024)));
    let larger = frame(0x82, &vec![1; 2 * 1024 * 1024 + 1]);
    let mut source = BytesMut::from(larger.as_slice());
    assert_eq!(read(&mut reader(), &mut source, usize::MAX), Err(ReadFault::Memory("no memory")));
}

#[test]
fn breaches_of_the_protocol_are_faults() {
    let mut unmasked = frame(0x81, b"");
    unmasked[1] &= 0x7f;
    for (bytes, what) in [
        (unmasked, "not masked"),
        (frame(0xc1, b""), "reserved"),
        (frame(0x83, b""), "unknown kind"),
        (frame(0x80, b"x"), "without a beginning"),
        (frame(0x09, b""), "in fragments"),
        (frame(0x89, &[0; 126]), "125 bytes"),
        (frame(0x88, &[3]), "half a code"),
        (frame(0x81, &[0xff, 0xfe]), "UTF-8"),
    ] {
        let Err(ReadFault::Protocol(fault)) = read_one(&bytes) else { panic!("{what}") };
        assert!(fault.contains(what), "{fault}");
    }
    let mut nested = frame(0x01, b"a");
    nested.extend(frame(0x81, b"b"));
    assert!(read_one(&nested).is_err());
}

#[test]
fn a_close_with_and_without_a_code_is_read() {
    assert!(matches!(read_one(&frame(0x88, b"")), Ok(Some(WsMessage::Close { code: None, .. }))));
    let closed = read_one(&frame(0x88, &[0x03, 0xe8, b'b'])).unwrap();
    assert_eq!(closed, Some(WsMessage::Close { code: Some(1000), reason: "b".to_owned() }));
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_message_is_the_same(
        payload in proptest::collection::vec(any::<u8>(), 0..400),
        cuts in proptest::collection::vec(1_usize..40, 0..40),
    ) {
        let bytes = frame(0x82, &payload);
        let (mut reader, mut source, mut rest) = (reader(), BytesMut::new(), bytes.as_slice());
        let mut found = None;
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (part, after) = rest.split_at(cut.min(rest.len()));
            source.extend_from_slice(part);
            rest = after;
            if let Some(incoming) = read(&mut reader, &mut source, CAP).unwrap() {
                found = Some(incoming);
            }
        }
        prop_assert_eq!(message(found), payload);
    }

    #[test]
    fn garbage_never_panics_and_never_grows(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut reader = reader();
        let mut source = BytesMut::from(bytes.as_slice());
        while let Ok(Some(_)) = read(&mut reader, &mut source, CAP) {}
        prop_assert!(reader.held_bytes() <= CAP);
    }
}
