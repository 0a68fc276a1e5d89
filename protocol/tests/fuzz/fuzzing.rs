//! Fuzzing on stable Rust: each case is a text of a corpus, changed by chance. The number of a case gives the case.
//!
//! The test command runs a thousand cases of each target. `GATEWARDEN_FUZZ_CASES=1000000` runs so many, `GATEWARDEN_FUZZ_SECONDS=10`
//! for so long, and `GATEWARDEN_FUZZ_FROM=7` begins with that case. Other crates' targets include this file.
//!
//! Chance isn't guided by coverage. AFL++ is (`.ci/guided-fuzzing`): `GATEWARDEN_FUZZ_CORPUS=DIR` writes a target's corpus for it, and
//! `GATEWARDEN_FUZZ_FILE=PATH` checks the text in that file and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// Cases of each target in the test command.
const CASES: u64 = 1_000;
/// Texts grow to this at most, bytes.
const MAX_TEXT: usize = 64 * 1024;
/// Numbers and words that programs stumble over.
const TRIPS: [&str; 24] = [
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "1e309",
    "1e-400",
    "18446744073709551616",
    "9223372036854775807",
    "-9223372036854775808",
    "0.1",
    "\"\"",
    "[]",
    "{}",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{202e}\"",
    "\"\u{1b}[31m\"",
    "[[[[[[[[",
    "{\"\":{\"\":",
    "\u{feff}",
    "\"\u{fffd}\"",
    "\r\n",
    "//",
];

pub(crate) struct Dice(u64);

