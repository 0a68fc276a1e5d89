//! `GET /metrics`, on a port of its own (document 002, "Gateway Metrics").

use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Data, ServiceConfig};

use super::answer::wrong_method;
use crate::connection::GatewayContext;

const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes(service: &mut ServiceConfig) {
    service.service(
        web::resource("/metrics")
            .route(web::get().to(metrics))
            .route(web::head().to(metrics))
            .default_service(web::to(|| async { wrong_method("GET, HEAD") })),
    );
}

async fn metrics(context: Data<Rc<GatewayContext>>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type(TEXT_FORMAT).body(context.metrics.text())
}
