mod simulation;

use super::*;

const A: WatchToken = WatchToken(1);
const B: WatchToken = WatchToken(2);

fn start() -> Instant {
    crate::any_instant()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn texts(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn reply(file: &str, cursor: u64, lines: &[&str]) -> TailReply {
    TailReply { file: Some(file.to_owned()), cursor, lines: texts(lines), truncated: false, reset: false }
}

fn reset(file: &str, cursor: u64, lines: &[&str]) -> TailReply {
    TailReply { reset: true, ..reply(file, cursor, lines) }
}

fn welcome(watch: WatchToken, lines: &[&str], at: u64, gap: Option<LogGap>) -> LogStep {
    LogStep::Welcome { watch, lines: texts(lines), cursor: Some(LogCursor::new(Some("f"), at)), gap }
}

fn lines(lines: &[&str], file: &str, at: u64, known: &[(WatchToken, usize)]) -> LogStep {
    LogStep::Lines { lines: texts(lines), cursor: LogCursor::new(Some(file), at), known: known.to_vec() }
}

fn asks(cursor: Option<u64>, limit: usize) -> Option<TailQuestion> {
    Some(TailQuestion { cursor, limit })
}

/// A machine whose gateway is connected, with A watching from offset 100 of file `f`.
fn watched(now: Instant) -> LogTail {
    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Tail);
    tail.join(now, A, Begin::Newest(2));
    assert_eq!(tail.on_deadline(now), asks(None, 2));
    tail.on_reply(now, reply("f", 100, &["one", "two"]));
    assert_eq!(tail.take_steps(), [welcome(A, &["one", "two"], 100, None)]);
    tail
}

/// The same, with a poll under way.
fn polling(now: Instant) -> LogTail {
    let mut tail = watched(now);
    assert_eq!(tail.on_deadline(now + seconds(1)), asks(Some(100), POLL_LIMIT));
    tail
}

#[test]
fn nothing_is_asked_unless_somebody_watches() {
    let now = start();
    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Tail);
    assert_eq!(tail.next_deadline(), None);
    assert_eq!(tail.on_deadline(now + seconds(60)), None);
}

#[test]
fn new_lines_are_asked_for_a_second_after_the_last_answer_and_one_question_is_under_way_at_most() {
    let now = start();
    let mut tail = watched(now);
    assert_eq!(tail.next_deadline(), Some(now + POLL_INTERVAL));
    assert_eq!(tail.on_deadline(now + Duration::from_millis(999)), None);
    assert_eq!(tail.on_deadline(now + seconds(1)), asks(Some(100), POLL_LIMIT));
    assert_eq!(tail.next_deadline(), None, "one at a time");
    assert_eq!(tail.on_deadline(now + seconds(9)), None);
    tail.on_reply(now + seconds(9), reply("f", 130, &["three"]));
    assert_eq!(tail.take_steps(), [lines(&["three"], "f", 130, &[])]);
    assert_eq!(tail.next_deadline(), Some(now + seconds(10)));
    assert_eq!(tail.on_deadline(now + seconds(10)), asks(Some(130), POLL_LIMIT));
    tail.on_reply(now + seconds(10), reply("f", 130, &[]));
    assert_eq!(tail.take_steps(), [], "no news is not told");
}

#[test]
fn with_the_last_watcher_the_asking_ends_and_the_place_is_forgotten() {
    let now = start();
    let mut tail = watched(now);
    tail.leave(A);
    assert_eq!((tail.next_deadline(), tail.watchers()), (None, 0));
    tail.join(now + seconds(600), B, Begin::Now);
    assert_eq!(tail.on_deadline(now + seconds(600)), asks(None, 1), "what was written meanwhile is nobody's");
    tail.on_reply(now + seconds(600), reply("f", 900, &["late"]));
    assert_eq!(tail.take_steps(), [welcome(B, &[], 900, None)]);
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_leaves_no_place_behind() {
    let now = start();
    let mut tail = polling(now);
    tail.leave(A);
    tail.on_reply(now + seconds(2), reply("f", 130, &["three"]));
    assert_eq!(tail.take_steps(), []);
    tail.join(now + seconds(9), B, Begin::Now);
    assert_eq!(tail.on_deadline(now + seconds(9)), asks(None, 1));

    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Tail);
    tail.join(now, A, Begin::Newest(2));
    tail.on_deadline(now);
    tail.leave(A);
    tail.on_reply(now, reply("f", 100, &["one"]));
    assert_eq!((tail.take_steps(), tail.watchers(), tail.next_deadline()), (vec![], 0, None));
}

