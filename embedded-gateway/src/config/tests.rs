mod channels;
mod discord;
mod whatsapp;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::log_kinds::LogLevel;

/// A home directory with a configuration file in it.
struct Home {
    dir: tempfile::TempDir,
    inputs: Inputs,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = OsString::from(dir.path());
        let inputs = Inputs { environment: [("HOME".to_owned(), home)].into(), ..Inputs::default() };
        Self { dir, inputs }
    }

    fn with(name: &str, text: &str) -> Self {
        let mut home = Self::new();
        let file = home.dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        home.inputs.config_file = Some(file);
        home
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.insert(name.to_owned(), value.into());
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn json(text: &str) -> Draft {
    load(&Home::with("openclaw.json", text).inputs).unwrap_or_else(|error| panic!("{error}"))
}

/// The keys of a channel whose values are secrets.
fn secrets_of(channel: &str) -> Vec<&'static str> {
    let own =
        SCHEMA.1.iter().filter_map(|path| path.strip_prefix("channels.")?.strip_prefix(channel)?.strip_prefix('.'));
    own.collect()
}

#[track_caller]
fn refused(text: &str) -> String {
    load(&Home::with("openclaw.json", text).inputs).map(|_| ()).expect_err(text).to_string()
}

#[track_caller]
fn refused_with(text: &str, words: &[&str]) {
    let said = refused(text);
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn without_a_file_the_defaults_count_and_the_token_is_made_at_the_first_start() {
    let mut home = Home::new();
    home.inputs.state_dir = Some(home.path().join("state"));
    std::fs::create_dir(home.path().join("state")).unwrap();
    let draft = load(&home.inputs).unwrap();
    assert_eq!(draft.settings().port, DEFAULT_PORT);
    assert_eq!(draft.settings().bind, Bind::Loopback);
    assert_eq!(draft.warnings, Vec::<String>::new());
    assert_eq!(draft.credential().unwrap(), None, "nothing is made by looking");
    let token_file = draft.token_file().unwrap().to_owned();
    assert!(!token_file.exists());
    let config = draft.settle().unwrap();
    let Auth::Token(token) = &config.auth else { panic!("{:?}", config.auth) };
    assert!(std::fs::read_to_string(&token_file).unwrap().contains(token.expose()));
    assert_eq!(load(&home.inputs).unwrap().credential().unwrap().as_ref(), Some(token));
}

#[test]
fn document_004s_file_is_read() {
    let home = Home::with(
        "openclaw.json",
        r#"{
          gateway: {
            port: 18790, bind: "lan", mode: "local",
            auth: { mode: "password", password: "a long pass phrase" },
            controlUi: { enabled: true, basePath: "/openclaw/", allowedOrigins: ["https://yourapp.com", "http://localhost:3000/"] },
            tls: { enabled: true, certPath: "~/certs/cert.pem", keyPath: "~/certs/key.pem", autoGenerate: true },
          },
          hooks: { webhooks: [ { id: "my-hook", path: "/webhook/my-hook", agentId: "main",
            message: "Webhook triggered: {{body.message}}", secret: "0123456789abcdef" } ] },
          agents: { entries: { main: {} } },
        }"#,
    );
    let draft = load(&home.inputs).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(draft.warnings, Vec::<String>::new());
    assert!(draft.token_file().is_none());
    let config = draft.settle().unwrap();
    assert_eq!((config.port, config.bind), (18790, Bind::Lan));
    assert!(matches!(&config.auth, Auth::Password(secret) if secret.expose() == "a long pass phrase"));
    assert_eq!(config.control_ui.base_path, "/openclaw");
    assert_eq!(config.control_ui.allowed_origins, ["https://yourapp.com", "http://localhost:3000"]);
    let certs = home.path().join("certs");
    let tls = Tls { cert: certs.join("cert.pem"), key: certs.join("key.pem"), auto_generate: true };
    assert_eq!(config.tls, Some(tls));
    let hook = &config.webhooks[0];
    assert_eq!((hook.id.as_str(), hook.path.as_str(), hook.agent_id.as_str()), ("my-hook", "/webhook/my-hook", "main"));
    assert_eq!(hook.message, "Webhook triggered: {{body.message}}");
    assert_eq!(hook.secret.as_ref().unwrap().expose(), "0123456789abcdef");
}

