//! Which methods each path takes, read from the OpenAPI document: so that the right path with the wrong method is a 405
//! that says what is allowed.

use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::PathItem;

/// Paths and their methods.
pub struct RouteTable(Vec<(ResourceDef, Vec<Method>)>);

impl RouteTable {
    /// The table of a document.
    pub fn of(document: &OpenApi) -> Self {
        let routes = document.paths.paths.iter();
        Self(routes.map(|(path, item)| (ResourceDef::new(path.as_str()), methods(item))).collect())
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
