//! `gatewarden gateway cron`: scheduled jobs, asked of the running gateway.

use std::time::Duration;

use clap::{Args, Subcommand};
use gatewarden_protocol::wall_time;
use serde_json::{Value, json};

use super::super::EXIT_OK;
use super::super::error::CliError;
use super::super::output::print;
use super::running::{call, text};
use super::{PlaceArgs, ShowArgs};
use crate::config::{parse_duration, show_duration};

/// Rows that are asked for; the gateway gives no more at a time.
const ROWS: u32 = 200;

#[derive(Debug, Subcommand)]
pub(super) enum CronCommand {
    /// Show the jobs: when each is due, and how its last run went
    List(PageArgs),
    /// Make a job that gives an agent a message at its times
    Add(Box<AddArgs>),
    /// Remove a job; a run that is under way goes on to its end
    Rm(JobArgs),
    /// Run a job now, also one that is disabled
    Run(JobArgs),
    /// Show how runs went, the newest first
    Runs {
        /// The id of a job, as `cron list` says it [default: the runs of all]
        #[arg(value_name = "JOB")]
        job: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Let a job run at its times again
    Enable(JobArgs),
    /// Keep a job without running it
    Disable(JobArgs),
}

#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// Leave out so many rows at the beginning
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    #[command(flatten)]
    show: ShowArgs,
}

