//! A gateway on the command line: its address (`HOST`, `HOST:PORT`, `[IPv6]:PORT` or a URL), and whom to trust on TLS towards it.

use std::path::PathBuf;

use clap::Args;
use gatewarden_actors::gateway_record::TlsTrust;
use gatewarden_protocol::address::DEFAULT_GATEWAY_PORT;

use super::error::CliError;
use super::files::read_pem;

/// Host and port as the API takes them: of a URL the port may be left out, of anything else it is 18789 then.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let text = text.trim();
    if text.contains("://") {
        return Ok((text.to_owned(), None));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or_else(|| Some(rest).filter(|rest| !rest.is_empty()))),
        None if text.matches(':').count() == 1 => {
            text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
        }
        None => (text, None),
    };
    let port = match port {
        None => DEFAULT_GATEWAY_PORT,
        Some(port) => port
            .parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("The port after {host} must be a number from 1 to 65535."))?,
    };
    Ok((host.to_owned(), Some(port)))
}

const TLS: &str = "Whom to trust on TLS";

/// At most one of them.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub(super) struct TrustArgs {
    /// Trust this machine's certificate authorities
    #[arg(long, help_heading = TLS)]
    system_trust: bool,
    /// Trust this certificate alone: SHA-256 of the gateway's own, 64 hex digits; several may be given
    #[arg(long = "pin", value_name = "SHA256", help_heading = TLS)]
    pins: Vec<String>,
    /// Trust the certificate authorities in this PEM file, and no others
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    ca: Option<PathBuf>,
    /// Trust anybody: for development only
    #[arg(long, help_heading = TLS)]
    insecure: bool,
}

impl TrustArgs {
    /// What was chosen, if anything.
    pub(super) fn chosen(&self) -> Result<Option<TlsTrust>, CliError> {
        if self.system_trust {
            return Ok(Some(TlsTrust::System));
        }
        if self.insecure {
            return Ok(Some(TlsTrust::None));
        }
        if !self.pins.is_empty() {
            return Ok(Some(TlsTrust::Pins { pins: self.pins.clone() }));
        }
        let Some(file) = &self.ca else { return Ok(None) };
        let unreadable = |error| CliError::usage(format!("{} cannot be read: {error}.", file.display()));
        let pem = read_pem(file).map_err(unreadable)?;
        Ok(Some(TlsTrust::Ca { ca_pem: pem.to_string() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_taken() {
        for (typed, host, port) in [
            ("gateway.example", "gateway.example", Some(18789)),
            ("192.0.2.7:18790", "192.0.2.7", Some(18790)),
            ("[fd00::1]:1", "fd00::1", Some(1)),
            ("[fd00::1]", "fd00::1", Some(18789)),
            ("fd00::1", "fd00::1", Some(18789)),
            ("wss://gateway.example/x", "wss://gateway.example/x", None),
        ] {
            assert_eq!(host_and_port(typed).unwrap(), (host.to_owned(), port), "{typed}");
        }
        for typed in ["a:0", "a:b", "a:70000", "[::1]x"] {
            assert!(host_and_port(typed).unwrap_err().contains("65535"), "{typed}");
        }
    }
}
