//! Backups in the state directory: what they are called, and how the daemon makes them by itself.
//!
//! One is due an interval after the newest that lies there, whoever made it, so that restarts neither delay nor multiply them.
//! After a failure the next try comes within an hour. Once a new one is whole, the oldest beyond the number to keep go.
//!
//! What is dated in the future was made while the clock was wrong. Nothing is known of its age, so it counts for nothing: not as
//! the newest, and not among those to keep. Of such, too, no more are kept than of the others.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use gatewarden_actors::clock::Clock;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::store::StoreError;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::maintenance::backup::KEY_SUFFIX;
use gatewarden_protocol::wall_time;

use crate::config::{BackupSettings, Config};

/// Longest wait after a backup that failed.
const RETRY: Duration = Duration::from_secs(3600);
/// How often the directory is looked at while none is due.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// The clock may be put back by this without backups seeming to be of the future.
const CLOCK_CORRECTION_MS: i64 = 120_000;
/// After a start the daemon has other things to do first.
const AFTER_START: Duration = Duration::from_secs(60);
const PREFIX: &str = "gatewarden-";
const SUFFIX: &str = ".db";

pub(crate) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("backups")
}

/// A backup's name, by the time at which it was made (`20261121T180545Z`): names sort by age.
pub(crate) fn file_name(stamp: &str) -> String {
    format!("{PREFIX}{stamp}{SUFFIX}")
}

/// A wall time as it stands in file names: `20261121T180545Z`.
pub(crate) fn stamp(wall_ms: i64) -> String {
    wall_time::of_seconds(wall_ms.div_euclid(1_000)).chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Makes the directory where there is none, mode 0700, owned by whoever owns the state directory.
pub(crate) fn make_directory(dir: &Path) -> std::io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).create(dir)?;
    super::state_dir::give_to_owner_of_place(dir);
    Ok(())
}

/// Makes backups from time to time for as long as the daemon runs, where that is configured.
pub(super) fn start(config: &Config, store: &StoreHandle, clock: &Clock, metrics: &Arc<Metrics>) {
    let BackupSettings { interval: Some(interval), keep } = config.backups else { return };
    let (dir, store, clock, metrics) = (directory(&config.state_dir), store.clone(), clock.clone(), metrics.clone());
    metrics.set_backup_interval(interval);
    actix_rt::spawn(again_and_again(dir, store, clock, metrics, interval, keep));
}

async fn again_and_again(
    dir: PathBuf,
    store: StoreHandle,
    clock: Clock,
    metrics: Arc<Metrics>,
    interval: Duration,
    keep: usize,
) {
    // Not before this is over, whatever is due.
    let mut rest = AFTER_START.min(interval);
    loop {
        let (listed, now_ms) = (dir.clone(), clock.wall_ms());
        let newest = tokio::task::spawn_blocking(move || newest_ms(&listed, now_ms)).await.ok().flatten();
        metrics.set_newest_backup(newest.unwrap_or(0));
        let due = due_in(newest, clock.judged_ms(interval), interval).max(rest);
        if !due.is_zero() {
            // Others make and remove backups, too.
            let nap = due.min(LOOK_AGAIN);
            tokio::time::sleep(nap).await;
            rest = rest.saturating_sub(nap);
            continue;
        }
        let made = make(&dir, &store, clock.wall_ms(), keep).await;
        metrics.count_backup(made.is_ok());
        if let Err(error) = made {
            tracing::error!(%error, "no backup of the database could be made; it is tried again within an hour");
        }
        rest = RETRY.min(interval);
    }
}

async fn make(dir: &Path, store: &StoreHandle, now_ms: i64, keep: usize) -> Result<(), StoreError> {
    let file = |source| StoreError::File { path: dir.to_owned(), what: "written", source };
    make_directory(dir).map_err(file)?;
    let made = store.back_up(dir.join(file_name(&stamp(now_ms)))).await?;
    tracing::info!(backup = %made.path.display(), bytes = made.contents.bytes, "made a backup of the database");
    let dir = dir.to_owned();
    let _ = tokio::task::spawn_blocking(move || forget_old(&dir, keep, now_ms)).await;
    Ok(())
}

