//! `gatewarden status`: the daemon's own state.

use clap::Args;
use gatewarden_api::daemon::DaemonStatus;

use super::daemon::DaemonArgs;
use super::output::{Paint, Tone, plain, seconds_of};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Prints it.
pub(super) fn run(args: &StatusArgs) -> u8 {
    args.daemon.run(|daemon| {
        daemon.show(&daemon.get("/api/status")?, |seen: &DaemonStatus| {
            if daemon.output.is_quiet() { seen.status.clone() } else { page(&daemon.url(), seen, daemon.output.paint) }
        })
    })
}

fn page(url: &str, seen: &DaemonStatus, paint: Paint) -> String {
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
    lines.push(match (&seen.primary, &seen.acting_primary) {
        (_, Some(acting)) => format!("primary   {} ({})", plain(&acting.name), plain(&acting.reason)),
        (Some(primary), None) => {
            let (name, status) = (plain(&primary.name), plain(&primary.status));
            let words = format!("none acts; configured is {name}, which is {status}");
            format!("primary   {}", paint.paint(Tone::Bad, &words))
        }
        (None, None) => "primary   none".to_owned(),
    });
    lines.push(format!("sessions  {} active", seen.sessions));
    if let Some(error) = &seen.store.error {
        lines.push(format!("store     {}", paint.paint(Tone::Bad, &plain(error))));
    }
    if let Some(doubt) = &seen.self_doubt {
        lines.push(format!("network   {}", paint.paint(Tone::Warning, &plain(doubt))));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_names_counts_primary_and_what_is_wrong() {
        let seen = json!({"status": "degraded", "version": "1", "uptime": 61, "ready": true,
            "primary": {"id": 1, "name": "prod", "status": "offline"}, "acting_primary": null,
            "gateways": {"total": 3, "by_status": {"online": 2, "offline": 1, "timeout": 0}}, "sessions": 4,
            "store": {"ok": false, "writer_queue": 0, "reader_queue": 0, "error": "the disk is full"}, "self_doubt": null,
            "registry": {"ok": true, "in_flight": 0}});
        let seen = serde_json::from_value(seen).unwrap();
        let page = page("http://x", &seen, Paint::none());
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
}
