//! A destination of notifications, as the configuration has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gatewarden_protocol::{GatewayAddress, Secret};
use url::Url;

use crate::gateway_record::{GatewayRecord, TlsTrust};
use crate::machines::notification::{Condition, WatchSettings};

/// Destinations at most: each has a metric of its own and looks at the whole roster each second.
pub const MAX_DESTINATIONS: usize = 16;

/// Where notifications go, which, and when.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Unique: lower-case letters, digits, `-` and `_`, at most 40. A label of metrics.
    pub name: String,
    /// Where to.
    pub url: WebhookUrl,
    /// What signs the notifications; none for unsigned ones.
    pub secret: Option<Secret>,
    /// Whom to trust, where the URL says https.
    pub tls: TlsTrust,
    /// What is announced.
    pub conditions: BTreeSet<Condition>,
    /// Names of the gateways that matter; empty for all.
    pub gateways: BTreeSet<String>,
    /// Labels that a gateway must have to matter.
    pub labels: BTreeMap<String, String>,
    /// When it is announced.
    pub timing: WatchSettings,
    /// How long delivery is tried.
    pub give_up_after: Duration,
    /// Budget of one attempt.
    pub timeout: Duration,
}

impl Destination {
    /// Whether this gateway matters here.
    pub fn is_for(&self, record: &GatewayRecord) -> bool {
        let named = self.gateways.is_empty() || self.gateways.contains(&record.name);
        named && self.labels.iter().all(|(name, value)| record.labels.get(name) == Some(value))
    }
}

/// The URL of a webhook. What comes after the host is as good as a password with many services, so it is never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    address: GatewayAddress,
    path: Secret,
}

impl WebhookUrl {
    /// Reads an http or https URL. Loopback and private networks are fine, since whoever configures the daemon runs its
    /// machine; addresses that no gateway may have (link-local, cloud metadata) are refused here as well, since a
    /// webhook there is a mistake too.
    ///
    /// # Errors
    /// What would be right. Repeats nothing of the URL.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be an http or https URL such as https://hooks.example.com/gatewarden";
        let url = Url::parse(text.trim()).map_err(|_| EXPECTED.to_owned())?;
        let (Some(host), Some(port), "http" | "https") = (url.host_str(), url.port_or_known_default(), url.scheme())
        else {
            return Err(EXPECTED.to_owned());
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or a password; notifications are signed with secret instead".to_owned());
        }
        let origin = format!("{}://{host}:{port}", url.scheme());
        let address = GatewayAddress::parse(&origin, None).map_err(|error| format!("must be another URL: {error}"))?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self { address: address.address, path: Secret::new(format!("{}{query}", url.path())) })
    }

    /// The host.
    pub fn address(&self) -> &GatewayAddress {
        &self.address
    }

    /// Path and query, for the wire.
    pub(super) fn path(&self) -> &str {
        self.path.expose()
    }

    /// Scheme, host and port: what may be shown.
    pub fn shown(&self) -> String {
        self.address.http_base()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_its_path_and_query_and_shows_neither() {
        let url = WebhookUrl::parse("https://hooks.example.com/services/T0/B0/?token=abc#part").unwrap();
        assert_eq!(url.path(), "/services/T0/B0/?token=abc");
        assert_eq!(url.address().port(), 443);
        assert!(url.address().is_tls());
        for shown in [url.shown(), format!("{url:?}")] {
            assert!(shown.contains("hooks.example.com") && !shown.contains("abc") && !shown.contains("T0"), "{shown}");
        }
    }

    #[test]
    fn plain_http_means_port_80_and_loopback_is_fine() {
        for (text, port) in [
            ("http://hooks.example.com", 80),
            ("http://127.0.0.1:9000/x", 9000),
            ("http://[::1]:9000/x", 9000),
            ("http://10.0.0.7/x", 80),
        ] {
            let url = WebhookUrl::parse(text).unwrap();
            assert_eq!(url.address().port(), port, "{text}");
            assert!(url.path().starts_with('/'), "{text}");
        }
    }

    #[test]
    fn what_is_no_webhook_is_refused_without_being_repeated() {
        for text in [
            "",
            "hooks.example.com",
            "ftp://hooks.example.com/geheim",
            "wss://hooks.example.com/geheim",
            "https://user:geheim@hooks.example.com/",
            "http://169.254.169.254/geheim",
            "http://metadata.google.internal/geheim",
            "mailto:geheim@example.com",
        ] {
            let refusal = WebhookUrl::parse(text).unwrap_err();
            assert!(!refusal.contains("geheim") && !refusal.is_empty(), "{text}: {refusal}");
        }
    }
}
