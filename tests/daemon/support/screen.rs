//! A terminal that a command may draw on.

use std::fs::File;
use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::daemon::PATIENCE;
use super::wait;

/// A command on a terminal of its own. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Screen {
    child: Child,
    keyboard: File,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl Screen {
    /// Starts a command with its output on a terminal of this many rows and 200 columns.
    pub(crate) fn start(command: Command, rows: u16) -> Self {
        Self::connected(command, rows, false)
    }

    /// Starts a command that may ask and is answered at a keyboard.
    pub(crate) fn conversing(command: Command) -> Self {
        Self::connected(command, 24, true)
    }

    fn connected(mut command: Command, rows: u16, with_keyboard: bool) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let size = Winsize { ws_row: rows, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("text");
        let slave = File::options().read(true).write(true).open(name).expect("the terminal opens");
        if with_keyboard {
            let end = || Stdio::from(slave.try_clone().expect("a second handle"));
            command.stdin(end()).stderr(end());
        }
        let child = command.env("TERM", "xterm").stdout(Stdio::from(slave)).spawn().expect("the binary starts");
        let drawn: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = Arc::clone(&drawn);
        let mut from = File::from(master);
        let keyboard = from.try_clone().expect("a second handle");
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = from.read(&mut bytes) {
                if count == 0 {
                    return;
                }
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, keyboard, drawn }
    }

    /// Types a line.
    pub(crate) fn types(&self, line: &str) {
        self.presses(&format!("{line}\n"));
    }

    /// These keys, for a program that reads each by itself.
    pub(crate) fn presses(&self, keys: &str) {
        (&self.keyboard).write_all(keys.as_bytes()).expect("typed");
    }

    /// Everything that was drawn so far, with what steers the terminal.
    pub(crate) fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The present picture: what was drawn since the last way home, without colours.
    pub(crate) fn picture(&self) -> String {
        let drawn = self.drawn();
        let picture = drawn.rsplit("\u{1b}[H").next().unwrap_or_default();
        let mut plain = String::new();
        let mut rest = picture;
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            let end = after.find(|character: char| character.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
            rest = &after[end..];
        }
        plain.push_str(rest);
        plain
    }

    /// Waits until the picture looks as wanted.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait::until_ok(what, PATIENCE, || {
            let picture = self.picture();
            if wanted(&picture) { Ok(picture) } else { Err(picture) }
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
