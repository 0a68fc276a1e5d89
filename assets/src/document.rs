//! The document that a browser loads first, and the policy under which it runs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Assets;

/// One document for all pages of a program.
pub struct Document {
    head: String,
    loads: String,
    /// Its `Content-Security-Policy`.
    pub policy: String,
}

impl Document {
    /// Of pages that are below `base`, which is empty or begins with a slash and doesn't end with one.
    pub fn of(assets: &Assets, base: &str) -> Self {
        let map = assets.import_map(base);
        let hash = STANDARD.encode(Sha256::digest(map.as_bytes()));
        let policy = format!(
            "default-src 'none'; script-src 'self' 'sha256-{hash}'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'"
        );
        let styles = ["app.css", "gateway/control.css"].into_iter().filter(|path| assets.files.contains_key(path));
        let styles: String =
            styles.map(|path| format!("<link rel=\"stylesheet\" href=\"{}\">\n", assets.url(base, path))).collect();
        let head =
            format!("<link rel=\"icon\" href=\"{}\" type=\"image/svg+xml\">\n{styles}", assets.url(base, "icon.svg"));
        let preloads: String =
            assets.preloaded(base).iter().map(|url| format!("<link rel=\"modulepreload\" href=\"{url}\">\n")).collect();
        let main = assets.url(base, "main.js");
        let loads = format!(
            "<script type=\"importmap\">{map}</script>\n{preloads}<script type=\"module\" src=\"{main}\"></script>\n"
        );
        Self { head, loads, policy }
    }

    /// The beginning of a document with the same looks, up to what it loads of its own.
    pub fn head(&self, title: &str) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n{}",
            self.head
        )
    }

    /// The document itself; `without_scripts` is what a browser shows that runs none.
    pub fn html(&self, title: &str, without_scripts: &str) -> String {
        let (head, loads) = (self.head(title), &self.loads);
        format!(
            "{head}{loads}</head>\n<body>\n<div id=\"app\"><p class=\"loading\">Loading…</p></div>\n\
             <noscript>{without_scripts}</noscript>\n</body>\n</html>\n"
        )
    }
}
