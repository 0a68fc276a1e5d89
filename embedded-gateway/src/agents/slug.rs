//! An id from a name: `Worker One` becomes `worker-one`.

const MOST: usize = 64;

/// Lower-case letters and digits; everything else becomes one dash. None where nothing is left.
pub(crate) fn slug(name: &str) -> Option<String> {
    let mut id = String::new();
    for character in name.chars().flat_map(char::to_lowercase) {
        if id.len() >= MOST {
            break;
        }
        if character.is_ascii_alphanumeric() || character == '_' {
            id.push(character);
        } else if !id.is_empty() && !id.ends_with('-') {
            id.push('-');
        }
    }
    let id = id.trim_matches(|edge| edge == '-' || edge == '_').to_owned();
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids() {
        for (name, id) in [
            ("Worker One", Some("worker-one")),
            ("  --Über 2!! ", Some("ber-2")),
            ("a_b", Some("a_b")),
            ("../../etc", Some("etc")),
            ("???", None),
            ("", None),
        ] {
            assert_eq!(slug(name).as_deref(), id, "{name:?}");
        }
        assert_eq!(slug(&"x".repeat(500)).map(|id| id.len()), Some(MOST));
    }
}
