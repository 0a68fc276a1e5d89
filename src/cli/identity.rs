//! `gatewarden identity`: shows, exports, imports or replaces this installation's device identity.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gatewarden_actors::gateway_record::GatewayRecord;
use gatewarden_protocol::DeviceIdentity;
use zeroize::Zeroizing;

use super::confirmation::{YesArgs, can_ask};
use super::error::CliError;
use super::files::{read_pem, write_private};
use super::installation::{ConfigArgs, open_store};
use super::output::{plain, print};
use super::{EXIT_CONFIG, EXIT_OK};
use crate::app::StateDir;
use crate::config::Config;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct IdentityArgs {
    #[command(subcommand)]
    command: Option<IdentityCommand>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Write the private key to a new file (PKCS#8 PEM, mode 0600)
    #[arg(long, value_name = "FILE", conflicts_with = "import")]
    export: Option<PathBuf>,
    /// Take this private key (PKCS#8 PEM) in place of the present one; the daemon must not run
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum IdentityCommand {
    /// Make a new device identity and forget the present one; the daemon must not run. Gateways must pair it anew.
    Reset {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        yes: YesArgs,
    },
}

pub(super) fn run(args: &IdentityArgs) -> Result<u8, CliError> {
    if let Some(IdentityCommand::Reset { config, yes }) = &args.command {
        let config = Config::load(&config.inputs())?;
        print(&actix_rt::System::new().block_on(reset(&config, yes))?);
        return Ok(EXIT_OK);
    }
    let config = Config::load(&args.config.inputs())?;
    let said = actix_rt::System::new().block_on(async {
        match (&args.import, &args.export) {
            (Some(file), _) => import(&config, file).await,
            (None, Some(file)) => export(&config, file).await,
            (None, None) => Ok(describe(&present(&config).await?)),
        }
    })?;
    print(&said);
    Ok(EXIT_OK)
}

async fn present(config: &Config) -> Result<DeviceIdentity, CliError> {
    let seed = open_store(config)?.load_or_create_device_seed().await.map_err(CliError::new)?;
    Ok(DeviceIdentity::from_seed(&seed))
}

async fn export(config: &Config, file: &Path) -> Result<String, CliError> {
    let identity = present(config).await?;
    let pem = identity.to_pkcs8_pem().map_err(CliError::new)?;
    let shown = file.display();
    write_private(file, pem.expose()).map_err(|error| {
        CliError::new(format!("The key cannot be written to {shown}: {error}. Name a file that does not exist."))
    })?;
    Ok(format!("{}\nprivate key: written to {shown}; whoever has it is this device", describe(&identity)))
}

async fn import(config: &Config, file: &Path) -> Result<String, CliError> {
    let shown = file.display();
    let pem =
        read_pem(file).map_err(|error| CliError::new(format!("The key cannot be read from {shown}: {error}.")))?;
    let identity = DeviceIdentity::from_pkcs8_pem(&pem)
        .map_err(|error| CliError::coded(EXIT_CONFIG, format!("{shown} is {error}.")))?;
    replace(config, &identity).await?;
    Ok(format!("{}\nimported: gateways may ask for this device to be paired", describe(&identity)))
}

/// For a key that somebody else may have, or that gateways have locked out.
async fn reset(config: &Config, yes: &YesArgs) -> Result<String, CliError> {
    let former = present(config).await?;
    let paired = paired_gateways(config).await?;
    if !yes.yes && !can_ask() {
        let sentence =
            "Nobody can be asked here whether the device identity is to be replaced. Give --yes to replace it.";
        return Err(CliError::usage(sentence));
    }
    yes.confirm("Replace", "the device identity", &[former.device_id().to_owned()])?;
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(seed.as_mut_slice())
        .map_err(|error| CliError::new(format!("The system gives no random key: {error}.")))?;
    let identity = DeviceIdentity::from_seed(&seed);
    replace(config, &identity).await?;
    let again = match paired.as_slice() {
        [] => "no gateway had given the former one a token".to_owned(),
        paired => format!("these gateways must pair it again: {}", paired.join(", ")),
    };
    Ok(format!(
        "{}\nnew: approve this device where a gateway asks for it, and remove the former one there: {}\n{again}",
        describe(&identity),
        former.device_id()
    ))
}

/// The gateways that have given this device a token, by their names; by its address one that has no record any more.
async fn paired_gateways(config: &Config) -> Result<Vec<String>, CliError> {
    let store = open_store(config)?;
    let tokens = store.load_device_tokens().await.map_err(CliError::new)?;
    let gateways = store.load_gateways().await.map_err(CliError::new)?;
    let named = tokens.into_iter().map(|(address, _)| {
        let is_there = |gateway: &&GatewayRecord| gateway.address().is_some_and(|at| at.key() == address);
        let names: Vec<&str> = gateways.iter().filter(is_there).map(|gateway| gateway.name.as_str()).collect();
        if names.is_empty() { address } else { plain(&names.join(", ")) }
    });
    Ok(named.collect())
}

async fn replace(config: &Config, identity: &DeviceIdentity) -> Result<(), CliError> {
    // A running daemon would go on with the old key, so it must not run.
    let _claimed = StateDir::claim(&config.state_dir)?;
    let store = open_store(config)?;
    store.replace_device_seed(identity.seed()).await.map_err(CliError::new)?;
    store.flush().await.map_err(CliError::new)
}

fn describe(identity: &DeviceIdentity) -> String {
    format!("device id:  {}\npublic key: {}", identity.device_id(), identity.public_key())
}

#[cfg(test)]
mod tests {
    use gatewarden_actors::gateway_record::{DeviceToken, GatewaySpec};
    use gatewarden_protocol::Secret;

    use super::*;
    use crate::config::Inputs;

    #[actix::test]
    async fn a_reset_names_the_gateways_that_must_pair_again() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::load(&Inputs { state_dir: Some(dir.path().to_owned()), ..Inputs::default() }).unwrap();
        let former = present(&config).await.unwrap();
        let store = open_store(&config).unwrap();
        let _ = store.create_gateway(GatewaySpec::at("lab", "wss://lab.example/a", 443)).await.unwrap();
        let _ = store.create_gateway(GatewaySpec::at("other", "127.0.0.1", 18789)).await.unwrap();
        for address in ["wss://lab.example:443/a", "ws://gone.example:1"] {
            let token =
                DeviceToken { token: Secret::new("t"), role: "operator".into(), scopes: vec![], issued_at_ms: 0 };
            store.put_device_token(address.into(), token).await.unwrap();
        }
        store.flush().await.unwrap();
        drop(store);
        let said = reset(&config, &YesArgs { yes: true }).await.unwrap();
        assert!(said.ends_with("these gateways must pair it again: ws://gone.example:1, lab"), "{said}");
        assert!(
            said.contains(former.device_id()) && present(&config).await.unwrap().device_id() != former.device_id(),
            "{said}"
        );
        let again = reset(&config, &YesArgs { yes: true }).await.unwrap();
        assert!(again.ends_with("no gateway had given the former one a token"), "the tokens went with it: {again}");
    }
}
