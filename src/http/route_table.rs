//! Which methods each path takes, as the routes describe themselves: so that the right path with the wrong method is a 405
//! that says what is allowed.

use std::collections::{BTreeMap, HashMap};

use actix_web::dev::{HttpServiceFactory, ResourceDef};
use actix_web::http::Method;
use utoipa::openapi::path::PathItem;
use utoipa_actix_web::OpenApiFactory;

use super::routes::{self, Routes};

/// Paths and their methods.
pub struct RouteTable {
    /// Paths without parameters.
    fixed: HashMap<String, Vec<Method>>,
    patterns: Vec<(ResourceDef, Vec<Method>)>,
}

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
        let mut table = Self { fixed: HashMap::new(), patterns: Vec::new() };
        for (path, methods) in noted.0 {
            if path.contains('{') {
                table.patterns.push((ResourceDef::new(path.as_str()), methods));
            } else {
                table.fixed.insert(path, methods);
            }
        }
        table
    }

    /// The methods of the route that a path names.
    pub fn methods_of(&self, path: &str) -> &[Method] {
        let of_pattern =
            || self.patterns.iter().find(|(resource, _)| resource.is_match(path)).map(|(_, methods)| methods);
        self.fixed.get(path).or_else(of_pattern).map_or(&[], Vec::as_slice)
    }

    /// Whether a path without parameters exists, but not with this method. The router would go on to a path with a parameter
    /// and take, say, `connect` for the id of a gateway.
    pub fn refuses(&self, path: &str, method: &Method) -> bool {
        self.fixed.get(path).is_some_and(|methods| !methods.contains(method))
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
