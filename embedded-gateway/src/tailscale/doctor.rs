//! What a look at Tailscale finds, without a gateway that runs.

use std::path::Path;

use super::{Tailscale, route};
use crate::config::Tailscale as Settings;

/// The name of this machine in its tailnet where Tailscale can serve the gateway; else what is wrong, and what helps. None where Tailscale
/// is off. Changes nothing.
pub async fn look(settings: &Settings, state_dir: &Path) -> Option<Result<String, (String, String)>> {
    let tailscale = Tailscale::of(settings, state_dir)?;
    Some(route::look(&tailscale).await.map_err(|fault| (fault.to_string(), fault.cure())))
}
