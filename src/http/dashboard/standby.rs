//! The page of a node that stands by: which node acts, and all nodes for whoever has a key. It has nothing to load and runs no script:
//! such a node serves no files, and opens no browser session, since it writes nothing.

use gatewarden_actors::error::Failure;
use gatewarden_api::cluster::{Cluster, ClusterNode};

use super::login::escaped;

/// What it has of the nodes.
pub(crate) enum Nodes {
    /// A form that asks for a key, with why the last one did not do.
    Asks(Option<Failure>),
    /// All of them.
    Shown(Cluster),
}

pub(super) fn html(failure: &Failure, url: Option<&str>, nodes: &Nodes) -> String {
    let sentence = escaped(&failure.message);
    let link = url.and_then(link).map(|link| format!("<p>{link}</p>\n")).unwrap_or_default();
    let nodes = match nodes {
        Nodes::Asks(why) => form(why.as_ref()),
        Nodes::Shown(seen) => table(seen),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Standing by – gatewarden</title>\n</head>\n<body>\n<main>\n\
         <h1>gatewarden</h1>\n<p>{sentence}.</p>\n{link}{nodes}</main>\n</body>\n</html>\n"
    )
}

/// Only an address that the database names may be led to, and no script.
fn link(url: &str) -> Option<String> {
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    let url = escaped(url);
    is_web.then(|| format!("<a href=\"{url}\">{url}</a>"))
}

fn form(why: Option<&Failure>) -> String {
    let why = why.map(|why| format!("<p role=\"alert\">{}.</p>\n", escaped(&why.message))).unwrap_or_default();
    format!(
        "<form method=\"post\" action=\"/nodes\">\n{why}<p><label for=\"api_key\">API key</label>\n\
         <input id=\"api_key\" name=\"api_key\" type=\"password\" required autocomplete=\"current-password\" maxlength=\"1000\" \
         spellcheck=\"false\">\n<button type=\"submit\">Show all nodes</button></p>\n</form>\n"
    )
}

fn table(seen: &Cluster) -> String {
    let row = |node: &ClusterNode| {
        let role = match node.role.as_str() {
            "acting" => "acts",
            "standby" => "stands by",
            _ => "not confirmed",
        };
        let this = if node.this { " (this one)" } else { "" };
        let url = link(&node.url).unwrap_or_else(|| escaped(&node.url));
        let age_s = node.beat_age_ms as f64 / 1000.0;
        format!(
            "<tr><td><bdi>{}</bdi>{this}</td><td>{role}</td><td>{age_s:.1} s ago</td><td>{}</td><td>{url}</td></tr>\n",
            escaped(&node.name),
            escaped(&node.version)
        )
    };
    let rows: String = seen.nodes.iter().map(row).collect();
    format!(
        "<table>\n<caption>All nodes, as this one saw them at its last beat</caption>\n<thead><tr><th>Node</th><th>Role</th>\
         <th>Sign of life</th><th>Release</th><th>Address</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
    )
}

#[cfg(test)]
mod tests {
    use gatewarden_actors::error::ErrorCode;

    use super::*;

    #[test]
    fn names_and_addresses_of_nodes_are_shown_as_text_and_no_script_is_led_to() {
        let node = |name: &str, url: &str, role: &str| ClusterNode {
            name: name.to_owned(),
            url: url.to_owned(),
            version: "1".to_owned(),
            role: role.to_owned(),
            this: role == "standby",
            beat_age_ms: 640,
            since: 1,
            mesh: None,
            reached: None,
            gateways: None,
        };
        let nodes = vec![node("<b>", "javascript:alert(1)", "acting"), node("b", "http://b:3000", "standby")];
        let seen = Cluster { clustered: true, acting: false, epoch: 1, acting_since: 1, nodes };
        let failure = Failure::new(ErrorCode::Standby, "Node b stands by: node <b> acts");
        let page = html(&failure, Some("javascript:alert(1)"), &Nodes::Shown(seen));
        assert!(
            page.contains("&lt;b&gt;") && page.contains("0.6 s ago") && page.contains("b</bdi> (this one)"),
            "{page}"
        );
        assert!(
            page.contains("<a href=\"http://b:3000\">") && !page.contains("href=\"javascript") && !page.contains("<b>")
        );
        let asked =
            html(&failure, None, &Nodes::Asks(Some(Failure::new(ErrorCode::Unauthorized, "The \"key\" is wrong"))));
        assert!(asked.contains("The &quot;key&quot; is wrong") && !asked.contains("<table>"), "{asked}");
    }
}
