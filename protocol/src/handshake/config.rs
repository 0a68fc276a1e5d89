//! What a handshake is done with.

use std::sync::Arc;

use crate::identity::DeviceIdentity;
use crate::secret::Secret;
use crate::signing::SignatureVersion;

/// The protocol versions that may be negotiated. The gateway's own must lie within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolRange {
    /// Lowest.
    pub min: u32,
    /// Highest.
    pub max: u32,
}

impl Default for ProtocolRange {
    /// What this daemon has been tried with.
    fn default() -> Self {
        Self { min: 3, max: 4 }
    }
}

/// How this client introduces itself. Real releases accept ids and modes from closed lists only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// `client.id`.
    pub id: String,
    /// `client.mode`.
    pub mode: String,
    /// Unique to this installation: protocol 4 drops older pairings of another device with equal names.
    pub display_name: String,
    /// Version of this daemon.
    pub version: String,
    /// Pinned at pairing: a change later demands pairing again.
    pub platform: String,
    /// This run of this daemon.
    pub instance_id: String,
    /// The gateway's build, for the second try of a control UI.
    pub build_id: Option<String>,
}

impl ClientInfo {
    /// An ordinary client of this daemon.
    fn backend(short_id: &str, version: &str, instance_id: &str) -> Self {
        Self {
            id: "gateway-client".to_owned(),
            mode: "backend".to_owned(),
            display_name: format!("gatewarden {short_id}"),
            version: version.to_owned(),
            platform: "linux".to_owned(),
            instance_id: instance_id.to_owned(),
            build_id: None,
        }
    }
}

/// Who proves itself.
#[derive(Debug, Clone)]
pub enum DeviceMode {
    /// This installation's device.
    Device(Arc<DeviceIdentity>),
    /// Nobody: control-UI mode of document 003 (`disable_device_pairing`). The socket must be opened with an `Origin`
    /// made from the gateway's URL. Works on releases of protocol 3 with `dangerouslyDisableDeviceAuth`.
    ControlUi,
    /// Nobody, as an ordinary client without an `Origin`. Release 2026.9.6 removed `dangerouslyDisableDeviceAuth` (it
    /// drops the setting at start) and lets such a client in with its scopes, at least over loopback; releases of
    /// protocol 3 let it in without any scope.
    Deviceless,
}

/// Everything that a handshake needs to know.
#[derive(Debug, Clone)]
pub struct HandshakeConfig {
    /// Versions allowed.
    pub protocols: ProtocolRange,
    /// The introduction.
    pub client: ClientInfo,
    /// The role asked for.
    pub role: String,
    /// The scopes asked for, in this order.
    pub scopes: Vec<String>,
    /// Capabilities announced.
    pub caps: Vec<String>,
    /// The gateway's shared token.
    pub shared_token: Option<Secret>,
    /// The gateway's shared password, which goes beside the token: the gateway reads the one that its mode asks for.
    pub password: Option<Secret>,
    /// The device token that this gateway issued.
    pub device_token: Option<Secret>,
    /// Who proves itself.
    pub device: DeviceMode,
    /// Form of the signed text.
    pub signature: SignatureVersion,
    /// Whether the `rpc` dialect may be tried when no challenge comes.
    pub allow_rpc: bool,
}

/// The scopes that supervision needs: reading, giving work, and pairing and settings for administrators.
pub const OPERATOR_SCOPES: [&str; 5] =
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];

impl HandshakeConfig {
    /// The usual handshake of this daemon with its device. `version` is the daemon's, `instance_id` names this run.
    pub fn with_device(identity: Arc<DeviceIdentity>, version: &str, instance_id: &str) -> Self {
        let client = ClientInfo::backend(identity.short_id(), version, instance_id);
        Self::of(client, DeviceMode::Device(identity))
    }

    /// Control-UI mode: no device, an `Origin` instead. `short_id` is that of this installation's device all the same.
    pub fn control_ui(short_id: &str, version: &str, instance_id: &str, build_id: Option<String>) -> Self {
        let client = ClientInfo {
            id: "openclaw-control-ui".to_owned(),
            mode: "ui".to_owned(),
            build_id,
            ..ClientInfo::backend(short_id, version, instance_id)
        };
        Self::of(client, DeviceMode::ControlUi)
    }

    /// No device and no `Origin`: for a gateway without device pairing that demands a device of a control UI.
    pub fn deviceless(short_id: &str, version: &str, instance_id: &str) -> Self {
        Self::of(ClientInfo::backend(short_id, version, instance_id), DeviceMode::Deviceless)
    }

    fn of(client: ClientInfo, device: DeviceMode) -> Self {
        Self {
            protocols: ProtocolRange::default(),
            client,
            role: "operator".to_owned(),
            scopes: OPERATOR_SCOPES.iter().map(|scope| (*scope).to_owned()).collect(),
            caps: vec!["tool-events".to_owned()],
            shared_token: None,
            password: None,
            device_token: None,
            device,
            signature: SignatureVersion::default(),
            allow_rpc: true,
        }
    }

    /// The shared token, where there is one that isn't empty.
    pub(super) fn shared(&self) -> Option<&Secret> {
        self.shared_token.as_ref().filter(|token| !token.is_empty())
    }

    /// The shared password, where there is one that isn't empty.
    pub(super) fn shared_password(&self) -> Option<&Secret> {
        self.password.as_ref().filter(|password| !password.is_empty())
    }

    /// Whether there is a credential that everybody who may come in has.
    pub(super) fn has_shared(&self) -> bool {
        self.shared().is_some() || self.shared_password().is_some()
    }

    /// The device token, where there is one that isn't empty.
    pub(super) fn issued(&self) -> Option<&Secret> {
        self.device_token.as_ref().filter(|token| !token.is_empty())
    }

    /// Whether the connect request carries the device token: instead of a shared one, or beside it where documented.
    pub(super) fn sends_device_token(&self, documented: bool) -> bool {
        self.issued().is_some() && (documented || !self.has_shared())
    }

    /// The device that proves itself.
    pub(super) fn device_id(&self) -> Option<&str> {
        match &self.device {
            DeviceMode::Device(identity) => Some(identity.device_id()),
            DeviceMode::ControlUi | DeviceMode::Deviceless => None,
        }
    }
}
