//! How the gateway is found and reached from elsewhere: `discovery`, and `gateway.tailscale`.

use super::section::{Findings, Others, Section, set};
use super::{Auth, GatewayConfig, Mdns, Tailscale, TailscaleMode};

/// A name of DNS is no longer, in bytes.
const MAX_DOMAIN: usize = 253;
/// What stands before the domain in the longest name of its zone.
const LONGEST_NAME: usize = "._openclaw-gw._tcp.".len() + 63;

/// `gateway.tailscale`.
pub(super) fn tailscale(gateway: &Section<'_>, into: &mut Tailscale) {
    let section = gateway.section("tailscale");
    let mode = section.parsed("mode", |mode| TailscaleMode::from_name(mode).ok_or("must be off, serve or funnel"));
    set(&mut into.mode, mode);
    if section.switch("resetOnExit") == Some(false) && into.mode != TailscaleMode::Off {
        let path = section.key("resetOnExit");
        section.findings.warn(format!("{path}: false has no effect: the route ends with the gateway in any case"));
    }
    section.close(Others::RefusedBut(""));
}

/// `discovery`, at the top as real OpenClaw has it, and in `gateway` as document 004 does.
pub(super) fn discovery(above: &Section<'_>, config: &mut GatewayConfig) {
    let section = above.section("discovery");
    let mdns = section.section("mdns");
    let mode = mdns.parsed("mode", |mode| match mode {
        "off" => Ok(Mdns::Off),
        "minimal" => Ok(Mdns::Minimal),
        "full" => Ok(Mdns::Full),
        _ => Err("must be off, minimal or full"),
    });
    set(&mut config.mdns, mode);
    mdns.close(Others::RefusedBut(""));
    let wide_area = section.section("wideArea");
    let (enabled, domain) = (wide_area.switch("enabled"), wide_area.parsed("domain", parse_domain));
    match (enabled, domain) {
        (Some(true), None) if wide_area.value("domain").is_none() => {
            wide_area.missing("domain", ": name the DNS domain to be found in, such as openclaw.internal");
        }
        // Real releases have retired the switch: the domain alone is enough.
        (None | Some(true), Some(domain)) => config.wide_area = Some(domain),
        _ => {}
    }
    wide_area.close(Others::RefusedBut(""));
    section.close(Others::Ignored);
}

/// A domain of wide-area discovery, without the dot at its end; the rule of real releases.
///
/// # Errors
/// What is wrong, for people.
pub fn parse_domain(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let fits = name.len() <= MAX_DOMAIN - LONGEST_NAME && name.split('.').all(is_label);
    if fits {
        Ok(name.to_owned())
    } else {
        Err("must be a DNS domain of at most 171 characters, such as openclaw.internal")
    }
}

/// What only the whole tells.
pub(super) fn check(findings: &Findings<'_>, config: &GatewayConfig, auth: Option<&Auth>) {
    let (mode, bind) = (config.tailscale.mode, config.bind);
    if config.mdns != Mdns::Off && bind.is_loopback() {
        findings.warn("discovery.mdns has no effect: gateway.bind lets nobody else connect".to_owned());
    }
    if config.wide_area.is_some() && bind.is_loopback() {
        findings.warn("discovery.wideArea has no effect: gateway.bind lets nobody else connect".to_owned());
    }
    if mode == TailscaleMode::Off {
        if config.tailscale.allow_logins {
            findings.warn("gateway.auth.allowTailscale has no effect: gateway.tailscale.mode isn't serve".to_owned());
        }
        return;
    }
    let key = "gateway.tailscale.mode";
    if !bind.is_loopback() {
        findings.wrong(key, None, "needs gateway.bind: loopback, where Tailscale hands the requests on");
    }
    match (mode, auth) {
        (TailscaleMode::Funnel, Some(Auth::Password(_))) => {}
        (TailscaleMode::Funnel, _) => findings.wrong(
            key,
            None,
            "opens the gateway to the whole internet and needs a password: write gateway.auth.mode: password, and set \
            gateway.auth.password or OPENCLAW_GATEWAY_PASSWORD",
        ),
        (_, Some(Auth::None)) => findings.wrong(
            key,
            None,
            "lets the whole tailnet in where gateway.auth.mode is none; write token or password",
        ),
        _ => {}
    }
    if let Some(auth @ (Auth::Token(_) | Auth::Password(_))) = auth
        && !auth.is_unguessable()
    {
        findings.warn(format!(
            "the shared credential has fewer than 16 characters, or fewer than 8 different ones, and {key} opens this gateway to \
            others: it can be guessed"
        ));
    }
    if mode == TailscaleMode::Funnel && config.tailscale.allow_logins {
        findings.warn("gateway.auth.allowTailscale has no effect with Funnel: everybody shows the password".to_owned());
    }
}
