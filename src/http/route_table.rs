//! Which methods each path takes, as the routes describe themselves: so that the right path with the wrong method is a 405
//! that says what is allowed.

use std::collections::{BTreeMap, HashMap};

use actix_web::dev::{HttpServiceFactory, ResourceDef};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use gatewarden_actors::error::{ErrorCode, Failure};
use utoipa::openapi::path::PathItem;
use utoipa_actix_web::OpenApiFactory;
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::ApiError;

/// What can be made of the URL table: a server that answers, a document that describes, or a list of paths and methods.
/// Descriptions take megabytes for a moment, so that nobody gets them who doesn't want them.
pub(crate) trait Routes {
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self;
}

/// Answers, and describes nothing.
impl Routes for web::ServiceConfig {
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self {
        Self::service(self, route)
    }
}

/// Describes.
impl Routes for ServiceConfig<'_> {
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self {
        Self::service(self, route)
    }
}

pub(crate) struct RouteTable {
    /// Paths without parameters.
    fixed: HashMap<String, Vec<Method>>,
    patterns: Vec<(ResourceDef, Vec<Method>)>,
}

/// Takes note of paths and methods alone.
#[derive(Default)]
pub(crate) struct Noted(BTreeMap<String, Vec<Method>>);

impl Routes for Noted {
    fn service<F: HttpServiceFactory + OpenApiFactory + 'static>(&mut self, route: F) -> &mut Self {
        for (path, item) in &route.paths().paths {
            self.0.entry(path.clone()).or_default().extend(methods(item));
        }
        self
    }
}

impl RouteTable {
    /// The table of what was noted.
    pub(crate) fn of(noted: Noted) -> Self {
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
    fn methods_of(&self, path: &str) -> &[Method] {
        let of_pattern =
            || self.patterns.iter().find(|(resource, _)| resource.is_match(path)).map(|(_, methods)| methods);
        self.fixed.get(path).or_else(of_pattern).map_or(&[], Vec::as_slice)
    }

    /// Whether a path without parameters exists, but not with this method. The router would go on to a path with a parameter
    /// and take, say, `connect` for the id of a gateway.
    pub(crate) fn refuses(&self, path: &str, method: &Method) -> bool {
        self.fixed.get(path).is_some_and(|methods| !methods.contains(method))
    }

    /// The answer where path and method don't fit: 404, or 405 with what is allowed.
    pub(crate) fn not_routed(&self, request: &HttpRequest) -> HttpResponse {
        let path: String = request.path().chars().filter(|character| !character.is_control()).take(200).collect();
        let methods = self.methods_of(request.path());
        if methods.is_empty() {
            let failure = Failure::new(ErrorCode::NotFound, format!("There is nothing at {path}"))
                .with_help("The page /docs and the document /api/openapi.json list all routes.");
            return HttpResponse::from_error(ApiError(failure));
        }
        let allowed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let failure = Failure::new(
            ErrorCode::MethodNotAllowed,
            format!("{path} does not take the method {}; it takes {allowed}", request.method()),
        );
        let mut response = HttpResponse::from_error(ApiError(failure));
        if let Ok(value) = header::HeaderValue::try_from(allowed) {
            response.headers_mut().insert(header::ALLOW, value);
        }
        response
    }
}

/// The methods of one path of the document.
pub(crate) fn methods(item: &PathItem) -> Vec<Method> {
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
