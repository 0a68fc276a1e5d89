//! The one line that `systemctl status` shows.

use std::time::{Duration, Instant};

use gatewarden_actors::gateway_report::Status;
use gatewarden_actors::registry::roster::RosterReader;

/// Never more often than this: a fleet that flaps is no reason to flood the service manager.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Holds the line back until it differs from what was told and enough time has passed.
#[derive(Debug, Default)]
pub struct StatusLine {
    told: Option<(Instant, String)>,
}

impl StatusLine {
    /// The line, if it is to be told now. To be asked again with the present line a second later.
    pub fn offer(&mut self, now: Instant, line: String) -> Option<String> {
        if let Some((at, told)) = &self.told
            && (*told == line || now.saturating_duration_since(*at) < AT_MOST_EVERY)
        {
            return None;
        }
        self.told = Some((now, line.clone()));
        Some(line)
    }
}

/// "3 of 4 gateways online, primary prod". O(gateways).
pub fn describe(roster: &RosterReader) -> String {
    let gateways = roster.list();
    let online = gateways.iter().filter(|view| view.report.status == Status::Online).count();
    let plural = if gateways.len() == 1 { "gateway" } else { "gateways" };
    let primary = match roster.acting_primary() {
        Some(acting) => format!("primary {}", one_line(&acting.name)),
        None => "no primary".to_owned(),
    };
    let doubt = if roster.self_doubt().is_some() { ", own network in doubt" } else { "" };
    format!("{online} of {} {plural} online, {primary}{doubt}", gateways.len())
}

/// A name comes from outside; a line break in it would be another field of the notification.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
