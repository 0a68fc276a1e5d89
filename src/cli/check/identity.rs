//! Whose device a check logs in with, and what is stored of the gateway. A gateway pairs devices, so a check with the daemon's
//! own one says what the daemon would meet; a device of its own is kept, so that checks leave one pairing at most.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use gatewarden_actors::store::key_file::KEY_FILE_NAME;
use gatewarden_protocol::{DeviceIdentity, GatewayAddress};
use zeroize::Zeroizing;

use crate::check::Known;
use crate::cli::daemon::address_of;
use crate::cli::error::CliError;
use crate::cli::files::{read_pem, write_private};
use crate::cli::installation::open_store;
use crate::config::Config;

/// The device made for checks, in the state directory.
const FILE: &str = "check-device.pem";

/// The daemon's, where its database may be read and nobody wants another; else one made for checks.
pub(super) async fn find(
    config: Option<&Config>,
    address: &GatewayAddress,
    own_device: bool,
) -> Result<Known, CliError> {
    let stored = match config {
        Some(config) if !own_device => stored(config, address).await,
        _ => None,
    };
    if let Some(stored) = stored {
        return Ok(stored);
    }
    let (device, whose) = match config.and_then(|config| kept(&config.state_dir).ok()) {
        Some(device) => (device, "a device made for checks"),
        None => {
            let drawn = drawn().map_err(|error| CliError::new(format!("No device can be made: {error}.")))?;
            (drawn, "a device made for this check")
        }
    };
    Ok(Known::of_device(device, whose))
}

/// Nothing must be made by looking.
fn may_look(config: &Config) -> Option<&Config> {
    let key_is_there = config.credentials_dir.is_some() || config.state_dir.join(KEY_FILE_NAME).is_file();
    Some(config).filter(|config| key_is_there && config.store.database.file().is_none_or(Path::is_file))
}

async fn stored(config: &Config, address: &GatewayAddress) -> Option<Known> {
    let store = open_store(may_look(config)?).ok()?;
    let known = Known::of_daemon(&store, address).await.ok()?;
    let key = address.key();
    let mut records = store.load_gateways().await.ok()?.into_iter();
    let record = records.find(|record| record.address().is_some_and(|address| address.key() == key));
    Some(match record {
        Some(record) => known.of_gateway(record),
        None => known,
    })
}

/// The address of the gateway that has this name, which this command doesn't take.
pub(super) async fn registered_as(config: Option<&Config>, name: &str) -> Option<String> {
    let gateways = open_store(may_look(config?)?).ok()?.load_gateways().await.ok()?;
    let named = gateways.into_iter().find(|record| record.name == name)?;
    Some(address_of(&named.host, Some(named.port)))
}

/// The device of earlier checks; made at the first.
fn kept(state_dir: &Path) -> std::io::Result<DeviceIdentity> {
    let path = state_dir.join(FILE);
    match read_pem(&path) {
        Ok(pem) => DeviceIdentity::from_pkcs8_pem(&pem).map_err(std::io::Error::other),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let device = drawn()?;
            let pem = device.to_pkcs8_pem().map_err(std::io::Error::other)?;
            DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
            write_private(&path, pem.expose())?;
            Ok(device)
        }
        Err(error) => Err(error),
    }
}

fn drawn() -> std::io::Result<DeviceIdentity> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(DeviceIdentity::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_checks_stays_the_same_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = kept(&state).unwrap();
        assert_eq!(kept(&state).unwrap().device_id(), first.device_id());
        assert_eq!(std::fs::metadata(state.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
