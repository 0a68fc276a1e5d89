//! `gatewarden status`: the daemon's own state.

use clap::Args;
use serde_json::Value;

use super::client::{DaemonArgs, Tone, number, seconds_of, status_tone, text};
use super::{EXIT_OK, terminal};
use crate::cli::client::Paint;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Prints it.
pub(super) fn run(args: &StatusArgs) -> u8 {
    args.daemon.run(|daemon| {
        let answer = daemon.get("/api/status")?;
        daemon.show(&answer, |seen| {
            if daemon.output.is_quiet() {
                return text(seen, "/status").unwrap_or_default();
            }
            page(&daemon.url(), seen, daemon.output.paint)
        });
        Ok(EXIT_OK)
    })
}

fn page(url: &str, seen: &Value, paint: Paint) -> String {
    let word = |pointer: &str| terminal::plain(&text(seen, pointer).unwrap_or_default());
    let count = |pointer: &str| number(seen, pointer).unwrap_or_default();
    let mut lines = Vec::new();
    let status = word("/status");
    lines.push(format!(
        "daemon    {}, gatewarden {} at {url}, up for {}{}",
        paint.paint(status_tone(&status), &status),
        word("/version"),
        seconds_of(count("/uptime")),
        if seen.get("ready") == Some(&Value::Bool(true)) { "" } else { ", not ready" }
    ));
    let by_status: Vec<String> = ["online", "degraded", "timeout", "offline", "unknown"]
        .iter()
        .map(|status| (*status, count(&format!("/gateways/by_status/{status}"))))
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| paint.paint(status_tone(status), &format!("{count} {status}")))
        .collect();
    lines.push(format!(
        "gateways  {}{}",
        count("/gateways/total"),
        match by_status.as_slice() {
            [] => String::new(),
            some => format!(": {}", some.join(", ")),
        }
    ));
    let acting = seen.pointer("/acting_primary").filter(|acting| acting.is_object());
    let primary = seen.pointer("/primary").filter(|primary| primary.is_object());
    lines.push(match (primary, acting) {
        (_, Some(_)) => format!("primary   {} ({})", word("/acting_primary/name"), word("/acting_primary/reason")),
        (Some(_), None) => {
            let words =
                format!("none acts; configured is {}, which is {}", word("/primary/name"), word("/primary/status"));
            format!("primary   {}", paint.paint(Tone::Bad, &words))
        }
        (None, None) => "primary   none".to_owned(),
    });
    lines.push(format!("sessions  {} active", count("/sessions")));
    if let Some(error) = text(seen, "/store/error") {
        lines.push(format!("store     {}", paint.paint(Tone::Bad, &terminal::plain(&error))));
    }
    if let Some(doubt) = text(seen, "/self_doubt") {
        lines.push(format!("network   {}", paint.paint(Tone::Warning, &terminal::plain(&doubt))));
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
            "store": {"error": "the disk is full"}, "self_doubt": null});
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
