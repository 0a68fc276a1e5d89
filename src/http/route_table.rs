//! Which methods each path takes, as the routes describe themselves: so that the right path with the wrong method is a 405
//! that says what is allowed.

use std::collections::BTreeMap;

use actix_web::dev::{HttpServiceFactory, ResourceDef};
use actix_web::http::Method;
use utoipa::openapi::path::PathItem;
use utoipa_actix_web::OpenApiFactory;

use super::routes::{self, Routes};

/// Paths and their methods.
pub struct RouteTable(Vec<(ResourceDef, Vec<Method>)>);

/// Takes note of paths and methods alone.
#[derive(Default)]
struct Noted(BTreeMap<String, Vec<Method>>);

impl Routes for Noted {
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self {
        for (path, item) in &route.paths().paths {
            self.0.entry(path.clone()).or_default().extend(methods(item));
        }
        self
    }
}

impl RouteTable {
    /// The table of the API.
    pub fn of_api() -> Self {
        let mut noted = Noted::default();
        routes::api(&mut noted);
        let routes = noted.0.into_iter();
        Self(routes.map(|(path, methods)| (ResourceDef::new(path.as_str()), methods)).collect())
    }

    /// The methods of all routes that match a path: a fixed path may also match a route with a parameter.
    pub fn methods_of(&self, path: &str) -> Vec<Method> {
        let mut found: Vec<Method> = Vec::new();
        for (_, methods) in self.0.iter().filter(|(resource, _)| resource.is_match(path)) {
            for method in methods {
                if !found.contains(method) {
                    found.push(method.clone());
                }
            }
        }
        found
    }
}

/// The methods of one path of the document.
pub fn methods(item: &PathItem) -> Vec<Method> {
    [
        (item.get.is_some(), Method::GET),
        (item.get.is_some(), Method::HEAD),
        (item.post.is_some(), Method::POST),
        (item.put.is_some(), Method::PUT),
        (item.patch.is_some(), Method::PATCH),
        (item.delete.is_some(), Method::DELETE),
    ]
    .into_iter()
    .filter_map(|(there, method)| there.then_some(method))
    .collect()
}
