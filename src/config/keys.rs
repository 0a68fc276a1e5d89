//! Every key of the configuration: its default, the older environment names that set it, and whether it is a secret.
//!
//! This table is what "unknown key" means. `gatewarden.example.toml` documents each key; a test holds the two together.

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Section and name, as in the file: `gateway.heartbeat_interval`.
    pub(crate) path: &'static str,
    /// The default as it would be written in the environment; none where the key may stay unset.
    pub(crate) default: Option<&'static str>,
    /// Environment names of other programs that are understood too; the first that is set wins.
    pub(crate) legacy: &'static [&'static str],
    /// Never printed.
    pub(crate) secret: bool,
}

impl Key {
    /// The environment variable of this key.
    pub(crate) fn variable(&self) -> String {
        variable_of(self.path)
    }
}

/// `GATEWARDEN_GATEWAY__HEARTBEAT_INTERVAL` for `gateway.heartbeat_interval`.
pub(crate) fn variable_of(path: &str) -> String {
    format!("GATEWARDEN_{}", path.replace('.', "__").to_uppercase())
}

/// The key with this path.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The key that somebody probably meant.
pub(crate) fn closest(path: &str) -> Option<&'static Key> {
    let name_of = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let wanted = name_of(path);
    KEYS.iter()
        .map(|key| {
            let whole = strsim::damerau_levenshtein(path, key.path);
            // The right name in a wrong section, or in none, is as close as a slip of one letter.
            let name_alone = strsim::damerau_levenshtein(&wanted, &name_of(key.path)) + 1;
            (whole.min(name_alone), key)
        })
        .filter(|(distance, key)| *distance <= 2 + key.path.len() / 12)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

const fn key(path: &'static str, default: &'static str) -> Key {
    Key { path, default: Some(default), legacy: &[], secret: false }
}

const fn optional(path: &'static str, legacy: &'static [&'static str]) -> Key {
    Key { path, default: None, legacy, secret: false }
}

const fn secret(path: &'static str, legacy: &'static [&'static str]) -> Key {
    Key { path, default: None, legacy, secret: true }
}

const fn also(key: Key, legacy: &'static [&'static str]) -> Key {
    Key { legacy, ..key }
}

/// All keys, in the order in which they are shown.
pub(crate) const KEYS: &[Key] = &[
    optional("state_dir", &[]),
    key("http.listen", "127.0.0.1:3000"),
    key("http.allowed_hosts", "localhost"),
    key("http.trusted_proxies", "127.0.0.0/8,::1"),
    key("http.cors_origins", ""),
    key("http.workers", "2"),
    key("http.max_connections", "4096"),
    key("http.max_connections_per_address", "256"),
    key("http.connection_memory", "64MiB"),
    optional("store.url", &[]),
    key("store.health_retention", "24h"),
    key("store.health_thinned_retention", "7d"),
    key("store.audit_retention", "90d"),
    key("store.spawn_retention", "30d"),
    key("store.backup_interval", "off"),
    key("store.backup_keep", "7"),
    secret("auth.api_key", &["API_KEY"]),
    optional("auth.api_key_file", &[]),
    key("auth.operators_see_tokens", "true"),
    key("auth.session_lifetime", "12h"),
    also(key("rate_limit.enabled", "true"), &["MC_DISABLE_RATE_LIMIT"]),
    key("rate_limit.gateway_per_minute", "100"),
    key("rate_limit.spawn_per_minute", "60"),
    key("rate_limit.control_per_minute", "10"),
    key("rate_limit.wrong_keys_per_minute", "10"),
    key("rate_limit.health_interval", "10s"),
    key("metrics.access", "loopback"),
    key("log.format", "auto"),
    also(key("log.level", "info"), &["LOG_LEVEL"]),
    key("gateway.heartbeat_interval", "30s"),
    key("gateway.heartbeat_timeout", "10s"),
    key("gateway.missed_heartbeats", "3"),
    key("gateway.probe_interval", "5m"),
    key("gateway.probe_timeout", "5s"),
    key("gateway.breaker_failures", "3"),
    key("gateway.backoff", "1s,2s,4s,8s,16s,30s"),
    key("gateway.stable_after", "60s"),
    key("gateway.starting_grace", "5m"),
    key("gateway.restarting_grace", "30s"),
    key("gateway.degraded_latency", "500ms"),
    key("gateway.dial_timeout", "10s"),
    key("gateway.challenge_timeout", "5s"),
    key("gateway.known_challenge_timeout", "10s"),
    key("gateway.connect_timeout", "10s"),
    key("gateway.request_timeout", "30s"),
    key("gateway.blocked_recheck", "10m"),
    key("gateway.resync_interval", "5m"),
    key("gateway.memory_each", "32MiB"),
    key("gateway.memory_total", "256MiB"),
    key("gateway.agent_sync_interval", "15m"),
    key("gateway.min_protocol", "3"),
    key("gateway.max_protocol", "4"),
    also(key("gateway.min_version", "2026.02.9"), &["GATEWAY_MIN_VERSION"]),
    key("direct.heartbeat_timeout", "60s"),
    optional("organization.templates_dir", &[]),
    key("election.auto_failover", "true"),
    key("election.failback_after", "30s"),
    key("election.startup_hold", "10s"),
    key("routing.policy", "primary"),
    key("routing.max_in_flight", "64"),
    key("routing.lost_after", "10m"),
    key("supervision.max_restarts", "5"),
    key("supervision.window", "60s"),
    key("processes.units", ""),
    key("processes.max_restarts", "5"),
    key("processes.window", "5m"),
    key("processes.backoff", "1s,2s,4s,8s,16s,30s"),
    key("processes.stable_after", "60s"),
    key("processes.stop_grace", "10s"),
    key("processes.verify_within", "90s"),
    key("processes.sample_interval", "5s"),
    also(key("seed.name", "primary"), &["MC_DEFAULT_GATEWAY_NAME"]),
    also(key("seed.host", "127.0.0.1"), &["OPENCLAW_GATEWAY_HOST"]),
    also(key("seed.port", "18789"), &["OPENCLAW_GATEWAY_PORT", "GATEWAY_PORT", "NEXT_PUBLIC_GATEWAY_PORT"]),
    optional("seed.url", &["GATEWAY_URL"]),
    secret("seed.token", &["OPENCLAW_GATEWAY_TOKEN", "GATEWAY_TOKEN"]),
    optional("seed.token_file", &[]),
    optional("seed.openclaw_config", &["OPENCLAW_CONFIG"]),
];

/// Secrets by their systemd credential.
pub(crate) const CREDENTIALS: [(&str, &str); 2] = [("auth.api_key", "api_key"), ("seed.token", "gateway_token")];
