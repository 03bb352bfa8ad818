//! `/readyz`: 200 while images and reports can be taken in safely; 503 otherwise, saying what is missing.
//!
//! A broker that is away or a paused partner does not make the node unready: intake goes on and deliveries wait.

use super::Site;
use crate::{model::chain, queue::CarrierState};
use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

const DATABASE_WITHIN: Duration = Duration::from_secs(3);

#[derive(Serialize)]
pub struct Readiness {
    ready: bool,
    database: String,
    spool: String,
    queue: String,
    paused_partners: Vec<String>,
}

pub async fn page(State(site): State<Arc<Site>>) -> (StatusCode, Json<Readiness>) {
    let watched = &site.watched;
    let database = match tokio::time::timeout(DATABASE_WITHIN, watched.store.ping()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer within {DATABASE_WITHIN:?}")),
    };
    let reserve = watched.config.now().dicom.reserve_bytes;
    let spool = match watched.spool.free_bytes() {
        Ok(free) if free > reserve => Ok(format!("{} MB free", free / 1_000_000)),
        Ok(free) => {
            Err(format!("below its reserve: {} MB free, {} MB kept back", free / 1_000_000, reserve / 1_000_000))
        }
        Err(error) => Err(chain(&error)),
    };
    let queue = match &*watched.carrier.state().borrow() {
        CarrierState::Up => "up".to_owned(),
        CarrierState::Down { reason } => format!("down: {reason}"),
        CarrierState::Blocked { reason } => format!("blocked: {reason}"),
    };
    let paused = match &database {
        Ok(()) => watched.store.pauses().await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let ready = database.is_ok() && spool.is_ok();
    let page = Readiness {
        ready,
        database: database.map_or_else(|reason| reason, |()| "up".to_owned()),
        spool: spool.unwrap_or_else(|reason| reason),
        queue,
        paused_partners: paused.iter().map(|pause| format!("{} ({})", pause.partner, pause.channel)).collect(),
    };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(page))
}
