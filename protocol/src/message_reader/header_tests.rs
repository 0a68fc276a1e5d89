//! Headers of frames.

use proptest::prelude::*;

use super::*;

fn written(header: &FrameHeader, sender: FrameSender) -> Vec<u8> {
    let opcode = match header.opcode {
        Opcode::Continuation => 0,
        Opcode::Text => 1,
        Opcode::Binary => 2,
        Opcode::Close => 8,
        Opcode::Ping => 9,
        Opcode::Pong => 10,
    };
    let masked = if sender == FrameSender::Client { 0x80 } else { 0 };
    let mut bytes = vec![opcode | if header.is_final { 0x80 } else { 0 }];
    match header.length {
        short @ 0..=125 => bytes.push(masked | u8::try_from(short).unwrap()),
        middle @ 126..=65_535 => {
            bytes.push(masked | 126);
            bytes.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(masked | 127);
            bytes.extend(long.to_be_bytes());
        }
    }
    if sender == FrameSender::Client {
        bytes.extend(header.mask);
    }
    bytes
}

fn any_header() -> impl Strategy<Value = (FrameHeader, FrameSender)> {
    let opcode = prop_oneof![
        Just(Opcode::Continuation),
        Just(Opcode::Text),
        Just(Opcode::Binary),
        Just(Opcode::Close),
        Just(Opcode::Ping),
        Just(Opcode::Pong)
    ];
    let length = prop_oneof![0..300_u64, 65_000..66_000_u64, any::<u64>()];
    (opcode, length, any::<[u8; 4]>(), any::<bool>(), any::<bool>()).prop_map(
        |(opcode, length, mask, is_final, from_client)| {
            let sender = if from_client { FrameSender::Client } else { FrameSender::Server };
            let (is_final, length) =
                if opcode.is_control() { (true, length.min(MAX_CONTROL)) } else { (is_final, length) };
            let mask = if from_client { mask } else { [0; 4] };
            let header = FrameHeader { is_final, opcode, length, mask, header_length: 0 };
            let header_length = written(&header, sender).len();
            (FrameHeader { header_length, ..header }, sender)
        },
    )
}

proptest! {
    #[test]
    fn a_header_is_read_as_it_was_written_once_it_is_whole_and_not_before((header, sender) in any_header()) {
        let mut bytes = written(&header, sender);
        for part in 0..bytes.len() {
            prop_assert_eq!(FrameHeader::read(&bytes[..part], sender), Ok(None));
        }
        prop_assert_eq!(FrameHeader::read(&bytes, sender), Ok(Some(header)));
        bytes.extend([0xff; 20]);
        prop_assert_eq!(FrameHeader::read(&bytes, sender), Ok(Some(header)), "what follows is not looked at");
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        for sender in [FrameSender::Client, FrameSender::Server] {
            if let Ok(Some(header)) = FrameHeader::read(&bytes, sender) {
                prop_assert!((2..=14).contains(&header.header_length) && header.header_length <= bytes.len());
                prop_assert!(!header.opcode.is_control() || header.is_final && header.length <= MAX_CONTROL);
            }
        }
    }
}

#[test]
fn what_breaks_the_rules_is_said_with_the_second_byte() {
    use FrameSender::{Client, Server};
    for (bytes, sender, said) in [
        ([0xc1, 0x00], Server, "reserved bits"),
        ([0x81, 0x80], Server, "server's frame is masked"),
        ([0x81, 0x00], Client, "client's frame is not masked"),
        ([0x83, 0x00], Server, "unknown kind"),
        ([0x09, 0x00], Server, "control frame in fragments"),
        ([0x89, 0xfe], Client, "more than 125"),
        ([0x88, 0x7f], Server, "more than 125"),
    ] {
        let error = FrameHeader::read(&bytes, sender).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}
