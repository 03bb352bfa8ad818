//! `/readyz`: 200 while images and reports can be taken in safely; 503 otherwise, saying what is missing.
//!
//! A broker that is away or a paused partner does not make the node unready: intake goes on and deliveries wait. Anybody
//! may ask, so why something is down is for the log.

use super::{Site, Watched};
use crate::{model::chain, queue::CarrierState};
use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

const DATABASE_WITHIN: Duration = Duration::from_secs(3);

#[derive(Clone, Serialize)]
pub struct Readiness {
    ready: bool,
    database: &'static str,
    spool: String,
    queue: &'static str,
    paused_partners: Vec<String>,
}

pub async fn page(State(site): State<Arc<Site>>) -> (StatusCode, Json<Readiness>) {
    let page = site.readiness.get(look(&site.watched)).await;
    (if page.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(page))
}

async fn look(watched: &Watched) -> Readiness {
    let paused = timeout(DATABASE_WITHIN, async {
        watched.store.ping().await?;
        watched.store.pauses().await
    });
    let paused = match paused.await {
        Ok(Ok(paused)) => Some(paused),
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "Not ready: the database fails");
            None
        }
        Err(_) => {
            tracing::warn!("Not ready: no answer of the database within {DATABASE_WITHIN:?}");
            None
        }
    };
    let spool = spool(watched);
    Readiness {
        ready: paused.is_some() && spool.is_ok(),
        database: if paused.is_some() { "up" } else { "down" },
        spool: spool.unwrap_or_else(|reason| reason),
        queue: match &*watched.carrier.state().borrow() {
            CarrierState::Up => "up",
            // Its link tells the log why.
            CarrierState::Down { .. } => "down",
            CarrierState::Blocked { .. } => "blocked",
        },
        paused_partners: paused
            .unwrap_or_default()
            .iter()
            .map(|pause| format!("{} ({})", pause.partner, pause.channel))
            .collect(),
    }
}

fn spool(watched: &Watched) -> Result<String, String> {
    let reserve = watched.config.now().dicom.reserve_bytes;
    match watched.spool.free_bytes() {
        Ok(free) if free > reserve => Ok(format!("{} MB free", free / 1_000_000)),
        Ok(free) => {
            Err(format!("below its reserve: {} MB free, {} MB kept back", free / 1_000_000, reserve / 1_000_000))
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "Not ready: the spool's disk does not tell its room");
            Err("down".to_owned())
        }
    }
}
