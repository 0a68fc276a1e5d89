//! `gatewarden dashboard`: a link that logs a browser of this machine in to the daemon's pages, once.

use gatewarden_api::access::{LinkAnswer, LinkBody};

use super::daemon::{DaemonArgs, now_s};
use super::error::CliError;
use super::output::seconds_of;

/// Prints it.
pub(super) fn run(args: &DaemonArgs) -> u8 {
    args.run(|daemon| {
        if !daemon.is_on_this_machine() {
            let page = daemon.url();
            return Err(CliError::new(format!(
                "The daemon at {page} is on another machine: links are for its own only."
            ))
            .cure(format!("Open {page}/login and log in with a key, or run this command there.")));
        }
        let answer = daemon.send("POST", "/api/auth/link", &LinkBody::default())?;
        daemon.show(&answer, |link: &LinkAnswer| {
            let url = format!("{}{}", daemon.url(), link.path);
            if daemon.output.is_quiet() {
                return url;
            }
            let left = seconds_of(link.expires_at.saturating_sub(now_s()).max(0));
            format!(
                "{url}\nOpen it in a browser on this machine: it logs in once, within {left}, with the role of your key."
            )
        })
    })
}
