//! The last line of a file that was sent to a gateway: it holds a digest of the text before it. So a later sync can tell a
//! file that is still as it was sent, which may be renewed, from one that the agent or a person has written in, which is
//! theirs.

use sha2::{Digest as _, Sha256};

const OPENING: &str = "<!-- gatewarden ";
const CLOSING: &str = " -->";
/// Bytes of the digest that are shown, two digits each.
const SHOWN: usize = 8;

/// The text with its mark. It ends with a line break.
pub fn marked(text: &str) -> String {
    let text = text.trim_end();
    format!("{text}\n\n{OPENING}{}{CLOSING}\n", digest(text))
}

/// Whether the text was sent from here and nobody has changed it since.
pub fn is_unchanged(content: &str) -> bool {
    let content = content.trim_end();
    let Some((text, last)) = content.rsplit_once('\n') else { return false };
    let said = last.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix(CLOSING));
    said == Some(digest(text.trim_end()).as_str())
}

fn digest(text: &str) -> String {
    use std::fmt::Write as _;

    let mut shown = String::with_capacity(2 * SHOWN);
    for byte in Sha256::digest(text.as_bytes()).iter().take(SHOWN) {
        // Writing into a text can't fail.
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}
