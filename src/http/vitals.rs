//! What changes in the rows of the fleet, for followers of `gateway.vitals`.

use std::collections::HashMap;
use std::mem::replace;
use std::sync::{Arc, Mutex, PoisonError};

use gatewarden_actors::registry::roster::{GatewayView, RosterReader};
use gatewarden_api::events::GatewayVitalsData;
use gatewarden_api::gateway_record::FleetRow;

use super::gateways::record;

/// Gateways in one event: a whole fleet that drops at once comes in several.
const GATEWAYS_AN_EVENT: usize = 500;

/// A gateway in a list.
pub(crate) fn row(view: &GatewayView) -> FleetRow {
    record::gateway(view).into()
}

/// Why the daemon doubts its own network, while it does.
pub(crate) fn doubt(roster: &RosterReader) -> Option<String> {
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
    fn since(&self, mut before: Self) -> Vec<GatewayVitalsData> {
        let fresh = || GatewayVitalsData { self_doubt: self.self_doubt.clone(), ..GatewayVitalsData::default() };
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

    /// What is new since the last call.
    pub(crate) fn news(&self, roster: &RosterReader) -> Vec<GatewayVitalsData> {
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

    /// Nobody follows any more.
    pub(crate) fn end(&self) {
        self.with(|told| *told = None);
    }

    fn with<T>(&self, action: impl FnOnce(&mut Option<Told>) -> T) -> T {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use gatewarden_actors::gateway_record::GatewaySpec;
    use gatewarden_actors::gateway_report::{GatewayReport, Phase, Problem, Status};
    use gatewarden_actors::ids::GatewayId;
    use gatewarden_actors::registry::roster::RosterWriter;

    use super::*;
    use crate::http::compression::gzip;

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
    fn ten_thousand_rows_take_little_on_the_wire() {
        let rows = (0..10_000_i64).map(|id| {
            let scattered = id.wrapping_mul(7_919) % 9_973;
            let mut report = online(f64::from(u16::try_from(scattered % 400).unwrap()));
            report.since_ms = 1_795_000_000_000 + scattered * 37_000;
            report.as_of_ms = 1_795_381_641_000 + scattered % 30 * 1_000;
            report.last_seen_ms = Some(report.as_of_ms);
            (report.version, report.protocol) = (Some("2026.9.6".to_owned()), Some(4));
            (report.sessions_count, report.agents_count) = (u32::try_from(scattered % 7).ok(), Some(3));
            if id % 20 == 0 {
                report.status = Status::Offline;
                report.next_attempt_ms = Some(report.as_of_ms + scattered);
                report.last_error = Some(Problem {
                    code: "connection_refused".to_owned(),
                    message: format!("Gateway \"gateway-{id:05}\" (host-{scattered}:18789) refused the connection."),
                    help: "Check that the gateway runs, and host and port of its record.".to_owned(),
                });
            }
            row(&view(id + 1, report))
        });
        let whole = serde_json::to_vec(&rows.collect::<Vec<_>>()).unwrap();
        let sent = gzip(&whole.into()).unwrap().len();
        assert!(sent < 240_000, "{sent} bytes, which leaves too little of 300 KB for the page itself");
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
