use tempfile::TempDir;

use super::*;

const FACTS: Facts<'static> = Facts {
    agent_id: "main",
    agent_name: "Main",
    agent_role: "gateway main",
    gateway_id: "55cc268a-4b45-400f-accf-201e025232ac",
    gateway_name: "prod",
    gateway_url: "ws://127.0.0.1:18789",
    organization_id: "0c0c0c0c-0000-4000-8000-000000000000",
    workspace_root: "/srv/workspaces",
};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn names(templates: &Templates, is_main: bool) -> Vec<&str> {
    templates.files_for(is_main, &FACTS).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_shipped_file_is_embedded_and_can_be_read() {
    let on_disk = Templates::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")).unwrap();
    assert_eq!(Templates::shipped(), on_disk);
    for (folder, name, text) in SHIPPED {
        Template::parse(text).unwrap_or_else(|fault| panic!("{folder}/{name}: {fault}"));
    }
    for is_main in [true, false] {
        for (name, text) in on_disk.files_for(is_main, &FACTS) {
            assert!(!text.contains("{{") && !text.contains("}}"), "{name}: {text}");
        }
        let all: String = on_disk.files_for(is_main, &FACTS).into_iter().map(|(_, text)| text).collect();
        assert!(all.contains("prod") && all.contains("/srv/workspaces"), "{all}");
    }
}

#[test]
fn words_are_filled_once_and_their_content_is_not_read_again() {
    let template = Template::parse("{{agent_name}} at {{ gateway_name }}: {{workspace_root}}{{agent_id}}").unwrap();
    let facts = Facts { agent_name: "{{gateway_url}}", ..FACTS };
    assert_eq!(template.filled(&facts), "{{gateway_url}} at prod: /srv/workspacesmain");
}

#[test]
fn an_unknown_word_is_named_with_its_file_and_line() {
    let dir = folder(&[("agent/AGENTS.md", "fine {{agent_name}}\nnot fine {{agent_nmae}}\n")]);
    let said = Templates::load(dir.path()).unwrap_err().to_string();
    for part in ["agent/AGENTS.md", "line 2", "{{agent_nmae}}", "agent_name, agent_role"] {
        assert!(said.contains(part), "{said}");
    }
    let unclosed = Template::parse("a\nb {{agent_name\n}} c").unwrap_err().to_string();
    assert_eq!(unclosed, "line 2: {{ is not closed by }} on the same line");
}

#[test]
fn a_folder_stands_in_the_place_of_all_shipped_files_and_main_goes_before_agent() {
    let dir = folder(&[
        ("agent/AGENTS.md", "all"),
        ("agent/SOUL.md", "soul"),
        ("main/AGENTS.md", "main of {{gateway_name}}"),
        (".git/config", "not ours"),
    ]);
    let templates = Templates::load(dir.path()).unwrap();
    assert_eq!(names(&templates, false), ["AGENTS.md", "SOUL.md"]);
    let main = templates.files_for(true, &FACTS);
    assert_eq!(main.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["AGENTS.md", "SOUL.md"]);
    assert!(main[0].1.starts_with("main of prod\n"), "{main:?}");
}

#[test]
fn what_is_no_template_is_refused_with_its_path() {
    let much = "x".repeat(65 * 1024);
    for (files, part) in [
        (vec![("AGENTS.md", "x")], "agent and main"),
        (vec![("other/AGENTS.md", "x")], "other"),
        (vec![("agent/AGENTS.txt", "x")], "AGENTS.txt"),
        (vec![("agent/A GENTS.md", "x")], "A GENTS.md"),
        (vec![("agent/sub/AGENTS.md", "x")], "sub"),
        (vec![("agent/AGENTS.md", much.as_str())], "65536 are allowed"),
        (vec![], "holds no template"),
    ] {
        let dir = folder(&files);
        let said = Templates::load(dir.path()).unwrap_err().to_string();
        assert!(said.contains(part) && said.contains(&dir.path().display().to_string()), "{said}");
    }
    assert!(Templates::load(Path::new("/nowhere/at/all")).unwrap_err().to_string().contains("/nowhere/at/all"));
    let dir = folder(&[("agent/AGENTS.md", "x")]);
    std::fs::write(dir.path().join("agent/AGENTS.md"), b"\xff\xfe").unwrap();
    assert!(Templates::load(dir.path()).is_err());
}

#[test]
fn a_mark_tells_an_unchanged_file_from_a_changed_one() {
    let sent = marked("one\ntwo\n\n");
    assert!(sent.starts_with("one\ntwo\n\n<!-- gatewarden ") && sent.ends_with(" -->\n"));
    assert!(is_unchanged(&sent));
    // An editor may take the last line break away.
    assert!(is_unchanged(sent.trim_end()));
    for changed in [
        sent.replace("two", "three"),
        format!("{sent}more\n"),
        format!("more\n{sent}"),
        "one\ntwo\n".to_owned(),
        String::new(),
        sent.lines().last().unwrap().to_owned(),
    ] {
        assert!(!is_unchanged(&changed), "{changed:?}");
    }
}
