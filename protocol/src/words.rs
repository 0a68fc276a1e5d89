//! Text from a gateway, made fit to be kept and shown.

use crate::limits::{MAX_NAME, MAX_WORDS};

/// The gateway's own words: control and direction-changing characters removed, white space folded, cut to
/// [`MAX_WORDS`] characters.
pub fn shown(text: &str) -> String {
    let mut words = String::new();
    let mut length = 0;
    let mut gap = false;
    for character in text.chars() {
        if character.is_whitespace() {
            gap = !words.is_empty();
            continue;
        }
        if is_unfit(character) {
            continue;
        }
        if length + usize::from(gap) >= MAX_WORDS {
            break;
        }
        if gap {
            words.push(' ');
            length += 1;
            gap = false;
        }
        words.push(character);
        length += 1;
    }
    words
}

/// A name (key, id, model) as the gateway uses it, where it is fit to be one: not empty, at most [`MAX_NAME`]
/// bytes, no control characters. A name is never changed, since it goes back to the gateway in requests.
pub(crate) fn name(text: &str) -> Option<String> {
    let fit = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(is_unfit);
    fit.then(|| text.to_owned())
}

/// An id that may be put into a command line that a person copies: letters, digits and `-_.:` only.
pub(crate) fn command_argument(text: &str) -> Option<String> {
    let fit = (1..=128).contains(&text.len())
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'));
    fit.then(|| text.to_owned())
}

/// Control characters, and those that can't be seen: they turn the direction of a line around or hide in it. (Unicode's
/// Default_Ignorable_Code_Point, line separators and annotations; but not the two that say how an emoji looks.)
pub fn is_unfit(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_words_are_one_line_without_control_characters() {
        assert_eq!(shown("\u{1b}[31mdevice\r\n identity\u{202e}  mismatch\u{0}\n"), "[31mdevice identity mismatch");
    }

    #[test]
    fn what_cannot_be_seen_is_not_shown_and_in_no_name() {
        for hidden in ['\u{61c}', '\u{180e}', '\u{ad}', '\u{3164}', '\u{200b}', '\u{feff}', '\u{e0041}', '\u{e0100}'] {
            assert_eq!(shown(&format!("ad{hidden}min")), "admin", "{hidden:?}");
            assert_eq!(name(&format!("ad{hidden}min")), None, "{hidden:?}");
        }
        for seen in ["❤\u{fe0f}", "été", "بوابة", "한국", "नमस्ते"] {
            assert_eq!(shown(seen), seen);
        }
    }

    #[test]
    fn shown_words_are_cut_at_500_characters_not_bytes() {
        let words = shown(&"ä ".repeat(2_000));
        assert_eq!(words.chars().count(), 499);
        assert!(shown(&"ä".repeat(2_000)).chars().count() == 500);
    }

    #[test]
    fn a_name_with_control_characters_or_of_endless_length_is_none() {
        assert_eq!(name("agent:main:main").as_deref(), Some("agent:main:main"));
        assert_eq!(name(""), None);
        assert_eq!(name("a\nb"), None);
        assert!(name(&"ä".repeat(256)).is_some());
        assert_eq!(name(&"ä".repeat(257)), None, "bytes count, not characters");
    }

    #[test]
    fn an_id_that_could_run_something_never_gets_into_a_command() {
        assert!(command_argument("1f0e-4a_b.c:d").is_some());
        for bad in ["", "$(reboot)", "a b", "a;b", "-rf", "ä", &"x".repeat(129)] {
            assert_eq!(command_argument(bad), None, "{bad}");
        }
    }
}
