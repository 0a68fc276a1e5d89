//! Times as gateways write them into their logs: RFC 3339, with `Z` or an offset.

/// Unix ms of `2026-11-21T14:54:29.731Z` or `2026-11-21T15:54:29.731+01:00`; none for anything else, and for times
/// before 1970.
pub(super) fn unix_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let field = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let is = |place: usize, wanted: &[u8]| bytes.get(place).is_some_and(|byte| wanted.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let sane = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let mut rest = text.get(19..)?;
    let mut milliseconds = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let three: String = fraction.chars().take(digits).chain("000".chars()).take(3).collect();
        milliseconds = three.parse::<i64>().ok().filter(|_| digits > 0)?;
        rest = fraction.get(digits..)?;
    }
    let offset_minutes = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('+') { 1 } else { -1 };
            let (hours, minutes) = rest.strip_prefix(['+', '-'])?.split_once(':')?;
            let two = |text: &str| (text.len() == 2).then(|| text.parse::<u8>().ok()).flatten().map(i64::from);
            sign * (two(hours)? * 60 + two(minutes)?)
        }
    };
    let seconds =
        days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
    Some(seconds * 1_000 + milliseconds).filter(|ms| sane && *ms >= 0)
}

/// Days of the Gregorian calendar. Counted in years that begin with March, so that a leap day is a year's last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_an_offset_are_the_same_moment() {
        assert_eq!(unix_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_ms("2026-11-21T14:54:29.731Z"), Some(1_795_272_869_731));
        assert_eq!(unix_ms("2026-11-21T14:54:29.731+00:00"), Some(1_795_272_869_731));
        assert_eq!(unix_ms("2026-11-21T15:54:29.7319+01:00"), Some(1_795_272_869_731));
        assert_eq!(unix_ms("2026-11-21T09:24:29.7-05:30"), Some(1_795_272_869_700));
        assert_eq!(unix_ms("2024-02-29T12:00:00Z"), Some(1_709_208_000_000));
        assert_eq!(unix_ms("2024-03-01T00:00:00Z"), Some(1_709_251_200_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "2026-11-21",
            "2026-11-21T14:54:29",
            "2026-13-21T14:54:29Z",
            "2026-11-21T14:54:29.Z",
            "2026-11-21T14:54:29+1",
            "2026-11-21T14:54:29Zx",
            "20é6-11-21T14:54:29Z",
            "+026-11-21T14:54:29Z",
        ] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
    }
}