#[test]
fn whoever_comes_later_gets_its_own_first_lines_and_then_the_same_as_all() {
    let now = start();
    let mut tail = watched(now);
    tail.join(now, B, Begin::Newest(3));
    assert_eq!(tail.on_deadline(now), asks(None, 3), "at once");
    tail.on_reply(now, reply("f", 100, &["zero", "one", "two"]));
    assert_eq!(tail.take_steps(), [welcome(B, &["zero", "one", "two"], 100, None)]);
    tail.on_deadline(now + seconds(1));
    tail.on_reply(now + seconds(1), reply("f", 130, &["three"]));
    assert_eq!(tail.take_steps(), [lines(&["three"], "f", 130, &[])]);
}

#[test]
fn whoever_comes_while_lines_are_written_gets_none_twice_and_the_others_miss_none() {
    let now = start();
    let mut tail = watched(now);
    tail.join(now, B, Begin::Newest(3));
    tail.on_deadline(now);
    tail.on_reply(now, reply("f", 160, &["two", "three", "four"]));
    assert_eq!(tail.take_steps(), [welcome(B, &["two", "three", "four"], 160, None)]);
    assert_eq!(tail.on_deadline(now + seconds(1)), asks(Some(100), POLL_LIMIT), "from where the others are");
    tail.on_reply(now + seconds(1), reply("f", 190, &["three", "four", "five"]));
    assert_eq!(tail.take_steps(), [lines(&["three", "four", "five"], "f", 190, &[(B, 2)])]);
    tail.on_deadline(now + seconds(2));
    tail.on_reply(now + seconds(2), reply("f", 220, &["four"]));
    assert_eq!(tail.take_steps(), [lines(&["four"], "f", 220, &[])], "only once");
}

#[test]
fn whoever_wants_no_history_is_in_at_once_where_others_watch() {
    let now = start();
    let mut tail = watched(now);
    tail.join(now, B, Begin::Now);
    assert_eq!(tail.take_steps(), [welcome(B, &[], 100, None)]);
    assert_eq!(tail.next_deadline(), Some(now + POLL_INTERVAL));
}

#[test]
fn whoever_comes_back_goes_on_after_the_last_line_that_it_saw() {
    let now = start();
    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Tail);
    tail.join(now, A, Begin::After(LogCursor::new(Some("f"), 70)));
    assert_eq!(tail.on_deadline(now), asks(Some(70), POLL_LIMIT));
    tail.on_reply(now, reply("f", 100, &["two"]));
    assert_eq!(tail.take_steps(), [welcome(A, &["two"], 100, None)]);
    tail.join(now, B, Begin::After(LogCursor::new(Some("f"), 100)));
    assert_eq!(tail.take_steps(), [welcome(B, &[], 100, None)], "no read is needed");
}

#[test]
fn whoever_comes_back_too_late_is_told_that_lines_are_missing() {
    let now = start();
    let after = |file: &str, at| Begin::After(LogCursor::new(Some(file), at));
    let begin = |begin, answers: Vec<TailReply>| {
        let mut tail = LogTail::default();
        tail.on_connected(now, LogSource::Tail);
        tail.join(now, A, begin);
        let mut questions = Vec::new();
        for answer in answers {
            questions.push(tail.on_deadline(now).unwrap().cursor);
            tail.on_reply(now, answer);
        }
        (questions, tail.take_steps())
    };
    let gone = Some(LogGap::NotThere);
    assert_eq!(
        begin(after("f", 700), vec![reset("f", 100, &["one"])]),
        (vec![Some(700)], vec![welcome(A, &["one"], 100, gone)])
    );
    // Yesterday's place lies in the midst of today's file, which is read from its beginning.
    assert_eq!(
        begin(after("e", 70), vec![reply("f", 100, &["two"]), reply("f", 100, &["one", "two"])]),
        (vec![Some(70), Some(0)], vec![welcome(A, &["one", "two"], 100, gone)])
    );
    assert_eq!(
        begin(after("e", 700), vec![reset("f", 100, &["one", "two"])]),
        (vec![Some(700)], vec![welcome(A, &["one", "two"], 100, gone)])
    );
}

#[test]
fn another_file_is_read_from_its_beginning_and_told() {
    let now = start();
    let mut tail = polling(now);
    tail.on_reply(now + seconds(1), reset("g", 30, &["first"]));
    assert_eq!(tail.take_steps(), [LogStep::Gap(LogGap::FileChanged), lines(&["first"], "g", 30, &[])]);

    // It has grown beyond the old place already, so that this answer is from its midst.
    let mut tail = polling(now);
    tail.on_reply(now + seconds(1), reply("g", 130, &["second"]));
    assert_eq!(tail.take_steps(), [LogStep::Gap(LogGap::FileChanged)]);
    assert_eq!(tail.on_deadline(now + seconds(1)), asks(Some(0), POLL_LIMIT), "at once");
    tail.on_reply(now + seconds(1), reply("g", 130, &["first", "second"]));
    assert_eq!(tail.take_steps(), [lines(&["first", "second"], "g", 130, &[])]);
}

