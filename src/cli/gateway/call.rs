//! One call of the running gateway, over its own protocol and with its own credential: for what HTTP has no operation for.

use std::time::Duration;

use futures_util::StreamExt as _;
use gatewarden_actors::dialing::{DialRequest, Dialed, Dialer as _, Incoming, MemoryAccount, NetworkDialer};
use gatewarden_actors::gateway_record::TlsTrust;
use gatewarden_embedded_gateway::config::{Inputs, load};
use gatewarden_embedded_gateway::lock_file::Holder;
use gatewarden_protocol::frame::Frame;
use gatewarden_protocol::{Dialect, GatewayAddress, Secret, WireError, encode_request};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{EXIT_FAILURE, fail};
use super::status::reachable;
use super::{PlaceArgs, holder_of, state_dir};

/// How long everything may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Longest answer, in bytes.
const LONGEST: usize = 25 * 1024 * 1024;

/// Asks the gateway of a place; says what is wrong where that can't be done.
pub(super) fn call(place: &PlaceArgs, method: &str, params: &Value) -> Result<Value, u8> {
    let inputs = place.inputs();
    let state_dir = state_dir(&inputs)?;
    let holder = holder_of(&state_dir)?.ok_or_else(|| {
        fail(
            EXIT_FAILURE,
            format!(
                "No gateway runs on {}: start it (gatewarden gateway start), or name its --state-dir.",
                state_dir.display()
            ),
        )
    })?;
    let running = Running::find(&holder, inputs).map_err(|sentence| fail(EXIT_FAILURE, sentence))?;
    let asked = async {
        tokio::time::timeout(LIMIT, running.ask(method, params)).await.unwrap_or_else(|_| {
            Err(format!("The gateway at {} did not answer within {} s.", running.shown, LIMIT.as_secs()))
        })
    };
    actix_rt::System::new().block_on(asked).map_err(|sentence| fail(EXIT_FAILURE, sentence))
}

/// How the gateway is reached.
struct Running {
    address: GatewayAddress,
    shown: String,
    tls: TlsTrust,
    credential: Option<Secret>,
}

impl Running {
    fn find(holder: &Holder, inputs: Inputs) -> Result<Self, String> {
        let address =
            holder.address.as_deref().and_then(reachable).ok_or("The gateway is still starting: try again.")?;
        // What it was started with counts, wherever this command would look.
        let config_file = inputs.config_file.clone().or_else(|| holder.config.clone());
        let draft = load(&Inputs { config_file, ..inputs }).map_err(|error| error.to_string())?;
        let credential = draft.credential().map_err(|error| error.to_string())?;
        let url = format!("{}://{address}", holder.scheme);
        let tls = match draft.settings().tls.as_ref().filter(|_| holder.scheme == "wss") {
            None => TlsTrust::System,
            // Its own certificate, whatever names it has, and no other.
            Some(tls) => {
                let unreadable =
                    |error| format!("The gateway's certificate {} cannot be read: {error}.", tls.cert.display());
                let certificate = CertificateDer::from_pem_file(&tls.cert).map_err(unreadable)?;
                let pin: String = Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect();
                TlsTrust::Pins { pins: vec![pin] }
            }
        };
        let parsed = GatewayAddress::parse(&url, None).map_err(|error| error.to_string())?;
        Ok(Self { address: parsed.address, shown: address.to_string(), tls, credential })
    }

    async fn ask(&self, method: &str, params: &Value) -> Result<Value, String> {
        let request =
            DialRequest { address: self.address.clone(), tls: self.tls.clone(), timeout: LIMIT, origin: None };
        let dialed = NetworkDialer::new().dial(request, &MemoryAccount::default()).await;
        let mut socket =
            dialed.map_err(|failure| format!("The gateway at {} cannot be reached: {failure}.", self.shown))?;
        socket.frame_cap.set(LONGEST);
        let token = self.credential.as_ref().map(Secret::expose);
        if let Err(error) = self.exchange(&mut socket, "auth", &json!({ "token": token })).await? {
            let cure = match error.details_code() {
                Some("DEVICE_IDENTITY_REQUIRED") => {
                    " This gateway lets devices in alone (requireSignature): ask it from one that is approved and may pair others."
                }
                _ => " Its configuration may have changed since its start: restart it.",
            };
            return Err(format!(
                "The gateway at {} does not let this command in: {}.{cure}",
                self.shown, error.message
            ));
        }
        let answer = self.exchange(&mut socket, method, params).await?;
        let _ = socket.outgoing.close(1000, "");
        answer.map_err(|error| format!("The gateway refused: {}.", gatewarden_protocol::words::shown(&error.message)))
    }

    async fn exchange(
        &self,
        socket: &mut Dialed,
        method: &str,
        params: &Value,
    ) -> Result<Result<Value, WireError>, String> {
        let frame = encode_request(Dialect::Rpc, method, method, params);
        let lost = |error: &dyn std::fmt::Display| format!("The connection to {} broke off: {error}.", self.shown);
        socket.outgoing.try_send_text(frame).map_err(|error| lost(&error))?;
        loop {
            let bytes = match socket.incoming.next().await {
                None => return Err(lost(&"the gateway hung up")),
                Some(Err(error)) => return Err(lost(&error)),
                Some(Ok(Incoming::Close { reason, .. })) => return Err(lost(&reason)),
                Some(Ok(Incoming::Ping(payload))) => {
                    socket.outgoing.pong(payload).map_err(|error| lost(&error))?;
                    continue;
                }
                Some(Ok(Incoming::Pong(_))) => continue,
                Some(Ok(Incoming::Text(text))) => text.as_bytes().to_vec(),
                Some(Ok(Incoming::Binary(bytes))) => bytes.to_vec(),
            };
            // Everything else is told to everybody.
            if let Ok(Frame::Response(response)) = Frame::parse(&bytes)
                && response.id == method
            {
                return Ok(response.outcome);
            }
        }
    }
}
