use std::time::Duration;

use super::*;
use gatewarden_protocol::Secret;

fn token() -> DeviceToken {
    DeviceToken { token: Secret::new("device"), role: "operator".into(), scopes: vec![], issued_at_ms: 1 }
}

#[test]
fn two_records_of_one_address_share_budget_and_token() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(vec![("h:1".into(), token())]);
    addresses.join("h:1", GatewayId(1));
    addresses.join("h:1", GatewayId(2));
    for _ in 0..5 {
        assert_eq!(addresses.reserve("h:1", now), Ok(Some(token())));
        addresses.settle("h:1", now, AuthResult::Failed);
    }
    assert!(addresses.reserve("h:1", now).is_err());
    assert!(addresses.reserve("other:1", now).is_ok());
}

#[test]
fn deleting_and_creating_a_record_doesnt_refill_the_budget() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(Vec::new());
    addresses.join("h:1", GatewayId(1));
    for _ in 0..5 {
        addresses.reserve("h:1", now).unwrap();
        addresses.settle("h:1", now, AuthResult::Failed);
    }
    assert!(addresses.leave("h:1", GatewayId(1)));
    addresses.prune(now + Duration::from_secs(1));
    addresses.join("h:1", GatewayId(2));
    assert!(addresses.reserve("h:1", now + Duration::from_secs(2)).is_err());
}

#[test]
fn the_last_record_takes_the_token_with_it() {
    let now = crate::any_instant();
    let mut addresses = Addresses::new(vec![("h:1".into(), token())]);
    addresses.join("h:1", GatewayId(1));
    addresses.join("h:1", GatewayId(2));
    assert!(!addresses.leave("h:1", GatewayId(1)));
    assert_eq!(addresses.reserve("h:1", now), Ok(Some(token())));
    assert!(addresses.leave("h:1", GatewayId(2)));
    assert_eq!(addresses.reserve("h:1", now), Ok(None));
}