#[test]
fn a_file_that_changes_with_each_answer_does_not_make_us_ask_without_end() {
    let now = start();
    let mut tail = polling(now);
    let mut asked = 1;
    for n in 0..100 {
        tail.on_reply(now + seconds(1), reply(&format!("g{n}"), 130, &["x"]));
        match tail.on_deadline(now + seconds(1)) {
            Some(_) => asked += 1,
            None => break,
        }
    }
    assert_eq!(asked, 2);
}

#[test]
fn a_file_that_was_emptied_and_one_that_grew_too_fast_are_told() {
    let now = start();
    let mut tail = polling(now);
    tail.on_reply(now + seconds(1), reset("f", 30, &["first"]));
    assert_eq!(tail.take_steps(), [LogStep::Gap(LogGap::FileReplaced), lines(&["first"], "f", 30, &[])]);

    let mut tail = polling(now);
    tail.on_reply(now + seconds(1), reset("f", 3_000_000, &["last"]));
    assert_eq!(tail.take_steps(), [LogStep::Gap(LogGap::TooMuch), lines(&["last"], "f", 3_000_000, &[])]);
}

#[test]
fn as_many_lines_as_were_asked_for_may_be_too_few_whatever_the_gateway_says() {
    let now = start();
    let mut tail = polling(now);
    let many: Vec<String> = (0..POLL_LIMIT).map(|n| n.to_string()).collect();
    tail.on_reply(now + seconds(1), TailReply { lines: many, ..reply("f", 90_000, &[]) });
    assert_eq!(tail.take_steps()[0], LogStep::Gap(LogGap::TooMuch));
}

#[test]
fn a_question_that_came_to_nothing_is_told_once_and_asked_again_later() {
    let now = start();
    let mut tail = polling(now);
    tail.on_failure(now + seconds(1));
    assert_eq!(tail.take_steps(), [LogStep::Interrupted]);
    assert_eq!(tail.next_deadline(), Some(now + seconds(1) + RETRY_INTERVAL));
    tail.on_deadline(now + seconds(6));
    tail.on_failure(now + seconds(6));
    assert_eq!(tail.take_steps(), [], "said already");
    assert_eq!(tail.on_deadline(now + seconds(11)), asks(Some(100), POLL_LIMIT));
    tail.on_reply(now + seconds(11), reply("f", 130, &["three"]));
    assert_eq!(tail.take_steps(), [LogStep::Resumed, lines(&["three"], "f", 130, &[])]);
}

#[test]
fn whoever_wants_to_watch_and_gets_no_answer_is_refused_and_the_others_stay() {
    let now = start();
    let mut tail = watched(now);
    tail.join(now, B, Begin::Newest(9));
    tail.on_deadline(now);
    tail.on_failure(now);
    assert_eq!(tail.take_steps(), [LogStep::Refused(B)]);
    assert_eq!(tail.watchers(), 1);
}

#[test]
fn the_place_survives_a_lost_connection() {
    let now = start();
    let mut tail = polling(now);
    tail.on_disconnected();
    assert_eq!(tail.take_steps(), [LogStep::Interrupted]);
    assert_eq!(tail.on_deadline(now + seconds(60)), None);
    tail.join(now + seconds(60), B, Begin::Now);
    assert_eq!(tail.take_steps(), [LogStep::Refused(B)]);
    tail.on_connected(now + seconds(90), LogSource::Tail);
    assert_eq!(tail.on_deadline(now + seconds(90)), asks(Some(100), POLL_LIMIT), "at once, from where it was");
    tail.on_reply(now + seconds(90), reply("f", 160, &["three", "four"]));
    assert_eq!(tail.take_steps(), [LogStep::Resumed, lines(&["three", "four"], "f", 160, &[])]);
}

#[test]
fn whoever_wanted_to_watch_when_the_connection_was_lost_is_refused() {
    let now = start();
    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Tail);
    tail.join(now, A, Begin::Newest(1));
    tail.join(now, B, Begin::Newest(1));
    tail.on_deadline(now);
    tail.on_disconnected();
    assert_eq!(tail.take_steps(), [LogStep::Refused(A), LogStep::Refused(B)]);
    assert_eq!(tail.watchers(), 0);
}

