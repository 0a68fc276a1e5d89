use super::*;
use crate::records::{NewApiKey, Role, WebSession};

fn new_key(name: &str, role: Role) -> NewApiKey {
    NewApiKey {
        name: name.to_owned(),
        role,
        sha256: format!("{name:0>64}"),
        prefix: "gwk_ab".to_owned(),
        expires_at: Some(2_000_000_000),
    }
}

fn session(token: &str, key_id: Option<i64>, expires_at: i64) -> WebSession {
    WebSession { token_sha256: token.to_owned(), key_id, key_sha256: "k".to_owned(), created_at: 1, expires_at }
}

#[actix::test]
async fn keys_are_stored_listed_and_deleted() {
    let scratch = Scratch::open();
    let admin = scratch.store.insert_key(new_key("admin", Role::Admin)).await.unwrap();
    let viewer = scratch.store.insert_key(new_key("viewer", Role::Viewer)).await.unwrap();
    assert_eq!(scratch.store.list_keys().await.unwrap(), vec![admin.clone(), viewer.clone()]);
    assert!(scratch.store.delete_key(viewer.id).await.unwrap());
    assert!(!scratch.store.delete_key(viewer.id).await.unwrap());
    let next = scratch.store.insert_key(new_key("next", Role::Operator)).await.unwrap();
    assert!(next.id > viewer.id, "an id is never used again");
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.list_keys().await.unwrap(), vec![admin, next]);
}

#[actix::test]
async fn a_key_with_an_unknown_role_grants_nothing() {
    let scratch = Scratch::open();
    scratch.store.insert_key(new_key("admin", Role::Admin)).await.unwrap();
    scratch.execute("UPDATE api_keys SET role = 'owner'").unwrap();
    assert_eq!(scratch.store.list_keys().await.unwrap(), vec![]);
}

#[actix::test]
async fn the_last_use_of_a_key_only_moves_forward() {
    let scratch = Scratch::open();
    let id = scratch.store.insert_key(new_key("admin", Role::Admin)).await.unwrap().id;
    for used in [vec![(id, 50), (999, 50)], vec![(id, 40)], vec![]] {
        scratch.store.touch_keys(used).await.unwrap();
        assert_eq!(scratch.store.list_keys().await.unwrap()[0].last_used_at, Some(50));
    }
}

#[actix::test]
async fn logins_are_found_ended_and_purged() {
    let scratch = Scratch::open();
    let key = scratch.store.insert_key(new_key("admin", Role::Admin)).await.unwrap();
    for stored in [session("a", Some(key.id), 100), session("b", None, 200), session("c", None, 300)] {
        scratch.store.insert_web_session(stored).await.unwrap();
    }
    let find = |token: &str| scratch.store.find_web_session(token.to_owned());
    assert_eq!(find("b").await.unwrap(), Some(session("b", None, 200)));
    assert_eq!(find("x").await.unwrap(), None);
    assert!(scratch.store.delete_web_session("b".to_owned()).await.unwrap());
    assert!(!scratch.store.delete_web_session("b".to_owned()).await.unwrap());
    assert_eq!(scratch.store.purge_web_sessions(100).await.unwrap(), 0);
    assert_eq!(scratch.store.purge_web_sessions(301).await.unwrap(), 2);
    assert_eq!(find("c").await.unwrap(), None);
}

#[actix::test]
async fn deleting_a_key_ends_its_logins_and_no_others() {
    let scratch = Scratch::open();
    let key = scratch.store.insert_key(new_key("admin", Role::Admin)).await.unwrap();
    scratch.store.insert_web_session(session("mine", Some(key.id), 100)).await.unwrap();
    scratch.store.insert_web_session(session("other", None, 100)).await.unwrap();
    scratch.store.delete_key(key.id).await.unwrap();
    assert_eq!(scratch.store.find_web_session("mine".to_owned()).await.unwrap(), None);
    assert!(scratch.store.find_web_session("other".to_owned()).await.unwrap().is_some());
}
