//! HTTP: what partners ask and send over DICOMweb, a viewer's files, and how the node is (`/healthz`, `/readyz`,
//! `/metrics`).
//!
//! In: requests of whoever brings a token; [`routes`] is the one table of what there is. Out: what
//! [`Services`] lets that partner see, and nothing else. Knows no case and no SQL of its own: questions go to the same
//! handler as those of DICOM associations, instances to the same intake.
//!
//! Does not decide what a partner may see, and says of what it may not see only that it is not there.

mod believed;
mod caller;
mod dicomweb;
mod json_model;
mod metrics;
mod openapi;
mod problem;
mod ready;
pub mod routes;
mod server;
mod storing;
mod tls;
mod ups_rs;
mod viewer;

pub use caller::Caller;
pub use json_model::to_json;
pub use problem::Problem;
pub use storing::{OpenStorage, Storing};

use crate::{
    config::Live,
    dicom::{scp::Held, service::Services},
    model::Clock,
    queue::Carrier,
    spool::Spool,
    store::Store,
};
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};
use believed::Believed;
use bytes::Bytes;
use caller::Callers;
use dicomweb::Shelf;
use std::{io, sync::Arc};
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

/// What every request can reach.
pub struct Site {
    pub watched: Watched,
    /// Who answers questions. `None`: this node takes instances and answers nothing.
    pub services: Option<Arc<dyn Services>>,
    /// How the instances are read that a caller is to have under identifiers of its own.
    pub held: Arc<dyn Held>,
    /// Who takes instances.
    pub storage: Arc<dyn OpenStorage>,
    shelf: Shelf,
    callers: Callers,
    listeners: ups_rs::Listeners,
    /// Of `/readyz` and `/metrics`, for which nobody needs a token.
    readiness: Believed<ready::Readiness>,
    metrics: Believed<Bytes>,
    /// For what goes on after an answer.
    stop: CancellationToken,
    is_secure: bool,
    /// Of the listener.
    port: u16,
}

/// The listener with all that it needs, before it serves.
pub struct Http {
    listener: TcpListener,
    certificates: Option<Arc<tls::Certificates>>,
    max_connections: usize,
}

/// Counts from now on: what happens before the first stage starts would be lost otherwise.
pub fn start_counting() {
    metrics::recorder();
}

impl Http {
    /// # Errors
    /// When the certificate or its key cannot be used.
    pub fn new(listener: TcpListener, config: &crate::config::HttpListener) -> Result<Self, tls::TlsError> {
        let certificates = config.tls.clone().map(tls::Certificates::open).transpose()?.map(Arc::new);
        Ok(Self { listener, certificates, max_connections: config.max_connections })
    }

    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`.
    pub async fn serve(
        self,
        watched: Watched,
        services: Option<Arc<dyn Services>>,
        held: Arc<dyn Held>,
        storage: Arc<dyn OpenStorage>,
        stop: CancellationToken,
    ) {
        let callers = Callers::new(watched.store.clone(), watched.config.clone(), watched.clock.clone());
        let config = watched.config.clone();
        let is_secure = self.certificates.is_some();
        let port = self.listener.local_addr().map_or(0, |at| at.port());
        let (shelf, listeners) = (Shelf::default(), ups_rs::Listeners::default());
        let stopping = stop.clone();
        let site = Arc::new(Site {
            watched,
            services,
            held,
            storage,
            shelf,
            callers,
            listeners,
            readiness: Believed::default(),
            metrics: Believed::default(),
            stop: stopping,
            is_secure,
            port,
        });
        let router = routes::router(&site);
        let settings = server::ServerSettings { max_connections: self.max_connections };
        let serving = server::serve(self.listener, self.certificates.clone(), router, settings, stop.clone());
        match self.certificates {
            Some(certificates) => drop(tokio::join!(serving, tls::keep_fresh(certificates, config, stop))),
            None => serving.await,
        }
    }
}

impl Site {
    /// # Errors
    /// 503 where this node answers no questions.
    pub fn services(&self) -> Result<&Arc<dyn Services>, Problem> {
        self.services.as_ref().ok_or(Problem::unavailable("this node answers no questions"))
    }

    /// What links in answers begin with: as configured, or as the request was addressed.
    pub fn base_url(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.watched.config.now().http.url {
            return url.clone();
        }
        let fits = |host: &&str| {
            (1..=255).contains(&host.len()) && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b))
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(fits);
        let is_secure = self.is_secure;
        let scheme = if is_secure { "https" } else { "http" };
        // Without a host a link from the root still works for whoever resolves it against the request.
        let Some(host) = host else { return String::new() };
        // A client that forgets the port (RFC 9110 7.2); where a proxy stands between, the port is the proxy's.
        let names_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let usual = if is_secure { 443 } else { 80 };
        let proxied = ["forwarded", "x-forwarded-for", "via"].iter().any(|name| headers.contains_key(*name));
        if names_port || proxied || self.port == usual {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.port)
        }
    }
}

async fn metrics_page(State(site): State<Arc<Site>>) -> impl IntoResponse {
    let text = site.metrics.get(async { Bytes::from(metrics::render(&site.watched).await) }).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

#[cfg(test)]
mod tests;
