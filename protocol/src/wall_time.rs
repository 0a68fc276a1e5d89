//! Wall time as people, logs and APIs write it: RFC 3339 in UTC.

use time::OffsetDateTime;

/// `2026-03-05T10:30:00Z` of seconds since the Unix epoch. What no calendar of four-digit years holds is the epoch itself.
pub fn of_seconds(unix_s: i64) -> String {
    let known = OffsetDateTime::from_unix_timestamp(unix_s).ok().filter(|time| (0..=9999).contains(&time.year()));
    let time = known.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-03-05T10:30:00.007Z` of milliseconds since the Unix epoch.
pub fn of_millis(unix_ms: i64) -> String {
    let whole = of_seconds(unix_ms.div_euclid(1_000));
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), unix_ms.rem_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_772_706_600_007, "2026-03-05T10:30:00.007Z"),
            (1_795_274_416_123, "2026-11-21T15:20:16.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(of_millis(ms), text);
            assert_eq!(format!("{}Z", text.split('.').next().unwrap()), of_seconds(ms.div_euclid(1_000)));
        }
    }

    #[test]
    fn no_number_is_too_large() {
        assert_eq!(of_seconds(i64::MAX), "1970-01-01T00:00:00Z");
        assert_eq!(of_seconds(i64::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(of_seconds(-70_000_000_000), "1970-01-01T00:00:00Z", "before the year 0");
        assert!(of_millis(i64::MAX).starts_with("1970-01-01T00:00:00."));
    }
}
