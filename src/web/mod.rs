//! HTTP: is it alive (`/healthz`), can it work (`/readyz`), what is it doing (`/metrics`, Prometheus text).
//!
//! In: plain GET. Out: no patient data, no names of patients' things, only counts and partner ids.

mod metrics;
mod ready;

use crate::{config::Live, model::Clock, queue::Carrier, spool::Spool, store::Store};
use axum::{Router, http::header, response::IntoResponse, routing::get};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the pages look at.
pub struct Watched {
    pub store: Store,
    pub spool: Spool,
    pub carrier: Carrier,
    pub config: Live,
    pub clock: Clock,
}

/// Counts from now on: what happens before the first stage starts would be lost otherwise.
pub fn start_counting() {
    metrics::recorder();
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, watched: Arc<Watched>, stop: CancellationToken) {
    let pages = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::page))
        .route("/metrics", get(metrics_page))
        .with_state(watched);
    let served = axum::serve(listener, pages).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "HTTP stopped");
    }
}

async fn metrics_page(axum::extract::State(watched): axum::extract::State<Arc<Watched>>) -> impl IntoResponse {
    let text = metrics::render(&watched).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
