//! Section `cron`: scheduled jobs, and where they may tell of their ends. Keys and defaults are those of real OpenClaw, without what
//! concerns its own kinds of jobs.

use std::collections::BTreeSet;

use gatewarden_protocol::Secret;

use super::section::{Others, Section, set};
use crate::cron::alerts::AlertRules;

/// `cron`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronSettings {
    /// Whether jobs run by their schedules; they can be run by hand all the same.
    pub enabled: bool,
    /// What jobs that recur have missed while no gateway ran is left out, not run once afterwards.
    pub skip_missed: bool,
    /// What webhooks of jobs say in `Authorization: Bearer`; none: the header is left out.
    pub webhook_token: Option<Secret>,
    /// Which addresses webhooks of jobs may have besides public ones.
    pub webhook_reach: WebhookReach,
    /// When and where failures are told of jobs that say nothing of it; none: they aren't.
    pub(crate) failure_alert: Option<AlertRules>,
}

impl Default for CronSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            skip_missed: false,
            webhook_token: None,
            webhook_reach: WebhookReach::default(),
            failure_alert: None,
        }
    }
}

/// `cron.webhookSsrfPolicy`: who may make jobs must not reach what only the gateway's machine reaches, unless its owner says so here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookReach {
    /// This machine and private networks (`dangerouslyAllowPrivateNetwork`).
    pub private_networks: bool,
    /// 198.18.0.0/15, which some proxies give to public names (`allowRfc2544BenchmarkRange`).
    pub benchmark_range: bool,
    /// fc00::/7 (`allowIpv6UniqueLocalRange`).
    pub unique_local_range: bool,
    /// These names and addresses, wherever they are, in lower case (`allowedHostnames`).
    pub hostnames: BTreeSet<String>,
}

pub(super) fn cron(root: &Section<'_>, into: &mut CronSettings) {
    let section = root.section("cron");
    set(&mut into.enabled, section.switch("enabled"));
    set(&mut into.skip_missed, section.switch("skipMissedJobs"));
    into.webhook_token = section.secret("webhookToken");
    if into.webhook_token.as_ref().is_some_and(|token| !token.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
        section.wrong("webhookToken", None, "must be of visible ASCII characters: it is said in a header");
    }
    reach(&section, &mut into.webhook_reach);
    into.failure_alert = failure_alert(&section);
    section.close(Others::Ignored);
}

fn reach(cron: &Section<'_>, into: &mut WebhookReach) {
    let section = cron.section("webhookSsrfPolicy");
    set(&mut into.private_networks, section.switch("dangerouslyAllowPrivateNetwork"));
    set(&mut into.benchmark_range, section.switch("allowRfc2544BenchmarkRange"));
    set(&mut into.unique_local_range, section.switch("allowIpv6UniqueLocalRange"));
    let names = section.list("allowedHostnames", |name| {
        let name = name.trim().trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        if name.is_empty() || name.contains(['/', '*', '@', '[']) {
            return Err("must be the exact name or address of a host, such as hooks.lan or 127.0.0.1; no wildcards");
        }
        Ok(name)
    });
    into.hostnames = names.into_iter().collect();
    section.close(Others::RefusedBut(""));
}

fn failure_alert(cron: &Section<'_>) -> Option<AlertRules> {
    let section = cron.section("failureAlert");
    let is_written = section.is_written();
    let enabled = section.switch("enabled").unwrap_or(true);
    let rules = AlertRules {
        after: section.number("after", 1..=1_000),
        cooldown_ms: section.number("cooldownMs", 0..=366 * 86_400_000),
        include_skipped: section.switch("includeSkipped"),
        mode: section.text("mode"),
        channel: section.text("channel"),
        to: section.text("to"),
        account_id: section.text("accountId"),
    };
    if let Err(what) = rules.place("cron.failureAlert") {
        cron.wrong("failureAlert", None, format!("can't be used: {what}"));
    }
    section.close(Others::RefusedBut(""));
    (is_written && enabled).then_some(rules)
}
