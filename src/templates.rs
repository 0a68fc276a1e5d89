//! The files that agents are given: plain text with placeholders, shipped with the program or taken from a folder.
//!
//! The folder `agent` holds the files of every agent; a file of the same name in `main` stands in its place for the main
//! agent of a gateway. [`text`] reads and fills one file.
//!
//! The last line of a file that is sent to a gateway holds a digest of the text before it. So a later sync can tell a file that is
//! still as it was sent, which may be renewed, from one that the agent or a person has written in, which is theirs.

pub(crate) mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use text::{Facts, Template};

/// The shipped files: folder, name, text.
const SHIPPED: [(&str, &str, &str); 5] = [
    ("agent", "AGENTS.md", include_str!("../templates/agent/AGENTS.md")),
    ("agent", "TOOLS.md", include_str!("../templates/agent/TOOLS.md")),
    ("main", "AGENTS.md", include_str!("../templates/main/AGENTS.md")),
    ("main", "HEARTBEAT.md", include_str!("../templates/main/HEARTBEAT.md")),
    ("main", "TOOLS.md", include_str!("../templates/main/TOOLS.md")),
];

/// The folders, and whom their files are for.
const FOLDERS: [&str; 2] = ["agent", "main"];
const MAX_FILES: usize = 32;
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// All templates, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Templates {
    agent: BTreeMap<String, Template>,
    /// Those of `agent`, but where there is one for the main agent, that one.
    main: BTreeMap<String, Template>,
}

/// A folder of templates that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub(crate) struct TemplateError {
    pub(crate) path: PathBuf,
    /// What is wrong with it, and what would be right.
    pub(crate) what: String,
}

impl Default for Templates {
    fn default() -> Self {
        Self::shipped()
    }
}

impl Templates {
    pub(crate) fn shipped() -> Self {
        let mut folders: [BTreeMap<String, Template>; 2] = Default::default();
        for (folder, files) in FOLDERS.iter().zip(&mut folders) {
            for (_, name, text) in SHIPPED.iter().filter(|(of, _, _)| of == folder) {
                // A test reads them all: none is left out here.
                files.extend(Template::parse(text).ok().map(|template| ((*name).to_owned(), template)));
            }
        }
        Self::of(folders)
    }

    /// Those of a folder, which stand in the place of all that are shipped.
    pub(crate) fn load(folder: &Path) -> Result<Self, TemplateError> {
        let mut folders: [BTreeMap<String, Template>; 2] = Default::default();
        for path in entries(folder)? {
            let name = file_name(&path);
            match FOLDERS.iter().position(|folder| *folder == name) {
                Some(_) if path.is_dir() => {}
                _ => return Err(wrong(&path, "only the folders agent and main belong here")),
            }
        }
        for (name, files) in FOLDERS.iter().zip(&mut folders) {
            let folder = folder.join(name);
            if folder.is_dir() {
                *files = read_folder(&folder)?;
            }
        }
        if folders.iter().all(BTreeMap::is_empty) {
            return Err(wrong(
                folder,
                "holds no template: put files such as AGENTS.md into its folders agent and main",
            ));
        }
        Ok(Self::of(folders))
    }

    fn of([agent, own]: [BTreeMap<String, Template>; 2]) -> Self {
        let mut main = agent.clone();
        main.extend(own);
        Self { agent, main }
    }

    /// The files of one agent: name and text, filled and marked, by name.
    pub(crate) fn files_for(&self, is_main: bool, facts: &Facts<'_>) -> Vec<(&str, String)> {
        let files = if is_main { &self.main } else { &self.agent };
        files.iter().map(|(name, template)| (name.as_str(), marked(&template.filled(facts)))).collect()
    }
}

fn read_folder(folder: &Path) -> Result<BTreeMap<String, Template>, TemplateError> {
    let mut files = BTreeMap::new();
    for path in entries(folder)? {
        let name = file_name(&path);
        let stem = name.strip_suffix(".md").unwrap_or_default();
        if stem.is_empty() || !stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(wrong(&path, "must be called like AGENTS.md: letters, digits, - and _, then .md"));
        }
        let size = std::fs::metadata(&path).map_err(|error| wrong(&path, error))?.len();
        if size > MAX_FILE_BYTES {
            return Err(wrong(&path, format!("has {size} bytes; {MAX_FILE_BYTES} are allowed")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(&path, error))?;
        let template = Template::parse(&text).map_err(|fault| wrong(&path, fault))?;
        files.insert(name, template);
    }
    if files.len() > MAX_FILES {
        return Err(wrong(folder, format!("holds {} files; {MAX_FILES} are allowed", files.len())));
    }
    Ok(files)
}

/// What is in a folder, by name; names that begin with a dot belong to editors and version control.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, TemplateError> {
    let read = std::fs::read_dir(folder).map_err(|error| wrong(folder, error))?;
    let mut paths = Vec::new();
    for entry in read {
        let path = entry.map_err(|error| wrong(folder, error))?.path();
        if !file_name(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> TemplateError {
    TemplateError { path: path.to_owned(), what: what.to_string() }
}

const OPENING: &str = "<!-- gatewarden ";
const CLOSING: &str = " -->";
/// Bytes of the digest that are shown, two digits each.
const SHOWN: usize = 8;

/// The text with its mark. It ends with a line break.
pub(crate) fn marked(text: &str) -> String {
    let text = text.trim_end();
    format!("{text}\n\n{OPENING}{}{CLOSING}\n", digest(text))
}

/// Whether the text was sent from here and nobody has changed it since.
pub(crate) fn is_unchanged(content: &str) -> bool {
    let content = content.trim_end();
    let Some((text, last)) = content.rsplit_once('\n') else { return false };
    let said = last.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix(CLOSING));
    said == Some(digest(text.trim_end()).as_str())
}

fn digest(text: &str) -> String {
    let mut shown = String::with_capacity(2 * SHOWN);
    for byte in Sha256::digest(text.as_bytes()).iter().take(SHOWN) {
        // Writing into a text can't fail.
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}

#[cfg(test)]
mod tests;
