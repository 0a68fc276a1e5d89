//! What the processes tell.

use gatewarden_protocol::logs::shown_text;
use serde_json::json;

use super::agent_lines::AgentLine;
use super::events::EventEmitter;
use super::run::{Asked, ControlAction, End, Ending, Run, RunState};
use super::{Parts, Runs, log, replies, shown, tell_agent_status};
use crate::call::CallError;
use crate::effect::{LogLevel, OutputStream, ProcessNews, ProcessSignal, RunId};
use crate::payload::without_nulls;
use crate::sessions::Usage;
use crate::turn::Turn;

impl Runs {
    /// News of a process. Those of a run that isn't known, or has ended, are late and tell nothing.
    pub(crate) fn on_news(&mut self, id: &RunId, news: ProcessNews, parts: &mut Parts<'_>, turn: &mut Turn<'_>) {
        let Some(run) = self.by_id.get_mut(id).filter(|run| run.state.has_process()) else { return };
        match news {
            ProcessNews::Started { pid } => started(run, pid, parts, turn),
            ProcessNews::NotStarted { reason } => {
                log(
                    run,
                    LogLevel::Error,
                    format!("command \"{}\" was not started: {reason}", run.template),
                    json!({}),
                    turn,
                );
                let end = End::without_process(Ending::Failed(reason), turn.now.wall_ms);
                self.finish(id, end, parts, turn);
            }
            ProcessNews::Line { stream, text, cut } => line(run, stream, &text, cut, parts, turn),
            ProcessNews::Remark(level, said) => log(run, level, shown_text(&said), json!({"runId": run.id.0}), turn),
            ProcessNews::Asks(question) => self.approvals.ask(run, &question, parts, turn),
            ProcessNews::Conversation(name) => {
                parts.sessions.name_conversation(&run.session_key, &run.session_id, name, turn);
            }
            ProcessNews::Dropped { bytes } => {
                let message = format!(
                    "{bytes} bytes of output were dropped: more than gatewarden.limits.outputBytesPerSecond ({}) allows",
                    parts.config.limits.output_bytes_per_second
                );
                log(run, LogLevel::Warn, message, json!({"runId": run.id.0, "dropped": bytes}), turn);
            }
            ProcessNews::Signalled { signal, failed } => signalled(run, signal, failed, parts, turn),
            ProcessNews::Exited { code, signal, duration_ms, strays, timed_out } => {
                if strays > 0 {
                    let message = format!("{strays} processes that run {} left behind were ended", run.id.0);
                    log(run, LogLevel::Warn, message, json!({"runId": run.id.0, "strays": strays}), turn);
                }
                let end = End {
                    how: how_it_ended(run, code, signal, timed_out),
                    at: turn.now.wall_ms,
                    exit_code: code,
                    signal,
                    duration_ms: Some(duration_ms),
                    strays,
                };
                self.finish(id, end, parts, turn);
            }
        }
    }

    /// Tells what waited for its time: pieces of answers, and that nobody need wait longer.
    pub(crate) fn on_time(&mut self, parts: &Parts<'_>, turn: &mut Turn<'_>) {
        self.approvals.on_time(parts.subscribers, turn);
        let emitter = EventEmitter::new(parts.subscribers, turn);
        let now = turn.now.at;
        for run in self.by_id.values_mut().filter(|run| run.state.end().is_none()) {
            if run.answer.due().is_some_and(|due| due <= now)
                && let Some(piece) = run.answer.piece(now)
            {
                emitter.piece(run, &piece, turn);
            }
            let id = run.id.0.clone();
            run.waiters.retain(|waiter| {
                let waits = waiter.deadline > now;
                if !waits {
                    turn.respond(&waiter.reply, Ok(replies::still_waiting(&id)));
                }
                waits
            });
        }
    }
}

fn started(run: &mut Run, pid: u32, parts: &mut Parts<'_>, turn: &mut Turn<'_>) {
    run.pid = Some(pid);
    run.started_at = Some(turn.now.wall_ms);
    run.state = RunState::Running;
    parts.sessions.begin_run(&run.session_key, &run.id, parts.subscribers, turn);
    // The reply before the events: who asked knows the run by then.
    if run.asked == Asked::Spawn {
        for reply in std::mem::take(&mut run.replies) {
            let payload = replies::spawn_result_for(run, &reply);
            run.acknowledged = Some(payload.clone());
            turn.respond(&reply, Ok(payload));
        }
    }
    EventEmitter::new(parts.subscribers, turn).started(run, turn);
    let activity = format!("Running \"{}\" in {}", run.template, run.session_key);
    tell_agent_status(run, "busy", &activity, parts, turn);
    log(
        run,
        LogLevel::Info,
        format!("command \"{}\" runs as process {pid}", run.template),
        json!({"runId": run.id.0}),
        turn,
    );
}

