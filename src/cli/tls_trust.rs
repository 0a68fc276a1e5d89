//! Whom to trust on TLS towards a gateway, as options.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use gatewarden_actors::gateway_record::TlsTrust;

use super::client::Trouble;

/// A certificate file is at most this long.
const LONGEST_PEM: u64 = 256 * 1024;

/// At most one of them.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub(super) struct TrustArgs {
    /// Trust this machine's certificate authorities
    #[arg(long)]
    system_trust: bool,
    /// Trust this certificate alone: SHA-256 of the gateway's own, 64 hex digits; several may be given
    #[arg(long = "pin", value_name = "SHA256")]
    pins: Vec<String>,
    /// Trust the certificate authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust anybody: for development only
    #[arg(long)]
    insecure: bool,
}

impl TrustArgs {
    /// What was chosen, if anything.
    pub(super) fn chosen(&self) -> Result<Option<TlsTrust>, Trouble> {
        if self.system_trust {
            return Ok(Some(TlsTrust::System));
        }
        if self.insecure {
            return Ok(Some(TlsTrust::None));
        }
        if !self.pins.is_empty() {
            return Ok(Some(TlsTrust::Pins { pins: self.pins.clone() }));
        }
        self.ca.as_deref().map(|file| Ok(TlsTrust::Ca { ca_pem: read_pem(file)? })).transpose()
    }
}

fn read_pem(file: &Path) -> Result<String, Trouble> {
    let mut pem = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(LONGEST_PEM).read_to_string(&mut pem))
        .map_err(|error| Trouble::usage(format!("{} cannot be read: {error}.", file.display())))?;
    Ok(pem)
}