impl Dice {
    /// The case is mixed first: what is drawn steps through the same numbers from wherever it begins.
    fn of(case: u64) -> Self {
        let mut dice = Self(case);
        dice.0 = dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Hands `check` each text of the corpus, then changed ones. A panic ends it, and says which case it was.
pub(crate) fn fuzz(target: &str, corpus: &[Vec<u8>], check: impl Fn(&[u8], &mut Dice)) {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(dir) = variable("GATEWARDEN_FUZZ_CORPUS") {
        let texts = corpus.iter().enumerate();
        return texts.for_each(|(place, text)| std::fs::write(format!("{dir}/{place}"), text).unwrap());
    }
    // The text alone gives what is drawn beside it, so that a text that was found fails in the corpus, too.
    let check_text = |case: &str, text: &[u8]| {
        for drawn in [0, text.len() as u64] {
            attempt(case, text, || check(text, &mut Dice::of(drawn)));
        }
    };
    if let Some(file) = variable("GATEWARDEN_FUZZ_FILE") {
        return check_text(&format!("{target}, {file}"), &std::fs::read(&file).unwrap());
    }
    for (place, text) in corpus.iter().enumerate() {
        check_text(&format!("{target}, text {place} of its corpus"), text);
    }
    let number = |name: &str| variable(name).and_then(|text| text.parse::<u64>().ok());
    let from = number("GATEWARDEN_FUZZ_FROM").unwrap_or(0);
    let (began, seconds) = (now(), number("GATEWARDEN_FUZZ_SECONDS"));
    let cases = number("GATEWARDEN_FUZZ_CASES").unwrap_or(if seconds.is_some() { u64::MAX - from } else { CASES });
    let mut done = 0;
    while done < cases && seconds.is_none_or(|most| began.elapsed() < Duration::from_secs(most)) {
        let mut dice = Dice::of(from + done);
        let text = changed(&mut dice, corpus);
        attempt(&format!("{target}, GATEWARDEN_FUZZ_FROM={}", from + done), &text, || check(&text, &mut dice));
        done += 1;
    }
    println!("{target}: {done} cases from {from}");
}

#[expect(clippy::disallowed_methods, reason = "the only way to stop after some seconds")]
fn now() -> Instant {
    Instant::now()
}

fn attempt(case: &str, text: &[u8], check: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(check)) {
        println!("{case}: {}", text.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn changed(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut text = dice.one_of(corpus).clone();
    for _ in 0..=dice.below(4) {
        text = match (dice.below(2), serde_json::from_slice::<Value>(&text)) {
            (0, Ok(mut value)) => {
                let other = serde_json::from_slice(dice.one_of::<Vec<u8>>(corpus)).unwrap_or(Value::Null);
                change_node(dice, &mut value, &other);
                value.to_string().into_bytes()
            }
            _ => change_bytes(dice, text, corpus),
        };
        text.truncate(MAX_TEXT);
    }
    text
}

/// Changes one node of a tree, any of them.
fn change_node(dice: &mut Dice, value: &mut Value, other: &Value) {
    let stays = dice.below(3) > 0;
    match value {
        Value::Object(map) if stays && !map.is_empty() => {
            let place = dice.below(map.len());
            let key = map.keys().nth(place).unwrap().clone();
            match dice.below(8) {
                0 => drop(map.remove(&key)),
                1 => {
                    let moved = map.remove(&key).unwrap();
                    map.insert(odd_text(dice), moved);
                }
                2 => {
                    let copy = map[&key].clone();
                    map.insert(format!("{key}{}", dice.below(9)), copy);
                }
                _ => change_node(dice, map.get_mut(&key).unwrap(), other),
            }
        }
        Value::Array(items) if stays && !items.is_empty() => {
            let place = dice.below(items.len());
            match dice.below(6) {
                0 => drop(items.remove(place)),
                1 => {
                    let copy = items[place].clone();
                    items.extend(std::iter::repeat_n(copy, dice.below(20)));
                }
                _ => change_node(dice, &mut items[place], other),
            }
        }
        node => *node = odd_value(dice, node.clone(), other),
    }
}

fn odd_value(dice: &mut Dice, before: Value, other: &Value) -> Value {
    match dice.below(11) {
        0 => Value::Null,
        1 => Value::Bool(dice.below(2) == 0),
        2 => json!(dice.next()),
        3 => json!(-(i64::try_from(dice.next() >> 1).unwrap())),
        4 => json!(f64::from_bits(dice.next())),
        5 => Value::from(odd_text(dice)),
        6 => Value::Array(vec![before]),
        7 => Value::Object(Map::from_iter([(odd_text(dice), before)])),
        8 => Value::from(before.to_string()),
        9 => Value::from("x".repeat(1 << dice.below(14))),
        _ => any_node(dice, other).clone(),
    }
}

fn any_node<'a>(dice: &mut Dice, value: &'a Value) -> &'a Value {
    let children: Vec<&Value> = match value {
        Value::Object(map) => map.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    let place = dice.below(children.len());
    if children.is_empty() || dice.below(4) == 0 { value } else { any_node(dice, children[place]) }
}

fn odd_text(dice: &mut Dice) -> String {
    let odd = [
        "",
        " ",
        "\u{0}",
        "\u{1b}[0m",
        "\u{202e}abc",
        "ä",
        "🦀",
        "a b",
        "..",
        "../..",
        "%00",
        "$(x)",
        "-1",
        "1e9",
        "__proto__",
    ];
    let length = dice.below(4);
    (0..=length).map(|_| *dice.one_of(&odd)).collect()
}

fn change_bytes(dice: &mut Dice, mut text: Vec<u8>, corpus: &[Vec<u8>]) -> Vec<u8> {
    let (at, to) = (dice.below(text.len() + 1), dice.below(text.len() + 1));
    let (at, to) = (at.min(to), at.max(to).min(at.min(to) + 200));
    match dice.below(9) {
        0 if at < text.len() => text[at] ^= 1 << dice.below(8),
        1 => text.insert(at, u8::try_from(dice.below(256)).unwrap()),
        2 => drop(text.drain(at..to)),
        3 => {
            let part = text[at..to].to_vec();
            text.splice(at..at, part.repeat(1 + dice.below(3)));
        }
        4 => drop(text.splice(at..to, dice.one_of(&TRIPS).bytes())),
        5 => text.truncate(at),
        6 => {
            let other = dice.one_of(corpus);
            let from = dice.below(other.len() + 1);
            text.truncate(at);
            text.extend_from_slice(&other[from..]);
        }
        7 => {
            let part = dice.one_of(&TRIPS).repeat(1 + dice.below(300));
            text.splice(at..at, part.into_bytes());
        }
        _ => {
            // A number becomes another.
            let digits = text[at..].iter().position(u8::is_ascii_digit).map(|place| at + place);
            if let Some(begin) = digits {
                let length = text[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = [dice.next().to_string(), "0".to_owned(), "65536".to_owned(), "1e99".to_owned()];
                text.splice(begin..begin + length, dice.one_of(&number).bytes());
            }
        }
    }
    text
}

#[test]
fn neighbouring_cases_share_no_numbers() {
    let draw = |case| {
        let mut dice = Dice::of(case);
        (0..10_000).map(|_| dice.next()).collect::<std::collections::BTreeSet<u64>>()
    };
    assert!((0..9).all(|case| draw(case).is_disjoint(&draw(case + 1))));
}
