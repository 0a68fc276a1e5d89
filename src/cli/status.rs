//! `gatewarden status`: the daemon's own state.

use std::cmp::Reverse;

use gatewarden_api::daemon::DaemonStatus;
use gatewarden_api::gateway_record::{Gateway, GatewayList};

use super::daemon::{DaemonArgs, now_s};
use super::gateways::show::{next_attempt, urgency};
use super::output::{Paint, Tone, at, plain, seconds_of};
use super::table::wrapped;

/// So many gateways that are not online are named.
const MOST_NAMED: usize = 8;

/// Prints it.
pub(super) fn run(args: &DaemonArgs) -> u8 {
    args.run(|daemon| {
        daemon.show(&daemon.get("/api/status")?, |seen: &DaemonStatus| {
            if daemon.output.is_quiet() {
                return seen.status.clone();
            }
            // An older daemon, or a key that may not: the page is as good without.
            let list = daemon.get("/api/gateways").and_then(|answer| daemon.read::<GatewayList>(&answer));
            let troubled = list.map(|list| troubled(&list.gateways, now_s())).unwrap_or_default();
            page(&daemon.url(), seen, &troubled, daemon.output.paint, daemon.output.room())
        })
    })
}

/// Which gateways aren't online, why, and when they are dialled again: the worst first; of those the ones that aren't dialled, then
/// the longest wait.
fn troubled(gateways: &[Gateway], now_s: i64) -> Vec<String> {
    let mut troubled: Vec<&Gateway> = gateways.iter().filter(|gateway| gateway.status != "online").collect();
    let order =
        |gateway: &&Gateway| (urgency(&gateway.status), gateway.next_attempt.is_some(), Reverse(gateway.next_attempt));
    troubled.sort_by_key(order);
    let more = troubled.len().saturating_sub(MOST_NAMED);
    let mut lines: Vec<String> = (troubled.iter().take(MOST_NAMED))
        .map(|gateway| {
            let reason =
                gateway.last_error.as_ref().map(|error| format!(" ({})", plain(&error.code))).unwrap_or_default();
            let again = next_attempt(gateway, now_s).map(|when| format!(", tried again {when}")).unwrap_or_default();
            format!("{} is {}{reason}{again}", plain(&gateway.name), plain(&gateway.status))
        })
        .collect();
    if more > 0 {
        lines.push(format!("and {more} more: gatewarden gateways list"));
    }
    lines
}

/// Where what is said of each thing begins.
const MARGIN: usize = 10;
/// Least places for it, however narrow the terminal is.
const LEAST: usize = 20;

