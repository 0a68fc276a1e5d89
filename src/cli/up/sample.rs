//! The gateway's configuration where nobody has written one: loopback, a token, and a sample agent.

use std::path::{Path, PathBuf};

use gatewarden_embedded_gateway::private_files::replace;
use serde_json::json;

/// The sample agent's id.
pub(super) const AGENT: &str = "sample";

/// Writes the file, anew at each start: the program may have moved.
pub(super) fn write(state_dir: &Path) -> std::io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let path = state_dir.join("sample-openclaw.json");
    replace(&path, text(&program).as_bytes())?;
    Ok(path)
}

fn text(program: &Path) -> String {
    // A JSON text is a JSON5 text.
    let program = json!(program.display().to_string());
    format!(
        "// Written by `gatewarden up` at each start. To change it, copy it to ~/.config/gatewarden/openclaw.json first.
{{
  gateway: {{ bind: \"loopback\" }},
  audit: {{ enabled: true }},
  gatewarden: {{
    commands: {{
      {AGENT}: {{ program: {program}, args: [\"gateway\", \"sample-agent\"], jsonLines: true, timeout: \"1h\" }},
    }},
    limits: {{ killGrace: \"2s\" }},
  }},
  agents: {{
    entries: {{
      {AGENT}: {{ name: \"Sample agent\", command: \"{AGENT}\", default: true }},
    }},
  }},
}}
"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use gatewarden_embedded_gateway::config::{Inputs, load};

    use super::*;

    #[test]
    fn the_written_file_is_a_configuration_without_warnings() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let path = write(&state).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let inputs = Inputs { config_file: Some(path), state_dir: Some(state), ..Inputs::default() };
        let draft = load(&inputs).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(draft.warnings, Vec::<String>::new());
        assert_eq!(draft.settings().default_agent.as_deref(), Some(AGENT));
        assert_eq!(draft.settings().commands[AGENT].program, std::env::current_exe().unwrap());
    }

    #[test]
    fn a_program_with_quotes_in_its_path_stays_one_text() {
        assert!(text(Path::new("/a \"b\"/c")).contains(r#"program: "/a \"b\"/c","#));
    }
}
