//! Requests of the REST API that a text of the daemon names, for those who say it otherwise: as a command, or as a tool of an assistant.

/// A request that a text names.
pub(crate) struct NamedRequest<'a> {
    pub(crate) before: &'a str,
    /// As it stands there.
    pub(crate) said: &'a str,
    method: &'a str,
    path: &'a str,
    pub(crate) body: &'a str,
    pub(crate) after: &'a str,
}

pub(crate) fn next_request(text: &str) -> Option<NamedRequest<'_>> {
    let methods = ["GET", "POST", "PUT", "DELETE"].into_iter();
    let (at, method) = methods.filter_map(|method| Some((text.find(&format!("{method} /api/"))?, method))).min()?;
    let (before, from) = text.split_at_checked(at)?;
    let (_, target) = from.split_at_checked(method.len() + 1)?;
    let ends = |character: char| character.is_whitespace() || matches!(character, ',' | ';' | ':' | ')' | '"' | '`');
    let (target, _) = target.split_at_checked(target.find(ends).unwrap_or(target.len()))?;
    let target = target.trim_end_matches('.');
    let (_, behind) = from.split_at_checked(method.len() + 1 + target.len())?;
    let body = behind.strip_prefix(" {").and_then(|body| body.split_once('}')).map_or("", |(body, _)| body);
    let length = if body.is_empty() { 0 } else { body.len() + 3 };
    let (said, after) = from.split_at_checked(method.len() + 1 + target.len() + length)?;
    Some(NamedRequest { before, said, method, path: target.split('?').next()?, body, after })
}

impl<'a> NamedRequest<'a> {
    /// Method and path, with `*` for an id; and the id, unless the text leaves it open.
    pub(crate) fn pattern(&self) -> (String, Option<&'a str>) {
        let mut id = None;
        let segments = self.path.split('/').map(|segment| {
            let placeholder = segment.starts_with('{');
            // Numbers and UUIDs; no word of a path holds a digit.
            if placeholder || segment.contains(|character: char| character.is_ascii_digit()) {
                id = Some(segment).filter(|_| !placeholder);
                "*"
            } else {
                segment
            }
        });
        (format!("{} {}", self.method, segments.collect::<Vec<_>>().join("/")), id)
    }
}