#[test]
fn document_002s_file_is_read() {
    let home = Home::with("openclaw-gateway.yml", "");
    for name in ["gateway.crt", "gateway.key"] {
        std::fs::write(home.path().join(name), "x").unwrap();
    }
    std::fs::write(
        home.inputs.config_file.as_ref().unwrap(),
        "gateway:
  controlUi:
    enabled: true
    allowedOrigins:
      - https://mc.example.com  # Production
      - http://localhost:3000   # Development
    requireDeviceAuth: true
  auth:
    deviceAuth:
      enabled: true
      requireSignature: true  # Reject unsigned connects
      tokenTTL: 86400         # Device token lifetime (seconds)
      maxDevicesPerUser: 10   # Limit devices per identity
  tls:
    enabled: true
    certFile: ~/gateway.crt
    keyFile: ~/gateway.key
    port: 8080
audit:
  enabled: true
  logFile: /var/log/openclaw/audit.log
  events:
    - auth.success
    - auth.failure
    - device.registered
    - device.revoked
",
    )
    .unwrap();
    let draft = load(&home.inputs).unwrap_or_else(|error| panic!("{error}"));
    let config = draft.settings();
    assert!(draft.token_file().is_some());
    assert_eq!(config.port, 8080);
    assert_eq!(config.control_ui.allowed_origins.len(), 2);
    assert!(config.control_ui.require_device_auth && config.device_auth.require_signature);
    assert_eq!(config.device_auth.token_ttl, Duration::from_secs(86_400));
    assert_eq!(config.device_auth.max_devices_per_user, 10);
    assert!(!config.tls.as_ref().unwrap().auto_generate);
    assert!(config.audit.enabled && config.audit.events.contains("device.revoked") && config.audit.events.len() == 4);
    assert_eq!(config.audit.file, Path::new("/var/log/openclaw/audit.log"));
}

#[test]
fn our_own_section_is_read_with_agents_and_commands() {
    let home = Home::new();
    let work = home.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let text = format!(
        r#"{{
          gatewarden: {{
            commands: {{ coder: {{ program: "/bin/sh", args: ["-s"], env: {{ LANG: "C" }}, allowedEnv: ["AGENT_NAME"],
              allowedArgs: ["word", "number", "text", {{text: 64}}, {{exact: "--json"}}, {{oneOf: ["a", "b"]}}],
              workingDirs: ["{work}/../work"], jsonLines: true, timeout: "10m" }} }},
            limits: {{ processes: 4, killGrace: "2s", sessions: 10, tick: 5, authFailures: 3, processOpenFiles: 64 }},
            metrics: {{ port: 9191 }}, allowedHosts: ["Gateway.Example.com"], logMaxBytes: 65536,
          }},
          agents: {{ entries: {{ main: {{ command: "coder", name: "Coder", model: {{ primary: "m1" }}, identity: {{}} }},
            other: {{ workspace: "~/w" }} }} }},
        }}"#,
        work = work.display()
    );
    let draft = json(&text);
    let config = draft.settings();
    let coder = &config.commands["coder"];
    assert_eq!(coder.program, Path::new("/bin/sh"));
    assert_eq!(coder.allowed_args.len(), 6);
    assert_eq!(coder.allowed_args[4], ArgumentPattern::Exact("--json".to_owned()));
    assert_eq!(coder.working_dirs, [work.canonicalize().unwrap()]);
    assert_eq!((coder.json_lines, coder.timeout), (true, Some(Duration::from_secs(600))));
    assert_eq!((config.limits.processes, config.limits.kill_grace), (4, Duration::from_secs(2)));
    assert_eq!((config.limits.tick, config.limits.auth_failures), (Duration::from_secs(5), 3));
    assert_eq!((config.limits.process_open_files, config.limits.process_memory), (Some(64), None));
    assert_eq!(config.metrics.unwrap().port, 9191);
    assert_eq!(config.allowed_hosts, ["gateway.example.com"]);
    assert_eq!(config.default_agent.as_deref(), Some("main"));
    let main = &config.agents["main"];
    assert_eq!((main.name.as_str(), main.model.as_deref()), ("Coder", Some("m1")));
    assert_eq!(main.workspace, config.state_dir.join("workspaces/main"));
    assert!(draft.warnings.iter().any(|warning| warning.contains("agents.entries.main.identity")));
}

