use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn template() -> CommandTemplate {
    CommandTemplate {
        program: "/usr/bin/python3".into(),
        args: vec!["-I".into()],
        allowed_args: vec![
            ArgumentPattern::Exact("agent.py".into()),
            ArgumentPattern::OneOf(vec!["--role".into(), "--task".into()]),
            ArgumentPattern::Word,
            ArgumentPattern::Number,
            ArgumentPattern::Text(10),
        ],
        env: BTreeMap::from([("MODE".into(), "agent".into())]),
        allowed_env: BTreeSet::from(["AGENT_NAME".into(), "LD_PRELOAD".into(), "PATH".into()]),
        working_dirs: vec!["/opt/agents".into(), "/srv/work".into()],
        json_lines: true,
        timeout: None,
    }
}

fn commands() -> BTreeMap<String, CommandTemplate> {
    BTreeMap::from([("worker".to_owned(), template())])
}

fn wish<'a>(command: &'a str, args: &'a [String]) -> SpawnWish<'a> {
    SpawnWish { command, args, ..SpawnWish::default() }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn refusal(outcome: Result<AllowedCommand, CallError>) -> CallError {
    outcome.expect_err("must be refused")
}

#[test]
fn an_entry_is_found_by_its_name_and_by_its_programs_path_and_file_name() {
    for command in ["worker", "/usr/bin/python3", "python3"] {
        let allowed = allow(&commands(), wish(command, &[])).unwrap();
        assert_eq!(allowed.program, Path::new("/usr/bin/python3"), "{command}");
        assert_eq!(allowed.template, "worker");
        assert_eq!(allowed.args, ["-I"]);
        assert_eq!(allowed.cwd.as_deref(), Some(Path::new("/opt/agents")));
        assert!(allowed.json_lines);
    }
}

#[test]
fn a_command_that_no_entry_names_is_refused_with_the_setting_that_would_allow_it() {
    for command in ["python", "bash", "/bin/sh", "../bin/python3", "bin/python3", "", "WORKER", "worker "] {
        let error = refusal(allow(&commands(), wish(command, &[])));
        assert_eq!(error.code, "FORBIDDEN", "{command}");
        assert!(error.message.contains("gatewarden.commands") && error.message.contains("worker"), "{}", error.message);
        assert_eq!(error.details["setting"], "gatewarden.commands");
    }
    let error = refusal(allow(&BTreeMap::new(), wish("python", &[])));
    assert!(error.message.contains("it has none"), "{}", error.message);
}

#[test]
fn arguments_must_fit_their_patterns_one_by_one() {
    let good = words(&["agent.py", "--role", "developer", "42", "hello"]);
    let allowed = allow(&commands(), wish("worker", &good)).unwrap();
    let filled = allowed.filled(&Wishes::default()).unwrap();
    assert_eq!(filled.args, ["-I", "agent.py", "--role", "developer", "42", "hello"]);
    for fewer in 0..good.len() {
        assert!(allow(&commands(), wish("worker", &good[..fewer])).is_ok());
    }
    for bad in [
        &["other.py"][..],
        &["agent.py", "--eval"],
        &["agent.py", "--role", "-x"],
        &["agent.py", "--role", ""],
        &["agent.py", "--role", ".."],
        &["agent.py", "--role", "a/b"],
        &["agent.py", "--role", "dev", "-1"],
        &["agent.py", "--role", "dev", "1234567890123456789"],
        &["agent.py", "--role", "dev", "1", "-rf"],
        &["agent.py", "--role", "dev", "1", "elevenbytes"],
        &["agent.py", "--role", "dev", "1", "a\0b"],
        &["agent.py", "--role", "dev", "1", "hello", "more"],
    ] {
        let error = refusal(allow(&commands(), wish("worker", &words(bad))));
        assert!(error.message.contains("gatewarden.commands.worker.allowedArgs"), "{bad:?}: {}", error.message);
    }
}

#[test]
fn no_pattern_means_no_argument() {
    let plain = CommandTemplate { allowed_args: Vec::new(), ..template() };
    let commands = BTreeMap::from([("worker".to_owned(), plain)]);
    let error = refusal(allow(&commands, wish("worker", &words(&["x"]))));
    assert!(error.message.contains("none is allowed"), "{}", error.message);
}

#[test]
fn of_several_entries_with_one_program_the_one_that_allows_it_is_taken() {
    let plain = CommandTemplate { allowed_args: Vec::new(), ..template() };
    let commands = BTreeMap::from([("a".to_owned(), plain), ("b".to_owned(), template())]);
    assert_eq!(allow(&commands, wish("python3", &words(&["agent.py"]))).unwrap().template, "b");
    assert_eq!(allow(&commands, wish("python3", &[])).unwrap().template, "a");
    assert!(allow(&commands, wish("a", &words(&["agent.py"]))).is_err(), "a name means that entry alone");
}

#[test]
fn variables_are_the_templates_and_the_allowed_ones_and_nothing_else() {
    let given = BTreeMap::from([("AGENT_NAME".to_owned(), "agent1".to_owned())]);
    let allowed = allow(&commands(), SpawnWish { env: Some(&given), ..wish("worker", &[]) }).unwrap();
    let expected = [("AGENT_NAME", "agent1"), ("MODE", "agent"), ("PATH", DEFAULT_PATH)];
    assert_eq!(allowed.env, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn variables_that_run_other_code_are_refused_even_where_they_are_configured() {
    for (name, says) in [
        ("LD_PRELOAD", "may not be set by callers"),
        ("PATH", "may not be set by callers"),
        ("OTHER", "gatewarden.commands.worker.allowedEnv"),
        ("MODE", "gatewarden.commands.worker.allowedEnv"),
        ("A=B", "is no name"),
        ("", "is no name"),
    ] {
        let given = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        let error = refusal(allow(&commands(), SpawnWish { env: Some(&given), ..wish("worker", &[]) }));
        assert!(error.message.contains(says), "{name}: {}", error.message);
    }
    for value in ["a\0b".to_owned(), "x".repeat(MAX_ITEM + 1)] {
        let given = BTreeMap::from([("AGENT_NAME".to_owned(), value)]);
        let error = refusal(allow(&commands(), SpawnWish { env: Some(&given), ..wish("worker", &[]) }));
        assert_eq!(error.code, "INVALID_REQUEST");
        assert!(error.message.len() < 200, "the value isn't repeated");
    }
}

#[test]
fn a_working_directory_is_an_allowed_one_or_below_it() {
    for (cwd, expected) in
        [("/opt/agents", "/opt/agents"), ("/opt/agents/a/b/", "/opt/agents/a/b"), ("/srv/work", "/srv/work")]
    {
        let allowed = allow(&commands(), SpawnWish { cwd: Some(cwd), ..wish("worker", &[]) }).unwrap();
        assert_eq!(allowed.cwd.as_deref(), Some(Path::new(expected)));
    }
    for cwd in [
        "/opt/agents/../x",
        "/opt/agents/./a",
        "/opt//agents",
        "/opt/agentsx",
        "/opt",
        "/",
        "opt/agents",
        "",
        "~/a",
        "/opt/agents/..",
        "/opt/agents\0",
    ] {
        let error = refusal(allow(&commands(), SpawnWish { cwd: Some(cwd), ..wish("worker", &[]) }));
        assert!(error.message.contains("working directory"), "{cwd}: {}", error.message);
    }
}

proptest! {
    #[test]
    fn nothing_but_the_entrys_program_and_fitting_arguments_is_ever_allowed(
        command in ".{0,20}", args in prop::collection::vec(".{0,12}", 0..7), cwd in prop::option::of("[/a-z.]{0,20}"),
    ) {
        let commands = commands();
        let wish = SpawnWish { command: &command, args: &args, env: None, cwd: cwd.as_deref() };
        if let Ok(allowed) = allow(&commands, wish) {
            prop_assert!(["worker", "python3", "/usr/bin/python3"].contains(&command.as_str()));
            prop_assert_eq!(&allowed.program, &template().program);
            prop_assert!(args.iter().zip(&template().allowed_args).all(|(arg, pattern)| matches(pattern, arg)));
            prop_assert!(args.len() <= template().allowed_args.len());
            let cwd = allowed.cwd.unwrap();
            prop_assert!(template().working_dirs.iter().any(|dir| cwd.starts_with(dir)));
        }
    }

    #[test]
    fn only_an_exact_pattern_lets_an_option_through(arg in "-.{0,20}") {
        prop_assert!(!matches(&ArgumentPattern::Word, &arg));
        prop_assert!(!matches(&ArgumentPattern::Number, &arg));
        prop_assert!(!matches(&ArgumentPattern::Text(1_000), &arg));
    }

    #[test]
    fn no_caller_sets_a_variable_that_isnt_listed(name in "[A-Z_]{1,12}", value in ".{0,10}") {
        let given = BTreeMap::from([(name.clone(), value)]);
        let commands = commands();
        let outcome = allow(&commands, SpawnWish { command: "worker", args: &[], env: Some(&given), cwd: None });
        prop_assert_eq!(outcome.is_ok(), name == "AGENT_NAME");
    }
}
