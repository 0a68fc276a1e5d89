//! What WhatsApp's service sends to the webhook: messages of people, and what became of answers. One call may hold several, of
//! several phone numbers.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::errors;
use crate::channels::service::{Inbound, Update};
use crate::config::{is_scoped_id, person};
use crate::effect::Chat;

/// Longest id of a message.
const LONGEST_ID: usize = 512;
/// Longest text that is taken, in bytes. The service's own limit is lower.
const LONGEST_TEXT: usize = 16 * 1024;

/// What came for one phone number.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Delivery {
    pub(crate) updates: Vec<Update>,
    /// Answers that weren't delivered, and other faults that the service tells; for the log.
    pub(crate) faults: Vec<String>,
}

/// What a body holds, by the ids of phone numbers. None: it is none of the service's.
pub(crate) fn read(body: &[u8]) -> Option<BTreeMap<String, Delivery>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let mut found: BTreeMap<String, Delivery> = BTreeMap::new();
    if body.get("object")?.as_str()? != "whatsapp_business_account" {
        return Some(found);
    }
    let changes = list(&body, "entry").iter().flat_map(|entry| list(entry, "changes"));
    let messages = changes.filter(|change| change.get("field").and_then(Value::as_str) == Some("messages"));
    for value in messages.filter_map(|change| change.get("value")) {
        let Some(id) = value.pointer("/metadata/phone_number_id").and_then(Value::as_str) else { continue };
        let delivery = found.entry(id.to_owned()).or_default();
        delivery.updates.extend(list(value, "messages").iter().filter_map(|message| update(message, value)));
        delivery.faults.extend(list(value, "statuses").iter().filter_map(failed));
        delivery.faults.extend(list(value, "errors").iter().map(errors::told));
    }
    Some(found)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn failed(status: &Value) -> Option<String> {
    let is_failed = status.get("status")?.as_str()? == "failed";
    let id = |name: &str| status.get(name).and_then(Value::as_str);
    let who = id("recipient_id").map(shown_as).or_else(|| id("recipient_user_id").map(str::to_owned));
    is_failed.then(|| errors::undelivered(&who.unwrap_or_default(), status.get("errors")))
}

fn shown_as(id: &str) -> String {
    person(id).unwrap_or_else(|| id.to_owned())
}

/// A message that can't be told from others when it comes again is none.
fn update(message: &Value, value: &Value) -> Option<Update> {
    let id = message.get("id")?.as_str().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
    Some(Update { id: number_of(id), message: inbound(id, message, value) })
}

/// The machine numbers what comes. 53 bits of a hash: two of the ids that are remembered are never the same.
fn number_of(id: &str) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)) >> 11
}