#[test]
fn an_agent_that_speaks_acp_is_read_with_bounds_of_its_own() {
    let draft = json(
        r#"{agents: {entries: {coder: {acp: {program: "/bin/sh", args: ["--acp"], env: {HOME: "/home/coder"},
          permissions: "allow", timeout: "10m", idleTimeout: "1m"}}, plain: {acp: {program: "/bin/sh"}}}}}"#,
    );
    let agents = &draft.settings().agents;
    let coder = agents["coder"].acp.as_ref().unwrap();
    assert_eq!((coder.permissions, coder.idle_timeout), (Permissions::Allow, Duration::from_secs(60)));
    assert_eq!(
        (coder.command.args.as_slice(), coder.command.timeout),
        (&["--acp".to_owned()][..], Some(Duration::from_secs(600)))
    );
    let plain = agents["plain"].acp.as_ref().unwrap();
    assert_eq!((plain.permissions, plain.idle_timeout), (Permissions::Deny, Duration::from_secs(600)));
    assert_eq!(plain.command.timeout, Some(Duration::from_secs(3_600)));
    let entry = |acp: &str| format!("{{agents: {{entries: {{coder: {{{acp}}}}}}}}}");
    refused_with(&entry("acp: {}"), &["agents.entries.coder.acp.program", "is missing"]);
    refused_with(&entry("acp: {program: '/bin/sh', permissions: 'maybe'}"), &["must be deny, allow or ask"]);
    refused_with(
        &entry("acp: {program: '/bin/sh', permission: 'deny'}"),
        &["did you mean agents.entries.coder.acp.permissions?"],
    );
    let both = "{gatewarden: {commands: {sh: {program: '/bin/sh'}}}, agents: {entries: {c: {command: 'sh', acp: {program: '/bin/sh'}}}}}";
    refused_with(both, &["agents.entries.c.command", "and acp exclude each other"]);
}

