//! Durations and sizes as people write them: `500ms`, `30s`, `24h`, sums such as `1h30m`; `512KiB`, `64MiB`, `2GiB`.
//!
//! A number without a unit is refused, and so are sizes in units of ten: they are too easily mixed up.

use std::ops::RangeInclusive;
use std::time::Duration;

const MILLIS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const BYTES: [(&str, usize); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, remaining) = after.split_at_checked(letters)?;
        let (_, factor) = MILLIS.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        rest = remaining;
    }
    Some(Duration::from_millis(millis))
}

/// In the largest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = MILLIS.iter().rev().find(|(_, factor)| millis > 0 && millis.is_multiple_of(u128::from(*factor)));
    unit.map_or_else(|| "0s".to_owned(), |(name, factor)| format!("{}{name}", millis / u128::from(*factor)))
}

/// A duration in a range. Err: what would be right.
pub(super) fn duration_in(text: Option<&str>, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    text.and_then(parse_duration)
        .filter(|read| range.contains(read))
        .ok_or_else(|| format!("must be a duration with a unit, such as 500ms, 5s, 5m, 24h or 7d; {}", between(range)))
}

/// `from 1s to 1h`
pub(super) fn between(range: &RangeInclusive<Duration>) -> String {
    format!("from {} to {}", show_duration(*range.start()), show_duration(*range.end()))
}

pub(super) fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, factor) = BYTES.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse::<usize>().ok()?.checked_mul(factor)).flatten()
}

/// In the largest unit that divides it.
pub(super) fn show_size(bytes: usize) -> String {
    match BYTES.iter().rev().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn durations_without_a_unit_or_a_number_are_refused() {
        for text in ["", "5", "s", "5 s", "5.5s", "-5s", "5sec", "5S", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        assert_eq!(parse_size("256MiB"), Some(256 << 20));
        assert_eq!(parse_size(" 2 GiB "), Some(2 << 30));
        for wrong in
            ["", "MiB", "5", "5MB", "5M", "-1MiB", "+1MiB", "1.5GiB", "99999999999999999999GiB", "99999999999GiB "]
        {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn a_shown_size_reads_back(kib in 1_usize..1 << 30) {
            prop_assert_eq!(parse_size(&show_size(kib << 10)), Some(kib << 10));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
