//! Against DNS rebinding: a `Host` that is a name must be one of ours. A page that an attacker's name points to us with
//! carries that name; an IP literal can't be pointed anywhere else.

use std::net::{Ipv4Addr, Ipv6Addr};

use actix_web::http::header::{self, HeaderMap};
use gatewarden_actors::error::{ErrorCode, Failure};

/// Probes of load balancers send names that nobody configured, and are told nothing but a word.
const EXEMPT: [&str; 2] = ["/health", "/ready"];

/// Refuses a request whose `Host` names nothing that is served here.
pub fn check(path: &str, headers: &HeaderMap, allowed: &[String]) -> Result<(), Failure> {
    if EXEMPT.contains(&path) {
        return Ok(());
    }
    let mut hosts = headers.get_all(header::HOST);
    // HTTP/1.0 has none, and no browser speaks that.
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    if hosts.next().is_none() && host.to_str().is_ok_and(|host| is_allowed(host, allowed)) {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::MisdirectedRequest, "The Host header names nothing that is served here")
        .with_help("Add the name to http.allowed_hosts in the configuration, or use the IP address."))
}

fn is_allowed(host: &str, allowed: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if let Some(literal) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return literal.parse::<Ipv6Addr>().is_ok();
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn passes(path: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        check(path, &headers, &["localhost".to_owned(), "warden.example.com".to_owned()]).is_ok()
    }

    #[test]
    fn our_names_and_ip_literals_pass_and_others_do_not() {
        for ours in ["localhost:3000", "LOCALHOST", "warden.example.com", "warden.example.com.:443", "127.0.0.1:3000"] {
            assert!(passes("/api/gateways", ours), "{ours}");
        }
        assert!(passes("/api/gateways", "[::1]:3000"));
        for foreign in ["evil.example", "evil.localhost", "localhost.evil", "1.2.3.4.evil", "[evil]", "", "2130706433"]
        {
            assert!(!passes("/api/gateways", foreign), "{foreign}");
        }
    }

    #[test]
    fn probes_pass_with_any_name() {
        for path in EXEMPT {
            assert!(passes(path, "whatever.cluster.local"));
        }
        assert!(!passes("/metrics", "whatever.cluster.local"), "names gateways");
        assert!(passes("/metrics", "10.0.0.1:3000") && passes("/metrics", "localhost:3000"));
        assert!(passes("/api/gateways", "10.0.0.1"));
    }

    #[test]
    fn two_host_headers_are_one_too_many() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(check("/api/gateways", &headers, &["localhost".to_owned()]).is_err());
    }
}