#[test]
fn agents_of_protocol_3_files_are_read() {
    let draft = json(r#"{agents: {defaults: {}, list: [{id: "a"}, {id: "b", default: true, model: "m"}]}}"#);
    assert_eq!(draft.settings().default_agent.as_deref(), Some("b"));
    assert_eq!(draft.settings().agents.len(), 2);
    refused_with(r#"{agents: {list: [{id: "a"}, {id: "a"}]}}"#, &["agents.list[1]", "earlier"]);
    refused_with(r#"{agents: {list: [{name: "a"}]}}"#, &["agents.list[0].id", "missing"]);
    refused_with(r#"{agents: {entries: {"Not/ok": {}}}}"#, &["Not/ok", "lower-case"]);
}

#[test]
fn real_openclaws_sections_are_passed_over_with_one_warning_that_names_them() {
    let draft = json(
        "{channels: {signal: {}}, models: {}, plugins: {}, $schema: 'x', meta: {}, gateway: {reload: {mode: 'off'}},
          hooks: {enabled: true}, logging: {consoleLevel: 'info'}}",
    );
    assert_eq!(draft.warnings.len(), 1, "{:?}", draft.warnings);
    for key in ["channels.signal", "models", "plugins", "gateway.reload", "hooks.enabled", "logging.consoleLevel"] {
        assert!(draft.warnings[0].contains(key), "{key}: {:?}", draft.warnings);
    }
    assert!(!draft.warnings[0].contains("meta"));
}

#[test]
fn unknown_keys_of_our_sections_are_refused_with_file_key_and_likely_meaning() {
    refused_with("{gateway: {prot: 1}}", &["openclaw.json", "gateway.prot: unknown key", "did you mean gateway.port?"]);
    refused_with("{gateway: {auth: {deviceAuth: {tokenTtl: 5}}}}", &["did you mean gateway.auth.deviceAuth.tokenTTL?"]);
    refused_with("{gateway: {sparkle: 'x'}}", &["gateway.sparkle: unknown key", "controlUi"]);
    refused_with("{gatewarden: {limit: {}}}", &["gatewarden.limit", "did you mean gatewarden.limits?"]);
    refused_with("{audit: {logfile: '/x'}}", &["did you mean audit.logFile?"]);
    refused_with("{gatway: {}}", &["gatway", "did you mean gateway?"]);
    refused_with("{agents: {entries: {main: {comand: 'x'}}}}", &["did you mean agents.entries.main.command?"]);
}

#[test]
fn all_mistakes_are_said_at_once() {
    refused_with(
        "{gateway: {port: 70000, bind: 'everywhere', controlUi: {enabled: 'yes'}}, audit: {enabled: 1}}",
        &["gateway.port = 70000", "from 0 to 65535", "gateway.bind", "gateway.controlUi.enabled", "audit.enabled = 1"],
    );
}

#[test]
fn no_authentication_must_be_written_out_and_stays_on_loopback() {
    assert!(matches!(json("{gateway: {auth: {mode: 'none'}}}").settle().unwrap().auth, Auth::None));
    for bind in ["lan", "192.0.2.7", "0.0.0.0", "::", "::ffff:0.0.0.0"] {
        refused_with(&format!("{{gateway: {{bind: '{bind}', auth: {{mode: 'none'}}}}}}"), &["loopback only"]);
    }
    let mut home = Home::with("openclaw.json", "{gateway: {auth: {mode: 'none'}}}");
    home.inputs.bind = Some("lan".to_owned());
    assert!(load(&home.inputs).unwrap_err().to_string().contains("loopback only"), "flags are no way round it");
    for bind in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "loopback", "auto"] {
        assert!(
            json(&format!("{{gateway: {{bind: '{bind}', auth: {{mode: 'none'}}}}}}")).settings().bind.is_loopback()
        );
    }
}

#[test]
fn what_isnt_supported_says_so() {
    refused_with("{gateway: {auth: {mode: 'trusted-proxy'}}}", &["not supported", "token or password"]);
    refused_with("{gateway: {auth: {mode: 'tailscale'}}}", &["token or password", "allowTailscale"]);
    refused_with("{gateway: {mode: 'remote'}}", &["must be local"]);
    refused_with("{$include: './more.json'}", &["$include", "not supported"]);
    refused_with("{gateway: {auth: {token: {source: 'env'}}}}", &["${NAME}"]);
}

#[test]
fn tailscale_opens_the_gateway_only_to_who_shows_something() {
    let serve = json("{gateway: {tailscale: {mode: 'serve', resetOnExit: true}, auth: {allowTailscale: true}}}");
    let settings = &serve.settings().tailscale;
    assert_eq!((settings.mode, settings.allow_logins), (TailscaleMode::Serve, true));
    assert!(!json("{gateway: {tailscale: {mode: 'serve'}}}").settings().tailscale.allow_logins, "unless it is written");
    let funnel = |auth: &str| format!("{{gateway: {{tailscale: {{mode: 'funnel'}}, auth: {auth}}}}}");
    let password = json(&funnel("{mode: 'password', password: 'a-password-of-a-test'}"));
    assert_eq!(password.settings().tailscale.mode, TailscaleMode::Funnel);
    for auth in ["{}", "{token: 'a-token-of-a-test-0123'}", "{mode: 'none'}"] {
        refused_with(&funnel(auth), &["gateway.tailscale.mode", "auth.mode: password"]);
    }
    refused_with("{gateway: {tailscale: {mode: 'serve'}, auth: {mode: 'none'}}}", &["token or password"]);
    for bind in ["lan", "tailnet", "192.0.2.1"] {
        refused_with(&format!("{{gateway: {{tailscale: {{mode: 'serve'}}, bind: '{bind}'}}}}"), &["bind: loopback"]);
    }
    refused_with("{gateway: {tailscale: {mode: 'on'}}}", &["off, serve or funnel"]);
    assert_eq!(json("{gateway: {bind: 'tailnet'}}").settings().bind, Bind::Tailnet);
    refused_with("{gateway: {bind: 'tailnet', auth: {mode: 'none'}}}", &["loopback only"]);
}

#[test]
fn the_domain_of_discovery_is_one_of_dns() {
    let domain = |text: &str| json(text).settings().wide_area.clone();
    for section in ["discovery", "gateway: {discovery"] {
        let end = if section.contains('{') { "}" } else { "" };
        let written = format!("{{{section}: {{wideArea: {{enabled: true, domain: 'openclaw.internal.'}}}}{end}}}");
        assert_eq!(domain(&written).as_deref(), Some("openclaw.internal"));
    }
    assert_eq!(domain("{discovery: {wideArea: {domain: 'a.example'}}}").as_deref(), Some("a.example"));
    assert_eq!(domain("{discovery: {wideArea: {enabled: false, domain: 'a.example'}}}"), None);
    refused_with("{discovery: {wideArea: {enabled: true}}}", &["discovery.wideArea.domain", "is missing"]);
    for wrong in ["a..b", "-a.b", "a b", "../x", "a/b", "a_b", ""] {
        refused_with(&format!("{{discovery: {{wideArea: {{domain: '{wrong}'}}}}}}"), &["must be a DNS domain"]);
    }
    let long = |length: usize| "a.".repeat(length / 2) + "a";
    assert_eq!(domain(&format!("{{discovery: {{wideArea: {{domain: '{}.'}}}}}}", long(171))), Some(long(171)));
    refused_with(&format!("{{discovery: {{wideArea: {{domain: '{}'}}}}}}", long(173)), &["at most 171 characters"]);
    refused_with(&format!("{{discovery: {{wideArea: {{domain: '{}a'}}}}}}", long(171)), &["at most 171 characters"]);
}

#[test]
fn wildcard_origins_and_what_is_no_origin_are_refused() {
    for origin in ["*", "https://*.example.com", "example.com", "https://a.example/path", "ftp://a.example", "null"] {
        let text = format!("{{gateway: {{controlUi: {{allowedOrigins: ['{origin}']}}}}}}");
        refused_with(&text, &["gateway.controlUi.allowedOrigins[0]"]);
    }
}

#[test]
fn a_webhook_without_a_good_secret_is_refused() {
    let hook = |rest: &str| format!("{{hooks: {{webhooks: [{{id: 'a', path: '/webhook/a', message: 'm', {rest}}}]}}}}");
    let beyond = "{gateway: {bind: 'lan'}, hooks: {webhooks: [{id: 'a', path: '/webhook/a', message: 'm'}]}}";
    refused_with(beyond, &["hooks.webhooks[0].secret", "missing", "openssl"]);
    refused_with(&hook("secret: ''"), &["empty"]);
    let said = refused(&hook("secret: 'hush'"));
    assert!(said.contains("shorter than 16") && !said.contains("hush"), "{said}");
    refused_with(&hook("secretFile: '/nowhere/at/all'"), &["secretFile", "cannot be read"]);
    refused_with(
        &hook("secret: '0123456789abcdef', agent: 'x'"),
        &["hooks.webhooks[0].agent", "did you mean hooks.webhooks[0].agentId?"],
    );
}

#[test]
fn alerts_of_failures_that_have_no_place_name_the_key() {
    for (rules, said) in [
        (r#"{channel: "telegram"}"#, "at cron.failureAlert/to: is missing"),
        (r#"{mode: "none"}"#, "at cron.failureAlert/mode: must be announce or webhook"),
    ] {
        refused_with(&format!("{{cron: {{failureAlert: {rules}}}}}"), &[said]);
    }
}

#[test]
fn a_webhook_is_below_webhook_and_no_two_share_a_path() {
    let hook = |path: &str| format!("{{id: 'a{path}', path: '{path}', message: 'm', secret: '0123456789abcdef'}}");
    for path in ["/spawn", "/webhook/", "webhook/a", "/webhook/../spawn", "/webhook/a//b", "/webhook/{x}"] {
        refused_with(&format!("{{hooks: {{webhooks: [{}]}}}}", hook(path)), &["below /webhook/"]);
    }
    let two = format!("{{hooks: {{webhooks: [{}, {}]}}}}", hook("/webhook/a"), hook("/webhook/a"));
    refused_with(&two, &["hooks.webhooks[1].path", "earlier"]);
}

#[test]
fn callers_may_never_set_what_makes_programs_run_other_code() {
    for name in ["PATH", "LD_PRELOAD", "NODE_OPTIONS", "PYTHONPATH", "BASH_ENV"] {
        let text = format!("{{gatewarden: {{commands: {{x: {{program: '/bin/sh', allowedEnv: ['OK', '{name}']}}}}}}}}");
        refused_with(&text, &["gatewarden.commands.x.allowedEnv[1]", "would let a caller run code of its own"]);
    }
}

#[test]
fn a_command_is_an_absolute_program_and_agents_name_one_that_exists() {
    refused_with("{gatewarden: {commands: {x: {program: 'sh'}}}}", &["absolute path"]);
    refused_with("{gatewarden: {commands: {x: {}}}}", &["gatewarden.commands.x.program", "missing"]);
    // That an agent names it is no second mistake.
    for x in ["{}", "5", "{program: ''}", "{program: 'sh'}", "{program: null}", "{program: [1]}"] {
        let said =
            refused(&format!("{{agents: {{entries: {{a: {{command: 'x'}}}}}}, gatewarden: {{commands: {{x: {x}}}}}}}"));
        assert!(said.contains("commands.x") && !said.contains("entries.a"), "{x}: {said}");
    }
    refused_with("{gatewarden: {commands: {'a b': {program: '/bin/sh'}}}}", &["letters"]);
    refused_with(
        "{gatewarden: {commands: {coder: {program: '/bin/sh'}}}, agents: {entries: {main: {command: 'codr'}}}}",
        &["agents.entries.main.command", "did you mean coder?"],
    );
    refused_with("{gatewarden: {commands: {x: {program: '/bin/sh', allowedArgs: ['--json']}}}}", &["exact"]);
    refused_with("{gatewarden: {commands: {x: {program: '/bin/sh', timeout: '5 minutes'}}}}", &["30s"]);
    let draft = json("{gatewarden: {commands: {x: {program: '/nowhere/x', workingDirs: ['/nowhere/dir']}}}}");
    assert_eq!(draft.warnings.len(), 2, "what may appear later is no reason not to start: {:?}", draft.warnings);
}

#[test]
fn encryption_is_never_half_configured() {
    refused_with("{gateway: {tls: {certPath: '/a'}}}", &["gateway.tls.enabled"]);
    refused_with("{gateway: {tls: {enabled: true, certPath: '/a'}}}", &["gateway.tls.keyPath", "missing"]);
    refused_with("{gateway: {tls: {enabled: true, certPath: '/no/a', keyPath: '/no/b'}}}", &["autoGenerate"]);
    refused_with("{gateway: {port: 1, tls: {enabled: true, port: 2}}}", &["one port"]);
    let own = json("{gateway: {tls: {enabled: true}}}");
    assert!(own.settings().tls.as_ref().unwrap().auto_generate);
    assert_eq!(json("{gateway: {tls: {enabled: false, certPath: '/no/a'}}}").settings().tls, None);
}

#[test]
fn the_environment_gives_what_the_file_leaves_out() {
    let home = Home::new().env("OPENCLAW_GATEWAY_TOKEN", "env-token-0123456789").env("LOG_LEVEL", "debug");
    let config = load(&home.env("OPENCLAW_GATEWAY_PORT", "19000").inputs).unwrap().settle().unwrap();
    assert!(matches!(&config.auth, Auth::Token(token) if token.expose() == "env-token-0123456789"));
    assert_eq!((config.port, config.log.level), (19000, LogLevel::Debug));

    let home = Home::with("openclaw.json", "{gateway: {port: 1, auth: {token: 'file-token-0123456789'}}}")
        .env("OPENCLAW_GATEWAY_TOKEN", "env-token-0123456789")
        .env("OPENCLAW_GATEWAY_PORT", "19000");
    let mut inputs = home.inputs.clone();
    inputs.port = Some(20000);
    let draft = load(&inputs).unwrap();
    assert_eq!(draft.settings().port, 20000, "flag over environment over file");
    assert!(draft.warnings[0].contains("OPENCLAW_GATEWAY_TOKEN"), "{:?}", draft.warnings);
    assert_eq!(draft.credential().unwrap().unwrap().expose(), "file-token-0123456789");

    for (name, value) in [("OPENCLAW_GATEWAY_PORT", "many"), ("LOG_LEVEL", "loud")] {
        let said = load(&Home::new().env(name, value).inputs).unwrap_err().to_string();
        assert!(said.contains(name) && said.contains(value), "{said}");
    }
}

#[test]
fn variables_in_texts_are_filled_in() {
    let home =
        Home::with("openclaw.json", "{gateway: {auth: {token: '${MY_TOKEN}'}, controlUi: {basePath: '/$${X}'}}}");
    let said = load(&home.inputs).unwrap_err().to_string();
    assert!(said.contains("MY_TOKEN, which is not set"), "{said}");
    let home = Home::with("openclaw.json", "{gateway: {auth: {token: 'x-${MY_TOKEN}-${lower}'}}}");
    let draft = load(&home.env("MY_TOKEN", "0123456789").inputs).unwrap();
    assert_eq!(draft.credential().unwrap().unwrap().expose(), "x-0123456789-${lower}");
}

#[test]
fn a_secret_in_a_wrong_place_is_not_told_with_the_mistake() {
    for text in [
        r#"{"channels":{"telegram":{"accounts":{"work":[{"botToken":"123:SECRET"}]}}}}"#,
        r#"{"channels":{"telegram":{"accounts":[{"botToken":"123:SECRET"}]}}}"#,
        r#"{"channels":{"telegram":{"accounts":{"work":"123:SECRET"}}}}"#,
        r#"{"channels":{"telegram":{"allowFrom":"SECRET"}}}"#,
        r#"{"channels":{"telegram":{"apiRoot":"https://api.telegram.org/botSECRET"}}}"#,
        r#"{"channels":{"telegram":{"tokenFile":"123:SECRET"}}}"#,
        r#"{"gateway":{"auth":"SECRET"}}"#,
        r#"{"gateway":{"controlUi":{"allowedOrigins":["https://me:SECRET@host"]}}}"#,
        r#"{"gateway":{"bind":"${MINE}"}}"#,
        r#"{"gatewarden":{"commands":{"c":{"program":"/bin/true","env":{"PIN":12345678}}}}}"#,
        r#"{"gatewarden":{"commands":{"c":{"program":"claude --token SECRET"}}}}"#,
        r#"{"gatewarden":{"commands":{"c":{"program":"/bin/true","allowedEnv":["KEY=SECRET"]}}}}"#,
        r#"{"agents":{"entries":{"main":{"command":"${MINE}"}}}}"#,
        r#"{"channels":{"telegram":{"botTokn":"123:SECRET"}}}"#,
        r#"{"gateway":{"auth":{"mode":{"token":"SECRET"}}}}"#,
        r#"{"gateway":{"auth":{"tokne":"SECRET"}}}"#,
        r#"{"gateway":{"port":{"token":"SECRET"}}}"#,
    ] {
        let inputs = Home::with("openclaw.json", text).env("MINE", "SECRET").inputs;
        let refused = load(&inputs).expect_err(text).to_string();
        assert!(!refused.contains("SECRET") && !refused.contains("12345678"), "{refused}");
    }
    assert!(refused(r#"{"gateway":{"port":"x"}}"#).contains("gateway.port: must be"));
    assert!(refused(r#"{"gateway":{"port":70000}}"#).contains("gateway.port = 70000: must be"));
}

#[test]
fn a_file_with_secrets_must_be_private_and_no_secret_is_ever_shown() {
    let home = Home::with("openclaw.json", "{gateway: {auth: {token: 'hush-hush-hush', mode: 'tokn'}, prot: 1}}");
    std::fs::set_permissions(home.inputs.config_file.as_ref().unwrap(), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let said = load(&home.inputs).unwrap_err().to_string();
    assert!(said.contains("mode 0644") && said.contains("chmod 600"), "{said}");
    assert!(!said.contains("hush"), "{said}");
    let home = Home::with("openclaw.json", "{gateway: {port: 1}}");
    std::fs::set_permissions(home.inputs.config_file.as_ref().unwrap(), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    assert!(load(&home.inputs).is_ok(), "without secrets anybody may read it");
    assert!(!format!("{:?}", json("{gateway: {auth: {token: 'hush-hush-hush'}}}")).contains("hush"));
}

#[test]
fn a_file_that_is_none_is_refused_with_its_name() {
    for text in ["{ gateway: ", "[]", "{a: 1, a: 2}"] {
        assert!(refused(text).contains("openclaw.json"));
    }
}

#[test]
fn token_and_password_together_need_a_mode() {
    refused_with(
        "{gateway: {auth: {token: 'aaaaaaaaaaaaa', password: 'b'}}}",
        &["gateway.auth.mode", "which one counts"],
    );
    refused_with("{gateway: {auth: {mode: 'password'}}}", &["gateway.auth.password", "missing"]);
    assert!(matches!(json("{gateway: {auth: {password: 'b'}}}").settle().unwrap().auth, Auth::Password(_)));
}

#[test]
fn metrics_have_a_port_of_their_own() {
    refused_with("{gateway: {port: 9090}}", &["gatewarden.metrics.port = 9090"]);
    assert_eq!(json("{gatewarden: {metrics: {enabled: false}}}").settings().metrics, None);
}

#[test]
fn audit_events_are_known_ones() {
    refused_with("{audit: {events: ['auth.succes']}}", &["audit.events[0]", "auth.success"]);
    assert_eq!(json("{audit: {events: ['auth.*', 'device.revoked']}}").settings().audit.events.len(), 2);
}

#[test]
fn what_any_user_may_change_is_no_configuration_and_no_program_without_a_warning() {
    let home = Home::with("openclaw.json", "{}");
    let file = home.inputs.config_file.clone().unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o646)).unwrap();
    let said = load(&home.inputs).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("mode 0646") && said.contains("chmod o-w"), "{said}");

    let tool = home.path().join("tool");
    std::fs::write(&tool, "#!/bin/sh\n").unwrap();
    let text = format!(r#"{{gatewarden: {{commands: {{tool: {{program: "{}"}}}}}}}}"#, tool.display());
    for (mode, warned) in [(0o755, 0), (0o757, 1)] {
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(mode)).unwrap();
        let warnings = json(&text).warnings;
        assert_eq!(warnings.iter().filter(|warning| warning.contains("any user")).count(), warned, "{warnings:?}");
    }
}

#[test]
fn proxies_are_trusted_as_written_and_loopback_where_nothing_is() {
    let trusts = |text: &str, address: &str| {
        let trusted = &json(text).settings().trusted_proxies.clone();
        gatewarden_protocol::forwarded::is_trusted(address.parse().unwrap(), trusted)
    };
    assert!(trusts("{}", "127.0.0.1") && !trusts("{}", "10.0.0.7"));
    let written = "{gateway: {trustedProxies: ['10.0.0.0/8']}}";
    assert!(trusts(written, "10.0.0.7") && !trusts(written, "127.0.0.1"));
    assert!(!trusts("{gateway: {trustedProxies: []}}", "127.0.0.1"));
    refused_with("{gateway: {trustedProxies: ['proxy.example']}}", &["gateway.trustedProxies[0]", "10.0.0.0/8"]);
}

#[test]
fn commands_of_nodes_are_allowed_and_denied_by_their_exact_names() {
    let draft = json(
        r#"{ gateway: { nodes: { commands: { allow: ["camera.snap"], deny: ["system.run"] }, pluginTools: { enabled: true } } } }"#,
    );
    assert!(draft.warnings.iter().any(|warning| warning.contains("gateway.nodes.pluginTools")), "{:?}", draft.warnings);
    let commands = &draft.settings().node_commands;
    assert_eq!(
        (commands.allow.as_slice(), commands.deny.as_slice()),
        (&["camera.snap".to_owned()][..], &["system.run".to_owned()][..])
    );
    refused_with(r#"{ gateway: { nodes: { commands: { allow: ["camera.*"] } } } }"#, &["allow[0]", "exact name"]);
    refused_with(r#"{ gateway: { nodes: { commands: { allowed: [] } } } }"#, &["known here: allow, deny"]);
    let old = GatewayConfig::defaults("/state".into(), Auth::None);
    let new = GatewayConfig { node_commands: commands.clone(), ..old.clone() };
    assert_eq!(super::plan::decided_on_the_machine(&old, &new), ["gateway.nodes.commands"], "no client widens it");
}

#[test]
fn a_secret_that_is_long_and_varied_cannot_be_guessed() {
    for (secret, cannot) in [
        ("a-token-of-its-own", true),
        ("0123456789abcdef", true),
        ("0123456789abcde", false),
        ("passwordpassword", false),
        ("", false),
    ] {
        assert_eq!(is_unguessable(&Secret::new(secret)), cannot, "{secret}");
    }
}

#[test]
fn what_document_004_and_real_openclaw_write_is_taken_with_a_warning() {
    let draft = json("{gateway: {controlUi: {dangerouslyDisableDeviceAuth: true}}}");
    assert!(!draft.settings().control_ui.require_device_auth);
    assert!(draft.warnings[0].contains("taken as requireDeviceAuth: false"), "{:?}", draft.warnings);
    refused_with(
        "{gateway: {controlUi: {dangerouslyDisableDeviceAuth: true, requireDeviceAuth: true}}}",
        &["gateway.controlUi.dangerouslyDisableDeviceAuth", "contradicts"],
    );
    let draft = json("{hooks: {webhooks: [{id: 'a', path: '/webhook/a', message: 'm'}]}}");
    assert!(draft.settings().webhooks[0].secret.is_none());
    assert!(draft.warnings.iter().any(|warning| warning.contains("every program on this machine")));
}

#[test]
fn openclaw_config_names_a_file_of_either_form_whatever_it_is_called() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("a.json", "// mine\n{gateway: {port: 4711}}"),
        ("a.yml", "gateway:\n  port: 4711\n"),
        ("a.conf", "# mine\ngateway:\n  port: 4711\n"),
        ("config", "// mine\n{gateway: {port: 4711}}"),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let environment = [("OPENCLAW_CONFIG".to_owned(), file.into())].into();
        let inputs = Inputs { state_dir: Some(dir.path().join("state")), environment, ..Inputs::default() };
        let draft = load(&inputs).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(draft.settings().port, 4711, "{name}");
    }
}
