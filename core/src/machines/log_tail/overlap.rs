//! Which of the next lines a watcher has already.

/// How many of `lines` a watcher has that was given `given` before: the lines up to the last one given. None where the
/// last one given isn't among them, or what stands before it differs: rather a line twice than one missed.
pub(super) fn repeated(given: &[String], lines: &[String]) -> usize {
    let Some(last) = given.last() else { return 0 };
    let ends_here = |place: &usize| {
        let known = lines.iter().take(place + 1).rev();
        known.zip(given.iter().rev()).all(|(one, other)| one == other)
    };
    let candidates = lines.iter().enumerate().filter(|(_, line)| *line == last).map(|(place, _)| place);
    candidates.into_iter().find(ends_here).map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(given: &str, lines: &str) -> usize {
        let split = |text: &str| text.chars().map(|letter| letter.to_string()).collect::<Vec<_>>();
        repeated(&split(given), &split(lines))
    }

    #[test]
    fn the_lines_up_to_the_last_one_given_are_known() {
        assert_eq!(known("abcd", "cdef"), 2);
        assert_eq!(known("abcd", "abcdef"), 4);
        assert_eq!(known("cd", "abcdef"), 4, "what was given before may begin later than what comes");
        assert_eq!(known("abcd", "cd"), 2);
    }

    #[test]
    fn nothing_is_known_where_the_last_one_given_is_missing_or_stands_elsewhere() {
        assert_eq!(known("", "abc"), 0);
        assert_eq!(known("abcd", "efg"), 0);
        assert_eq!(known("abcd", "xd"), 0);
        assert_eq!(known("abcd", ""), 0);
    }

    #[test]
    fn of_equal_lines_rather_one_twice_than_one_missed() {
        assert_eq!(known("aa", "aaa"), 1);
    }
}
