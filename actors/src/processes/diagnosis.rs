//! What is wrong with a local process, and what to do: from what is shown of it and of its gateway's connection.

use super::messages::LinkSeen;
use super::view::{ProcessState, ProcessView, Verified};

/// A sentence for each thing that is wrong; empty where nothing is.
pub(super) fn findings(view: &ProcessView, link: &LinkSeen) -> Vec<String> {
    let mut findings = Vec::new();
    if view.state != ProcessState::Running {
        findings.push(match &view.reason {
            Some(reason) => format!("It is {}: {reason}.", view.state.as_str()),
            None => format!("It is {}.", view.state.as_str()),
        });
    }
    match (&link.ready_since_ms, &link.obstacle, view.state) {
        (Some(_), _, ProcessState::Running) => {}
        (Some(_), _, _) => findings.push(
            "The gateway is connected all the same: something else listens at its address. Stop that, or correct the \
             gateway's host and port."
                .to_owned(),
        ),
        (None, Some(obstacle), ProcessState::Running) => findings.push(format!(
            "The process runs, but the gateway is not connected: {obstacle}. It may still be coming up; else compare the port and \
             the token that it is started with to those of the gateway's record."
        )),
        (None, None, ProcessState::Running) => {
            findings.push("The process runs, but the gateway is not connected yet.".to_owned());
        }
        (None, _, _) => {}
    }
    if let Some(Verified::No(missing)) = &view.verified {
        findings.push(format!("The last start could not be verified: {}.", missing.join("; ")));
    }
    if view.restarts > 0 && view.state != ProcessState::GaveUp {
        let last = view.last_end.as_ref().map(|end| format!("; last it {}", end.words)).unwrap_or_default();
        findings.push(format!("It was started again {} times without anybody's asking{last}.", view.restarts));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway_record::ProcessSource;
    use crate::ids::GatewayId;

    fn view(state: ProcessState) -> ProcessView {
        ProcessView { state, ..ProcessView::unknown(ProcessSource::Command("x".into()), 1) }
    }

    fn link(ready: bool, obstacle: Option<&str>) -> LinkSeen {
        LinkSeen { gateway: GatewayId(1), ready_since_ms: ready.then_some(5), obstacle: obstacle.map(str::to_owned) }
    }

    #[test]
    fn a_process_that_runs_and_is_connected_has_nothing_wrong() {
        assert!(findings(&view(ProcessState::Running), &link(true, None)).is_empty());
    }

    #[test]
    fn each_trouble_is_a_sentence_of_its_own() {
        let said = |view: &ProcessView, link: &LinkSeen| findings(view, link).join(" ");
        assert!(
            said(&view(ProcessState::Running), &link(false, Some("connection refused"))).contains("connection refused")
        );
        assert!(said(&view(ProcessState::Stopped), &link(true, None)).contains("something else listens"));
        let looping =
            ProcessView { restarts: 3, reason: Some("process 7 exited".into()), ..view(ProcessState::Waiting) };
        let words = said(&looping, &link(false, None));
        assert!(words.contains("process 7 exited") && words.contains("3 times"), "{words}");
        let unverified =
            ProcessView { verified: Some(Verified::No(vec!["a, b".into()])), ..view(ProcessState::Running) };
        assert!(said(&unverified, &link(true, None)).contains("could not be verified: a, b"));
    }
}
