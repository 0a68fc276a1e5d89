//! When a job is due: at a time, in equal steps, or by a cron expression in a time zone. As OpenClaw computes it.

use croner::errors::CronError;
use croner::{Cron, Weekday};
use gatewarden_protocol::wall_time::of_millis;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Jobs that come more often are a program that stays, and would only ever meet themselves.
const SHORTEST_STEP_MS: i64 = 1_000;
/// Ten years: what is further away is a slip of the pen.
const LONGEST_MS: i64 = 10 * 31_557_600_000;
/// The same in days.
const LONGEST_DAYS: usize = 3_653;
/// A time this far in the past was the present when it was written.
const GRACE_MS: i64 = 60_000;
/// Jobs at the full hour are spread over this, so that they don't all begin at once.
const TOP_OF_HOUR_STAGGER_MS: i64 = 300_000;
/// Longest expression and time zone, in bytes.
const TEXT: usize = 256;

/// As it is written on the wire and kept in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Schedule {
    /// Once. An ISO 8601 time, in UTC where it names no offset, or ms since the epoch.
    At { at: String },
    /// In steps of so many ms, counted from the anchor.
    Every {
        every_ms: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        anchor_ms: Option<i64>,
    },
    /// By five to seven fields, in a time zone or in that of the gateway's machine.
    Cron {
        expr: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tz: Option<String>,
        /// Spread over so long by the job's id; 0: exactly then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stagger_ms: Option<i64>,
    },
}

/// What else decides when a job is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past<'a> {
    pub(crate) job: &'a str,
    pub(crate) last_run_ms: Option<i64>,
    /// The zone of the gateway's machine.
    pub(crate) zone: &'a TimeZone,
}

impl Schedule {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::At { .. } => "at",
            Self::Every { .. } => "every",
            Self::Cron { .. } => "cron",
        }
    }

    pub(crate) fn is_once(&self) -> bool {
        matches!(self, Self::At { .. })
    }

    /// Says what is wrong with it, in a sentence that goes on after its place; puts the anchor where there is none.
    pub(crate) fn check(&mut self, zone: &TimeZone, now_ms: i64) -> Result<(), String> {
        match self {
            Self::At { at } => {
                let due = time_of(at)
                    .ok_or_else(|| format!("Invalid schedule.at: expected ISO-8601 timestamp (got {})", short(at)))?;
                if due < now_ms - GRACE_MS {
                    let minutes = (now_ms - due) / 60_000;
                    return Err(format!(
                        "schedule.at is in the past: {} ({minutes} minutes ago). Current time: {}",
                        of_millis(due),
                        of_millis(now_ms)
                    ));
                }
                if due > now_ms.saturating_add(LONGEST_MS) {
                    return Err(format!(
                        "schedule.at is too far in the future: {}. Maximum allowed: 10 years",
                        of_millis(due)
                    ));
                }
            }
            Self::Every { every_ms, anchor_ms } => {
                if !(SHORTEST_STEP_MS..=LONGEST_MS).contains(every_ms) {
                    return Err(format!("schedule.everyMs must be from {SHORTEST_STEP_MS} to {LONGEST_MS}"));
                }
                if !(0..=now_ms.saturating_add(LONGEST_MS)).contains(anchor_ms.get_or_insert(now_ms)) {
                    return Err("schedule.anchorMs must be a time in ms since 1970, at most 10 years ahead".to_owned());
                }
            }
            Self::Cron { expr, tz, stagger_ms } => {
                parse(expr)?;
                if let Some(name) = tz {
                    zone_of(name)?;
                }
                if stagger_ms.is_some_and(|ms| !(0..=86_400_000).contains(&ms)) {
                    return Err("schedule.staggerMs must be from 0 to 86400000".to_owned());
                }
                if self.next(now_ms, Past { job: "", last_run_ms: None, zone }).is_none() {
                    return Err("the schedule has no upcoming run time and would never fire within 10 years".to_owned());
                }
            }
        }
        Ok(())
    }

    /// The first time after `now_ms` that it is due; of a time that is past, that time. None: never again.
    pub(crate) fn next(&self, now_ms: i64, past: Past<'_>) -> Option<i64> {
        match self {
            Self::At { at } => time_of(at).filter(|due| past.last_run_ms.is_none_or(|last| *due > last)),
            Self::Every { every_ms, anchor_ms } => {
                let (every, anchor) = ((*every_ms).max(1), anchor_ms.unwrap_or(0));
                // A run that began late moves those after it. One in the future is of a clock that was set back.
                let after_last = past.last_run_ms.filter(|last| (anchor..=now_ms).contains(last));
                let after_last = after_last.and_then(|last| last.checked_add(every)).filter(|next| *next > now_ms);
                after_last.or_else(|| now_ms.checked_add(every - (now_ms.saturating_sub(anchor)).rem_euclid(every)))
            }
            Self::Cron { expr, tz, stagger_ms } => {
                let pattern = parse(expr).ok()?;
                let zone = match tz {
                    Some(name) => zone_of(name).ok()?,
                    None => past.zone.clone(),
                };
                let stagger = stagger_ms.unwrap_or_else(|| default_stagger(expr));
                let offset = offset_of(past.job, stagger);
                let from = Timestamp::from_millisecond(now_ms.checked_sub(offset)?).ok()?;
                let from = from.to_zoned(zone);
                // The search itself goes on for thousands of years, day by day.
                from.date().series(1.day()).take(LONGEST_DAYS).find(|date| is_day_of(&pattern, *date))?;
                let next: Zoned = pattern.find_next_occurrence(&from, false).ok()?;
                next.timestamp().as_millisecond().checked_add(offset)
            }
        }
    }
}

