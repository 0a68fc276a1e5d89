//! The receiving end of systemd's notification socket, emptied at once as systemd does.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A notification socket and what was said on it.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    path: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
}

impl NotifySocket {
    /// Listens at this path.
    pub(crate) fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a datagram socket");
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend(text.lines().map(str::to_owned));
            }
        });
        Self { path: path.to_owned(), heard }
    }

    /// What `NOTIFY_SOCKET` must say.
    pub(crate) fn address(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Every line heard so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether some line was heard.
    pub(crate) fn has_heard(&self, line: impl Fn(&str) -> bool) -> bool {
        self.heard().iter().any(|one| line(one))
    }
}
