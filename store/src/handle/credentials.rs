//! What this installation authenticates with towards gateways: its device seed, and device tokens by address.

use zeroize::Zeroizing;

use super::StoreHandle;
use crate::tables::{device_tokens, identity};
use gatewarden_core::error::Failure;
use gatewarden_core::gateway_record::DeviceToken;

impl StoreHandle {
    /// The 32-byte seed of this installation's device identity: drawn and committed at the first call, the same ever after.
    pub async fn load_or_create_device_seed(&self) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let now = self.now_s();
        self.write("load the device identity", move |connection, sealer| {
            identity::load_or_create(connection, sealer, now)
        })
        .await
    }

    /// Replaces the seed: for the import of an identity. All device tokens were issued to the old one and go with it.
    pub async fn replace_device_seed(&self, seed: Zeroizing<[u8; 32]>) -> Result<(), Failure> {
        let now = self.now_s();
        self.write("replace the device identity", move |connection, sealer| {
            device_tokens::delete_all(connection)?;
            identity::replace(connection, sealer, &seed, now)
        })
        .await
    }

    /// All device tokens with the canonical address that each belongs to (of an earlier release: `host:port`). One that doesn't open is left out and logged:
    /// the gateway issues another.
    pub async fn load_device_tokens(&self) -> Result<Vec<(String, DeviceToken)>, Failure> {
        self.read("load the device tokens", device_tokens::load_all).await
    }

    /// Stores a device token for a canonical address, in the place of an earlier one.
    pub async fn put_device_token(&self, address: String, token: DeviceToken) -> Result<(), Failure> {
        let now = self.now_s();
        self.write("store the device token", move |connection, sealer| {
            device_tokens::put(connection, sealer, &address, &token, now)
        })
        .await
    }

    /// Forgets the device token of an address; false where there was none.
    pub async fn delete_device_token(&self, address: String) -> Result<bool, Failure> {
        self.write("forget the device token", move |connection, _| device_tokens::delete(connection, &address)).await
    }
}