#[test]
fn a_gateway_without_logs_refuses_and_one_that_loses_them_ends_it() {
    let now = start();
    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Nowhere);
    tail.join(now, A, Begin::Newest(1));
    assert_eq!(tail.take_steps(), [LogStep::Refused(A)]);

    let mut tail = polling(now);
    tail.join(now, B, Begin::Newest(1));
    tail.on_unsupported();
    assert_eq!(tail.take_steps(), [LogStep::Refused(B), LogStep::Over]);
    assert_eq!((tail.watchers(), tail.next_deadline()), (0, None));

    let mut tail = watched(now);
    tail.on_disconnected();
    tail.on_connected(now, LogSource::Nowhere);
    assert_eq!(tail.take_steps(), [LogStep::Interrupted, LogStep::Over]);
}

#[test]
fn pushed_entries_are_wanted_only_while_somebody_watches_and_nothing_is_ever_asked() {
    let now = start();
    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Events);
    assert!(!tail.wants_events());
    tail.join(now, A, Begin::Newest(5));
    assert_eq!(tail.take_steps(), [LogStep::Welcome { watch: A, lines: vec![], cursor: None, gap: None }]);
    assert!(tail.wants_events());
    assert_eq!((tail.next_deadline(), tail.on_deadline(now + seconds(60))), (None, None));
    tail.on_disconnected();
    assert!(!tail.wants_events());
    tail.on_connected(now, LogSource::Events);
    let told = tail.take_steps();
    assert_eq!(told, [LogStep::Interrupted, LogStep::Resumed, LogStep::Gap(LogGap::NotConnected)]);
    tail.leave(A);
    assert!(!tail.wants_events());
}

#[test]
fn another_gateway_behind_the_record_is_read_from_now_on_and_told() {
    let now = start();
    let mut tail = watched(now);
    tail.on_disconnected();
    tail.forget();
    tail.on_connected(now, LogSource::Tail);
    assert_eq!(tail.on_deadline(now), asks(None, 1));
    tail.on_reply(now, reply("x", 70, &["old"]));
    let told = tail.take_steps();
    let gaps = [LogGap::OtherGateway, LogGap::NotConnected].map(LogStep::Gap);
    assert_eq!(told, [vec![LogStep::Interrupted], gaps.to_vec(), vec![LogStep::Resumed]].concat());
    tail.on_deadline(now + seconds(1));
    tail.on_reply(now + seconds(1), reply("x", 100, &["new"]));
    assert_eq!(tail.take_steps(), [lines(&["new"], "x", 100, &[])]);
}

#[test]
fn there_are_so_many_watchers_and_no_more() {
    let now = start();
    let mut tail = LogTail::default();
    tail.on_connected(now, LogSource::Tail);
    let many = u64::try_from(MAX_WATCHERS).unwrap();
    for n in 0..many {
        tail.join(now, WatchToken(n), Begin::Newest(1));
    }
    tail.on_deadline(now);
    tail.join(now, WatchToken(many), Begin::Newest(1));
    assert_eq!(tail.take_steps(), [LogStep::Refused(WatchToken(many))]);
}

#[test]
fn a_cursor_is_the_same_after_its_way_through_a_text_and_nonsense_is_none() {
    let cursor = LogCursor::new(Some("openclaw-2026-11-21.log"), 2_911_859);
    assert_eq!(LogCursor::parse(&cursor.to_string()), Some(cursor));
    assert_ne!(cursor, LogCursor::new(Some("openclaw-2026-11-22.log"), 2_911_859));
    for text in ["", "7", "-", "7-", "-7", "x-7", "7-x", "+7-7", "7-+7", "7-7-7", "99999999999999999999-1"] {
        assert_eq!(LogCursor::parse(text), None, "{text}");
    }
}

fn known(given: &str, lines: &str) -> usize {
    let split = |text: &str| text.chars().map(|letter| letter.to_string()).collect::<Vec<_>>();
    repeated(&split(given), &split(lines))
}

#[test]
fn the_lines_up_to_the_last_one_given_are_known() {
    assert_eq!(known("abcd", "cdef"), 2);
    assert_eq!(known("abcd", "abcdef"), 4);
    assert_eq!(known("cd", "abcdef"), 4, "what was given before may begin later than what comes");
    assert_eq!(known("abcd", "cd"), 2);
}

#[test]
fn nothing_is_known_where_the_last_one_given_is_missing_or_stands_elsewhere() {
    assert_eq!(known("", "abc"), 0);
    assert_eq!(known("abcd", "efg"), 0);
    assert_eq!(known("abcd", "xd"), 0);
    assert_eq!(known("abcd", ""), 0);
}

#[test]
fn of_equal_lines_rather_one_twice_than_one_missed() {
    assert_eq!(known("aa", "aaa"), 1);
}
