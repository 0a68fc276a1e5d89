//! The machine under the daemon: disk, clock, open files, service manager.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::process::{Resource, getrlimit};

use crate::app::Holder;
use crate::cli::findings::{Finding, Report};
use crate::cli::output::size;
use crate::config::Config;

const MIB: u64 = 1024 * 1024;
/// With less free space than this, writes soon fail.
const LEAST_FREE: u64 = 64 * MIB;
/// 2026-01-01: this program is younger than that.
const EARLIEST_S: i64 = 1_767_225_600;
/// A file may be so much younger than now before that is odd: two machines' clocks, a shared disk.
const ODD_AHEAD_S: i64 = 300;
/// Open files beside one for each gateway: clients, database, the rest.
const BESIDE_GATEWAYS: u64 = 512;

/// Free space where the database is.
pub(super) fn disk(report: &mut Report, config: &Config) {
    let database = std::fs::metadata(config.store.database.place()).map_or(0, |metadata| metadata.len());
    let Some(place) = first_that_exists(&config.state_dir) else { return };
    match rustix::fs::statvfs(&place) {
        Ok(seen) => {
            report.add(judge_disk(seen.f_bavail.saturating_mul(seen.f_frsize), database));
            if seen.f_files > 0 && seen.f_favail < 100 {
                report.problem(
                    "disk",
                    format!("only {} more files can be made there", seen.f_favail),
                    "delete files that nobody needs: the file system has run out of inodes",
                );
            }
        }
        Err(error) => report.note("disk", format!("its free space cannot be told: {error}"), ""),
    }
}

fn first_that_exists(dir: &Path) -> Option<PathBuf> {
    dir.ancestors().find(|dir| dir.exists()).map(Path::to_path_buf)
}

fn judge_disk(free: u64, database: u64) -> Finding {
    let (text, area) = (format!("{} are free", size(free)), "disk");
    if free < LEAST_FREE {
        let cure = "free some space: writes answer 503 once it is full, and the daemon goes on by itself afterwards";
        return Finding::problem(area, format!("only {text}"), cure);
    }
    if free < database.saturating_mul(2) {
        let cure = "an upgrade and a restore need room for a second copy of the database, a backup for one more";
        return Finding::note(area, format!("{text}, and the database has {}", size(database)), cure);
    }
    Finding::fine(area, text)
}

/// Whether the time can be right.
pub(super) fn clock(report: &mut Report, config: &Config, now_ms: i64) {
    let written = std::fs::metadata(config.store.database.place()).and_then(|metadata| metadata.modified()).ok();
    let written_s =
        written.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).and_then(|since| i64::try_from(since.as_secs()).ok());
    let synchronized = Path::new("/run/systemd/timesync/synchronized").exists();
    report.add(judge_clock(now_ms / 1000, written_s, synchronized));
}

fn judge_clock(now_s: i64, written_s: Option<i64>, synchronized: bool) -> Finding {
    let cure = "set the clock and keep it synchronised (`timedatectl set-ntp true`): gateways refuse logins of a machine whose \
                clock is off, and histories are kept by time";
    if now_s < EARLIEST_S {
        return Finding::problem("clock", "the clock is years behind", cure);
    }
    if let Some(ahead) = written_s.map(|written| written - now_s).filter(|ahead| *ahead > ODD_AHEAD_S) {
        return Finding::problem(
            "clock",
            format!("the database was written {} minutes in the future", ahead / 60),
            cure,
        );
    }
    let text = if synchronized { "synchronised" } else { "plausible; whether it is synchronised is not known" };
    Finding::fine("clock", text)
}

/// The limit of open files: of the running daemon, else of this process.
pub(super) fn open_files(report: &mut Report, holder: &Holder, gateways: u64) {
    let running = holder.process().and_then(|process| {
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
        let open = std::fs::read_dir(format!("/proc/{process}/fd")).ok().map(Iterator::count);
        Some((limit_of(&limits)?, open.and_then(|open| u64::try_from(open).ok())))
    });
    let (limit, open) = running.unwrap_or_else(|| (getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), None));
    report.add(judge_open_files(limit, open, gateways, running.is_some()));
}

