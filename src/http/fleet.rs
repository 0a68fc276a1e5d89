//! `GET /api/fleet`: all gateways with what a list shows, in one compact answer; and what changes in it, told once a second.
//!
//! Whoever opens a stream and then reads the fleet misses nothing: numbered events up to `last_event` are in it, and what the
//! next `gateway.vitals` is compared with was taken before the stream began.

use std::collections::HashMap;
use std::mem::replace;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header::{self, ETag, EntityTag, Header as _, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, get, web};
use gatewarden_actors::event::EventKind;
use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_api::gateway_record::{Fleet, FleetNews, FleetRow};
use tokio::time::{MissedTickBehavior, interval};

use super::auth::{Authorized, GatewayViewer};
use super::context::App;
use super::daemon::{acting_primary, counted};
use super::error::Answer;
use super::gateways::record;

/// Between two events.
const TICK: Duration = Duration::from_secs(1);
/// Gateways in one event: a whole fleet that drops at once comes in several.
const GATEWAYS_AN_EVENT: usize = 500;

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
    let is_known = match IfNoneMatch::parse(&request) {
        Ok(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(&tag)),
        Ok(IfNoneMatch::Any) | Err(_) => false,
    };
    if is_known && request.headers().contains_key(header::IF_NONE_MATCH) {
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

fn row(view: &GatewayView) -> FleetRow {
    record::gateway(view).into()
}

fn doubt(roster: &RosterReader) -> Option<String> {
    roster.self_doubt().map(|reason| (*reason).clone())
}

/// What followers of `gateway.vitals` have been told; nothing while nobody follows.
#[derive(Debug, Default)]
pub(crate) struct Vitals(Mutex<Option<Told>>);

#[derive(Debug, Default)]
struct Told {
    version: u64,
    views: HashMap<i64, Arc<GatewayView>>,
    self_doubt: Option<String>,
}

impl Told {
    fn now(roster: &RosterReader) -> Self {
        let version = roster.version();
        let views = roster.list().into_iter().map(|view| (view.record.id.0, view)).collect();
        Self { version, views, self_doubt: doubt(roster) }
    }

    /// What is different from what was told before.
    fn since(&self, mut before: Self) -> Vec<FleetNews> {
        let fresh = || FleetNews { self_doubt: self.self_doubt.clone(), ..FleetNews::default() };
        let mut all = Vec::new();
        let mut news = fresh();
        for (id, view) in &self.views {
            let known = before.views.remove(id);
            if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, view)) {
                continue;
            }
            let now = row(view);
            match known.map(|known| row(&known)) {
                Some(known) if known == now => continue,
                Some(mut known) => {
                    known.figures.clone_from(&now.figures);
                    if known == now { news.figures.push(now.figures) } else { news.rows.push(now) }
                }
                None => news.rows.push(now),
            }
            if news.figures.len() + news.rows.len() >= GATEWAYS_AN_EVENT {
                all.push(replace(&mut news, fresh()));
            }
        }
        news.removed = before.views.into_keys().collect();
        if news != fresh() || (all.is_empty() && before.self_doubt != self.self_doubt) {
            all.push(news);
        }
        all
    }
}

impl Vitals {
    /// Somebody follows from now on.
    pub(crate) fn begin(&self, roster: &RosterReader) {
        self.with(|told| {
            told.get_or_insert_with(|| Told::now(roster));
        });
    }

    fn news(&self, roster: &RosterReader) -> Vec<FleetNews> {
        self.with(|told| {
            if told.as_ref().is_some_and(|told| told.version == roster.version()) {
                return Vec::new();
            }
            let now = Told::now(roster);
            let news = told.take().map(|before| now.since(before)).unwrap_or_default();
            *told = Some(now);
            news
        })
    }

    fn end(&self) {
        self.with(|told| *told = None);
    }

    fn with<T>(&self, action: impl FnOnce(&mut Option<Told>) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
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
            for news in news {
                events.publish(EventKind::GatewayVitals, serde_json::to_value(news).unwrap_or_default());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use gatewarden_actors::gateway_record::GatewaySpec;
    use gatewarden_actors::gateway_report::{GatewayReport, Phase, Status};
    use gatewarden_actors::ids::GatewayId;
    use gatewarden_actors::registry::roster::RosterWriter;

    use super::*;

    fn view(id: i64, report: GatewayReport) -> GatewayView {
        let spec = GatewaySpec::at(format!("gateway-{id:05}"), format!("host-{}.example.com", id % 977), 18_789);
        let record = spec.into_record(GatewayId(id), "uuid", 0);
        GatewayView::new(Arc::new(record), report, false)
    }

    fn online(latency_ms: f64) -> GatewayReport {
        let (status, phase) = (Status::Online, Phase::Ready);
        GatewayReport { status, phase, latency_ms: Some(latency_ms), ..GatewayReport::unknown(1_000) }
    }

    fn begun(views: Vec<GatewayView>) -> (RosterWriter, Vitals) {
        let (roster, vitals) = (RosterWriter::default(), Vitals::default());
        roster.publish_all(views);
        vitals.begin(&roster.reader());
        (roster, vitals)
    }

    #[test]
    fn figures_alone_are_told_as_figures_and_more_as_whole_rows() {
        let (roster, vitals) = begun(vec![view(1, online(3.0)), view(2, online(3.0)), view(3, online(3.0))]);
        assert_eq!(vitals.news(&roster.reader()), []);
        roster.publish(view(1, online(8.0)));
        roster.publish(view(2, GatewayReport::unknown(2_000)));
        roster.publish(view(3, online(3.0)));
        let [news] = &vitals.news(&roster.reader())[..] else { panic!("one event") };
        assert_eq!(news.figures.iter().map(|row| (row.id, row.latency)).collect::<Vec<_>>(), [(1, Some(8))]);
        assert_eq!(news.rows.iter().map(|row| (row.figures.id, &*row.status)).collect::<Vec<_>>(), [(2, "unknown")]);
        assert_eq!(vitals.news(&roster.reader()), []);
    }

    #[test]
    fn gateways_that_come_and_go_and_doubt_are_told() {
        let (roster, vitals) = begun(vec![view(1, online(3.0))]);
        roster.remove(GatewayId(1));
        roster.publish(view(2, online(3.0)));
        let [news] = &vitals.news(&roster.reader())[..] else { panic!("one event") };
        assert_eq!((news.rows.len(), &news.removed[..]), (1, &[1][..]));
        roster.publish_self_doubt(Some("half of the fleet failed".to_owned()));
        let [news] = &vitals.news(&roster.reader())[..] else { panic!("one event") };
        assert_eq!(news.self_doubt.as_deref(), Some("half of the fleet failed"));
        vitals.end();
        roster.publish(view(2, online(4.0)));
        assert_eq!(vitals.news(&roster.reader()), [], "nobody was told anything that this could be compared with");
    }

    #[test]
    fn a_fleet_that_drops_at_once_comes_in_several_events() {
        let (roster, vitals) = begun((1..=1_200).map(|id| view(id, online(3.0))).collect());
        for id in 1..=1_200 {
            roster.publish(view(id, GatewayReport::unknown(2_000)));
        }
        let news = vitals.news(&roster.reader());
        assert_eq!(news.iter().map(|news| news.rows.len()).collect::<Vec<_>>(), [500, 500, 200]);
    }
}
