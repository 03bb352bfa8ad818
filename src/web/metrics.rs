//! `/metrics`: counters the rooms keep, and gauges read from the store when asked.

use super::Watched;
use crate::{
    model::{CaseState, DeliveryState, chain},
    queue::CarrierState,
    store::{AlarmKind, StoreError},
};
use metrics::gauge;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{sync::OnceLock, time::Duration};

/// Seconds; for everything that ends in `_seconds`.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// Prometheus gives a scrape ten seconds.
const STORE_WITHIN: Duration = Duration::from_secs(4);

/// The process's one recorder, installed at the first call.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?;
            builder.install_recorder().inspect_err(|error| tracing::error!(%error, "No metrics")).ok()
        })
        .as_ref()
}

pub async fn render(watched: &Watched) -> String {
    // Without its database a node is asked most of all.
    match tokio::time::timeout(STORE_WITHIN, read_store(watched)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %chain(&error), "Metrics from the store are stale"),
        Err(_) => tracing::warn!("Metrics from the store are stale: no answer within {STORE_WITHIN:?}"),
    }
    read_node(watched).await;
    recorder()
        .map(|handle| {
            handle.run_upkeep();
            handle.render()
        })
        .unwrap_or_default()
}

async fn read_store(watched: &Watched) -> Result<(), StoreError> {
    let (cases, waiting) = watched.store.count_cases().await?;
    for state in CaseState::ALL {
        let count = cases.iter().find(|(counted, _)| *counted == state).map_or(0, |(_, count)| *count);
        gauge!("neisse_cases", "state" => state.as_str()).set(number(count));
    }
    gauge!("neisse_cases_waiting_for_a_person").set(number(waiting));
    gauge!("neisse_reports_held").set(number(watched.store.count_held_reports().await?));
    gauge!("neisse_waiting_for_a_person").set(number(watched.store.count_open_notices().await?));
    let specimens = watched.store.count_specimen_alarms().await?;
    for kind in AlarmKind::ALL {
        let count = specimens.iter().find(|(counted, _)| *counted == kind).map_or(0, |(_, count)| *count);
        gauge!("neisse_specimens_waiting_for_a_person", "kind" => kind.as_str()).set(number(count));
    }
    let deliveries = watched.store.count_deliveries().await?;
    for partner in watched.config.now().partners.keys() {
        for state in [DeliveryState::Owed, DeliveryState::Queued, DeliveryState::Attempting, DeliveryState::Stopped] {
            let found = deliveries.iter().find(|(to, counted, _)| to == partner && *counted == state);
            gauge!("neisse_deliveries", "partner" => partner.to_string(), "state" => state.as_str())
                .set(number(found.map_or(0, |(_, _, count)| *count)));
        }
    }
    let pauses = watched.store.pauses().await?;
    for partner in watched.config.now().partners.keys() {
        let paused = pauses.iter().any(|pause| pause.partner == *partner);
        gauge!("neisse_partner_paused", "partner" => partner.to_string()).set(if paused { 1.0 } else { 0.0 });
    }
    Ok(())
}

async fn read_node(watched: &Watched) {
    let up = matches!(*watched.carrier.state().borrow(), CarrierState::Up);
    gauge!("neisse_queue_up").set(if up { 1.0 } else { 0.0 });
    let spool = watched.spool.clone();
    if let Ok(Ok(stats)) = tokio::task::spawn_blocking(move || spool.stats()).await {
        gauge!("neisse_spool_bytes").set(number(i64::try_from(stats.bytes_on_disk).unwrap_or(i64::MAX)));
        gauge!("neisse_spool_free_bytes").set(number(i64::try_from(stats.free_bytes).unwrap_or(i64::MAX)));
        gauge!("neisse_spool_journals").set(number(i64::try_from(stats.journals).unwrap_or(i64::MAX)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts stay far below 2^53")]
fn number(count: i64) -> f64 {
    count as f64
}
