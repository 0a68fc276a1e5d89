//! What a command's help and manual page say beside its options: examples, exit codes, variables.

use clap::Command;
use clap_complete::engine::ArgValueCompleter;

use super::completions;
use super::{EXIT_CONFIG, EXIT_DENIED, EXIT_FAILURE, EXIT_LATER, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE};

/// Examples by command, a line each.
const EXAMPLES: &[(&str, &str)] = &[
    ("up", "gatewarden up\ngatewarden up --listen 127.0.0.1:3111"),
    ("serve", "gatewarden serve --config /etc/gatewarden/gatewarden.toml"),
    ("config check", "gatewarden config check --config gatewarden.toml"),
    ("check", "gatewarden check wss://gateway.example --token-file lab.token"),
    ("backup", "gatewarden backup --to /var/backups"),
    ("restore", "gatewarden restore gatewarden-20261121T180545Z.db --key gatewarden.key"),
    (
        "store copy",
        "gatewarden store copy --to @/etc/gatewarden/store-url\n\
         gatewarden store copy --to /var/lib/gatewarden/gatewarden.db",
    ),
    ("context add", "gatewarden context add prod https://warden.example --key-file ~/.config/warden.key"),
    ("context use", "gatewarden context use prod"),
    ("status", "gatewarden status\ngatewarden status --context prod --json"),
    ("cluster", "gatewarden cluster\ngatewarden cluster --json"),
    (
        "discover",
        "gatewarden discover\ngatewarden discover --timeout 5000 --register\ngatewarden discover --domain openclaw.internal",
    ),
    ("dashboard", "gatewarden dashboard\ngatewarden dashboard --quiet"),
    ("gateways list", "gatewarden gateways list\ngatewarden gateways ls -l site=a --status offline -o wide"),
    (
        "gateways add",
        "gatewarden gateways add lab 192.0.2.7:18789 --token-file lab.token --label site=a --wait\n\
         gatewarden gateways add prod wss://gateway.example --primary",
    ),
    ("gateways update", "gatewarden gateways update lab --token-file new.token --wait"),
    ("gateways rm", "gatewarden gateways rm lab --yes"),
    ("gateways probe", "gatewarden gateways probe\ngatewarden gateways probe lab"),
    ("gateways reconnect", "gatewarden gateways reconnect lab --wait=60"),
    ("sessions list", "gatewarden sessions list --status active -n 20"),
    ("sessions history", "gatewarden sessions history agent:main:main -n 10"),
    ("sessions message", "gatewarden sessions message agent:main:main \"Go on\""),
    ("control", "gatewarden control agent:main:main pause"),
    (
        "spawn",
        "gatewarden spawn \"Summarise the open issues\" --wait\n\
         gatewarden spawn --command make --env CI=1 -- test",
    ),
    ("spawns list", "gatewarden spawns list -n 10"),
    ("agents list", "gatewarden agents list --gateway lab"),
    (
        "gateway cron add",
        "gatewarden gateway cron add --name Brief --cron \"0 7 * * 1-5\" --tz Europe/Berlin --message \"What happened overnight?\"\n\
         gatewarden gateway cron add --name Look --every 10m --message \"Is the build green?\"",
    ),
    ("events", "gatewarden events --types gateway.status,spawn_result -o jsonl"),
    ("logs", "gatewarden logs lab -f --level warn"),
    ("keys create", "gatewarden keys create dashboard --role viewer --days 90 --output dashboard.key"),
    ("export", "gatewarden export --output gateways.toml"),
    ("import", "gatewarden import gateways.toml --dry-run"),
    ("completions", "gatewarden completions bash > ~/.local/share/bash-completion/completions/gatewarden"),
];

const EXIT_CODES: &[(u8, &str)] = &[
    (EXIT_OK, "success; what was checked is fine"),
    (EXIT_FAILURE, "failure, or what was checked is not fine"),
    (EXIT_USAGE, "wrong usage; nothing was tried"),
    (EXIT_UNREACHABLE, "no daemon answers"),
    (EXIT_LATER, "not now: too many requests, or something is unavailable"),
    (EXIT_DENIED, "no API key, a wrong one, or one whose role is too small"),
    (EXIT_CONFIG, "a person must act: bad configuration, wrong key, damaged database"),
];
/// Those of a daemon's answers.
const OF_DAEMON: [u8; 3] = [EXIT_UNREACHABLE, EXIT_LATER, EXIT_DENIED];

