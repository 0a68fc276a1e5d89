//! The gateway told to other networks (`discovery.wideArea.domain`): a DNS zone with the records of DNS-SD, in a file that an ordinary DNS
//! server serves. File, records and keys are those of real OpenClaw.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::announcement::Announcement;
use crate::private_files::replace_with_mode;
use crate::tailnet::tailnet_ipv4;

/// The folder of zones in the state directory.
const FOLDER: &str = "dns";
/// It holds no secret, and a DNS server that gets a copy runs as another user.
const MODE: u32 = 0o644;
/// What stands before the sum of a zone's content.
const SUM: &str = "; openclaw-content-hash: ";
/// A number of the zone that is not yet known.
const NO_SERIAL: &str = "SERIAL";

/// Writes the zone where it is not as it is to be. `bound` is where the gateway listens.
pub(crate) fn publish(domain: &str, what: &Announcement, port: u16, bound: IpAddr, state_dir: &Path, wall_ms: i64) {
    let tailnet = if bound.is_unspecified() { tailnet_ipv4() } else { Ok(None) };
    let address = match tailnet.map(|tailnet| address_of(bound, tailnet)) {
        Ok(Some(address)) => address,
        Ok(None) => {
            return tracing::warn!(
                "discovery.wideArea: no address of this machine is known that holds in other networks, so no zone was written; \
                 connect it to a tailnet, or let gateway.bind name the address"
            );
        }
        Err(error) => return tracing::warn!(%error, "discovery.wideArea: no zone was written"),
    };
    let zone = Zone { domain, what, port, address };
    let file = state_dir.join(FOLDER).join(format!("{domain}.db"));
    match write(&zone, &file, wall_ms) {
        Ok(true) => tracing::info!(domain, file = %file.display(), "the zone of wide-area discovery was written"),
        Ok(false) => tracing::info!(domain, file = %file.display(), "the zone of wide-area discovery is as it was"),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "the zone of wide-area discovery could not be written");
        }
    }
}

/// The address that holds elsewhere: the one that is listened at, or the tailnet's where that is every one.
fn address_of(bound: IpAddr, tailnet: Option<Ipv4Addr>) -> Option<IpAddr> {
    if bound.is_unspecified() { tailnet.map(IpAddr::V4) } else { Some(bound).filter(|bound| !bound.is_loopback()) }
}

/// Whether anything had to be written. The serial grows with each change.
fn write(zone: &Zone<'_>, file: &Path, wall_ms: i64) -> io::Result<bool> {
    let former = match std::fs::read_to_string(file) {
        Ok(former) => Some(former),
        // One that is no text is made anew.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => None,
        Err(error) => return Err(error),
    };
    let sum = zone.sum();
    if former.as_deref().and_then(sum_in) == Some(sum.as_str()) {
        return Ok(false);
    }
    let serial = next_serial(former.as_deref().and_then(serial_in), today(wall_ms));
    // Who has set another one keeps that.
    let mode = std::fs::metadata(file).map_or(MODE, |found| found.permissions().mode() & 0o777);
    let text = format!("{SUM}{sum}\n{}", zone.text(&serial.to_string()));
    replace_with_mode(file, text.as_bytes(), mode)?;
    Ok(true)
}

struct Zone<'a> {
    /// Without a dot at its end.
    domain: &'a str,
    what: &'a Announcement,
    port: u16,
    address: IpAddr,
}

impl Zone<'_> {
    fn text(&self, serial: &str) -> String {
        let Self { domain, what, port, address } = self;
        let host = what.host.to_ascii_lowercase();
        let instance = format!("{}-gateway", host.chars().take(63 - "-gateway".len()).collect::<String>());
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        let texts = what.texts.iter().filter(|(key, _)| !["lanHost", "displayName"].contains(key));
        let named = std::iter::once(("displayName", &what.name)).chain(texts.map(|(key, text)| (*key, text)));
        let texts: Vec<String> = named.map(|(key, text)| quoted(&format!("{key}={text}"))).collect();
        format!(
            "$ORIGIN {domain}.\n$TTL 60\n@ IN SOA ns1 hostmaster {serial} 7200 3600 1209600 60\n@ IN NS ns1\n\
             ns1 IN {kind} {address}\n{host} IN {kind} {address}\n\
             _openclaw-gw._tcp IN PTR {instance}._openclaw-gw._tcp\n\
             {instance}._openclaw-gw._tcp IN SRV 0 0 {port} {host}\n\
             {instance}._openclaw-gw._tcp IN TXT {}\n",
            texts.join(" ")
        )
    }

    /// FNV-1a of the text, whatever the serial.
    fn sum(&self) -> String {
        let mix = |sum: u32, unit: u16| (sum ^ u32::from(unit)).wrapping_mul(16_777_619);
        format!("{:08x}", self.text(NO_SERIAL).encode_utf16().fold(2_166_136_261, mix))
    }
}

