//! The files of `web/`, compiled in once, for the two programs that have pages: the daemon's dashboard and the embedded gateway's
//! Control UI. The modules that a first page needs go out as one file, so that it takes few requests; what they declare has
//! different names, and an import map leads whoever imports one of them to that file. All URLs hold the hash of all files.

mod document;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

pub use document::Document;

macro_rules! files {
    ($($path:literal)*) => { &[$(($path, include_str!(concat!("../../web/", $path)))),*] };
}

type Files = &'static [(&'static str, &'static str)];

/// What both first pages begin with. As browsers get it, in this order: what a module imports comes before it.
const SHARED: Files = files! {
    "format.js" "time.js" "api.js" "socket.js" "components/basics.js" "components/dialog.js" "components/form.js"
    "components/switches.js"
};

/// The rest of the dashboard's first page.
const OF_DASHBOARD: Files = files! {
    "place.js" "store.js" "live.js" "components/table.js" "components/spark.js" "actions.js" "pages/fleet.js" "app.js"
};

/// Of the dashboard, each loaded when it is needed.
const LATER: Files = files! {
    "components/chart.js" "pages/gateway_form.js" "pages/gateway_check.js" "pages/gateway_bulk.js" "pages/gateway_discovery.js" "pages/gateway.js" "pages/gateway_latency.js" "pages/gateway_log.js" "pages/gateway_process.js" "pages/help.js"
    "read.js" "components/rows.js" "components/list.js"
    "pages/sessions.js" "pages/spawns.js" "pages/agents.js" "pages/connections.js" "pages/events.js" "pages/audit.js"
    "pages/keys.js" "pages/devices.js" "pages/waiting_devices.js" "pages/nodes.js" "pages/status.js"
    "vendor/uplot.js" "vendor/uplot.css"
};

/// The rest of the Control UI, all of it.
const OF_CONTROL_UI: Files = files! {
    "components/rows.js" "components/scroll.js" "gateway/refusals.js" "gateway/identity.js" "gateway/link.js" "gateway/login.js"
    "gateway/reading.js" "gateway/conversation.js" "gateway/talk.js" "gateway/acts.js" "gateway/approvals.js" "gateway/names.js" "gateway/chat.js" "gateway/overview.js" "gateway/sessions.js"
    "gateway/channels.js" "gateway/job_form.js" "gateway/jobs.js" "gateway/logs.js" "gateway/configuration_changes.js"
    "gateway/configuration_draft.js" "gateway/configuration.js"
    "gateway/main.js"
};

const STYLE_OF_CONTROL_UI: Files = files! { "gateway/control.css" };

/// What both have besides their modules.
const BESIDE: Files = files! {
    "app.css" "icon.svg" "vendor/preact.js" "vendor/preact-hooks.js" "vendor/signals-core.js" "vendor/signals.js"
};

/// The daemon's dashboard.
pub static DASHBOARD: LazyLock<Assets> = LazyLock::new(|| Assets::of(&[SHARED, OF_DASHBOARD], &[LATER, BESIDE]));

/// The embedded gateway's Control UI.
pub static CONTROL_UI: LazyLock<Assets> =
    LazyLock::new(|| Assets::of(&[SHARED, OF_CONTROL_UI], &[STYLE_OF_CONTROL_UI, BESIDE]));

/// Names under which modules import what is not ours.
const VENDORED: [(&str, &str); 5] = [
    ("preact", "vendor/preact.js"),
    ("preact/hooks", "vendor/preact-hooks.js"),
    ("@preact/signals-core", "vendor/signals-core.js"),
    ("@preact/signals", "vendor/signals.js"),
    ("uplot", "vendor/uplot.js"),
];

/// A file as it is sent.
pub struct Asset {
    /// Its content type.
    pub kind: &'static str,
    /// Its bytes, as gzip.
    pub compressed: Bytes,
}

/// The files of one of the two.
pub struct Assets {
    version: String,
    first: Vec<&'static str>,
    files: BTreeMap<&'static str, Asset>,
}

impl Assets {
    fn of(first: &[Files], later: &[Files]) -> Self {
        let (first, later): (Vec<_>, Vec<_>) =
            (first.iter().copied().flatten().collect(), later.iter().copied().flatten().collect());
        let mut hash = Sha256::new();
        for (path, text) in first.iter().chain(&later) {
            hash.update(path);
            hash.update(text);
        }
        let mut version = hex::encode(hash.finalize());
        version.truncate(16);
        let one = joined(first.iter().copied());
        let all = later.iter().map(|(path, text)| (*path, *text)).chain([("main.js", one.as_str())]);
        let files = all.map(|(path, text)| (path, Asset { kind: kind(path), compressed: compress(text) })).collect();
        Self { version, first: first.iter().map(|(path, _)| *path).collect(), files }
    }

    /// A file by what follows `assets/` in its URL. None where it is of another release: what is loaded there would not fit
    /// together with this one.
    pub fn get(&self, version: &str, path: &str) -> Option<&Asset> {
        self.files.get(path).filter(|_| self.is_of(version))
    }

    /// Whether a URL with this version leads to these files.
    pub fn is_of(&self, version: &str) -> bool {
        version == self.version
    }

    /// The URL of a file, where the pages are below `base`.
    fn url(&self, base: &str, path: &str) -> String {
        format!("{base}/assets/{}/{path}", self.version)
    }

