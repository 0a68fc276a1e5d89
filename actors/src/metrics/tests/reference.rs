//! The reference of all metrics as a page for people: `docs/metrics.md` is this text, and a test holds the two together.

use std::fmt::Write as _;

use super::super::catalogue::{Family, GROUPS, Kind, Label};

/// All families.
pub(super) fn families() -> impl Iterator<Item = &'static Family> {
    GROUPS.iter().flat_map(|(_, families)| families.iter().copied())
}

const HEAD: &str = "\
# Metrics

`GET /metrics` gives all of them in the text format 0.0.4. Who may read it is set by `metrics.access`: nobody, a direct peer
on this machine (the default), whoever has a key, or everybody. Example configuration, alert rules with their tests and a
dashboard are in `monitoring/`.

This page is made from the code; a test fails when it isn't true any more
(`UPDATE_DOCS=1 cargo test -p gatewarden-actors --lib metrics` writes it anew).

- A family is left out while it has no sample: latency before the first answer, notifications without a destination.
- Labels are bounded and never come from outside. `gateway` is the record's id; the name is in `gatewarden_gateway_info`:
  `gatewarden_gateway_up * on (gateway) group_left (name) gatewarden_gateway_info`.
- A deleted gateway's series disappear with it. Counters start at 0 with each start of the daemon.
- A gateway has about 40 series, and one more for each kind of request, refusal and dropped frame that it has had.
";

/// The whole page, in Markdown.
pub(super) fn reference() -> String {
    let mut page = HEAD.to_owned();
    for (title, families) in GROUPS.iter().copied() {
        // Writing to a text cannot fail.
        let _ = write!(page, "\n## {title}\n\n| metric | type | labels | means |\n| --- | --- | --- | --- |\n");
        for family in families {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{}`", label.0)).collect();
            let (kind, labels) = (word(family.kind), labels.join(", "));
            let _ = writeln!(page, "| `{}` | {kind} | {labels} | {} |", family.name, family.help);
        }
    }
    page.push_str("\n## Labels\n\nWhat values each may have, and what bounds their number.\n\n| label | of | values |\n| --- | --- | --- |\n");
    let mut described: Vec<(&Label, Vec<&str>)> = Vec::new();
    for family in families() {
        for label in family.labels {
            match described.iter_mut().find(|(known, _)| *known == label) {
                Some((_, of)) => of.push(family.name),
                None => described.push((label, vec![family.name])),
            }
        }
    }
    for (label, of) in described {
        let of = match of.as_slice() {
            [one] => format!("`{one}`"),
            [first, second] => format!("`{first}`, `{second}`"),
            _ => "all that have it".to_owned(),
        };
        let _ = writeln!(page, "| `{}` | {of} | {} |", label.0, label.1);
    }
    page
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Histogram => "histogram",
    }
}

/// Names of series that a family may show, for whoever checks rules and dashboards against the families.
pub(super) fn series_names() -> Vec<String> {
    let mut names = Vec::new();
    for family in families() {
        names.push(family.name.to_owned());
        if family.kind == Kind::Histogram {
            names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)));
        }
    }
    names
}
