//! What somebody wrote, as a tree: JSON5 (`openclaw.json`) or YAML (`openclaw-gateway.yml`), told apart by the file's name, else by
//! its beginning.

use std::io::Read as _;
use std::path::Path;

use gatewarden_protocol::strict_json::StrictJson;
use serde_json::{Map, Value};

use crate::call::CallError;

/// A configuration file is at most this long, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// Nobody nests deeper. Keeps the readers' recursion far from the end of the stack.
const MAX_DEPTH: usize = 64;
/// Whole numbers below this are exact as floats.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads a gateway's configuration file as a tree, unchecked.
///
/// # Errors
/// It can't be read, or isn't well-formed: a sentence with line and column where they are known.
pub fn read(path: &Path) -> Result<Value, String> {
    let text = text(path)?;
    parse(&text, is_yaml(path, &text))
}

/// What stands in a file; no more of it than shows that it is too long.
pub(super) fn text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    Ok(text)
}

/// A tree as a file's text, which a reader takes.
pub(super) fn text_of(tree: &Value, yaml: bool) -> Result<String, CallError> {
    // JSON is YAML, too, where the other form doesn't come back as it was.
    let as_yaml = if yaml { serde_saphyr::to_string(tree).ok() } else { None };
    if let Some(text) = as_yaml.filter(|text| parse(text, true).as_ref() == Ok(tree)) {
        return Ok(text);
    }
    let text = format!("{tree:#}\n");
    let lost = |reason| CallError::invalid(format!("the configuration could not be read again: {reason}"));
    parse(&text, yaml).map_err(lost).map(|_| text)
}

/// By the file's name; where that doesn't tell, JSON5 begins with its object, or with a comment before it.
pub(super) fn is_yaml(path: &Path, text: &str) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yml" | "yaml") => true,
        Some("json" | "json5") => false,
        _ => !text.trim_start().starts_with(['{', '/']),
    }
}

pub(super) fn parse(text: &str, yaml: bool) -> Result<Value, String> {
    if text.len() as u64 > MAX_FILE {
        return Err(format!("the text is longer than {MAX_FILE} bytes; that is no configuration"));
    }
    if too_deep(text) {
        return Err(format!("brackets are nested deeper than {MAX_DEPTH} levels"));
    }
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let StrictJson(value) = if yaml {
        serde_saphyr::from_str(text).map_err(|error| format!("not valid YAML: {}", first_line(&error.to_string())))?
    } else {
        json5::from_str(text).map_err(|error| format!("not valid JSON5: {}", first_line(&error.to_string())))?
    };
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => Ok(with_whole_numbers(value)),
        _ => Err("a configuration is an object of sections, such as { gateway: { port: 18789 } }".to_owned()),
    }
}

/// Before a recursive reader sees it: how deep brackets are nested, brackets in texts included (nobody writes that many).
pub fn too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it cannot be read").trim()
}

/// 18789.0 is as good as 18789: JSON5 readers make floats of hexadecimal and signed numbers.
fn with_whole_numbers(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            match number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < LARGEST_EXACT) {
                Some(float) => format!("{float:.0}").parse::<i64>().map_or(Value::Number(number), Value::from),
                None => Value::Number(number),
            }
        }
        Value::Array(items) => items.into_iter().map(with_whole_numbers).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, with_whole_numbers(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json5_is_read_with_comments_bare_keys_and_trailing_commas() {
        let text = "// mine\n{ gateway: { port: 0x4965, 'bind': \"loopback\", on: +1, }, /* none */ list: ['a',], }";
        let value = parse(text, false).unwrap();
        assert_eq!(value, json!({"gateway": {"port": 18789, "bind": "loopback", "on": 1}, "list": ["a"]}));
    }

    #[test]
    fn yaml_is_read_with_comments_and_lists() {
        let text = "gateway:\n  controlUi:\n    enabled: true # yes\n    allowedOrigins:\n      - https://a.example\n  port: 1\n";
        let value = parse(text, true).unwrap();
        assert_eq!(
            value,
            json!({"gateway": {"controlUi": {"enabled": true, "allowedOrigins": ["https://a.example"]}, "port": 1}})
        );
    }

    #[test]
    fn an_empty_file_is_an_empty_configuration() {
        for (text, yaml) in [("", false), (" \n", true), ("{}", false), ("# nothing\n", true), ("null", false)] {
            assert_eq!(parse(text, yaml).unwrap(), json!({}), "{text:?}");
        }
    }

    #[test]
    fn a_mistake_is_said_with_its_line() {
        for (text, yaml, words) in [
            ("{ gateway: {\n port: , } }", false, "2"),
            ("gateway:\n  port: [1\nx: y", true, "line"),
            ("{ a: 1 } trailing", false, "JSON5"),
        ] {
            let said = parse(text, yaml).unwrap_err();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        for yaml in [false, true] {
            let tree = |text: String| json!({"gateway": {"bind": text}});
            assert!(text_of(&tree("{".repeat(62)), yaml).is_ok());
            assert!(text_of(&tree("{".repeat(65)), yaml).unwrap_err().message.contains("deeper than 64"));
            assert!(text_of(&tree("a".repeat(1024 * 1024)), yaml).unwrap_err().message.contains("longer than"));
        }
    }

    #[test]
    fn a_key_written_twice_is_refused_in_both_forms() {
        for (text, yaml) in [("{a: {port: 1, port: 2}}", false), ("a:\n  port: 1\n  port: 2\n", true)] {
            let said = parse(text, yaml).unwrap_err();
            assert!(said.to_lowercase().contains("port"), "{said}");
        }
    }

    #[test]
    fn what_is_no_object_or_nested_without_end_is_refused() {
        assert!(parse("[1]", false).unwrap_err().contains("object"));
        assert!(parse("- 1\n", true).unwrap_err().contains("object"));
        for yaml in [false, true] {
            assert!(parse(&"[".repeat(100_000), yaml).unwrap_err().contains("deeper"));
        }
        let deep = (0..200).map(|level| format!("{}k:\n", " ".repeat(level))).collect::<String>();
        assert!(parse(&deep, true).is_err());
    }
}
