//! The files that agents are given: plain text with placeholders, shipped with the program or taken from a folder.
//!
//! The folder `agent` holds the files of every agent; a file of the same name in `main` stands in its place for the main
//! agent of a gateway. [`text`] reads and fills one file, [`mark`] tells a file that is still as it was sent from one that
//! somebody has changed.

pub mod mark;
pub mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
/// Files in one folder.
const MOST_FILES: usize = 32;
/// Bytes of one file.
const LARGEST_FILE: u64 = 64 * 1024;

/// All templates, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    agent: BTreeMap<String, Template>,
    /// Those of `agent`, but where there is one for the main agent, that one.
    main: BTreeMap<String, Template>,
}

/// A folder of templates that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct TemplateError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

impl Default for Templates {
    fn default() -> Self {
        Self::shipped()
    }
}

impl Templates {
    /// Those that come with the program.
    pub fn shipped() -> Self {
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
    ///
    /// # Errors
    /// The file or folder that can't be used, with the offending word where there is one.
    pub fn load(folder: &Path) -> Result<Self, TemplateError> {
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
    pub fn files_for(&self, is_main: bool, facts: &Facts<'_>) -> Vec<(&str, String)> {
        let files = if is_main { &self.main } else { &self.agent };
        files.iter().map(|(name, template)| (name.as_str(), mark::marked(&template.filled(facts)))).collect()
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
        if size > LARGEST_FILE {
            return Err(wrong(&path, format!("has {size} bytes; {LARGEST_FILE} are allowed")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(&path, error))?;
        let template = Template::parse(&text).map_err(|fault| wrong(&path, fault))?;
        files.insert(name, template);
    }
    if files.len() > MOST_FILES {
        return Err(wrong(folder, format!("holds {} files; {MOST_FILES} are allowed", files.len())));
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

#[cfg(test)]
mod tests;