fn line(run: &mut Run, stream: OutputStream, text: &str, cut: bool, parts: &mut Parts<'_>, turn: &mut Turn<'_>) {
    let emitter = EventEmitter::new(parts.subscribers, turn);
    let said = match stream {
        OutputStream::Stdout if run.json_lines => AgentLine::read(text),
        OutputStream::Stdout => {
            run.answer.add(text);
            run.answer.add("\n");
            AgentLine::Log
        }
        OutputStream::Stderr => {
            if !text.trim().is_empty() {
                run.last_words = Some(shown_text(text).chars().take(300).collect());
            }
            AgentLine::Log
        }
    };
    // What is told next must not overtake the text before it.
    if !matches!(said, AgentLine::Delta(_) | AgentLine::Text(_) | AgentLine::Log)
        && let Some(piece) = run.answer.rest(turn.now.at)
    {
        emitter.piece(run, &piece, turn);
    }
    match said {
        AgentLine::Delta(delta) => run.answer.add(&delta),
        AgentLine::Text(whole) => run.answer.put(&whole),
        AgentLine::Thinking(thought) => emitter.thinking(run, &thought, turn),
        AgentLine::ToolStart { name, id, args } => emitter.tool_start(run, &name, id.as_deref(), &args, turn),
        AgentLine::ToolResult { name, id, result, is_error } => {
            emitter.tool_result(run, name.as_deref(), id.as_deref(), (&result, is_error), turn);
        }
        AgentLine::Usage { usage, model } => {
            parts.sessions.count_tokens(&run.session_key, &usage);
            if let Some(model) = model {
                let model: String = shown(&model);
                parts.sessions.report_model(&run.session_key, &model);
                run.model = Some(model);
            }
            run.usage = Some(sum(run.usage.unwrap_or_default(), usage));
            emitter.usage(run, turn);
        }
        AgentLine::Done { text } => {
            if let Some(text) = text {
                run.answer.put(&text);
            }
        }
        AgentLine::Error(message) => {
            run.reported_error = Some(shown_text(&message).chars().take(2_000).collect());
        }
        AgentLine::Log => {
            let (level, name) = match stream {
                OutputStream::Stdout => (LogLevel::Info, "stdout"),
                OutputStream::Stderr => (LogLevel::Warn, "stderr"),
            };
            let extra = json!({"runId": run.id.0, "stream": name, "cut": cut.then_some(true)});
            log(run, level, text.to_owned(), without_nulls(extra), turn);
        }
    }
    if let Some(piece) = run.answer.piece(turn.now.at) {
        emitter.piece(run, &piece, turn);
    }
}

fn sum(so_far: Usage, more: Usage) -> Usage {
    let cost = match (so_far.cost_usd, more.cost_usd) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    };
    Usage {
        input: so_far.input.saturating_add(more.input),
        output: so_far.output.saturating_add(more.output),
        context: more.context.or(so_far.context),
        window: more.window.or(so_far.window),
        cost_usd: cost,
    }
}

fn signalled(run: &mut Run, signal: ProcessSignal, failed: Option<String>, parts: &mut Parts<'_>, turn: &mut Turn<'_>) {
    let (action, state) = match signal {
        ProcessSignal::Pause => (ControlAction::Pause, Some(RunState::Paused)),
        ProcessSignal::Resume => (ControlAction::Resume, Some(RunState::Running)),
        // It goes on to its end, if paused so far.
        ProcessSignal::Terminate => (ControlAction::Kill, None),
    };
    if let (Some(state), None) = (state, &failed)
        && run.state != state
    {
        let paused = state == RunState::Paused;
        run.state = state;
        parts.sessions.pause_run(&run.session_key, &run.id, paused, parts.subscribers, turn);
        EventEmitter::new(parts.subscribers, turn).paused(run, paused, turn);
        let activity = if paused { "Paused on request" } else { "Resumed on request" };
        tell_agent_status(run, if paused { "paused" } else { "busy" }, activity, parts, turn);
    }
    let mut due = std::mem::take(&mut run.controls);
    due.retain(|control| {
        let waits = control.action != action;
        if !waits {
            let outcome = match &failed {
                None => Ok(super::steering::controlled(run, action)),
                Some(reason) => Err(CallError::unavailable(format!(
                    "{} of session {} failed: {reason}",
                    action.as_str(),
                    run.session_key
                ))),
            };
            turn.respond(&control.reply, outcome);
        }
        waits
    });
    run.controls = due;
}

fn how_it_ended(run: &Run, code: Option<i32>, signal: Option<i32>, timed_out: bool) -> Ending {
    if timed_out {
        let after = run.timeout.map_or_else(String::new, |timeout| format!(" of {} s", timeout.as_secs_f64()));
        return Ending::Failed(format!("command \"{}\" ran into its timeout{after} and was ended", run.template));
    }
    if let Some(reason) = &run.kill_asked {
        return Ending::Killed(reason.clone());
    }
    if let Some(error) = &run.reported_error {
        return Ending::Failed(error.clone());
    }
    let words = run.last_words.as_ref().map_or_else(String::new, |words| format!(": {}", words.trim()));
    match (code, signal) {
        (Some(0), _) => Ending::Completed,
        (Some(code), _) => Ending::Failed(format!("command \"{}\" ended with exit code {code}{words}", run.template)),
        (None, Some(signal)) => Ending::Failed(format!(
            "command \"{}\" was ended by signal {signal}{}{words}",
            run.template,
            signal_name(signal)
        )),
        (None, None) => {
            Ending::Failed(format!("command \"{}\" ended, and the system didn't say how{words}", run.template))
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}
