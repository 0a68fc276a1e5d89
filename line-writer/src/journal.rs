//! The journal of systemd: a datagram an entry, in its native protocol.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::Sink;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest entry, bytes: the kernel takes no much longer datagrams.
const MAX_ENTRY: usize = 128 * 1024;
/// Longest value, bytes. One field that is too long must not cost the entry.
const MAX_VALUE: usize = 32 * 1024;

pub(crate) struct Journal(UnixDatagram);

impl Journal {
    pub(crate) fn connect() -> io::Result<Self> {
        Self::connect_to(Path::new(SOCKET))
    }

    pub(crate) fn connect_to(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self(socket))
    }
}

impl Sink for Journal {
    fn append(&mut self, entry: &[u8]) -> bool {
        if self.0.send(entry).is_ok() {
            return true;
        }
        // The journal was restarted: its socket is another one now.
        match Self::connect() {
            Ok(again) => {
                *self = again;
                self.0.send(entry).is_ok()
            }
            Err(_) => false,
        }
    }
}

/// An entry of the journal: fields and their values.
#[derive(Debug, Clone, Default)]
pub struct JournalEntry(Vec<u8>);

impl JournalEntry {
    /// Adds a field. Its name becomes what the journal takes: capitals, digits and underscores, no digit or underscore in front.
    /// What is too long is cut.
    pub fn field(&mut self, name: &str, value: &str) {
        let name: Vec<u8> = name
            .bytes()
            .map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' })
            .skip_while(|byte| !byte.is_ascii_uppercase())
            .take(64)
            .collect();
        let value = value.get(..value.floor_char_boundary(MAX_VALUE)).unwrap_or_default();
        if name.is_empty() || self.0.len() + name.len() + value.len() + 16 > MAX_ENTRY {
            return;
        }
        self.0.extend_from_slice(&name);
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

impl From<JournalEntry> for Vec<u8> {
    fn from(entry: JournalEntry) -> Self {
        entry.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut entry = JournalEntry::default();
        fields.iter().for_each(|(name, value)| entry.field(name, value));
        entry.into()
    }

    #[test]
    fn fields_are_named_and_framed_as_the_journal_takes_them() {
        assert_eq!(entry(&[("message", "a b"), ("gateway.id", "7")]), b"MESSAGE=a b\nGATEWAY_ID=7\n");
        assert_eq!(entry(&[("_9x", "y"), ("99", "gone")]), b"X=y\n");
        assert_eq!(entry(&[("m", "a\nb")]), b"M\n\x03\0\0\0\0\0\0\0a\nb\n");
    }

    #[test]
    fn an_entry_stays_within_what_a_datagram_takes() {
        let long = "\u{e4}".repeat(100_000);
        let fields: Vec<(&str, &str)> = (0..100).map(|_| ("field", long.as_str())).collect();
        let entry = entry(&fields);
        assert!(entry.len() <= MAX_ENTRY && entry.len() > MAX_ENTRY / 2);
        assert!(std::str::from_utf8(&entry).is_ok());
    }

    #[test]
    fn entries_arrive_as_datagrams() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let mut sink = Journal::connect_to(&path).unwrap();
        assert!(sink.append(&entry(&[("message", "hello")])));
        let mut bytes = [0; 64];
        let count = journal.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"MESSAGE=hello\n");
    }
}
