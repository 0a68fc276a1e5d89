use std::ffi::OsString;

use tempfile::TempDir;

use super::super::redaction::REDACTED;
use super::*;

/// A home with a configuration file, and the gateway's view of it.
struct Home {
    dir: TempDir,
    file: ConfigFile,
}

const TEXT: &str = "// mine\n{ gateway: { auth: { token: 'hunter2-hunter2-hunter2' } }, \
    hooks: { webhooks: [{ id: 'a', path: '/webhook/a', message: 'x', secret: 'secret-of-a-webhook' }] }, \
    gatewarden: { remotePrograms: true } }\n";

impl Home {
    fn with(name: &str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let environment = [("HOME".to_owned(), OsString::from(dir.path()))].into();
        let inputs = Inputs { config_file: Some(path), environment, ..Inputs::default() };
        Self { dir, file: ConfigFile::new(inputs) }
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    fn edit(&self, method: Method, raw: &str) -> Result<Edited, CallError> {
        let base_hash = Some(self.file.snapshot().unwrap().hash);
        self.file.edit(&Edit { method, raw: raw.to_owned(), base_hash, replace: BTreeSet::new() })
    }

    #[track_caller]
    fn refused(&self, method: Method, raw: &str, words: &str) {
        let before = self.text("openclaw.json");
        let said = self.edit(method, raw).expect_err(raw).message;
        assert!(said.contains(words), "{words:?} is not in: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(self.text("openclaw.json"), before, "nothing was changed");
        assert!(!self.dir.path().join("openclaw.json.bak").exists());
    }
}

#[test]
fn a_patch_changes_the_file_and_keeps_its_secrets_and_the_former_file() {
    let home = Home::with("openclaw.json", TEXT);
    let before = home.file.snapshot().unwrap();
    assert_eq!(before.shown["gateway"]["auth"]["token"], REDACTED);
    assert_eq!(before.shown["hooks"]["webhooks"][0]["path"], "/webhook/a");
    let edited =
        home.edit(Method::Patch, "{ gateway: { port: 1234, auth: { token: '__OPENCLAW_REDACTED__' } } }").unwrap();
    assert_eq!(edited.changed_paths, ["gateway.port"]);
    let read = edited.snapshot.read.unwrap();
    assert_eq!(read.config.port, 1234);
    assert!(read.warnings.iter().any(|said| said.contains("comments") && said.contains(".bak")), "{:?}", read.warnings);
    assert!(home.text("openclaw.json").contains("hunter2-hunter2-hunter2"));
    assert_eq!(home.text("openclaw.json.bak"), TEXT);
    assert_ne!(edited.snapshot.hash, before.hash);
    let mode = fs::metadata(home.dir.path().join("openclaw.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Written once, its layout is its own: nothing is lost any more.
    let again = home.edit(Method::Patch, "{ gateway: { port: 1235 } }").unwrap().snapshot.read.unwrap();
    assert!(!again.warnings.iter().any(|said| said.contains("comments")), "{:?}", again.warnings);
}

#[test]
fn what_can_not_be_used_is_refused_and_changes_nothing() {
    let home = Home::with("openclaw.json", TEXT);
    home.refused(Method::Set, "{", "not valid JSON5");
    home.refused(Method::Set, "[]", "object");
    home.refused(Method::Set, &format!("{{}} //{}", "x".repeat(2_000_000)), "longer than");
    home.refused(Method::Patch, "{ gateway: { prot: 1 } }", "gateway.prot: unknown key; did you mean gateway.port?");
    home.refused(Method::Patch, "{ gateway: { port: 'x' } }", "gateway.port: must be a whole number");
    home.refused(Method::Apply, "{ gateway: { bind: 'lan', auth: { mode: 'none' } } }", "gateway.auth.mode: ");
    home.refused(
        Method::Patch,
        "{ hooks: { webhooks: [] } , gateway: { auth: { password: '__OPENCLAW_REDACTED__' } } }",
        "gateway.auth.password",
    );
    home.refused(Method::Patch, "{ hooks: null }", "array path(s): hooks.webhooks");
}

#[test]
fn a_secret_with_a_misspelt_key_is_not_said() {
    let home = Home::with("openclaw.json", "{ gateway: { auth: { tokn: 'hunter2' } } }");
    let error = home.file.snapshot().unwrap().read.unwrap_err();
    assert!(
        error.message.contains("did you mean gateway.auth.token?") && !error.message.contains("hunter2"),
        "{error}"
    );
    assert!(!error.details.to_string().contains("hunter2"));
}

#[test]
fn of_two_editors_the_second_is_told() {
    let home = Home::with("openclaw.json", TEXT);
    let seen = home.file.snapshot().unwrap().hash;
    let edit = |port: u16, hash: Option<&str>| {
        let raw = format!("{{ gateway: {{ port: {port} }} }}");
        let base_hash = hash.map(str::to_owned);
        home.file.edit(&Edit { method: Method::Patch, raw, base_hash, replace: BTreeSet::new() })
    };
    assert_eq!(edit(1, None).unwrap_err().message, "config base hash required; re-run config.get and retry");
    edit(1, Some(&seen)).unwrap();
    let said = edit(2, Some(&seen)).unwrap_err().message;
    assert_eq!(said, "config changed since last load; re-run config.get and retry");
    assert_eq!(home.file.snapshot().unwrap().read.unwrap().config.port, 1);
}

#[test]
fn agents_are_not_lost_by_accident() {
    let home = Home::with("openclaw.json", "{ agents: { entries: { a: {}, b: {} } } }");
    home.refused(
        Method::Set,
        "{ agents: { entries: { a: {} } } }",
        "config.set would remove existing agent entries: b",
    );
    let edited = home.edit(Method::Apply, "{ agents: { entries: { a: {} } } }").unwrap();
    assert_eq!(edited.changed_paths, ["agents.entries.b"]);
}

#[test]
fn a_yaml_file_stays_one() {
    let home = Home::with(
        "openclaw-gateway.yml",
        "# mine\ngatewarden:\n  remotePrograms: true\ngateway:\n  port: 1\n  auth:\n    token: 'yes'\nlogging:\n  level: info\n",
    );
    home.edit(Method::Patch, "{ gateway: { port: 2 }, agents: { entries: { main: { name: 'off: #1' } } } }").unwrap();
    let text = home.text("openclaw-gateway.yml");
    assert!(text.contains("port: 2") && !text.contains('{'), "{text}");
    let read = home.file.snapshot().unwrap().read.unwrap().config;
    assert_eq!(read.agents["main"].name, "off: #1");
    assert_eq!(read.auth, crate::config::Auth::Token(Secret::new("yes")));
}

#[test]
fn a_file_that_is_read_only_is_said_with_its_cure() {
    let home = Home::with("openclaw.json", TEXT);
    // Also for root, who may write in every directory: a directory stands where the former file would be kept.
    fs::create_dir_all(home.dir.path().join("openclaw.json.bak/in-the-way")).unwrap();
    let error = home.edit(Method::Patch, "{ gateway: { port: 1 } }").unwrap_err();
    assert!(error.message.contains("could not be written, and nothing was changed"), "{error}");
    assert_eq!(home.text("openclaw.json"), TEXT);
    let said = cure(Path::new("/etc/g/openclaw.json"), ErrorKind::ReadOnlyFilesystem);
    assert!(said.contains("SIGHUP") && said.contains("ReadWritePaths=/etc/g"), "{said}");
}

#[test]
fn the_hash_says_nothing_of_the_file_to_who_does_not_know_the_gateway() {
    let (one, other) = (Home::with("openclaw.json", TEXT), Home::with("openclaw.json", TEXT));
    assert_ne!(one.file.snapshot().unwrap().hash, other.file.snapshot().unwrap().hash);
    assert_eq!(one.file.snapshot().unwrap().hash, one.file.snapshot().unwrap().hash);
}

#[test]
fn a_first_file_is_made_where_it_is_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("HOME".to_owned(), OsString::from(dir.path()))].into();
    let file = ConfigFile::new(Inputs { environment, ..Inputs::default() });
    let before = file.snapshot().unwrap();
    assert!(!before.exists && before.read.is_ok());
    let raw = "{ logging: { level: 'debug' } }".to_owned();
    let edited = file.edit(&Edit { method: Method::Patch, raw, base_hash: None, replace: BTreeSet::new() }).unwrap();
    assert!(edited.snapshot.exists && edited.kept.is_none());
    assert_eq!(edited.snapshot.path, dir.path().join(".config/gatewarden/openclaw.json"));
    assert_eq!(edited.snapshot.read.unwrap().config.log.level, crate::log_kinds::LogLevel::Debug);
}

#[test]
fn a_client_changes_what_the_machine_decides_only_where_the_file_allows_it() {
    let patch = "{ gatewarden: { commands: { sh: { program: '/bin/sh' } } } }";
    let home = Home::with("openclaw.json", &TEXT.replace("remotePrograms: true", "remotePrograms: false"));
    for (sent, key) in [
        (patch, "gatewarden.commands: "),
        ("{ gatewarden: { remotePrograms: true } }", "gatewarden.remotePrograms: "),
        ("{ agents: { entries: { a: { workspace: '/etc' } } } }", "agents: "),
        ("{ gateway: { bind: 'lan' } }", "gateway.bind: "),
        // Neither a variable nor a file is read for a client.
        ("{ agents: { entries: { a: { name: 'it is ${HOME}' } } } }", "agents.entries.a.name: "),
        ("{ gateway: { tls: { certPath: '/dev/zero' } } }", "gateway.tls.certPath: "),
    ] {
        home.refused(Method::Patch, sent, key);
    }
    home.edit(Method::Patch, "{ agents: { entries: { a: { name: 'A' } } }, logging: { level: 'debug' } }").unwrap();
    let open = Home::with("openclaw.json", "{ gatewarden: { remotePrograms: true } }");
    assert!(open.edit(Method::Patch, patch).unwrap().snapshot.read.unwrap().config.commands.contains_key("sh"));
}

#[test]
fn a_file_that_is_empty_or_broken_is_no_configuration_for_a_gateway_that_runs() {
    let home = Home::with("openclaw.json", "\n");
    assert!(home.file.reload().unwrap_err().message.contains("is empty; write {}"));
    let broken = Home::with("openclaw.json", "{ gateway:");
    broken.refused(Method::Apply, "{}", "put the file right on the gateway's machine");
}