/// The soft limit of `/proc/PID/limits`; the daemon raises it to the hard one.
fn limit_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn judge_open_files(limit: u64, open: Option<u64>, gateways: u64, of_daemon: bool) -> Finding {
    let (area, whose) = ("open files", if of_daemon { "the daemon" } else { "a daemon started from here" });
    let needed = gateways.saturating_add(BESIDE_GATEWAYS);
    let cure = || {
        format!(
            "set LimitNOFILE={} in the unit (`systemctl edit gatewarden`), or raise `ulimit -Hn`",
            needed.saturating_mul(4).max(65_536)
        )
    };
    let at_most = if limit == u64::MAX { "any number".to_owned() } else { limit.to_string() };
    if limit < needed {
        let text = format!("{whose} may have {at_most}, and {gateways} gateways need {needed}");
        return Finding::problem(area, text, cure());
    }
    match open {
        Some(open) if open > limit / 10 * 8 => {
            Finding::problem(area, format!("{whose} has {open} of {at_most}"), cure())
        }
        Some(open) => Finding::fine(area, format!("{whose} has {open} of {at_most}")),
        None => Finding::fine(area, format!("{whose} may have {at_most}")),
    }
}

/// What systemd was told.
pub(super) fn service(report: &mut Report, holder: &Holder) {
    const AREA: &str = "service";
    if !Path::new("/run/systemd/system").exists() {
        report.note(AREA, "this machine does not run systemd: see that something starts the daemon again", "");
        return;
    }
    let units = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    let unit = units.iter().map(|dir| Path::new(dir).join("gatewarden.service")).find(|unit| unit.exists());
    let Some(unit) = unit else {
        report.note(
            AREA,
            "no unit gatewarden.service is installed, so nobody starts the daemon after a crash or a boot",
            "install systemd/gatewarden.service of the release",
        );
        return;
    };
    let enabled =
        Path::new("/etc/systemd/system/multi-user.target.wants/gatewarden.service").symlink_metadata().is_ok();
    let outside = holder.process().is_some_and(|process| {
        std::fs::read_to_string(format!("/proc/{process}/cgroup"))
            .is_ok_and(|groups| !groups.contains("gatewarden.service"))
    });
    match (enabled, outside) {
        (_, true) => report.note(
            AREA,
            "the daemon was started by hand, although there is a unit for it",
            "stop it and `systemctl start gatewarden`, if that is the one that is meant",
        ),
        (false, false) => report.note(
            AREA,
            format!("{} is installed and not enabled", unit.display()),
            "`systemctl enable gatewarden` starts it at each boot",
        ),
        (true, false) => report.fine(AREA, format!("{} is enabled", unit.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::findings::Level;

    #[test]
    fn little_space_is_a_problem_and_none_for_a_copy_a_note() {
        for (free, database, level) in [
            (LEAST_FREE - 1, 0, Level::Problem),
            (LEAST_FREE, LEAST_FREE, Level::Note),
            (LEAST_FREE, LEAST_FREE / 2, Level::Fine),
        ] {
            assert_eq!(judge_disk(free, database).level, level, "{free} {database}");
        }
    }

    #[test]
    fn a_clock_that_cannot_be_right_is_a_problem() {
        let now = EARLIEST_S + 1_000;
        for (now, written, level) in [
            (0, None, Level::Problem),
            (now, Some(now + ODD_AHEAD_S + 1), Level::Problem),
            (now, Some(now + ODD_AHEAD_S), Level::Fine),
            (now, None, Level::Fine),
        ] {
            assert_eq!(judge_clock(now, written, false).level, level, "{now} {written:?}");
        }
    }

    #[test]
    fn the_limit_of_open_files_must_do_for_the_gateways_that_there_are() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(limit_of(limits), Some(1024));
        for (limit, open, gateways, level) in [
            (1024, None, 100, Level::Fine),
            (1024, None, 1_000, Level::Problem),
            (1024, Some(900), 100, Level::Problem),
            (1024, Some(100), 100, Level::Fine),
            (u64::MAX, Some(100), 100_000, Level::Fine),
        ] {
            let found = judge_open_files(limit, open, gateways, true);
            assert_eq!(found.level, level, "{found:?}");
            assert_eq!(found.cure.contains("LimitNOFILE"), level == Level::Problem);
        }
    }
}
