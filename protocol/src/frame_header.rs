//! The header of a WebSocket frame (RFC 6455, 5.2), read as soon as it is there: a frame can be refused for its length before any
//! of it is kept. The daemon reads the frames of gateways with it, the embedded gateway those of its clients.

/// Longest payload of a control frame (5.5).
const MAX_CONTROL: u64 = 125;

/// Whose frames are read: clients mask theirs, servers don't, and anything else ends the connection (5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameSender {
    /// A client.
    Client,
    /// A server.
    Server,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before.
    Continuation,
    /// The first, or only, frame of a text message.
    Text,
    /// The same of a binary message.
    Binary,
    /// Goodbye.
    Close,
    /// To be answered with its payload.
    Ping,
    /// The answer to that.
    Pong,
}

impl Opcode {
    /// Whether it may come between the frames of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Everything that a frame says before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The last frame of its message. Control frames always are.
    pub is_final: bool,
    /// What it is.
    pub opcode: Opcode,
    /// Length of the payload, in bytes. Nothing bounds it but the reader; at most 125 for control frames.
    pub length: u64,
    /// By which the payload is masked; zeros from a server.
    pub mask: [u8; 4],
    /// Length of the header itself, 2 to 14 bytes.
    pub header_length: usize,
}

/// The peer doesn't keep to RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenFrame(pub &'static str);

impl FrameHeader {
    /// Reads the header at the start of `source`; nothing while it isn't whole.
    ///
    /// # Errors
    /// Reserved bits, a mask where none belongs or none where one does, an unknown kind, a control frame in fragments or too
    /// long. Each is found with the first byte that shows it.
    pub fn read(source: &[u8], sender: FrameSender) -> Result<Option<Self>, BrokenFrame> {
        let Some(&[first, second]) = source.first_chunk::<2>() else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(BrokenFrame("reserved bits are set"));
        }
        let is_masked = second & 0x80 != 0;
        match sender {
            FrameSender::Client if !is_masked => return Err(BrokenFrame("a client's frame is not masked")),
            FrameSender::Server if is_masked => return Err(BrokenFrame("a server's frame is masked")),
            _ => {}
        }
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(BrokenFrame("an unknown kind of frame")),
        };
        let is_final = first & 0x80 != 0;
        if opcode.is_control() && !is_final {
            return Err(BrokenFrame("a control frame in fragments"));
        }
        let (length, before_mask) = match second & 0x7f {
            // Longer than 125 in any case.
            126 | 127 if opcode.is_control() => (MAX_CONTROL + 1, 2),
            126 => match source.first_chunk::<4>() {
                Some(&[_, _, high, low]) => (u64::from(u16::from_be_bytes([high, low])), 4),
                None => return Ok(None),
            },
            127 => match source.first_chunk::<10>() {
                Some(&[_, _, ref length @ ..]) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if opcode.is_control() && length > MAX_CONTROL {
            return Err(BrokenFrame("a control frame of more than 125 bytes"));
        }
        if !is_masked {
            return Ok(Some(Self { is_final, opcode, length, mask: [0; 4], header_length: before_mask }));
        }
        let mask = source.get(before_mask..).and_then(|rest| rest.first_chunk::<4>());
        Ok(mask.map(|&mask| Self { is_final, opcode, length, mask, header_length: before_mask + 4 }))
    }
}

#[cfg(test)]
mod tests {
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
}