const VARIABLES_OF_CLIENTS: &[(&str, &str)] = &[
    ("GATEWARDEN_URL", "where the daemon is"),
    ("GATEWARDEN_API_KEY", "the API key"),
    ("SSL_CERT_FILE", "certificate authorities for https"),
    ("NO_COLOR", "no colours"),
    ("COLUMNS", "width of tables, where not the terminal's"),
];
const VARIABLES: &[(&str, &str)] = &[
    ("GATEWARDEN_STATE_DIR", "directory of database and keys"),
    ("GATEWARDEN_*", "any setting; `gatewarden config check` prints them all"),
];

/// Sections of one command's manual page and help: a title, and lines of a name and a text (or of an example alone).
pub(super) type Section = (&'static str, Vec<(String, String)>);

/// What there is to say about the command at this path.
pub(super) fn sections(path: &str, is_client: bool) -> Vec<Section> {
    let line = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let variables = if is_client { VARIABLES_OF_CLIENTS } else { VARIABLES };
    let codes = EXIT_CODES.iter().filter(|(code, _)| match *code {
        EXIT_CONFIG => !is_client,
        code => is_client || !OF_DAEMON.contains(&code),
    });
    let mut sections = Vec::new();
    if let Some((_, examples)) = EXAMPLES.iter().find(|(command, _)| *command == path) {
        sections.push(("Examples", examples.lines().map(|line| (line.to_owned(), String::new())).collect()));
    }
    sections.push(("Exit status", codes.map(|(code, text)| (code.to_string(), (*text).to_owned())).collect()));
    sections.push(("Environment", variables.iter().map(line).collect()));
    sections
}

fn text_of(sections: &[Section]) -> String {
    let text_of = |(title, lines): &Section| {
        let width =
            lines.iter().filter(|(_, text)| !text.is_empty()).map(|(name, _)| name.len()).max().unwrap_or_default();
        let lines = lines.iter().map(|(name, text)| format!("\n  {name:<width$}  {text}").trim_end().to_owned());
        format!("{title}:{}", lines.collect::<String>())
    };
    sections.iter().map(text_of).collect::<Vec<_>>().join("\n\n")
}

/// The whole command line with examples and exit codes in its help, and with completions that ask the daemon.
pub(super) fn documented(command: Command) -> Command {
    with_help(command.max_term_width(100), "", false)
}

/// Whether a command talks to a daemon.
pub(super) fn is_client(command: &Command) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == "key_file" && arg.get_long() == Some("key-file"))
}

fn with_help(command: Command, path: &str, parent_is_client: bool) -> Command {
    let is_client = parent_is_client || is_client(&command);
    let below = |name: &str| format!("{path} {name}").trim().to_owned();
    let mut command = command.mut_subcommands(|command| {
        let path = below(command.get_name());
        with_help(command, &path, is_client)
    });
    command = command.mut_args(|arg| {
        let named = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        match completions::of(named, arg.get_id().as_str()).filter(|_| is_client || named == "CONTEXT") {
            Some(candidates) => arg.add(ArgValueCompleter::new(candidates)),
            None => arg,
        }
    });
    if path.is_empty() || command.has_subcommands() {
        return command;
    }
    let sections = sections(path, is_client);
    let examples: Vec<Section> = sections.iter().filter(|(title, _)| *title == "Examples").cloned().collect();
    command.after_help(text_of(&examples)).after_long_help(text_of(&sections))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use crate::cli::Cli;
    use crate::cli::tests::words;

    use super::*;

    #[test]
    fn every_example_in_the_help_is_a_command_that_there_is() {
        for (path, examples) in EXAMPLES {
            for example in examples.lines() {
                assert!(
                    example.starts_with(&format!("gatewarden {}", path.replace(" list", " l"))),
                    "{example} of {path}"
                );
                let parsed = Cli::try_parse_from(words(example));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn options_stand_under_their_own_headings() {
        let mut command = documented(Cli::command());
        command.build();
        let list = command.find_subcommand_mut("gateways").unwrap().find_subcommand_mut("list").unwrap();
        let help = list.render_long_help().to_string();
        let at = |words: &str| help.find(words).unwrap_or_else(|| panic!("{words} is not in\n{help}"));
        assert!(at("Options:") < at("--status") && at("--status") < at("The daemon:"));
        assert!(
            at("The daemon:") < at("--key-file") && at("--key-file") < at("Output:") && at("Output:") < at("--json")
        );
        assert!(at("Examples:") < at("Exit status:") && help.contains("69  no daemon answers"));
        let add = command.find_subcommand_mut("gateways").unwrap().find_subcommand_mut("add").unwrap();
        let help = add.render_help().to_string();
        assert!(help.contains("Examples:") && !help.contains("Exit status:"), "{help}");
    }
}
