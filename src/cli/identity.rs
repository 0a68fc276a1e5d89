//! `gatewarden identity`

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use gatewarden_actors::clock::Clock;
use gatewarden_actors::metrics::Metrics;
use gatewarden_actors::store::handle::StoreHandle;
use gatewarden_actors::store::key_file::SealingKey;
use gatewarden_protocol::DeviceIdentity;
use zeroize::Zeroizing;

use super::{EXIT_CONFIG, EXIT_FAILURE, EXIT_OK, IdentityArgs, fail, load_config, terminal};
use crate::app::{StartError, StateDir};
use crate::config::{Config, Inputs};

/// A PEM file of one Ed25519 key has some 120 bytes.
const MAX_PEM: u64 = 16 * 1024;

/// Shows, exports or imports the identity.
pub(super) fn run(args: &IdentityArgs) -> u8 {
    let inputs = Inputs { config_file: args.config.clone(), state_dir: args.state_dir.clone(), ..Inputs::of_process() };
    let config = match load_config(&inputs) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let done = actix_rt::System::new().block_on(async {
        match (&args.import, &args.export) {
            (Some(file), _) => import(&config, file).await,
            (None, Some(file)) => export(&config, file).await,
            (None, None) => show(&config).await,
        }
    });
    match done {
        Ok(said) => {
            terminal::print(&said);
            EXIT_OK
        }
        Err(code) => code,
    }
}

async fn show(config: &Config) -> Result<String, u8> {
    let store = open(config)?;
    Ok(describe(&present(&store).await?))
}

async fn export(config: &Config, file: &Path) -> Result<String, u8> {
    let store = open(config)?;
    let identity = present(&store).await?;
    let pem = identity.to_pkcs8_pem().map_err(|error| fail(EXIT_FAILURE, error))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| {
            opened.write_all(pem.expose().as_bytes())?;
            opened.sync_all()
        })
        .map_err(|error| {
            let file = file.display();
            fail(
                EXIT_FAILURE,
                format!("The key cannot be written to {file}: {error}. Name a file that does not exist."),
            )
        })?;
    Ok(format!("{}\nprivate key: written to {}; whoever has it is this device", describe(&identity), file.display()))
}

async fn import(config: &Config, file: &Path) -> Result<String, u8> {
    let pem = read_pem(file)
        .map_err(|error| fail(EXIT_FAILURE, format!("The key cannot be read from {}: {error}.", file.display())))?;
    let identity = DeviceIdentity::from_pkcs8_pem(&pem)
        .map_err(|error| fail(EXIT_CONFIG, format!("{} is {error}.", file.display())))?;
    // A running daemon would go on with the old key, so it must not run.
    let _claimed = StateDir::claim(&config.state_dir).map_err(|error| fail(error.exit_code(), error))?;
    let store = open(config)?;
    store.replace_device_seed(identity.seed()).await.map_err(|error| fail(EXIT_FAILURE, error))?;
    store.flush().await.map_err(|error| fail(EXIT_FAILURE, error))?;
    Ok(format!("{}\nimported: gateways may ask for this device to be paired", describe(&identity)))
}

fn read_pem(file: &Path) -> std::io::Result<Zeroizing<String>> {
    use std::io::Read as _;
    let mut pem = Zeroizing::new(String::new());
    std::fs::File::open(file)?.take(MAX_PEM).read_to_string(&mut pem)?;
    Ok(pem)
}

/// The store of this installation. Showing works beside a running daemon: the database lets several readers in.
fn open(config: &Config) -> Result<StoreHandle, u8> {
    let opened = SealingKey::load_or_create(config.credentials_dir.as_deref(), &config.state_dir)
        .map_err(StartError::from)
        .and_then(|key| {
            let metrics = Arc::new(Metrics::new());
            Ok(StoreHandle::open(config.store.clone(), key, Clock::system(), metrics)?)
        });
    opened.map_err(|error| fail(error.exit_code(), error))
}

async fn present(store: &StoreHandle) -> Result<DeviceIdentity, u8> {
    let seed = store.load_or_create_device_seed().await.map_err(|error| fail(EXIT_FAILURE, error))?;
    Ok(DeviceIdentity::from_seed(&seed))
}

fn describe(identity: &DeviceIdentity) -> String {
    format!("device id:  {}\npublic key: {}", identity.device_id(), identity.public_key())
}
