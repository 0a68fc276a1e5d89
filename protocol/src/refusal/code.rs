//! The closed list of reasons, with what people are told about each.

use super::RefusalClass;

macro_rules! codes {
    ($($variant:ident $name:literal $class:ident $predicate:literal; $help:literal)*) => {
        /// Why a gateway can't be worked with. The names are stable: scripts branch on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ::serde::Serialize, ::serde::Deserialize)]
        pub enum RefusalCode {
            $(
                #[doc = concat!("The gateway ", $predicate, ".")]
                #[serde(rename = $name)]
                $variant,
            )*
        }

        impl RefusalCode {
            /// Every reason, for documents, metrics and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What to do about it, in the coarse.
            pub fn class(self) -> RefusalClass {
                match self { $(Self::$variant => RefusalClass::$class),* }
            }

            /// The sentence without its subject: "refused the token".
            pub(super) fn predicate(self) -> &'static str {
                match self { $(Self::$variant => $predicate),* }
            }

            /// One sentence: what happened.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => concat!("The gateway ", $predicate, ".")),* }
            }

            /// What to change, and where.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }
        }
    };
}

codes! {
    // Credentials.
    TokenMismatch "token_mismatch" Blocked "refused the token";
        "Set this gateway's token here to the value of gateway.auth.token in the gateway's openclaw.json (PUT /api/gateways with id and token)."
    TokenMissing "token_missing" Blocked "wants a token, and none is set for it";
        "Set this gateway's token here to the value of gateway.auth.token in the gateway's openclaw.json (PUT /api/gateways with id and token)."
    PasswordRequired "password_required" Blocked "wants a password, and none is set for it";
        "Set this gateway's password here to the value of gateway.auth.password in the gateway's openclaw.json (PUT /api/gateways with id and password)."
    PasswordMismatch "password_mismatch" Blocked "refused the password";
        "Set this gateway's password here to the value of gateway.auth.password in the gateway's openclaw.json (PUT /api/gateways with id and password)."
    DeviceTokenMismatch "device_token_mismatch" Blocked "no longer takes the device token that it had issued";
        "The stored device token has been forgotten. Set the gateway's shared token here (PUT /api/gateways with id and token), or pair this device again: openclaw devices list on the gateway's host shows the request."
    Unauthorized "unauthorized" Blocked "refused the credentials";
        "Compare this gateway's token here with gateway.auth in the gateway's openclaw.json; behind a reverse proxy, let the proxy pass WebSocket upgrades without a login of its own."
    RateLimited "rate_limited" RateLimited "refuses all logins for a while after too many failed ones";
        "Correct this gateway's token first; the next attempt comes by itself when the lock has passed (300 s on real gateways). Other clients with a wrong token behind the same address lock it too."
    // Device and pairing.
    PairingRequired "pairing_required" PairingRequired "waits for this device to be approved";
        "On the gateway's host run openclaw devices list, then openclaw devices approve <requestId>. The connection comes up by itself within seconds of the approval."
    DeviceIdentityRequired "device_identity_required" Blocked "demands a device identity";
        "Set disable_device_pairing to false for this gateway here. To keep control-UI mode on a release of protocol 3, set gateway.controlUi.dangerouslyDisableDeviceAuth to true in the gateway's openclaw.json and restart it; releases of protocol 4 no longer have that setting."
    DeviceSignatureInvalid "device_signature_invalid" Blocked "refused this device's signature";
        "Compare the device id of gatewarden identity with openclaw devices list on the gateway's host. If another key was imported there under this id, remove the device on the gateway and pair again."
    DeviceSignatureExpired "device_signature_expired" Blocked "considers this device's signature too old or from the future";
        "Set the clocks of this host and of the gateway's host right (NTP): they may differ by 120 s at most."
    DeviceIdMismatch "device_id_mismatch" Blocked "says that the device id does not belong to the device key";
        "Export and import the identity again (gatewarden identity), as one PKCS#8 key; the id is always the SHA-256 of its public key."
    DeviceNonceMismatch "device_nonce_mismatch" Blocked "got an answer to another challenge than its own";
        "Something between here and the gateway mixes connections up: connect without the proxy or load balancer, or let it keep each WebSocket on one backend."
    DeviceRemoved "device_removed" Blocked "removed this device from its list";
        "The stored device token has been forgotten. If the removal was not meant, choose reconnect for this gateway, then approve the request: openclaw devices approve <requestId> on the gateway's host."
    // What is allowed.
    OriginNotAllowed "origin_not_allowed" Blocked "does not allow the origin of this connection";
        "Add the gateway's own URL to gateway.controlUi.allowedOrigins in its openclaw.json and restart it; or set disable_device_pairing to false for this gateway here, so that no Origin is sent."
    MissingScope "missing_scope" Blocked "granted fewer scopes than are needed";
        "Approve this device with the operator scopes on the gateway's host (openclaw devices list, then approve). Where disable_device_pairing is set here, set it to false, or (protocol 3) set gateway.controlUi.dangerouslyDisableDeviceAuth to true in the gateway's openclaw.json and restart it."
    RoleNotAllowed "role_not_allowed" Blocked "refused the role operator";
        "Approve this device for the role operator on the gateway's host: openclaw devices list, then openclaw devices approve <requestId>."
    ProtocolMismatch "protocol_mismatch" Blocked "speaks no protocol version that this daemon knows";
        "Bring both to releases that share a protocol version: this daemon speaks 3 and 4. openclaw --version on the gateway's host tells its release."
    ControlUiBuildMismatch "control_ui_build_mismatch" Blocked "takes only a control UI of its own build";
        "Set disable_device_pairing to false for this gateway here, so that it is used as an ordinary client instead of as a control UI."
    VersionTooOld "version_too_old" Blocked "runs a release older than the minimum that is set";
        "Update the gateway (openclaw update on its host), or lower GATEWAY_MIN_VERSION here."
    InvalidHandshake "invalid_handshake" Blocked "did not understand the connect request";
        "The gateway's release demands something that this daemon does not send, or a proxy changes the frames. Compare the releases; the gateway's log has the details."
    RefusedByGateway "refused_by_gateway" Blocked "refused the connection for a reason of its own";
        "Its own words say why; its log has more (openclaw logs --follow on the gateway's host)."
    // What answers is something else.
    NotAGateway "not_a_gateway" Blocked "is no OpenClaw gateway, or not at this address";
        "Something answers there, but neither with a WebSocket upgrade nor with a health document. Check host and port (18789 by default), and the path rules of a reverse proxy in front of it."
    Redirected "redirected" Blocked "answers with a redirect, and redirects are not followed";
        "Set host and port here to where the gateway really is; a redirect to https means that the host should be given as a wss:// URL."
    UpgradeForbidden "upgrade_forbidden" Blocked "is behind something that forbids the connection";
        "Allow WebSocket upgrades from this host in the reverse proxy, firewall or access list in front of the gateway."
    ProxyAttributionRequired "proxy_attribution_required" Blocked "got the connection through a proxy that it does not trust";
        "Add the proxy's address to gateway.trustedProxies in the gateway's openclaw.json, or connect to the gateway without the proxy."
    TlsNotTrusted "tls_not_trusted" Blocked "shows a TLS certificate that is not trusted";
        "Set tls for this gateway here: {\"trust\": \"ca\"} with the CA certificate, {\"trust\": \"pins\"} with the SHA-256 of its certificate, or, only for development, {\"trust\": \"none\"}. A certificate for another name or past its date must be renewed on the gateway."
    TlsTrustUnusable "tls_trust_unusable" Blocked "cannot be checked with the TLS trust that is set for it";
        "Correct tls for this gateway here: ca_pem needs at least one PEM certificate, each pin 64 hex digits; with system trust, install the ca-certificates of this machine."
    AddressForbidden "address_forbidden" Blocked "has an address that must never be dialled (link-local or metadata service)";
        "Give the gateway's real address as host: addresses in 169.254.0.0/16, fe80::/10 and of cloud metadata services are never dialled."
    // It comes and goes.
    GatewayStarting "gateway_starting" Starting "is still starting";
        "Nothing to do: it is tried again every second or as it asks. A start may take a minute."
    StartingOverdue "starting_overdue" Retryable "has been starting for longer than its grace";
        "Look at the gateway's log (openclaw logs --follow on its host); gateway.starting_grace here sets the patience."
    GatewayRestarting "gateway_restarting" Restarting "announced that it goes down or restarts";
        "Nothing to do: it is tried again until it is back."
    RestartOverdue "restart_overdue" Retryable "announced that it goes down or restarts, and has not come back in time";
        "Check on its host whether it was stopped on purpose: openclaw gateway status. It is tried again all the while."
    // The way there.
    ConnectionRefused "connection_refused" Retryable "is not listening at its address (connection refused)";
        "Start the gateway (openclaw gateway start on its host), check host and port, and that gateway.bind lets other hosts in."
    ConnectionReset "connection_reset" Retryable "broke the connection off";
        "It was killed, crashed, or something between drops connections. It is tried again by itself; the gateway's log and any proxy's idle timeout tell more."
    NameNotResolved "name_not_resolved" Retryable "has a host name that cannot be resolved";
        "Check the spelling of host, and the DNS of this machine (getent hosts NAME)."
    HostUnreachable "host_unreachable" Retryable "is on a network that cannot be reached from here";
        "Check routes, VPN and firewall between this machine and the gateway's host."
    DialTimeout "dial_timeout" Retryable "did not answer the connection attempt in time";
        "Its host is down, or a firewall swallows the packets: check both; the port must be open to this machine."
    TlsFailed "tls_failed" Retryable "could not agree on TLS";
        "Check whether the gateway serves TLS at this port at all: give the host as ws:// (plain) or wss:// (TLS) accordingly, with TLS 1.2 or newer."
    ChallengeTimeout "challenge_timeout" Retryable "took the connection and then did not speak";
        "It hangs or is overloaded, or it is another kind of server. Look at the gateway's log; restart it if it is stuck."
    ConnectTimeout "connect_timeout" Retryable "did not answer the login in time";
        "It hangs or is overloaded. Look at the gateway's log and load; restart it if it is stuck."
    HeartbeatLost "heartbeat_lost" Retryable "stopped answering heartbeats";
        "It hangs, or the network swallows packets. It is reconnected by itself; if that fails too, look at the gateway's log and load."
    Closed "closed" Retryable "closed the connection";
        "It is connected again by itself; the gateway's log says why it closed."
    ClosedInHandshake "closed_in_handshake" Retryable "closed the connection before the login was done";
        "It is tried again by itself. If it stays so, look at the gateway's log; a proxy that does not pass WebSocket frames looks like this too."
    SlowConsumer "slow_consumer" Retryable "closed the connection because its frames were not taken fast enough";
        "The network between, or this daemon, is too slow for what the gateway sends. It is connected again by itself."
    FrameTooLarge "frame_too_large" Retryable "sent or got a larger frame than is allowed";
        "Frames are limited to 26 MiB (64 KiB before the login). If it stays so, what answers there may not be a gateway."
    MemoryExceeded "memory_exceeded" Retryable "sent more than is held in memory of one gateway";
        "What one gateway may make this daemon hold is set by gateway.memory_each (32MiB): raise it if the gateway is yours and sends such answers for good reasons; else look at what it sends. It is connected again by itself."
    MemorySpent "memory_spent" Retryable "was let go because all gateways together took the memory that is set aside for them, and it took most";
        "Look at the gateway that takes so much; gateway.memory_total (256MiB) sets what all may take together. It is connected again by itself."
    Garbage "garbage" Retryable "sent what is no frame of its protocol";
        "Check that host and port lead to the gateway itself; a proxy that changes frames looks like this too."
    GatewayError "gateway_error" Retryable "failed inside, or the proxy in front of it cannot reach it";
        "Look at the gateway's log, and at that of a reverse proxy in front of it; it is tried again by itself."
    GatewayUnavailable "gateway_unavailable" Retryable "says that it is not available right now";
        "It is tried again by itself; its own words say more."
    LocalFault "local_fault" Retryable "could not be reached because of a fault on this machine";
        "The daemon's log has the cause: mostly too many open files (LimitNOFILE) or no free local ports."
    // Connected, but not well; or not tried.
    HeartbeatMissed "heartbeat_missed" Retryable "missed a heartbeat";
        "It may be busy for a moment; after three misses in a row the connection is made anew."
    HighLatency "high_latency" Retryable "answers slowly";
        "Look at the load of its host and at the network between; gateway.degraded_latency sets the bound."
    GatewayDegraded "gateway_degraded" Retryable "calls itself degraded";
        "openclaw status on the gateway's host says what is wrong with it."
    LoginBudgetSpent "login_budget_spent" RateLimited "is not tried for a moment, so that it does not lock this machine out";
        "Five failed logins a minute are the most that are risked; the next attempt comes by itself, with the token that is stored then. Correct the token only if that has not been done yet."
    Parked "parked" Blocked "made its supervising actor fail too often, and is no longer watched";
        "Choose reconnect for this gateway to try again, and report the panic in the daemon's log: it is a fault of this daemon."
    NodeMissing "node_missing" Retryable "is held by one node alone, which is not there, of another release, or takes no part in the mesh";
        "Start that node, with node.mesh_listen, or let any node hold the gateway: set its node to null."
    Stale "stale" Retryable "has not been heard of for a while";
        "Run a health check of this gateway, and look at the daemon's own state: GET /api/status."
}