/// A text in a zone file. What is no plain ASCII is written by its number.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\{byte:03}");
            }
        }
    }
    quoted.push('"');
    quoted
}

fn sum_in(zone: &str) -> Option<&str> {
    zone.lines().find_map(|line| line.strip_prefix(SUM)).map(str::trim)
}

fn serial_in(zone: &str) -> Option<u32> {
    let soa = zone.lines().find_map(|line| line.trim_start().strip_prefix("@ IN SOA "))?;
    soa.split_whitespace().nth(2)?.parse().ok()
}

/// The day as `YYYYMMDD01` in UTC.
fn today(wall_ms: i64) -> u32 {
    let now = Timestamp::from_millisecond(wall_ms).unwrap_or_default().to_zoned(TimeZone::UTC);
    let (year, month, day) = (now.year().unsigned_abs(), now.month().unsigned_abs(), now.day().unsigned_abs());
    u32::from(year) * 1_000_000 + u32::from(month) * 10_000 + u32::from(day) * 100 + 1
}

/// Greater than the former one, as DNS compares them (RFC 1982).
fn next_serial(former: Option<u32>, today: u32) -> u32 {
    match former {
        Some(former) if !(1..1 << 31).contains(&today.wrapping_sub(former)) => former.wrapping_add(1),
        _ => today,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn announcement() -> Announcement {
        Announcement {
            name: "studio (OpenClaw)".to_owned(),
            host: "Studio".to_owned(),
            texts: vec![
                ("role", "gateway".to_owned()),
                ("lanHost", "x.local".to_owned()),
                ("displayName", "x".to_owned()),
            ],
        }
    }

    fn zone(what: &Announcement) -> Zone<'_> {
        Zone { domain: "openclaw.internal", what, port: 18_789, address: IpAddr::from([100, 64, 0, 7]) }
    }

    #[test]
    fn the_zone_is_that_of_real_releases() {
        let what = announcement();
        let expected = "$ORIGIN openclaw.internal.\n$TTL 60\n@ IN SOA ns1 hostmaster 2026020301 7200 3600 1209600 60\n\
            @ IN NS ns1\nns1 IN A 100.64.0.7\nstudio IN A 100.64.0.7\n\
            _openclaw-gw._tcp IN PTR studio-gateway._openclaw-gw._tcp\n\
            studio-gateway._openclaw-gw._tcp IN SRV 0 0 18789 studio\n\
            studio-gateway._openclaw-gw._tcp IN TXT \"displayName=studio (OpenClaw)\" \"role=gateway\"\n";
        assert_eq!(zone(&what).text("2026020301"), expected);
    }

    #[test]
    fn it_is_written_when_it_changes_and_its_serial_grows() {
        let dir = tempfile::tempdir().unwrap();
        let (file, what, now) = (dir.path().join("dns/openclaw.internal.db"), announcement(), 20_000 * DAY_MS);
        let serial = || serial_in(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert!(write(&zone(&what), &file, now).unwrap());
        assert_eq!(serial(), 2_024_100_401);
        assert!(!write(&zone(&what), &file, now + DAY_MS).unwrap(), "nothing has changed");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        for (port, later, expected) in [(1, 0, 2_024_100_402), (2, 0, 2_024_100_403), (3, DAY_MS, 2_024_100_501)] {
            assert!(write(&Zone { port, ..zone(&what) }, &file, now + later).unwrap());
            assert_eq!(serial(), expected);
        }
        assert!(write(&zone(&what), &file, now - 40 * DAY_MS).unwrap());
        assert_eq!(serial(), 2_024_100_502, "whatever the clock says");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn serials_are_compared_as_dns_does() {
        assert_eq!(next_serial(None, 2_026_010_101), 2_026_010_101);
        assert_eq!(next_serial(Some(2_026_010_101), 2_026_010_101), 2_026_010_102);
        assert_eq!(next_serial(Some(u32::MAX), 2_026_010_101), 2_026_010_101, "it went round");
        assert_eq!(next_serial(Some(2_026_010_101 + (1 << 31)), 2_026_010_101), 2_026_010_101 + (1 << 31) + 1);
    }

    #[test]
    fn a_text_cant_end_its_record() {
        assert_eq!(quoted("cliPath=/a\"\\\n b\u{e4}"), "\"cliPath=/a\\\"\\\\\\010 b\\195\\164\"");
    }

    #[test]
    fn an_address_is_told_that_holds_elsewhere() {
        let (tailnet, own) = (Ipv4Addr::new(100, 64, 0, 7), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(address_of(own, Some(tailnet)), Some(own));
        assert_eq!(address_of(IpAddr::from([0, 0, 0, 0]), Some(tailnet)), Some(IpAddr::V4(tailnet)));
        assert_eq!(address_of(IpAddr::from([0, 0, 0, 0]), None), None);
        assert_eq!(address_of(IpAddr::from([127, 0, 0, 1]), Some(tailnet)), None);
    }
}
