//! The documentation as resources: all pages of `docs/`.

use rmcp::model::{ReadResourceResult, Resource, ResourceContents};

/// A page links to others by their file names, which this makes resolve.
const PLACE: &str = "gatewarden://docs/";
const MARKDOWN: &str = "text/markdown";

macro_rules! pages {
    ($($name:literal)*) => {
        /// File name and text.
        const PAGES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../docs/", $name)))),*];
    };
}

pages! {
    "agents.md"
    "api.md"
    "architecture.md"
    "cluster.md"
    "command-line.md"
    "compatibility.md"
    "control-ui.md"
    "dashboard.md"
    "embedded-gateway-access.md"
    "embedded-gateway-agents.md"
    "embedded-gateway-channels.md"
    "embedded-gateway-cron.md"
    "embedded-gateway-nodes.md"
    "embedded-gateway-whatsapp.md"
    "embedded-gateway.md"
    "events.md"
    "local-gateways.md"
    "mcp.md"
    "metrics.md"
    "notifications.md"
    "openclaw-wire.md"
    "operations.md"
    "organization.md"
    "postgresql.md"
    "protocol.md"
    "security.md"
    "sessions.md"
    "templates.md"
}

/// All pages.
pub(super) fn listed() -> Vec<Resource> {
    let page = |(name, text): &(&str, &str)| {
        let title = text.lines().next().unwrap_or_default().trim_start_matches("# ");
        let size = u64::try_from(text.len()).unwrap_or_default();
        Resource::new(format!("{PLACE}{name}"), *name).with_title(title).with_mime_type(MARKDOWN).with_size(size)
    };
    PAGES.iter().map(page).collect()
}

/// One page.
pub(super) fn read(uri: &str) -> Option<ReadResourceResult> {
    let wanted = uri.strip_prefix(PLACE)?;
    let (_, text) = PAGES.iter().find(|(name, _)| *name == wanted)?;
    Some(ReadResourceResult::new(vec![ResourceContents::text(*text, uri).with_mime_type(MARKDOWN)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_there() {
        let mut there: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".md"))
            .collect();
        there.sort();
        assert_eq!(PAGES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), there);
    }

    #[test]
    fn a_page_is_read_by_the_address_that_the_list_gives_it() {
        for page in listed() {
            assert!(read(&page.uri).is_some(), "{}", page.uri);
        }
        for missing in ["gatewarden://docs/none.md", "gatewarden://docs/../Cargo.toml", "file:///docs/api.md", ""] {
            assert!(read(missing).is_none(), "{missing}");
        }
    }
}