fn page(url: &str, seen: &DaemonStatus, troubled: &[String], paint: Paint, room: Option<usize>) -> String {
    let room = room.map_or(usize::MAX, |room| room.saturating_sub(MARGIN).max(LEAST));
    let entry = |name: &str, tone: Tone, text: &str| {
        let lines = wrapped(text, room).into_iter().map(|line| paint.paint(tone, &line));
        format!("{name:<MARGIN$}{}", lines.collect::<Vec<_>>().join(&format!("\n{:MARGIN$}", "")))
    };
    let mut lines = Vec::new();
    lines.push(format!(
        "daemon    {}, gatewarden {} at {url}, up for {}{}",
        paint.paint(Tone::of_status(&seen.status), &plain(&seen.status)),
        plain(&seen.version),
        seconds_of(i64::try_from(seen.uptime).unwrap_or(i64::MAX)),
        if seen.ready { "" } else { ", not ready" }
    ));
    let by_status = paint.counts(|status| seen.gateways.by_status.get(status).copied().unwrap_or_default());
    let by_status = if by_status.is_empty() { by_status } else { format!(": {by_status}") };
    lines.push(format!("gateways  {}{by_status}", seen.gateways.total));
    lines.extend(troubled.iter().map(|line| entry("", Tone::Plain, line)));
    let (tone, primary) = match (&seen.primary, &seen.acting_primary) {
        (Some(primary), Some(acting)) if primary.id == acting.id => {
            (Tone::Plain, format!("{} ({})", plain(&acting.name), plain(&primary.status)))
        }
        (Some(primary), Some(acting)) => {
            let (name, status, reason) = (plain(&primary.name), plain(&primary.status), plain(&acting.reason));
            let until = acting.until.map(|until| format!(", until {}", at(until))).unwrap_or_default();
            let words = format!("{} acts for {name}, which is {status} ({reason}{until})", plain(&acting.name));
            (Tone::Warning, words)
        }
        (None, Some(acting)) => (Tone::Plain, format!("{} ({})", plain(&acting.name), plain(&acting.reason))),
        (Some(primary), None) => {
            let (name, status) = (plain(&primary.name), plain(&primary.status));
            (Tone::Bad, format!("none acts; configured is {name}, which is {status}"))
        }
        (None, None) => (Tone::Plain, "none".to_owned()),
    };
    lines.push(entry("primary", tone, &primary));
    lines.push(format!("sessions  {} active", seen.sessions));
    if let Some(error) = &seen.store.error {
        lines.push(entry("store", Tone::Bad, &plain(error)));
    }
    if let Some(doubt) = &seen.self_doubt {
        lines.push(entry("network", Tone::Warning, &plain(doubt)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::gateways::show::tests::example;

    #[test]
    fn the_page_names_counts_primary_and_what_is_wrong() {
        let seen = json!({"status": "degraded", "version": "1", "uptime": 61, "ready": true,
            "primary": {"id": 1, "name": "prod", "status": "offline"}, "acting_primary": null,
            "gateways": {"total": 3, "by_status": {"online": 2, "offline": 1, "timeout": 0}}, "sessions": 4,
            "store": {"ok": false, "writer_queue": 0, "reader_queue": 0, "error": "the disk is full"}, "self_doubt": null,
            "registry": {"ok": true, "in_flight": 0}});
        let seen = serde_json::from_value(seen).unwrap();
        let page = page("http://x", &seen, &[], Paint::none(), None);
        for part in [
            "degraded, gatewarden 1 at http://x, up for 1m",
            "3: 2 online, 1 offline",
            "prod, which is offline",
            "the disk is full",
        ] {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(!page.contains("network"));
    }
    #[test]
    fn the_reason_of_a_failover_stands_at_the_gateway_that_lost_the_role_and_waits_count_down() {
        let mut seen = json!({"status": "ok", "version": "1", "uptime": 61, "ready": true,
            "primary": {"id": 1, "name": "prod", "status": "online"},
            "acting_primary": {"id": 2, "name": "lab", "reason": "the configured primary is drained"},
            "gateways": {"total": 2, "by_status": {"online": 2}}, "sessions": 0,
            "store": {"ok": true, "writer_queue": 0, "reader_queue": 0}, "registry": {"ok": true, "in_flight": 0}});
        let read = |seen: &serde_json::Value| serde_json::from_value(seen.clone()).unwrap();
        let gateway = |name: &str, next: i64| example(json!({"name": name, "status": "offline", "next_attempt": next}));
        let error = json!({"code": "pairing_required", "message": "m", "help": "h"});
        let blocked = example(json!({"name": "new", "status": "degraded", "last_error": error}));
        let waiting = troubled(&[gateway("near", 103), gateway("far", 130), blocked, example(json!({}))], 100);
        assert_eq!(waiting[..2], ["far is offline, tried again in 30s", "near is offline, tried again in 3s"]);
        assert_eq!(waiting[2], "new is degraded (pairing_required)");
        let shown = page("http://x", &read(&seen), &waiting, Paint::none(), None);
        assert!(
            shown.contains("primary   lab acts for prod, which is online (the configured primary is drained)"),
            "{shown}"
        );
        assert!(shown.contains("\n          far is offline, tried again in 30s\n"), "{shown}");
        seen["acting_primary"] = json!({"id": 1, "name": "prod", "reason": "the configured primary is usable"});
        assert!(page("http://x", &read(&seen), &[], Paint::none(), None).contains("primary   prod (online)"));
        let reason = "the configured primary is usable and waits until it has been so for the configured time";
        seen["acting_primary"] = json!({"id": 2, "name": "lab", "reason": reason});
        let narrow = page("http://x", &read(&seen), &waiting, Paint::none(), Some(80));
        assert!(narrow.lines().all(|line| line.len() <= 80) && narrow.contains("\n          and waits"), "{narrow}");
    }
}
