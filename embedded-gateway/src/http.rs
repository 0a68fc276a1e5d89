//! HTTP on the gateway's port: health, the REST operations of document 000, webhooks and the status page; and the metrics on a
//! port of their own.

pub(crate) mod answer;
mod asking;
pub(crate) mod entrance;
pub(crate) mod guard;
mod health;
mod login;
mod metrics;
mod operations;
mod status_page;
mod webhooks;

use std::rc::Rc;

use actix_web::web::{self, ServiceConfig};

use crate::connection::GatewayContext;

pub(crate) use webhooks::Shown;

pub(crate) fn routes(context: &Rc<GatewayContext>) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let context = Rc::clone(context);
    move |service| {
        service.app_data(web::Data::new(Rc::clone(&context)));
        health::routes(service);
        operations::routes(service);
        // What the gateway itself serves comes first: a webhook can't take its place.
        webhooks::routes(service, &context.config.webhooks);
        if context.config.control_ui.enabled {
            status_page::routes(service, &context.config.control_ui.base_path);
        }
        service.default_service(web::to(answer::not_found));
    }
}

pub(crate) fn metrics_routes(context: &Rc<GatewayContext>) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let context = Rc::clone(context);
    move |service| {
        service.app_data(web::Data::new(context));
        metrics::routes(service);
        service.default_service(web::to(answer::not_found));
    }
}
