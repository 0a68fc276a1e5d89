//! Configuration files changed by chance: each is taken or refused with reasons that tell no secret; what clients see of it tells
//! none either, comes back from them as it was, and is written so that it reads alike.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use super::load::read_tree;
use super::redaction::{redacted, restored};
use super::{Inputs, written};
use crate::fuzzing::fuzz;

const SECRET: &str = "sh4red-s3cret-of-32-characters-xx";

/// Whether the secret stands only where the schema has one.
fn keeps_secrets(path: &str, value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            let path = super::redaction::join(path, name);
            !name.contains(SECRET) && keeps_secrets(&path, value)
        }),
        Value::Array(items) => items.iter().all(|item| keeps_secrets(&format!("{path}[]"), item)),
        Value::String(text) if text.contains(SECRET) => super::all_keys::SCHEMA.1.iter().any(|secret| {
            let (places, wanted) = (path.split('.'), secret.split('.'));
            places.clone().count() == wanted.clone().count()
                && places.zip(wanted).all(|(place, wanted)| wanted == "*" || wanted == place)
        }),
        _ => true,
    }
}

#[test]
fn any_configuration_is_taken_or_refused_and_comes_back_from_clients_as_it_was() {
    let corpus: Vec<Vec<u8>> =
        include_str!("tests/corpus.jsonl").lines().map(|line| line.as_bytes().to_vec()).collect();
    let yaml = include_bytes!("../../../packaging/container/gateway.yml").to_vec();
    let dir = tempfile::tempdir().unwrap();
    let inputs = Inputs { environment: [("HOME".to_owned(), OsString::from(dir.path()))].into(), ..Inputs::default() };
    fuzz("gateway configuration", &[corpus, vec![yaml]].concat(), |text, _| {
        let text = String::from_utf8_lossy(text);
        let is_yaml = written::is_yaml(Path::new("config"), &text);
        let Ok(tree) = written::parse(&text, is_yaml) else { return };
        for yaml in [false, true] {
            if let Ok(text) = written::text_of(&tree, yaml) {
                assert_eq!(written::parse(&text, yaml).as_ref(), Ok(&tree), "{text}");
            }
        }
        let in_place = keeps_secrets("", &tree);
        match read_tree(&inputs, None, &tree, dir.path().to_owned()) {
            Ok(draft) => {
                let shown = redacted(&tree, &draft.plain);
                assert_eq!(restored(&shown, &tree, &shown).as_ref(), Ok(&tree), "{shown:#}");
                let said = format!("{shown} {:?} {draft:?}", draft.warnings);
                assert!(!in_place || !said.contains(SECRET), "{said}");
            }
            Err(error) => assert!(!in_place || !error.to_string().contains(SECRET), "{error}"),
        }
    });
}
