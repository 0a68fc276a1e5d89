//! Gateways as JSON for readers. Rendered once for each published view.

use std::sync::Arc;

use super::gateways::record;
use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_api::pages::{Page, Part};

/// The object as JSON, made by the first reader of a view and kept for all later ones.
pub(crate) fn rendered(view: &GatewayView) -> &Bytes {
    view.rendered.get_or_init(|| Bytes::from(serde_json::to_vec(&record::gateway(view)).unwrap_or_default()))
}

/// The body of `GET /api/gateways`, put together from the gateways' renderings and kept while the roster stays the same: with the
/// roster's version that it was made from.
#[derive(Debug, Default)]
pub(crate) struct ListBody {
    kept: ArcSwapOption<(u64, Bytes)>,
}

impl ListBody {
    pub(crate) fn complete(&self, roster: &RosterReader) -> Bytes {
        // Taken before the list: a change in between makes the kept body look too old, never too new.
        let version = roster.version();
        if let Some(kept) = self.kept.load().as_ref()
            && kept.0 == version
        {
            return kept.1.clone();
        }
        let all = roster.list();
        let body = body_of(&all, Part::complete(all.len()));
        self.kept.store(Some(Arc::new((version, body.clone()))));
        body
    }
}

/// A part of the list, with its place in the whole.
pub(crate) fn part(roster: &RosterReader, page: Page) -> Bytes {
    let all = roster.list();
    let wanted: Vec<_> = all.iter().skip(page.offset).take(page.limit).cloned().collect();
    body_of(&wanted, page.of(all.len()))
}

fn body_of(views: &[Arc<GatewayView>], Part { total, limit, offset }: Part) -> Bytes {
    let rest = format!("],\"total\":{total},\"limit\":{limit},\"offset\":{offset}}}");
    let objects: usize = views.iter().map(|view| rendered(view).len().saturating_add(1)).sum();
    let mut body = BytesMut::with_capacity(objects.saturating_add(rest.len()).saturating_add(32));
    body.extend_from_slice(b"{\"gateways\":[");
    for (place, view) in views.iter().enumerate() {
        if place > 0 {
            body.extend_from_slice(b",");
        }
        body.extend_from_slice(rendered(view));
    }
    body.extend_from_slice(rest.as_bytes());
    body.freeze()
}
