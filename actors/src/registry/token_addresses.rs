//! Device tokens that an earlier release stored under host and port alone: whose they are now.
//!
//! A token belongs to scheme, host, port and path. Where all records of its host and port say the same of the rest, it is
//! theirs. Where they differ, it may be anybody's: it is forgotten, since a tenant's token must not be sent to another.

use std::collections::BTreeSet;

use tracing::{info, warn};

use crate::error::Failure;
use crate::gateway_record::{DeviceToken, GatewayRecord};
use crate::store::handle::StoreHandle;

/// The canonical addresses in use at a host and port, and the names of the records that use them.
fn in_use<'a>(host_and_port: &str, records: &'a [GatewayRecord]) -> (BTreeSet<String>, Vec<&'a str>) {
    let there = |record: &'a GatewayRecord| {
        let address = record.address()?;
        (address.to_string() == host_and_port).then(|| (address.key(), record.name.as_str()))
    };
    records.iter().filter_map(there).unzip()
}

/// The stored device tokens, each under the address that it belongs to. Those of host and port alone are put there; the
/// earlier release may write such again if it comes back, and they are the newer ones then.
///
/// # Errors
/// The store's.
pub async fn device_tokens(
    store: &StoreHandle,
    records: &[GatewayRecord],
) -> Result<Vec<(String, DeviceToken)>, Failure> {
    for (address, token) in store.load_device_tokens().await? {
        if address.contains("://") {
            continue;
        }
        let (mut addresses, names) = in_use(&address, records);
        match (addresses.pop_first(), addresses.is_empty()) {
            (Some(whole), true) => {
                store.put_device_token(whole.clone(), token).await?;
                info!(gateway.address = %whole, "the device token of {address} belongs to {whole} from now on");
            }
            (Some(_), false) => warn!(
                gateway.address = %address,
                "the device token of {address} is forgotten, since it cannot be told whose of these it is: {}; a gateway \
                 that has no token of its own set here asks to be paired again",
                names.join(", ")
            ),
            (None, _) => {}
        }
        store.delete_device_token(address).await?;
    }
    store.load_device_tokens().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatewarden_protocol::Secret;

    use super::*;
    use crate::clock::Clock;
    use crate::gateway_record::GatewaySpec;
    use crate::ids::GatewayId;
    use crate::store::StoreOptions;
    use crate::store::key_file::SealingKey;

    fn record(name: &str, host: &str, port: u16) -> GatewayRecord {
        GatewaySpec::at(name, host, port).into_record(GatewayId(1), "", 0)
    }

    fn addresses(host_and_port: &str, records: &[GatewayRecord]) -> Vec<String> {
        in_use(host_and_port, records).0.into_iter().collect()
    }

    #[test]
    fn a_token_goes_to_the_one_address_in_use_there() {
        let records = [
            record("a", "ws://h.example/tenant-a/", 18789),
            record("b", "http://H.example/tenant-a", 18789),
            record("c", "other", 1),
        ];
        assert_eq!(addresses("h.example:18789", &records), ["ws://h.example:18789/tenant-a"]);
        assert_eq!(addresses("other:1", &records), ["ws://other:1"]);
        assert!(addresses("gone:1", &records).is_empty());
    }

    #[test]
    fn a_token_that_several_addresses_could_have_goes_to_none() {
        let paths = [record("a", "ws://h/tenant-a", 1), record("b", "ws://h/tenant-b", 1)];
        let (several, names) = in_use("h:1", &paths);
        assert_eq!((several.len(), names), (2, vec!["a", "b"]));
        assert_eq!(addresses("h:1", &[record("a", "h", 1), record("b", "wss://h", 1)]).len(), 2);
    }

    fn device_token(text: &str) -> DeviceToken {
        DeviceToken { token: Secret::new(text), role: "operator".into(), scopes: Vec::new(), issued_at_ms: 1 }
    }

    #[actix::test]
    async fn tokens_of_host_and_port_move_to_the_address_that_is_in_use_there_or_go() {
        let dir = tempfile::tempdir().unwrap();
        let key = SealingKey::load_or_create(None, dir.path()).unwrap();
        let options = StoreOptions::at(dir.path().join("gatewarden.db"));
        let store = &StoreHandle::open(options, key, Clock::system(), Arc::new(())).unwrap();
        let records = [("a", "ws://h/a"), ("b", "ws://h/b"), ("c", "ws://other/c/"), ("d", "ws://other/c")];
        let records = records.map(|(name, host)| record(name, host, 18789));
        for (address, token) in
            [("h:18789", "anybody's"), ("other:18789", "c's"), ("gone:18789", "nobody's"), ("ws://h:18789/a", "a's")]
        {
            store.put_device_token(address.into(), device_token(token)).await.unwrap();
        }
        let expected = vec![
            ("ws://h:18789/a".to_owned(), device_token("a's")),
            ("ws://other:18789/c".to_owned(), device_token("c's")),
        ];
        for _ in 0..2 {
            assert_eq!(device_tokens(store, &records).await.unwrap(), expected);
        }
        // The earlier release came back for a while, and was issued another one.
        store.put_device_token("other:18789".into(), device_token("newer")).await.unwrap();
        assert_eq!(device_tokens(store, &records).await.unwrap()[1].1, device_token("newer"));
    }
}