fn parse(expr: &str) -> Result<Cron, String> {
    if expr.len() > TEXT {
        return Err(format!("schedule.expr is longer than {TEXT} bytes"));
    }
    expr.parse().map_err(|error| format!("schedule.expr \"{}\": {}", short(expr), wrong_in(expr, &error)))
}

/// What each field may hold, but for `*`, lists, ranges and steps.
const FIELDS: [(&str, &str); 7] = [
    ("second", "0 to 59"),
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L, or W behind a day"),
    ("month", "1 to 12 or JAN to DEC"),
    ("weekday", "0 to 7 or SUN to SAT, L or #1 to #5 behind it"),
    ("year", "1 to 5000"),
];

/// Which field is wrong: the one that makes no expression among nothing but `*`.
fn wrong_in(expr: &str, error: &CronError) -> String {
    let fields: Vec<&str> = expr.split_whitespace().collect();
    if !(5..=FIELDS.len()).contains(&fields.len()) {
        return format!(
            "it has {} fields; write five (minute, hour, day of the month, month, weekday), seconds before them, a year behind",
            fields.len()
        );
    }
    let names = FIELDS.iter().skip(usize::from(fields.len() == 5));
    let is_wrong = |at: usize| {
        let alone = fields.iter().enumerate().map(|(other, field)| if other == at { *field } else { "*" });
        alone.collect::<Vec<_>>().join(" ").parse::<Cron>().is_err()
    };
    let wrong = names.zip(&fields).enumerate().find(|(at, _)| is_wrong(*at));
    wrong.map_or_else(|| error.to_string(), |(_, ((name, may), field))| format!("{name} is {}; {may}", short(field)))
}

fn is_day_of(pattern: &Cron, date: Date) -> bool {
    let number = |number: i8| u32::try_from(number).unwrap_or(0);
    let (year, month, day) = (i32::from(date.year()), number(date.month()), number(date.day()));
    let weekday = Weekday::from_days_from_sunday(number(date.weekday().to_sunday_zero_offset()));
    let pattern = &pattern.pattern;
    let is_it = || {
        Ok::<_, CronError>(
            pattern.year_match(year)? && pattern.month_match(month)? && pattern.day_match(year, month, day, weekday)?,
        )
    };
    is_it().unwrap_or(false)
}

fn zone_of(name: &str) -> Result<TimeZone, String> {
    let known = (name.len() <= TEXT).then(|| TimeZone::get(name).ok()).flatten();
    known.ok_or_else(|| {
        format!("schedule.tz: there is no time zone \"{}\"; write one such as Europe/Berlin or UTC", short(name))
    })
}

