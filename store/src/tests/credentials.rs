use super::*;
use gatewarden_core::error::ErrorCode;
use gatewarden_core::gateway_record::DeviceToken;
use zeroize::Zeroizing;

fn device_token(text: &str) -> DeviceToken {
    DeviceToken {
        token: Secret::new(text),
        role: "operator".to_owned(),
        scopes: vec!["operator.read".to_owned(), "operator.write".to_owned()],
        issued_at_ms: 1_790_000_000_123,
    }
}

#[actix::test]
async fn the_device_seed_is_drawn_once_and_survives_a_restart() {
    let scratch = Scratch::open();
    let seed = scratch.store.load_or_create_device_seed().await.unwrap();
    assert_ne!(*seed, [0; 32]);
    assert_eq!(scratch.store.load_or_create_device_seed().await.unwrap(), seed);
    let scratch = scratch.reopen().await;
    assert_eq!(scratch.store.load_or_create_device_seed().await.unwrap(), seed);
    assert!(!scratch.bytes().windows(32).any(|window| window == seed.as_slice()), "the seed is sealed");
}

#[actix::test]
async fn an_imported_seed_takes_the_place_of_the_old_one_and_its_tokens() {
    let scratch = Scratch::open();
    scratch.store.load_or_create_device_seed().await.unwrap();
    scratch.store.put_device_token("gw:1".to_owned(), device_token("t")).await.unwrap();
    scratch.store.replace_device_seed(Zeroizing::new([7; 32])).await.unwrap();
    assert_eq!(*scratch.store.load_or_create_device_seed().await.unwrap(), [7; 32]);
    assert_eq!(scratch.store.load_device_tokens().await.unwrap(), vec![]);
}

#[actix::test]
async fn a_damaged_seed_is_an_error_and_is_not_replaced_by_a_new_one() {
    let scratch = Scratch::open();
    scratch.store.load_or_create_device_seed().await.unwrap();
    let spoil = "UPDATE identity SET seed = (SELECT value FROM meta WHERE name = 'canary')";
    scratch.execute(spoil).unwrap();
    for _ in 0..2 {
        let failure = scratch.store.load_or_create_device_seed().await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::Internal);
    }
}

#[actix::test]
async fn device_tokens_are_kept_by_address() {
    let scratch = Scratch::open();
    scratch.store.put_device_token("a:1".to_owned(), device_token("first-device-token")).await.unwrap();
    scratch.store.put_device_token("b:2".to_owned(), device_token("other")).await.unwrap();
    scratch.store.put_device_token("a:1".to_owned(), device_token("second-device-token")).await.unwrap();
    let scratch = scratch.reopen().await;
    let expected =
        vec![("a:1".to_owned(), device_token("second-device-token")), ("b:2".to_owned(), device_token("other"))];
    assert_eq!(scratch.store.load_device_tokens().await.unwrap(), expected);
    assert!(!scratch.holds("device-token"));
    assert!(scratch.store.delete_device_token("a:1".to_owned()).await.unwrap());
    assert!(!scratch.store.delete_device_token("a:1".to_owned()).await.unwrap());
    assert_eq!(scratch.store.load_device_tokens().await.unwrap().len(), 1);
}

#[actix::test]
async fn a_device_token_moved_to_another_address_is_not_used() {
    let scratch = Scratch::open();
    scratch.store.put_device_token("a:1".to_owned(), device_token("one")).await.unwrap();
    scratch.store.put_device_token("b:2".to_owned(), device_token("two")).await.unwrap();
    let theft = "UPDATE device_tokens SET token = (SELECT token FROM device_tokens WHERE address = 'a:1')";
    scratch.execute(theft).unwrap();
    let tokens = scratch.store.load_device_tokens().await.unwrap();
    assert_eq!(tokens, vec![("a:1".to_owned(), device_token("one"))]);
}
