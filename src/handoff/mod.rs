//! Stage 3: an owed delivery goes onto the queue.
//!
//! In: rows of the ledger that are due, for partners that are not paused. What no way is configured for (any more) stays
//! owed: whoever mends the configuration sees it leave, and a person is told when its time is up. Out: envelopes on the carrier, confirmed. A
//! row is marked as queued *before* its envelope is published; if the carrier does not take it, it is owed again. If
//! the process dies between the two, the lease runs out, or `take_back` at the next start owes it again: an envelope too many
//! finds its delivery taken and is dropped.

use crate::{
    config::Live,
    model::{Bell, Channel, Clock, DeliveryId, Moment, PartnerId, chain},
    queue::{
        Carrier, PublishError,
        envelope::{Envelope, VERSION},
    },
    store::{DueDelivery, Durability, Store, StoreError},
};
use futures_util::{StreamExt, stream};
use std::{collections::HashMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// Longest sleep between looks: what a person or another node owes is found this late.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Taken from one line (partner, lane, kind) at a time.
const BATCH: i64 = 200;
/// Publishes waiting for their confirmation at a time.
const IN_FLIGHT: usize = 32;
/// An envelope nobody has taken off the queue by then is published again.
const QUEUED_FOR: Duration = Duration::from_secs(15 * 60);
/// Wait before an envelope the carrier did not take is offered again.
const CARRIER_AWAY: Duration = Duration::from_secs(2);
/// An unroutable envelope is a fault of ours, mended when the queue has been declared again.
const UNROUTABLE: Duration = Duration::from_secs(10);

/// Where nothing can leave, and why.
type NoWay = HashMap<(PartnerId, Channel), &'static str>;

pub struct Handoff {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    pub carrier: Carrier,
    pub bell: Bell,
}

impl Handoff {
    pub async fn run(self, stop: CancellationToken) {
        let mut lost = self.carrier.lost();
        let mut doubtful = Vec::new();
        let mut no_way = NoWay::new();
        loop {
            let wait = match self.hand_over(&mut doubtful, &mut no_way).await {
                Ok(()) => self.until_next().await,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "The ledger cannot be read; deliveries wait");
                    Duration::from_millis(500)
                }
            };
            tokio::select! {
                () = self.bell.rung() => {}
                Ok(()) = lost.changed() => self.doubt_what_is_queued().await,
                () = self.clock.sleep(wait) => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn until_next(&self) -> Duration {
        let now = self.clock.now();
        match self.store.next_due(now).await {
            Ok(Some(at)) => at.since(now).clamp(Duration::from_millis(20), LOOK_EVERY),
            _ => LOOK_EVERY,
        }
    }

    /// A queue went away with its envelopes. Which they were nobody knows, so everything this node has queued is owed
    /// again; an envelope too many does no harm, a case that waits for its lease does.
    async fn doubt_what_is_queued(&self) {
        let doubting = async {
            let mut tx = self.store.begin(Durability::Process).await?;
            let owed = tx.doubt_queued(&self.config.now().node.name, self.clock.now()).await?;
            tx.commit().await?;
            Ok::<_, StoreError>(owed)
        };
        match doubting.await {
            Ok(owed) => tracing::warn!(deliveries = owed, "A queue was deleted: {owed} deliveries are queued again"),
            // Their leases run out.
            Err(error) => tracing::error!(error = %chain(&error), "A queue was deleted, and the ledger cannot be read"),
        }
    }

    /// `doubtful`: rows that may be marked as queued though no envelope was published, because the database went away
    /// before it confirmed. They are owed again as soon as it is back, not when their lease runs out.
    /// `no_way`: what has been said in the log, once each.
    async fn hand_over(&self, doubtful: &mut Vec<DeliveryId>, no_way: &mut NoWay) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let config = self.config.now();
            let mut waits = NoWay::new();
            let mut tx = self.store.begin(Durability::Process).await?;
            // In the order of their ids, as everything does that changes several deliveries at once.
            doubtful.sort_unstable();
            for id in doubtful.iter() {
                tx.not_published(*id, now).await?;
            }
            let expired = tx.expire_leases(now).await?;
            let goes = |partner: &PartnerId, channel| {
                let reason = config.no_way_to(partner, channel);
                waits.extend(reason.map(|reason| ((partner.clone(), channel), reason)));
                reason.is_none()
            };
            let due = tx.take_due(now, now + QUEUED_FOR, &config.node.name, BATCH, goes).await?;
            doubtful.extend(due.iter().map(|delivery| delivery.id));
            tx.commit().await?;
            doubtful.clear();
            for ((site, channel), reason) in waits.iter().filter(|(way, _)| !no_way.contains_key(way)) {
                tracing::error!(%site, "What is owed to {site} by {channel} waits: {reason}");
            }
            *no_way = waits;
            if expired > 0 {
                tracing::warn!(
                    deliveries = expired,
                    "{expired} deliveries were queued or attempted and not seen since: owed again"
                );
            }
            let more = due.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
            let all_taken = self.publish_all(due, doubtful).await?;
            // What the carrier did not take is offered again in a while; the rest of the ledger would fare no better now.
            if !more || !all_taken {
                return Ok(());
            }
        }
    }

    async fn publish_all(&self, due: Vec<DueDelivery>, doubtful: &mut Vec<DeliveryId>) -> Result<bool, StoreError> {
        let mut published = stream::iter(due)
            .map(|delivery| async move {
                let result = self.carrier.publish(&envelope(&delivery)).await;
                (delivery, result)
            })
            .buffered(IN_FLIGHT);
        let mut failed: Vec<(DueDelivery, PublishError)> = Vec::new();
        while let Some((delivery, result)) = published.next().await {
            match result {
                Ok(()) => {
                    tracing::debug!(case.id = %delivery.case, site = %delivery.partner, delivery.id = %delivery.id, "Queued")
                }
                Err(error) => failed.push((delivery, error)),
            }
        }
        let all_taken = failed.is_empty();
        doubtful.extend(failed.iter().map(|(delivery, _)| delivery.id));
        self.give_back(failed).await?;
        doubtful.clear();
        Ok(all_taken)
    }

    async fn give_back(&self, mut failed: Vec<(DueDelivery, PublishError)>) -> Result<(), StoreError> {
        // In the order of their ids, as everything does that changes several deliveries at once.
        failed.sort_by_key(|(delivery, _)| delivery.id);
        let Some((first, error)) = failed.first() else { return Ok(()) };
        tracing::warn!(deliveries = failed.len(), site = %first.partner, error = %chain(error), "{} deliveries could not be queued and wait: {error}", failed.len());
        let now = self.clock.now();
        let mut tx = self.store.begin(Durability::Process).await?;
        for (delivery, error) in &failed {
            tx.not_published(delivery.id, next_offer(error, now)).await?;
        }
        tx.commit().await
    }
}

/// Whether the broker has it or not is unknown after a lost confirmation: offering it again is harmless.
fn next_offer(error: &PublishError, now: Moment) -> Moment {
    match error {
        PublishError::Unroutable => now + UNROUTABLE,
        _ => now + CARRIER_AWAY,
    }
}

fn envelope(delivery: &DueDelivery) -> Envelope {
    Envelope {
        version: VERSION,
        delivery: delivery.id,
        case: delivery.case,
        partner: delivery.partner.clone(),
        lane: delivery.lane,
        kind: delivery.kind,
        items: u32::try_from(delivery.items).unwrap_or(u32::MAX),
        bytes: u64::try_from(delivery.bytes).unwrap_or(0),
        content: format!("deliveries/{}/content", delivery.id),
        created: delivery.created,
        deadline: delivery.deadline,
    }
}