/// A point in time, in ms since the epoch.
fn time_of(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|ms| Timestamp::from_millisecond(*ms).is_ok());
    }
    let utc = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let time = text.parse::<Timestamp>().ok();
    let time = time.or_else(|| utc(text.parse::<DateTime>().ok()?));
    let time = time.or_else(|| utc(text.parse::<Date>().ok()?.at(0, 0, 0, 0)));
    time.map(Timestamp::as_millisecond)
}

fn default_stagger(expr: &str) -> i64 {
    let fields: Vec<&str> = expr.split_whitespace().collect();
    let hour = match fields.as_slice() {
        ["0", hour, _, _, _] | ["0", "0", hour, _, _, _] => hour,
        _ => return 0,
    };
    if hour.split(',').any(|part| part.starts_with(['*', '?'])) { TOP_OF_HOUR_STAGGER_MS } else { 0 }
}

/// Always the same for one job.
fn offset_of(job: &str, stagger_ms: i64) -> i64 {
    let digest = Sha256::digest(job.as_bytes());
    let first = digest.iter().take(4).fold(0_i64, |sum, byte| (sum << 8) | i64::from(*byte));
    if stagger_ms <= 1 { 0 } else { first % stagger_ms }
}

/// A caller's word, short and without control characters.
fn short(text: &str) -> String {
    gatewarden_protocol::words::shown(text).chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(expr: &str, tz: &str) -> Schedule {
        Schedule::Cron { expr: expr.into(), tz: Some(tz.into()), stagger_ms: Some(0) }
    }

    fn ms(text: &str) -> i64 {
        time_of(text).unwrap_or_else(|| panic!("{text}"))
    }

    const NOTHING: Past<'static> = Past { job: "job", last_run_ms: None, zone: &TimeZone::UTC };

    fn times(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
        let mut now = ms(from);
        let mut next = || {
            now = schedule.next(now, NOTHING).expect("a next time");
            of_millis(now)
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn an_hour_that_the_clock_skips_is_made_up_for_and_one_that_comes_twice_counts_once() {
        let nightly = cron("30 2 * * *", "Europe/Berlin");
        let spring = times(&nightly, "2026-03-28T00:00:00Z", 3);
        assert_eq!(spring, ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]);
        let autumn = times(&nightly, "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]);
        let hourly = times(&cron("0 * * * *", "Europe/Berlin"), "2026-10-24T23:30:00Z", 4);
        assert_eq!(hourly.len(), 4);
        assert!(hourly.windows(2).all(|pair| ms(&pair[1]) - ms(&pair[0]) == 3_600_000), "{hourly:?}");
    }

    #[test]
    fn expressions_have_five_to_seven_fields_names_and_the_or_of_days() {
        let schedule = cron("0 9 15 * MON", "UTC");
        assert_eq!(
            times(&schedule, "2026-11-10T00:00:00Z", 3),
            ["2026-11-15T09:00:00.000Z", "2026-11-16T09:00:00.000Z", "2026-11-23T09:00:00.000Z"]
        );
        assert_eq!(times(&cron("*/20 * * * * *", "UTC"), "2026-11-10T00:00:05Z", 1), ["2026-11-10T00:00:20.000Z"]);
        assert_eq!(times(&cron("0 0 L 2 *", "UTC"), "2028-01-01T00:00:00Z", 1), ["2028-02-29T00:00:00.000Z"]);
    }

    #[test]
    fn what_is_wrong_is_said_and_what_never_comes_is_refused() {
        let now = ms("2026-11-23T00:00:00Z");
        let wrong = |mut schedule: Schedule| schedule.check(&TimeZone::UTC, now).expect_err("refused");
        assert!(wrong(cron("bad", "UTC")).contains("schedule.expr \"bad\": it has 1 fields; write five"));
        for (expr, what) in [
            ("61 * * * *", "minute is 61; 0 to 59"),
            ("60 * * * * *", "second is 60; 0 to 59"),
            ("0 9 32 * *", "day of the month is 32; 1 to 31"),
            ("0 9 * FOO MON", "month is FOO; 1 to 12 or JAN to DEC"),
            ("0 9 * * 1-9", "weekday is 1-9; 0 to 7"),
        ] {
            let said = wrong(cron(expr, "UTC"));
            assert!(said.contains(what), "{expr}: {said}");
        }
        assert!(wrong(cron("0 1 * * *", "Mars/X")).contains("there is no time zone \"Mars/X\""));
        assert!(wrong(cron("0 0 30 2 *", "UTC")).contains("would never fire"));
        assert!(wrong(Schedule::At { at: "2020-01-01".into() }).contains("in the past: 2020-01-01T00:00:00.000Z"));
        assert!(wrong(Schedule::At { at: "2126-01-01T00:00:00Z".into() }).contains("too far"));
        assert!(wrong(Schedule::At { at: "soon\u{1b}[2J".into() }).contains("(got soon[2J)"));
        assert!(wrong(Schedule::Every { every_ms: 1, anchor_ms: None }).contains("from 1000"));
    }

    #[test]
    fn what_comes_hardly_ever_is_looked_for_in_ten_years_alone() {
        let now = ms("2026-11-23T00:00:00Z");
        let check = |expr: &str| cron(expr, "UTC").check(&TimeZone::UTC, now);
        for never in ["* * LW * +SUN", "0 0 31 2,4,6,9,11 *", "0 0 0 1 1 * 2037", "0 0 29 2 +MON"] {
            assert!(check(never).unwrap_err().contains("never fire within 10 years"), "{never}");
        }
        for comes in ["0 0 29 2 *", "0 0 0 1 1 * 2036-2050", "59 59 23 23 11 * 2026"] {
            assert_eq!(check(comes), Ok(()), "{comes}");
        }
    }

    #[test]
    fn jobs_of_the_full_hour_are_spread_always_in_the_same_way() {
        let schedule = Schedule::Cron { expr: "0 * * * *".into(), tz: None, stagger_ms: None };
        let of = |job: &'static str| schedule.next(ms("2026-11-23T10:30:00Z"), Past { job, ..NOTHING }).unwrap();
        let eleven = ms("2026-11-23T11:00:00Z");
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert!((eleven..eleven + TOP_OF_HOUR_STAGGER_MS).contains(&of("a")));
        assert_eq!((default_stagger("0 9 * * *"), default_stagger("5 * * * *")), (0, 0));
    }

    #[test]
    fn a_time_without_offset_is_in_utc() {
        assert_eq!(ms("2027-02-01T16:00:00Z"), ms("2027-02-01T16:00:00"));
        assert_eq!(ms("2027-02-01T17:00:00+01:00"), ms("2027-02-01T16:00"));
        assert_eq!(ms("1795416221748"), 1_795_416_221_748);
    }

    proptest! {
        /// Whatever the clock does, the next time lies ahead and at most one step away.
        #[test]
        fn the_next_step_is_ahead_and_not_far(
            now in 0_i64..4_000_000_000_000,
            anchor in 0_i64..4_000_000_000_000,
            every in 1_000_i64..1_000_000_000,
            last in proptest::option::of(0_i64..4_000_000_000_000),
        ) {
            let schedule = Schedule::Every { every_ms: every, anchor_ms: Some(anchor) };
            let next = schedule.next(now, Past { last_run_ms: last, ..NOTHING }).unwrap();
            prop_assert!(next > now && next <= now + every, "{next}");
        }

        /// Times follow each other, none is skipped by being asked for in between, over all changes of the clock.
        #[test]
        fn the_next_time_is_the_same_whenever_it_is_asked_for(
            start in 1_700_000_000_000_i64..1_900_000_000_000,
            within in 0.0..1.0_f64,
            zone in proptest::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
            expr in proptest::sample::select(vec!["30 2 * * *", "*/7 * * * *", "15 1,2,3 * * 0", "59 59 23 * * *"]),
        ) {
            let schedule = cron(expr, zone);
            let next = schedule.next(start, NOTHING).unwrap();
            prop_assert!(next > start);
            let between = start + ((next - 1 - start) as f64 * within) as i64;
            prop_assert_eq!(schedule.next(between, NOTHING), Some(next));
        }
    }
}
