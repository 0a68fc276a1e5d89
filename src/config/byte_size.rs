//! Sizes as people write them: `512KiB`, `32MiB`, `2GiB`.

/// Units, smallest first.
const UNITS: [(&str, usize); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a size. A number without a unit is refused, and so are units of ten: they are too easily mixed up.
pub(crate) fn parse(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, factor) = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let number = number.trim_end();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse::<usize>().ok()?.checked_mul(factor)).flatten()
}

/// Writes a size in the largest unit that divides it.
pub(crate) fn show(bytes: usize) -> String {
    match UNITS.iter().rev().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        assert_eq!(parse("256MiB"), Some(256 << 20));
        assert_eq!(parse(" 2 GiB "), Some(2 << 30));
        for wrong in
            ["", "MiB", "5", "5MB", "5M", "-1MiB", "+1MiB", "1.5GiB", "99999999999999999999GiB", "99999999999GiB "]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_size_reads_back(kib in 1_usize..1 << 30) {
            prop_assert_eq!(parse(&show(kib << 10)), Some(kib << 10));
        }
    }
}
