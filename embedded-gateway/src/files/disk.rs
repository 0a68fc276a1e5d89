//! Questions that need the disk; answered on the files' thread, in order with all changes.

use std::path::PathBuf;

use serde_json::Value;

use super::{tail, workspace};
use crate::reply::CallError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskQuery {
    LogTail {
        file: PathBuf,
        /// After this offset in bytes; none: the last lines.
        cursor: Option<u64>,
        /// At most so many lines.
        limit: usize,
        /// At most so many bytes.
        bytes: u64,
    },
    WorkspaceList(Workspace),
    WorkspaceGet {
        workspace: Workspace,
        name: &'static str,
    },
    WorkspaceSet {
        workspace: Workspace,
        name: &'static str,
        content: String,
        /// Refuse unless the file's content has this SHA-256 (hex).
        expected_hash: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub agent: String,
    pub folder: PathBuf,
    /// The folder must be below this one once links are resolved: set for agents that were created over the wire.
    pub below: Option<PathBuf>,
}

impl DiskQuery {
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::WorkspaceSet { content, .. } => content.len(),
            Self::LogTail { .. } | Self::WorkspaceList(_) | Self::WorkspaceGet { .. } => 0,
        }
    }
}

pub(super) fn answer(query: DiskQuery) -> Result<Value, CallError> {
    match query {
        DiskQuery::LogTail { file, cursor, limit, bytes } => tail::tail(&file, cursor, limit, bytes)
            .map_err(|error| CallError::unavailable(format!("the log {} could not be read: {error}", file.display()))),
        DiskQuery::WorkspaceList(whose) => workspace::list(&whose),
        DiskQuery::WorkspaceGet { workspace, name } => workspace::get(&workspace, name),
        DiskQuery::WorkspaceSet { workspace, name, content, expected_hash } => {
            workspace::set(&workspace, name, &content, expected_hash.as_deref())
        }
    }
}
