//! The one table of what can be asked over HTTP. From it come the router and `/openapi.json`, so that neither is ahead
//! of the other; and every route that is not open needs a token, whether its handler asks who calls or not.

use super::{Site, caller, metrics_page, openapi, problem::Problem, ready, ups_rs, viewer};
use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
};

/// One method of one path.
pub struct Entry {
    /// As in axum and in OpenAPI: `/studies/{study}`.
    pub path: &'static str,
    pub method: Verb,
    /// Needs no token.
    pub is_open: bool,
    pub group: &'static str,
    pub summary: &'static str,
    /// Of the query string.
    pub query: &'static [Parameter],
    pub takes: Takes,
    pub gives: &'static [Gives],
    pub handler: fn() -> MethodRouter<Arc<Site>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Post => "post",
            Verb::Put => "put",
            Verb::Delete => "delete",
        }
    }
}

pub struct Parameter {
    pub name: &'static str,
    pub what: &'static str,
}

/// What a request brings with it.
#[derive(Clone, Copy)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A body of 16 MiB at most, in one of these media types, within [`WHOLE_WITHIN`].
    Small(&'static [&'static str]),
    /// As much as comes; its handler sees to pauses and to what it keeps.
    Stream(&'static [&'static str]),
}

pub struct Gives {
    pub status: u16,
    pub what: &'static str,
    pub media_types: &'static [&'static str],
}

impl Gives {
    pub const fn new(status: u16, what: &'static str, media_types: &'static [&'static str]) -> Self {
        Self { status, what, media_types }
    }
}

pub const JSON: &str = "application/json";
const SMALL_BODY_BYTES: usize = 16 << 20;
/// From a request's head to the head of its answer.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

const NODE: &[Entry] = &[
    Entry {
        path: "/healthz",
        method: Verb::Get,
        is_open: true,
        group: "node",
        summary: "Whether the process is alive.",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(200, "It is.", &["text/plain"])],
        handler: || get(|| async { "ok\n" }),
    },
    Entry {
        path: "/readyz",
        method: Verb::Get,
        is_open: true,
        group: "node",
        summary: "Whether images and reports can be taken in safely, and what is missing.",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(200, "They can.", &[JSON]), Gives::new(503, "They cannot.", &[JSON])],
        handler: || get(ready::page),
    },
    Entry {
        path: "/metrics",
        method: Verb::Get,
        is_open: true,
        group: "node",
        summary: "Counters and gauges, as Prometheus reads them.",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(200, "All there are.", &["text/plain"])],
        handler: || get(metrics_page),
    },
    Entry {
        path: "/openapi.json",
        method: Verb::Get,
        is_open: true,
        group: "node",
        summary: "This description.",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(200, "OpenAPI 3.1.", &[JSON])],
        handler: || get(openapi::page),
    },
];

/// Whoever adds a room of routes adds its table here.
pub const TABLES: &[&[Entry]] = &[NODE, super::dicomweb::ROUTES, ups_rs::TABLE];

pub fn entries() -> impl Iterator<Item = &'static Entry> {
    TABLES.iter().flat_map(|table| table.iter())
}

pub fn router(site: &Arc<Site>) -> Router {
    let mut router: Router<Arc<Site>> = Router::new();
    for entry in entries() {
        router = router.route(entry.path, bounded(entry, site));
    }
    router = viewer::mount(router, &site.watched.config.now().http, &folders());
    router
        .method_not_allowed_fallback(|| async { Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not this method here") })
        .with_state(site.clone())
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(cors(site))
        .layer(CatchPanicLayer::custom(panicked))
}

/// The first segments of paths that go on: what is not found below them is nobody's page.
fn folders() -> BTreeSet<&'static str> {
    let first = |path: &'static str| path.trim_start_matches('/').split_once('/').map(|(first, _)| first);
    entries().filter_map(|entry| first(entry.path)).collect()
}

/// A route with its bounds: who, how much, how long.
fn bounded(entry: &'static Entry, site: &Arc<Site>) -> MethodRouter<Arc<Site>> {
    let mut route = (entry.handler)();
    if !entry.is_open {
        route = route.layer(middleware::from_fn_with_state(site.clone(), caller::require));
    }
    let time = TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, WHOLE_WITHIN);
    // Handlers that take no body never look at it; hyper closes the connection over one that is left unread.
    let limit = match entry.takes {
        Takes::Nothing => DefaultBodyLimit::max(0),
        Takes::Small(_) => DefaultBodyLimit::max(SMALL_BODY_BYTES),
        Takes::Stream(_) => return route.layer::<_, Infallible>(DefaultBodyLimit::disable()),
    };
    route.layer::<_, Infallible>(limit).layer(time)
}

/// Pages of the origins of the configuration may ask (Fetch Standard, CORS protocol); tokens are sent by them, never
/// cookies, so that no other page can ask in their name.
fn cors(site: &Arc<Site>) -> CorsLayer {
    let config = site.watched.config.clone();
    let allowed = AllowOrigin::predicate(move |origin: &HeaderValue, _| {
        config.now().http.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
    });
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::ACCEPT, header::CONTENT_TYPE, header::RANGE])
        .expose_headers([
            header::CONTENT_LOCATION,
            header::LOCATION,
            header::WARNING,
            HeaderName::from_static("retry-after"),
        ])
        .max_age(Duration::from_secs(3600))
}

/// What the panic says is not repeated: it may hold what a peer sent.
fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response<Body> {
    tracing::error!("A request of HTTP ended by a panic");
    Problem::internal().into_response()
}
