use std::sync::Mutex;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Takes lines only while it is told to.
struct Gate {
    opened: mpsc::Receiver<()>,
    is_open: bool,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Sink for Gate {
    fn append(&mut self, line: &[u8]) -> bool {
        if !self.is_open {
            self.is_open = self.opened.recv().is_ok();
        }
        self.taken.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        true
    }
}

#[test]
fn who_writes_never_waits_and_what_was_dropped_is_counted_and_said_when_lines_are_taken_again() {
    let (open, opened) = mpsc::channel();
    let taken: Arc<Mutex<Vec<String>>> = Arc::default();
    let gate = Gate { opened, is_open: false, taken: taken.clone() };
    let writer = LineWriter::start(gate, Lost::Line(|lost| format!("lost {lost}"))).unwrap();
    let long = "x".repeat(64 * 1024);
    for _ in 0..1_000 {
        writer.write(long.as_str());
    }
    assert!(!writer.flush(Duration::from_millis(10)), "nothing is taken");
    let lost = writer.lost().load(Ordering::Relaxed);
    assert!((850..1_000).contains(&lost), "{lost}");
    open.send(()).unwrap();
    assert!(writer.flush(SOON));
    writer.write("after");
    assert!(writer.flush(SOON));
    let taken = taken.lock().unwrap();
    assert_eq!(taken.iter().filter(|line| **line == long).count() as u64, 1_000 - lost);
    let said: u64 = taken.iter().filter_map(|line| line.strip_prefix("lost ")?.parse::<u64>().ok()).sum();
    assert_eq!((said, taken.last().map(String::as_str)), (lost, Some("after")));
}