/// How long until the next one, by the wall time by which ages are judged.
fn due_in(newest_ms: Option<i64>, judged_ms: i64, interval: Duration) -> Duration {
    // One made after a jump ahead is of that judgement's future: it counts as made now, for no longer than an interval.
    let age = newest_ms.map(|newest| u64::try_from(judged_ms.saturating_sub(newest)).unwrap_or(0));
    age.map_or(Duration::ZERO, |age| interval.saturating_sub(Duration::from_millis(age)))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// When the newest was made that isn't of the future.
fn newest_ms(dir: &Path, now_ms: i64) -> Option<i64> {
    let written = |name: String| {
        let modified = fs::metadata(dir.join(name)).ok()?.modified().ok()?;
        i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    };
    names(dir)
        .into_iter()
        .filter(|name| is_backup(name))
        .filter_map(written)
        .filter(|made| *made <= last_credible(now_ms))
        .max()
}

fn last_credible(now_ms: i64) -> i64 {
    now_ms.saturating_add(CLOCK_CORRECTION_MS)
}

fn is_backup(name: &str) -> bool {
    let stamp = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    stamp
        .and_then(|stamp| stamp.split('-').next())
        .is_some_and(|stamp| stamp.len() == 16 && stamp.starts_with(|first: char| first.is_ascii_digit()))
}

/// Which of these files go: the oldest backups beyond `keep` with their keys, and what a process left that isn't at work.
fn superseded(names: &[String], keep: usize, now_ms: i64, is_at_work: impl Fn(&str) -> bool) -> Vec<String> {
    let latest = file_name(&stamp(last_credible(now_ms)));
    let backups = names.iter().filter(|name| is_backup(name));
    let (mut past, mut future): (Vec<&String>, Vec<&String>) = backups.partition(|name| **name <= latest);
    let old = [&mut past, &mut future].into_iter().flat_map(|backups| {
        backups.sort();
        backups.drain(..backups.len().saturating_sub(keep))
    });
    let old: Vec<String> = old.flat_map(|name| [name.clone(), format!("{name}{KEY_SUFFIX}")]).collect();
    let broken_off = names
        .iter()
        .filter(|name| name.starts_with(PREFIX))
        .filter(|name| name.split_once(&format!("{SUFFIX}.partial-")).is_some_and(|(_, process)| !is_at_work(process)));
    let broken_off = broken_off.cloned();
    old.into_iter().chain(broken_off).filter(|name| names.contains(name)).collect()
}

fn forget_old(dir: &Path, keep: usize, now_ms: i64) {
    // Our own is done with.
    let own = std::process::id().to_string();
    let is_at_work = |process: &str| process != own && Path::new("/proc").join(process).exists();
    for name in superseded(&names(dir), keep, now_ms, is_at_work) {
        match fs::remove_file(dir.join(&name)) {
            Ok(()) => tracing::info!(backup = %name, "removed an old backup"),
            Err(error) => tracing::warn!(backup = %name, %error, "an old backup could not be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_file_names_sort_and_need_no_quoting() {
        assert_eq!(stamp(1_795_274_416_123), "20261121T152016Z");
        assert!(is_backup(&file_name(&stamp(1_795_274_416_123))));
        assert!(is_backup("gatewarden-20261121T180545Z-2.db"), "the second one of a second is one, too");
    }

    #[test]
    fn one_is_due_an_interval_after_the_newest_whatever_the_clock_did() {
        let day = Duration::from_secs(86_400);
        for (newest, now, due) in [
            (None, 5, Duration::ZERO),
            (Some(1_000), 1_000, day),
            (Some(0), 86_399_000, Duration::from_secs(1)),
            (Some(0), 100_000_000, Duration::ZERO),
            (Some(9_000), 1_000, day),
        ] {
            assert_eq!(due_in(newest, now, day), due, "{newest:?} {now}");
        }
    }

    #[test]
    fn the_oldest_backups_go_with_their_keys_and_nothing_else_does() {
        let names: Vec<String> = [
            "gatewarden-20260103T000000Z.db",
            "gatewarden-20260101T000000Z.db",
            "gatewarden-20260101T000000Z.db.key",
            "gatewarden-20260102T000000Z.db",
            "gatewarden-20260104T000000Z.db.partial-77",
            "gatewarden-20260104T000000Z.db.partial-78",
            "before-the-move.db",
            "gatewarden-precious.db",
        ]
        .map(str::to_owned)
        .to_vec();
        let gone = [
            "gatewarden-20260101T000000Z.db",
            "gatewarden-20260101T000000Z.db.key",
            "gatewarden-20260104T000000Z.db.partial-77",
        ];
        let now_ms = 1_795_274_416_123;
        assert_eq!(superseded(&names, 2, now_ms, |process| process == "78"), gone);
        assert_eq!(superseded(&names, 9, now_ms, |process| process == "78"), gone[2..]);
    }

    #[test]
    fn backups_of_a_wrong_future_supersede_none_and_have_their_own_bound() {
        let names: Vec<String> = ["20260101", "20260102", "20260103", "20270101", "20270102", "20270103"]
            .map(|day| file_name(&format!("{day}T000000Z")))
            .to_vec();
        let now_ms = 1_770_000_000_000; // 2026-02-02
        assert_eq!(superseded(&names, 2, now_ms, |_| false), [names[0].clone(), names[3].clone()]);
        assert_eq!(superseded(&names, 3, now_ms, |_| false), Vec::<String>::new());
    }

    fn store_in(state: &Path) -> StoreHandle {
        let key = gatewarden_actors::store::key_file::SealingKey::load_or_create(None, state).unwrap();
        let options = gatewarden_actors::store::StoreOptions::at(state.join("gatewarden.db"));
        StoreHandle::open(options, key, Clock::system(), Arc::new(Metrics::new())).unwrap()
    }

    #[actix_web::test]
    async fn backups_are_made_again_and_again_and_counted() {
        let state = tempfile::tempdir().unwrap();
        let (dir, metrics) = (directory(state.path()), Arc::new(Metrics::new()));
        let interval = Duration::from_millis(200);
        metrics.set_backup_interval(interval);
        assert!(!metrics.render().contains("gatewarden_backup_last_success_timestamp_seconds "), "there is none yet");
        // Where the directory should be lies something else.
        fs::write(&dir, "").unwrap();
        let going = actix_rt::spawn(again_and_again(
            dir.clone(),
            store_in(state.path()),
            Clock::system(),
            metrics.clone(),
            interval,
            1,
        ));
        let count = |outcome: &str| {
            let start = format!("gatewarden_backups_total{{outcome=\"{outcome}\"}} ");
            let text = metrics.render();
            text.lines().find_map(|line| line.strip_prefix(&start)?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let reach = async |outcome: &str, times: f64| {
            while count(outcome) < times {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, reach("failed", 1.0)).await.unwrap();
        assert!(count("made") < 1.0);
        fs::remove_file(&dir).unwrap();
        tokio::time::timeout(patience, reach("made", 2.0)).await.unwrap();
        going.abort();
        assert!(metrics.render().contains("gatewarden_backup_interval_seconds 0.2\n"));
        assert!(metrics.render().contains("gatewarden_backup_last_success_timestamp_seconds "));
        assert!(names(&dir).iter().filter(|name| is_backup(name)).count() <= 2, "{:?}", names(&dir));
    }

    #[actix_web::test]
    async fn a_new_backup_takes_the_place_of_the_oldest() {
        let state = tempfile::tempdir().unwrap();
        let store = store_in(state.path());
        let dir = directory(state.path());
        let now_ms = Clock::system().wall_ms();
        assert_eq!(newest_ms(&dir, now_ms), None);
        for day in 0..3 {
            make(&dir, &store, day * 86_400_000, 2).await.unwrap();
        }
        let mut left = names(&dir);
        left.sort();
        assert_eq!(left, ["gatewarden-19700102T000000Z.db", "gatewarden-19700103T000000Z.db"]);
        let newest = newest_ms(&dir, now_ms).unwrap();
        let wrong = fs::File::open(dir.join("gatewarden-19700103T000000Z.db")).unwrap();
        wrong
            .set_modified(UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs()) + Duration::from_secs(86_400))
            .unwrap();
        assert!(newest_ms(&dir, now_ms).is_some_and(|made| made <= newest), "one of the future says nothing of now");
        let error = make(&dir, &store, 86_400_000, 2).await.unwrap_err();
        assert!(error.to_string().contains("is there already"), "{error}");
    }
}