    /// What the first page loads besides its style.
    fn preloaded(&self, base: &str) -> Vec<String> {
        let vendored = self.vendored().filter(|(name, _)| *name != "uplot").map(|(_, path)| self.url(base, path));
        [self.url(base, "main.js")].into_iter().chain(vendored).collect()
    }

    fn vendored(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        VENDORED.into_iter().filter(|(_, path)| self.files.contains_key(path))
    }

    fn import_map(&self, base: &str) -> String {
        let joined = self.first.iter().map(|path| (self.url(base, path), self.url(base, "main.js")));
        let vendored = self.vendored().map(|(name, path)| (name.to_owned(), self.url(base, path)));
        let imports: BTreeMap<String, String> = joined.chain(vendored).collect();
        serde_json::json!({ "imports": imports }).to_string()
    }
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}

fn compress(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let _ = encoder.write_all(text.as_bytes());
    encoder.finish().unwrap_or_default().into()
}

/// The modules behind each other, without what they import of each other. An import is a statement that begins a line and ends
/// with one; it names what it takes, and takes it under the same name.
fn joined<'a>(modules: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut code = String::new();
    for (_, text) in modules {
        let mut rest: &str = text;
        while let Some((line, after)) = rest.split_once('\n') {
            rest = after;
            if !line.starts_with("import ") {
                code.push_str(line);
                code.push('\n');
                continue;
            }
            let (mut names, mut end) = (line, line);
            if !line.ends_with(';')
                && let Some((many, after)) = after.split_once("\n}")
            {
                (end, rest) = after.split_once('\n').unwrap_or((after, ""));
                names = many;
            }
            let Some(from) = end.split('"').nth(1).filter(|from| !from.starts_with('.')) else { continue };
            let names = names.split_once('{').map_or(names, |(_, names)| names);
            let names = names.split_once('}').map_or(names, |(names, _)| names);
            imports.entry(from).or_default().extend(names.split(',').map(str::trim).filter(|name| !name.is_empty()));
        }
    }
    let mut whole = String::new();
    for (from, names) in imports {
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        let _ = writeln!(whole, "import {{ {names} }} from \"{from}\";");
    }
    whole + &code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_modules_import_only_what_is_not_ours() {
        let modules: Files = &[
            ("a.js", "import { h } from \"preact\";\nexport const a = h;\n"),
            (
                "b.js",
                "import {\n  a,\n  long,\n} from \"./a.js\";\nimport { h, render } from \"preact\";\nrender(a, h);\n",
            ),
        ];
        assert_eq!(
            joined(modules.iter()),
            "import { h, render } from \"preact\";\nexport const a = h;\nrender(a, h);\n"
        );
    }

    fn of_dashboard() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        SHARED.iter().chain(OF_DASHBOARD)
    }

    fn of_control_ui() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        SHARED.iter().chain(OF_CONTROL_UI)
    }

    #[test]
    fn the_first_pages_are_whole() {
        let text = joined(of_dashboard()) + &joined(of_control_ui());
        for line in text.lines().filter(|line| line.starts_with("import ")) {
            let from = line.split('"').nth(1).unwrap();
            assert!(VENDORED.iter().any(|(name, _)| *name == from), "{line}");
        }
    }

    /// What a line declares for its whole module.
    fn declared(line: &str) -> Option<&str> {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let line = line.strip_prefix("async ").unwrap_or(line);
        let kinds = ["function ", "const ", "let ", "class "];
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_' && letter != '$').next()
    }

    #[test]
    fn no_two_modules_of_a_first_page_declare_the_same_name() {
        each_name_is_declared_once(&of_dashboard().collect::<Vec<_>>());
        each_name_is_declared_once(&of_control_ui().collect::<Vec<_>>());
    }

    fn each_name_is_declared_once(modules: &[&(&str, &str)]) {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        for (path, text) in modules {
            for name in text.lines().filter_map(declared) {
                assert_ne!(name, "", "{path} declares several names in one statement, which this test does not read");
                let other = owners.insert(name, path);
                assert_eq!(other, None, "{name} is declared in {path}, too: they are sent as one file");
            }
        }
        let text = joined(modules.iter().copied());
        let imported = text.lines().filter(|line| line.starts_with("import "));
        for name in imported.flat_map(|line| line.split(['{', '}']).nth(1).unwrap_or_default().split(',')) {
            assert!(!owners.contains_key(name.trim()), "{name} is imported, too");
        }
    }

    #[test]
    fn vendored_files_are_those_of_the_lock() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../web/vendor");
        let lock: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(format!("{folder}/lock.json")).unwrap()).unwrap();
        let mut locked = vec!["lock.json".to_owned()];
        for package in lock.as_array().unwrap() {
            assert!(["MIT", "Apache-2.0"].contains(&package["licence"].as_str().unwrap()), "{package}");
            for file in package["files"].as_array().unwrap() {
                let name = file["file"].as_str().unwrap();
                let bytes = std::fs::read(format!("{folder}/{name}")).unwrap();
                assert_eq!(hex::encode(Sha256::digest(&bytes)), file["sha256"], "{name}");
                locked.push(name.to_owned());
            }
        }
        let mut there: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        locked.sort();
        there.sort();
        assert_eq!(there, locked);
    }

    #[test]
    fn all_files_together_are_small() {
        for (assets, most) in [(&DASHBOARD, 150 * 1024), (&CONTROL_UI, 68 * 1024)] {
            let bytes: usize = assets.files.values().map(|asset| asset.compressed.len()).sum();
            assert!(bytes <= most, "{bytes}");
        }
    }
}