impl RefusalCode {
    /// Reads a stable name back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Whether a gateway blocked for this reason is shown as offline: what answers there can't be spoken to at all. Any
    /// other blocked gateway is degraded: it is there, and a change lets us in.
    pub fn means_offline(self) -> bool {
        matches!(
            self,
            Self::NotAGateway
                | Self::Redirected
                | Self::TlsNotTrusted
                | Self::TlsTrustUnusable
                | Self::ProtocolMismatch
                | Self::AddressForbidden
                | Self::Parked
        )
    }

    /// Whether the words that come with it are the gateway's own; otherwise they tell what this side saw.
    pub(super) fn is_said_by_gateway(self) -> bool {
        !matches!(
            self,
            Self::VersionTooOld
                | Self::NotAGateway
                | Self::Redirected
                | Self::TlsNotTrusted
                | Self::TlsTrustUnusable
                | Self::AddressForbidden
                | Self::StartingOverdue
                | Self::RestartOverdue
                | Self::ConnectionRefused
                | Self::ConnectionReset
                | Self::NameNotResolved
                | Self::HostUnreachable
                | Self::DialTimeout
                | Self::TlsFailed
                | Self::ChallengeTimeout
                | Self::ConnectTimeout
                | Self::HeartbeatLost
                | Self::FrameTooLarge
                | Self::MemoryExceeded
                | Self::MemorySpent
                | Self::Garbage
                | Self::LocalFault
                | Self::HeartbeatMissed
                | Self::HighLatency
                | Self::GatewayDegraded
                | Self::LoginBudgetSpent
                | Self::Parked
                | Self::NodeMissing
                | Self::Stale
        )
    }

    /// Whether the gateway may count it towards locking us out. In doubt it counts.
    pub fn counts_as_failed_auth(self) -> bool {
        matches!(
            self,
            Self::TokenMismatch
                | Self::TokenMissing
                | Self::PasswordRequired
                | Self::PasswordMismatch
                | Self::DeviceTokenMismatch
                | Self::Unauthorized
                | Self::RateLimited
                | Self::DeviceIdentityRequired
                | Self::DeviceSignatureInvalid
                | Self::DeviceSignatureExpired
                | Self::DeviceIdMismatch
                | Self::DeviceNonceMismatch
                | Self::RefusedByGateway
        )
    }
}

impl std::fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
