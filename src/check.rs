//! The way to one gateway step by step, by the dialing and the handshake that the daemon uses: what `gatewarden check` and
//! `POST /api/gateways/check` do. The first step that fails is the cause, and it comes with its cure.

pub(crate) mod report;
pub(crate) mod steps;

use std::sync::Arc;

use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_record::{GatewayRecord, TlsTrust};
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_protocol::{DeviceIdentity, GatewayAddress, Secret};

/// For whom cures are worded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    CommandLine,
    Request,
}

/// What a check logs in with.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) device: Arc<DeviceIdentity>,
    /// Whose device it is, for people.
    pub(crate) whose: &'static str,
    /// The name under which the address is registered here.
    pub(crate) name: Option<String>,
    /// Its stored token, or the one of its URL.
    pub(crate) token: Option<Secret>,
    /// Its stored password.
    pub(crate) password: Option<Secret>,
    /// Its stored trust.
    pub(crate) trust: Option<TlsTrust>,
    /// The device token that was issued to the daemon's device at this address.
    pub(crate) device_token: Option<Secret>,
}

impl Known {
    /// A device that knows no gateway.
    pub(crate) fn of_device(device: DeviceIdentity, whose: &'static str) -> Self {
        let device = Arc::new(device);
        Self { device, whose, name: None, token: None, password: None, trust: None, device_token: None }
    }

    /// The daemon's own device, and what was issued to it at this address.
    pub(crate) async fn of_daemon(store: &StoreHandle, address: &GatewayAddress) -> Result<Self, Failure> {
        let seed = store.load_or_create_device_seed().await?;
        let (key, issued) = (address.key(), store.load_device_tokens().await?);
        let device_token = issued.into_iter().find(|(address, _)| *address == key).map(|(_, issued)| issued.token);
        Ok(Self { device_token, ..Self::of_device(DeviceIdentity::from_seed(&seed), "the daemon's device") })
    }

    /// With what is stored of a gateway.
    #[must_use]
    pub(crate) fn of_gateway(self, record: GatewayRecord) -> Self {
        Self {
            name: Some(record.name.clone()),
            token: record.shared_token().cloned(),
            password: record.password.clone(),
            trust: Some(record.spec.tls),
            ..self
        }
    }
}
