//! A patch laid over the configuration, as real gateways do it: objects key by key, `null` deletes, lists whose entries have an id
//! entry by entry. A patch that would drop entries of a list says so with `replacePaths`, or is refused.

use std::collections::BTreeSet;

use serde_json::Value;

use super::redaction::join;

/// The configuration with a patch laid over it.
pub(crate) fn merged(base: &Value, patch: &Value, replace: &BTreeSet<String>) -> Value {
    merge("", Some(base), patch, replace)
}

fn merge(path: &str, base: Option<&Value>, patch: &Value, replace: &BTreeSet<String>) -> Value {
    match (base, patch) {
        (base, Value::Object(patch)) => {
            let mut fields = base.and_then(Value::as_object).cloned().unwrap_or_default();
            for (name, value) in patch {
                match value {
                    Value::Null => drop(fields.remove(name)),
                    value => {
                        let merged = merge(&join(path, name), fields.get(name), value, replace);
                        fields.insert(name.clone(), merged);
                    }
                }
            }
            Value::Object(fields)
        }
        (Some(Value::Array(base)), Value::Array(patch)) if !replace.contains(path) && all_have_ids(base) => {
            let mut list = base.clone();
            for entry in patch {
                match id_of(entry).and_then(|id| list.iter_mut().find(|known| id_of(known) == Some(id))) {
                    Some(known) => *known = merge(&format!("{path}[]"), Some(known), entry, replace),
                    None => list.push(entry.clone()),
                }
            }
            Value::Array(list)
        }
        (_, patch) => patch.clone(),
    }
}

fn id_of(entry: &Value) -> Option<&str> {
    entry.get("id")?.as_str().filter(|id| !id.is_empty())
}

fn all_have_ids(list: &[Value]) -> bool {
    list.iter().all(|entry| id_of(entry).is_some())
}

/// Paths of the lists from which a patch drops entries without saying that it means to.
pub(crate) fn dropped(base: &Value, merged: &Value, patch: &Value, replace: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    find_dropped("", base, Some(merged), patch, &mut found);
    found.retain(|path| !replace.contains(path));
    found
}

fn find_dropped(path: &str, base: &Value, merged: Option<&Value>, patch: &Value, found: &mut Vec<String>) {
    match (base, patch) {
        (Value::Array(base), patch) => {
            let left = merged.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if !patch.is_array() || !keeps(base, left) {
                return found.push(path.to_owned());
            }
            for entry in patch.as_array().into_iter().flatten().filter(|entry| id_of(entry).is_some()) {
                let is_it = |known: &&Value| id_of(known) == id_of(entry);
                if let Some(known) = base.iter().find(is_it) {
                    find_dropped(&format!("{path}[]"), known, left.iter().find(is_it), entry, found);
                }
            }
        }
        (Value::Object(base), Value::Object(patch)) => {
            for (name, value) in patch {
                if let Some(known) = base.get(name) {
                    find_dropped(&join(path, name), known, merged.and_then(|merged| merged.get(name)), value, found);
                }
            }
        }
        (Value::Object(base), _) => {
            base.iter().for_each(|(name, value)| find_dropped(&join(path, name), value, None, &Value::Null, found));
        }
        _ => {}
    }
}

fn keeps(base: &[Value], left: &[Value]) -> bool {
    if all_have_ids(base) {
        return base.iter().all(|entry| left.iter().any(|kept| id_of(kept) == id_of(entry)));
    }
    let mut left: Vec<&Value> = left.iter().collect();
    base.iter().all(|entry| left.iter().position(|kept| *kept == entry).map(|at| left.swap_remove(at)).is_some())
}

/// Paths at which two configurations differ; a list as a whole.
pub(crate) fn changed_paths(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    find_changed("", old, new, &mut found);
    found
}

fn find_changed(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let [old, new] = [old, new].map(|fields| fields.get(name).unwrap_or(&Value::Null));
                find_changed(&join(path, name), old, new, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn over(base: &Value, patch: &Value, replace: &[&str]) -> (Value, Vec<String>) {
        let replace = replace.iter().map(|path| (*path).to_owned()).collect();
        let merged = merged(base, patch, &replace);
        let dropped = dropped(base, &merged, patch, &replace);
        (merged, dropped)
    }

    #[test]
    fn objects_are_merged_key_by_key_and_null_deletes() {
        let base = json!({"a": {"b": 1, "c": 2}, "d": 3});
        let (merged, dropped) = over(&base, &json!({"a": {"b": null, "e": {"f": 4}}, "x": null}), &[]);
        assert_eq!(merged, json!({"a": {"c": 2, "e": {"f": 4}}, "d": 3}));
        assert_eq!(dropped, Vec::<String>::new());
        assert_eq!(changed_paths(&base, &merged), ["a.b", "a.e"]);
    }

    #[test]
    fn entries_with_an_id_are_merged_and_others_added() {
        let base = json!({"list": [{"id": "a", "x": 1, "in": [1]}, {"id": "b"}]});
        let (merged, dropped) = over(&base, &json!({"list": [{"id": "a", "y": 2}, {"id": "c"}]}), &[]);
        assert_eq!(merged, json!({"list": [{"id": "a", "x": 1, "y": 2, "in": [1]}, {"id": "b"}, {"id": "c"}]}));
        assert!(dropped.is_empty());
        let (_, dropped) = over(&base, &json!({"list": [{"id": "a", "in": [2]}]}), &[]);
        assert_eq!(dropped, ["list[].in"]);
    }

    #[test]
    fn a_patch_that_drops_entries_of_a_list_is_found_unless_it_says_so() {
        let base = json!({"a": {"list": ["x", "y"]}});
        for patch in
            [json!({"a": {"list": ["x"]}}), json!({"a": {"list": null}}), json!({"a": null}), json!({"a": {"list": 1}})]
        {
            assert_eq!(over(&base, &patch, &[]).1, ["a.list"], "{patch}");
            assert_eq!(over(&base, &patch, &["a.list"]).1, Vec::<String>::new(), "{patch}");
        }
        assert_eq!(over(&base, &json!({"a": {"list": ["y", "z", "x"]}}), &[]).1, Vec::<String>::new());
    }
}
