//! `POST /api/gateways/check`: a gateway is checked step by step before it is registered or changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::post;
use bytes::Bytes;
use futures_util::stream::unfold;
use gatewarden_actors::error::Failure;
use gatewarden_actors::gateway_record::GatewaySpec;
use gatewarden_actors::ids::GatewayId;
use gatewarden_api::ErrorBody;
use gatewarden_api::gateway_record::CheckGatewayBody;
use gatewarden_api::gateways::GatewayChoiceBody;
use gatewarden_api::responses::NoGateway;
use gatewarden_protocol::GatewayAddress;
use tokio::sync::mpsc;

use super::record;
use crate::check::steps::{self, Plan};
use crate::check::{Asker, Known};
use crate::http::auth::{Authorized, GatewayAdmin};
use crate::http::context::{App, AppContext};
use crate::http::error::{Answer, ApiError, invalid};
use crate::http::events::event_stream;
use crate::http::input::JsonBody;

/// For each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// For all of them.
const LIMIT: Duration = Duration::from_secs(60);

/// Check the way to a gateway before it is registered or changed
///
/// Without `id` the body is what `POST /api/gateways` takes, with it what `PUT /api/gateways` takes: what is left out, secrets too,
/// is as it is stored. Nothing is stored. The answer is a stream of events without names. One comes for each step of the way as
/// soon as it is done, with this as JSON: `step` (`dns`, `tcp`, `tls`, `http`, `upgrade`, `handshake`, `scopes`, `clock`), `result`
/// (`ok`, `odd`, `failed`, `skipped`), `detail`, `took_ms` and `problem` (`code`, `message`, `help`). The last one is the report
/// that `gatewarden check --json` prints, with `ok`, `cause` and all `steps`. Each step may take 5 s.
#[utoipa::path(
    tag = "Gateways",
    request_body = CheckGatewayBody,
    responses(
        (status = 200, description = "A stream that ends with the report", body = serde_json::Value, content_type = "text/event-stream"), NoGateway,
        (status = 501, description = "Units of users are not managed", body = ErrorBody),
    ),
)]
#[post("/api/gateways/check")]
pub(crate) async fn check_way(by: Authorized<GatewayAdmin>, app: App, body: JsonBody) -> Answer {
    let (spec, id) = spec(&app, &body)?;
    let parsed = GatewayAddress::parse(&spec.host, Some(spec.port)).map_err(|fault| invalid(fault.to_string()))?;
    by.acts_on(&parsed.address);
    let known = Known::of_daemon(&app.store, &parsed.address).await?;
    let place = Arc::clone(&app.checks).try_acquire_owned();
    let place = place.map_err(|_all_taken| Failure::unavailable("check of gateways"))?;
    let token = [&spec.token, &spec.url_token].into_iter().flatten().find(|token| !token.is_empty()).cloned();
    let plan = Plan {
        address: parsed.address,
        trust: spec.tls,
        token,
        patience: PATIENCE,
        known: Known { password: spec.password, name: id.map(|_| spec.name), ..known },
        asker: Asker::Request,
    };
    let (told, steps) = mpsc::unbounded_channel();
    let ended = told.clone();
    actix_rt::spawn(async move {
        let _place = place;
        let work = tokio::time::timeout(LIMIT, steps::go(plan, Some(told)));
        tokio::select! {
            biased;
            // Whoever asked has left.
            () = ended.closed() => {}
            report = work => {
                // Without a report the answer ends early, and its reader sees that.
                let _ = report.map(|report| ended.send(report.json()));
            }
        }
    });
    let events = unfold(steps, |mut steps| async move {
        let line: serde_json::Value = steps.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(format!("data: {line}\n\n"))), steps))
    });
    Ok(event_stream(events))
}

/// The gateway as it would be stored, by the rules for what is stored; and which one it is, where there is one already.
fn spec(app: &AppContext, body: &JsonBody) -> Result<(GatewaySpec, Option<GatewayId>), ApiError> {
    let Some(id) = body.read_ahead::<GatewayChoiceBody>()?.id.map(GatewayId) else {
        return Ok((record::new_gateway(body.fields(), &app.process_settings)?.spec, None));
    };
    let present = app.gateway(id)?;
    let mut spec = present.record.spec.clone();
    record::change(body.fields(), &present.record, &app.process_settings, app.now_s())?.apply(&mut spec);
    Ok((spec, Some(id)))
}
