//! `GET /api/fleet`: all gateways with what a list shows, in one compact answer; and what changes in it, told once a second ([`super::vitals`]).
//!
//! Whoever opens a stream and then reads the fleet misses nothing: numbered events up to `last_event` are in it, and what the
//! next `gateway.vitals` is compared with was taken before the stream began.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, ETag, EntityTag, Header as _, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::event::EventKind;
use gatewarden_api::gateway_record::Fleet;
use tokio::time::{MissedTickBehavior, interval};

use super::auth::{Authorized, GatewayViewer};
use super::context::App;
use super::daemon::{acting_primary, counted};
use super::error::Answer;
use super::vitals::{doubt, row};

/// Between two events.
const TICK: Duration = Duration::from_secs(1);

/// Read the whole fleet, compactly
///
/// One row for each gateway, with what a list shows. `last_event` is the number of the newest event that it includes: open a
/// stream with `types=gateway.vitals` and others, read this, and leave out the events up to that number.
#[utoipa::path(
    tag = "Gateways",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer")),
    responses(
        (status = 200, description = "The fleet", body = Fleet, headers(("ETag" = String, description = "Of this state"))),
        (status = 304, description = "Nothing has changed since the answer with that `ETag`"),
    ),
)]
#[get("/api/fleet")]
pub(crate) async fn read_fleet(_by: Authorized<GatewayViewer>, app: App, request: HttpRequest) -> Answer {
    // The number first, then the version, then the rows: what changes in between makes both look too old, never too new.
    let (last_event, version) = (app.events.newest(), app.roster.version());
    let tag = EntityTag::new_weak(format!("{last_event:x}-{version:x}"));
    if knows(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header(ETag(tag)).finish());
    }
    let views = app.roster.list();
    let fleet = Fleet {
        last_event,
        primary: views.iter().find(|view| view.record.is_primary).map(|view| view.record.id.0),
        acting_primary: acting_primary(&app.roster),
        counts: counted(&views),
        self_doubt: doubt(&app.roster),
        gateways: views.iter().map(|view| row(view)).collect(),
    };
    Ok(HttpResponse::Ok().insert_header(ETag(tag)).json(fleet))
}

/// Whether the client says that it has the answer with this tag.
pub(crate) fn knows(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Items(known)) if request.headers().contains_key(header::IF_NONE_MATCH) => {
            known.iter().any(|known| known.weak_eq(tag))
        }
        Ok(_) | Err(_) => false,
    }
}

/// Tells followers once a second what is new. Runs on the current arbiter and ends with the front.
pub(crate) fn start_vitals(app: &App) {
    let app = Arc::downgrade(&app.clone().into_inner());
    actix_rt::spawn(async move {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(app) = app.upgrade() else {
                return;
            };
            if !app.events.is_wanted(EventKind::GatewayVitals) {
                app.vitals.end();
                continue;
            }
            let events = app.events.clone();
            // Thousands of rows take a while.
            let news = web::block(move || app.vitals.news(&app.roster)).await.unwrap_or_default();
            news.iter().for_each(|news| events.tell(news));
        }
    });
}