fn inbound(id: &str, message: &Value, value: &Value) -> Option<Inbound> {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).map(str::to_owned);
    // Groups have no pairing, and nothing that says whether the number was meant.
    if message.get("group_id").is_some() {
        return None;
    }
    // Who hides the number has an id that only this business knows.
    let number = text(message, "from").and_then(|from| person(&from));
    let sender = number.or_else(|| text(message, "from_user_id").filter(|id| is_scoped_id(id)))?;
    let is_sender = |contact: &&Value| {
        let ids = ["wa_id", "user_id"].into_iter().filter_map(|name| text(contact, name));
        ids.map(|id| shown_as(&id)).any(|id| id == sender)
    };
    let name = list(value, "contacts").iter().find(is_sender).and_then(|contact| contact.pointer("/profile/name"));
    let kind = message.get("type")?.as_str()?;
    // A reaction, a changed number and the like are no messages that want an answer.
    if matches!(kind, "reaction" | "system" | "request_welcome" | "order" | "ephemeral" | "edit" | "revoke") {
        return None;
    }
    let places = ["/text/body", "/button/text", "/interactive/button_reply/title", "/interactive/list_reply/title"];
    let captions = ["/image/caption", "/video/caption", "/document/caption"];
    let said = places.into_iter().chain(captions).find_map(|at| message.pointer(at)?.as_str());
    let mut said = said.filter(|said| !said.trim().is_empty()).map(str::to_owned);
    if let Some(said) = &mut said {
        said.truncate(said.floor_char_boundary(LONGEST_TEXT));
    }
    Some(Inbound {
        id: Some(id.to_owned()),
        chat: Chat { id: sender.clone(), thread: None },
        sender,
        sender_name: name.and_then(Value::as_str).unwrap_or_default().chars().take(64).collect(),
        is_direct: true,
        text: said,
        is_for_me: true,
        guild: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn call(value: Value) -> Value {
        let metadata = json!({"display_phone_number": "15550783881", "phone_number_id": "106540352242922"});
        let mut value = value;
        value["messaging_product"] = json!("whatsapp");
        value["metadata"] = metadata;
        json!({"object": "whatsapp_business_account",
            "entry": [{"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}]})
    }

    fn one(value: Value) -> Delivery {
        let found = read(call(value).to_string().as_bytes()).unwrap();
        found.into_iter().next().map(|(_, delivery)| delivery).unwrap_or_default()
    }

    fn message(more: Value) -> Option<Inbound> {
        let message = crate::payload::joined(json!({"from": "16505551234", "id": "wamid.A", "timestamp": "1"}), more);
        let contacts = json!([{"profile": {"name": "Sheena Nelson"}, "wa_id": "16505551234"}]);
        one(json!({"contacts": contacts, "messages": [message]})).updates.remove(0).message
    }

    #[test]
    fn a_message_is_read_with_who_wrote_it() {
        let read =
            message(json!({"type": "text", "text": {"body": "Does it come in another color?"}, "new": [1]})).unwrap();
        assert_eq!((read.sender.as_str(), read.chat.id.as_str()), ("+16505551234", "+16505551234"));
        assert_eq!((read.sender_name.as_str(), read.id.as_deref()), ("Sheena Nelson", Some("wamid.A")));
        assert_eq!(read.text.as_deref(), Some("Does it come in another color?"));
        assert!(read.is_direct && read.is_for_me);
    }

    #[test]
    fn a_person_who_hides_the_number_has_an_id() {
        let hidden = json!({"contacts": [{"profile": {"name": "Eve"}, "user_id": "US.13491208655302741918"}],
            "messages": [{"from_user_id": "US.13491208655302741918", "id": "wamid.B", "type": "text", "text": {"body": "hi"}}]});
        let read = one(hidden).updates.remove(0).message.unwrap();
        assert_eq!((read.sender.as_str(), read.sender_name.as_str()), ("US.13491208655302741918", "Eve"));
    }

    #[test]
    fn pictures_have_their_caption_or_no_text_and_notices_are_no_messages() {
        let text = |more: Value| message(more).map(|message| message.text);
        assert_eq!(
            text(json!({"type": "image", "image": {"id": "1", "caption": "look"}})),
            Some(Some("look".to_owned()))
        );
        assert_eq!(text(json!({"type": "audio", "audio": {"id": "1"}})), Some(None));
        assert_eq!(text(json!({"type": "text", "text": {"body": " \n"}})), Some(None));
        assert_eq!(text(json!({"type": "unsupported", "errors": [{"code": 131051}]})), Some(None));
        let choice = json!({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"id": "1", "title": "Yes"}}});
        assert_eq!(text(choice), Some(Some("Yes".to_owned())));
        assert_eq!(
            text(json!({"type": "button", "button": {"text": "No", "payload": "n"}})),
            Some(Some("No".to_owned()))
        );
        for none in [
            json!({"type": "reaction", "reaction": {"message_id": "wamid.Z", "emoji": "x"}}),
            json!({"type": "system", "system": {"body": "changed the number"}}),
            json!({"type": "text", "text": {"body": "hi"}, "group_id": "Y2Fw"}),
            json!({"type": "text", "text": {"body": "hi"}, "from": "eve"}),
            json!({"type": "text", "text": {"body": "hi"}, "from": 5}),
            json!({"text": {"body": "no type"}}),
        ] {
            assert_eq!(message(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn several_entries_changes_and_messages_come_in_one_call() {
        let message = |id: &str| json!({"from": "16505551234", "id": id, "type": "text", "text": {"body": id}});
        let value = |number: &str, ids: &[&str]| {
            let messages: Vec<Value> = ids.iter().map(|id| message(id)).collect();
            json!({"field": "messages", "value": {"metadata": {"phone_number_id": number}, "messages": messages}})
        };
        let body = json!({"object": "whatsapp_business_account", "entry": [
            {"changes": [value("1", &["a", "b"]), value("2", &["c"])]},
            {"changes": [value("1", &["d"]), {"field": "account_update", "value": {"metadata": {"phone_number_id": "1"}}}]},
            {"changes": "odd"}, 7,
        ]});
        let found = read(body.to_string().as_bytes()).unwrap();
        let texts = |number: &str| {
            let updates = found[number].updates.iter();
            updates.map(|update| update.message.as_ref().unwrap().text.clone().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            (texts("1"), texts("2")),
            (vec!["a".to_owned(), "b".to_owned(), "d".to_owned()], vec!["c".to_owned()])
        );
    }

    #[test]
    fn a_failed_answer_is_said_and_other_statuses_are_not() {
        let status = |status: &str| {
            json!({"id": "wamid.C", "status": status, "recipient_id": "16505551234",
            "errors": [{"code": 131_026, "title": "Message undeliverable"}]})
        };
        let statuses = ["sent", "delivered", "read", "failed"].map(status);
        let delivery = one(json!({"statuses": statuses, "errors": [{"code": 130_429, "title": "Rate limit hit"}]}));
        assert_eq!(delivery.updates, []);
        let [failed, told] = delivery.faults.as_slice() else { panic!("{:?}", delivery.faults) };
        assert!(failed.contains("+16505551234") && failed.contains("131026"), "{failed}");
        assert!(told.contains("130429"), "{told}");
    }

    #[test]
    fn a_message_has_the_same_number_when_it_comes_again_and_no_other_has_it() {
        assert_eq!(number_of("wamid.A"), number_of("wamid.A"));
        assert_ne!(number_of("wamid.A"), number_of("wamid.B"));
        assert!(number_of("wamid.A") < 1 << 53);
        let nameless = one(json!({"messages": [{"from": "1", "type": "text"}, {"id": "", "type": "text"},
            {"id": "x".repeat(513), "type": "text"}]}));
        assert_eq!(nameless.updates, []);
    }

    #[test]
    fn what_is_none_of_the_service_is_told_apart_from_what_holds_nothing() {
        for none in ["", "garbage", "[]", "{}", r#"{"object":5}"#] {
            assert_eq!(read(none.as_bytes()), None, "{none}");
        }
        assert_eq!(read(br#"{"object":"page","entry":[]}"#), Some(BTreeMap::new()));
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd(at in 0_usize..400, put in ".{0,6}") {
            let whole = call(json!({"contacts": [{"profile": {"name": "S"}, "wa_id": "16505551234"}],
                "messages": [{"from": "16505551234", "id": "wamid.A", "type": "text", "text": {"body": "hi"}}]})).to_string();
            let at = whole.floor_char_boundary(at);
            let (head, tail) = whole.split_at(at);
            let _ = read(format!("{head}{put}{tail}").as_bytes());
            let _ = read(head.as_bytes());
        }
    }
}
