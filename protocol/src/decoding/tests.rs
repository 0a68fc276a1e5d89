use proptest::prelude::*;
use serde_json::json;

use super::*;

fn within(text: &str, bytes: usize) -> Result<(Value, usize), DecodeError> {
    let mut allowance = Allowance(bytes);
    decode(text.as_bytes(), &mut allowance).map(|value| (value, bytes - allowance.0))
}

#[test]
fn a_chain_of_maps_is_counted_by_its_maps_not_by_its_text() {
    let chain = format!("{}0{}", r#"{"":"#.repeat(100), "}".repeat(100));
    assert!(chain.len() < 600);
    let (_, taken) = within(&chain, usize::MAX).unwrap();
    assert!((60_000..80_000).contains(&taken), "{taken}");
    let many = format!("[{}0]", format!("{chain},").repeat(1_000));
    assert_eq!(within(&many, 28 << 20), Err(DecodeError::TooMuch(Excess::Own)));
}

#[test]
fn decoding_ends_as_soon_as_there_is_no_room() {
    // Were it decoded to its end, it would be found not to be JSON.
    let cut_off = format!("[{}", "{},[0],".repeat(100_000));
    assert_eq!(within(&cut_off, 1 << 20), Err(DecodeError::TooMuch(Excess::Own)));
    assert!(matches!(within(&cut_off, 64 << 20), Err(DecodeError::NotJson(_))));
}

#[test]
fn long_texts_take_little_more_than_their_length() {
    let text = json!({"messages": [{"content": "x".repeat(5 << 20)}]}).to_string();
    let (_, taken) = within(&text, usize::MAX).unwrap();
    assert!(taken < (5 << 20) + 4_096, "{taken}");
}

#[test]
fn nesting_has_an_end() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    assert!(matches!(within(&deep, usize::MAX), Err(DecodeError::NotJson(_))));
}

#[test]
fn what_follows_a_value_makes_it_no_json() {
    assert!(matches!(within("1 2", 100), Err(DecodeError::NotJson(_))));
    assert!(matches!(within("", 100), Err(DecodeError::NotJson(_))));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 128, 30, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..30).prop_map(Value::from),
            prop::collection::btree_map(".{0,12}", inner, 0..30)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_decoded_is_what_was_written_and_all_of_it_was_paid_for(value in any_json()) {
        let text = value.to_string();
        let (decoded, taken) = within(&text, usize::MAX).unwrap();
        prop_assert_eq!(&decoded, &value);
        prop_assert!(taken >= held_bytes(&decoded), "{} of {}", taken, held_bytes(&decoded));
        prop_assert_eq!(within(&text, taken).unwrap().1, taken);
        if taken > 0 {
            prop_assert_eq!(within(&text, taken - 1), Err(DecodeError::TooMuch(Excess::Own)));
        }
    }

    #[test]
    fn arbitrary_text_is_decoded_or_refused(text in ".{0,200}", bytes in 0_usize..2_000) {
        if let Ok((value, taken)) = within(&text, bytes) {
            prop_assert!(taken <= bytes && held_bytes(&value) <= taken);
        }
    }

    #[test]
    fn a_map_has_enough_nodes_paid_for(entries in 1_usize..2_000) {
        let map: Map<String, Value> = (0..entries).map(|n| (format!("{n:05}"), Value::Null)).collect();
        let nodes = 1 + entries.saturating_sub(FIRST_NODE) / NODE_AT_LEAST;
        let keys = entries * text_bytes("00000");
        prop_assert!(held_bytes(&Value::Object(map)) >= nodes * (MAP_NODE - 40) + keys);
    }
}