#[derive(Debug, Args)]
pub(super) struct JobArgs {
    /// The id of the job, as `cron list` says it
    #[arg(value_name = "JOB")]
    job: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// What it is called
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What the agent is told
    #[arg(long, value_name = "TEXT")]
    message: String,
    #[command(flatten)]
    times: TimesArgs,
    /// Time zone of --cron, such as Europe/Berlin [default: that of the gateway's machine]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    tz: Option<String>,
    /// The agent [default: the gateway's default agent]
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// Send the answer to this person or group, by number; ID:topic:N for a topic [default: it stays in the job's session]
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    to: Option<String>,
    /// The channel of --to [default: the only one that there is]
    #[arg(long, value_name = "CHANNEL", requires = "to")]
    channel: Option<String>,
    /// The channel's account for --to [default: its default account]
    #[arg(long, value_name = "ID", requires = "to")]
    account: Option<String>,
    /// Tell this http or https address how each run went
    #[arg(long, value_name = "URL", conflicts_with_all = ["to", "channel", "account"])]
    webhook: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct TimesArgs {
    /// Minute, hour, day of the month, month, weekday; before these seconds, after these the year, where wanted
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// In equal steps, such as 10m, 2h or 1d
    #[arg(long, value_name = "DURATION", value_parser = step)]
    every: Option<Duration>,
    /// Once: an ISO 8601 time, in UTC where it names no offset
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

fn step(written: &str) -> Result<Duration, &'static str> {
    parse_duration(written).ok_or("must be a number with its unit, such as 10m, 2h or 1d")
}

/// Carries out one of the commands.
pub(super) fn run(command: &CronCommand) -> Result<u8, CliError> {
    print(&match command {
        CronCommand::List(page) => {
            let wanted = json!({"includeDisabled": true, "limit": ROWS, "offset": page.offset});
            let listed = call(&page.show.place, "cron.list", &wanted)?;
            if page.show.json { listed.to_string() } else { for_people(&listed, "jobs", "There are no jobs.", job) }
        }
        CronCommand::Runs { job, page } => {
            let mut wanted = json!({"limit": ROWS, "offset": page.offset});
            if let (Some(job), Some(fields)) = (job, wanted.as_object_mut()) {
                fields.insert("id".to_owned(), job.as_str().into());
            }
            let listed = call(&page.show.place, "cron.runs", &wanted)?;
            if page.show.json { listed.to_string() } else { for_people(&listed, "entries", "No run is known.", ran) }
        }
        CronCommand::Add(args) => {
            let added = call(&args.place, "cron.add", &definition(args))?;
            format!("Added: {}", job(&added))
        }
        CronCommand::Rm(args) => {
            call(&args.place, "cron.remove", &json!({"id": args.job}))?;
            "Removed.".to_owned()
        }
        CronCommand::Run(args) => {
            let begun = call(&args.place, "cron.run", &json!({"id": args.job}))?;
            match text(&begun, "reason").as_str() {
                "" => format!("Begun: run {}. `cron runs {}` shows how it went.", text(&begun, "runId"), args.job),
                reason => return Err(CliError::new(format!("It was not run: {reason}."))),
            }
        }
        CronCommand::Enable(args) => format!("Enabled: {}", switch(args, true)?),
        CronCommand::Disable(args) => format!("Disabled: {}", switch(args, false)?),
    });
    Ok(EXIT_OK)
}

fn definition(args: &AddArgs) -> Value {
    let TimesArgs { cron, every, at } = &args.times;
    let schedule = match (cron, every, at) {
        (Some(expr), ..) => json!({"kind": "cron", "expr": expr, "tz": args.tz}),
        (_, Some(every), _) => {
            json!({"kind": "every", "everyMs": u64::try_from(every.as_millis()).unwrap_or(u64::MAX)})
        }
        (.., at) => json!({"kind": "at", "at": at}),
    };
    let delivery = match (&args.to, &args.webhook) {
        (Some(to), _) => json!({"mode": "announce", "channel": args.channel, "to": to, "accountId": args.account}),
        (None, Some(url)) => json!({"mode": "webhook", "to": url}),
        (None, None) => Value::Null,
    };
    json!({
        "name": args.name,
        "agentId": args.agent,
        "schedule": schedule,
        "payload": {"kind": "agentTurn", "message": args.message},
        "delivery": delivery,
    })
}

fn switch(args: &JobArgs, enabled: bool) -> Result<String, CliError> {
    let params = json!({"id": args.job, "patch": {"enabled": enabled}});
    Ok(job(&call(&args.place, "cron.update", &params)?))
}

fn for_people(listed: &Value, rows: &str, none: &str, shown: impl Fn(&Value) -> String) -> String {
    let rows = listed.get(rows).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut lines: Vec<String> = rows.iter().map(shown).collect();
    if lines.is_empty() {
        lines.push(none.to_owned());
    }
    if let (Some(next), Some(total)) = (listed.get("nextOffset").and_then(Value::as_u64), listed.get("total")) {
        lines.push(format!("These are not all {total}: --offset {next} shows more."));
    }
    lines.join("\n")
}

fn job(row: &Value) -> String {
    let schedule = row.get("schedule").unwrap_or(&Value::Null);
    let when = match text(schedule, "kind").as_str() {
        "cron" => format!("{} {}", text(schedule, "expr"), text(schedule, "tz")).trim_end().to_owned(),
        "every" => {
            let ms = schedule.get("everyMs").and_then(Value::as_u64).unwrap_or(0);
            format!("every {}", show_duration(Duration::from_millis(ms)))
        }
        _ => format!("once at {}", text(schedule, "at")),
    };
    let due = match row.get("enabled") {
        Some(Value::Bool(false)) => "disabled".to_owned(),
        _ => time(row, "nextRunAtMs").map_or_else(|| "not due any more".to_owned(), |time| format!("due {time}")),
    };
    let last = time(row, "lastRunAtMs").map_or_else(String::new, |at| {
        let why = text(row, "lastRunError");
        let why = if why.is_empty() { why } else { format!(": {why}") };
        format!("\n    last run {at} {}{why}", text(row, "lastRunStatus"))
    });
    let state = row.get("state").unwrap_or(&Value::Null);
    let delivery = match (text(state, "lastDeliveryStatus").as_str(), text(state, "lastDeliveryError")) {
        (status, why) if status.is_empty() || why.is_empty() => String::new(),
        (status, why) => format!("\n    delivery {status}: {why}"),
    };
    format!("{}  \"{}\"\n    {when}; {due}{last}{delivery}", text(row, "id"), text(row, "name"))
}

fn ran(row: &Value) -> String {
    let of = [text(row, "error"), text(row, "summary")];
    let said = of.iter().find(|said| !said.is_empty()).map(String::as_str).unwrap_or_default();
    let at = time(row, "runAtMs").or_else(|| time(row, "ts")).unwrap_or_default();
    let delivery = match (text(row, "deliveryStatus").as_str(), text(row, "deliveryError")) {
        ("delivered", _) => "\n    delivered".to_owned(),
        (_, why) if why.is_empty() => String::new(),
        (status, why) => format!("\n    delivery {status}: {why}"),
    };
    // Without a status while its answer waits to be sent.
    let status = Some(text(row, "status")).filter(|status| !status.is_empty()).unwrap_or_else(|| "waits".to_owned());
    format!("{at}  {status}  \"{}\" ({})\n    {said}{delivery}", text(row, "jobName"), text(row, "jobId"))
}

fn time(row: &Value, field: &str) -> Option<String> {
    row.get(field).and_then(Value::as_i64).map(wall_time::of_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_shown_with_its_times_and_cannot_steer_the_terminal() {
        let row = json!({"id": "j1", "name": "Brief\u{1b}[31m", "enabled": true, "nextRunAtMs": 1_795_416_221_000_i64,
            "schedule": {"kind": "cron", "expr": "0 7 * * *"}, "lastRunAtMs": 0, "lastRunStatus": "error", "lastRunError": "no"});
        let page = for_people(&json!({"jobs": [row], "total": 3, "nextOffset": 1}), "jobs", "none", job);
        assert!(page.starts_with("j1  \"Brief[31m\"\n    0 7 * * *; due 2026-11-23T"), "{page}");
        assert!(page.contains("last run 1970-01-01T00:00:00.000Z error: no\n"), "{page}");
        assert!(page.ends_with("These are not all 3: --offset 1 shows more."), "{page}");
        let sent =
            json!({"jobName": "a", "jobId": "j", "status": "ok", "summary": "hi", "deliveryStatus": "delivered"});
        assert!(ran(&sent).ends_with("ok  \"a\" (j)\n    hi\n    delivered"), "{}", ran(&sent));
        let waits = json!({"jobName": "a", "jobId": "j", "deliveryStatus": "unknown", "deliveryError": "it waits"});
        assert!(
            ran(&waits).contains("waits  \"a\"") && ran(&waits).ends_with("delivery unknown: it waits"),
            "{}",
            ran(&waits)
        );
        let off = json!({"id": "j2", "name": "x", "enabled": false, "schedule": {"kind": "every", "everyMs": 1_500}});
        assert_eq!(job(&off), "j2  \"x\"\n    every 1500ms; disabled");
        assert_eq!(for_people(&json!({}), "jobs", "There are no jobs.", job), "There are no jobs.");
    }
}
