//! A preliminary report stops the clocks of an offer and of a claim; taken back, it starts them anew. And a reader that is down is
//! asked for what it has by that channel alone. In both databases.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, both},
};
use neisse::{
    model::{Channel, Moment, Priority, Uid},
    store::{NewClaim, Offer},
};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_report_again_has_a_clock_again() {
    for ledger in both().await {
        let (offer, offered) = ledger.offered("1.2.1", true).await;
        let (claim, claimed) = ledger.offered("1.2.2", true).await;
        let mut tx = ledger.begin().await;
        let asked = NewClaim { task: &claimed, transaction: "1.2.3", by: "WS1", lease: Some(NOW), now: NOW };
        assert!(tx.claim_task(asked).await.expect("a claim"));
        // As both are left when a preliminary report has come.
        tx.keep_offer(&offered, NOW).await.expect("kept");
        tx.keep_claim(&claimed, None).await.expect("kept");
        tx.commit().await.expect("a commit");
        let late = NOW + 2 * LEASE;
        assert!(past(&ledger, late).await.is_empty(), "{}", ledger.name);
        let mut tx = ledger.begin().await;
        for case in [&offer, &claim] {
            tx.restart_task_clocks(case, NOW + LEASE, NOW).await.expect("clocks");
        }
        tx.commit().await.expect("a commit");
        assert_eq!(past(&ledger, late).await, [offered.clone(), claimed], "{}", ledger.name);
        assert!(past(&ledger, NOW).await.is_empty(), "{}", ledger.name);

        let (_, order_alone) = ledger.offered("1.2.4", false).await;
        for (channel, expected) in [(Channel::Dicom, offered), (Channel::Hl7, order_alone)] {
            let down = (&partner("chemnitz"), channel);
            let offers = ledger.store.offers_to(down, Priority::Routine, None, 100).await.expect("the store");
            assert_eq!(uids(offers), [expected], "{} {channel:?}", ledger.name);
        }
    }
}

fn uids(offers: Vec<Offer>) -> Vec<Uid> {
    offers.into_iter().map(|(_, task, _)| task).collect()
}

/// Offers past their time, then claims.
async fn past(ledger: &Ledger, at: Moment) -> Vec<Uid> {
    let mut found = uids(ledger.store.offers_past(at, None, 100).await.expect("the store"));
    let claims = ledger.store.claims_past_lease(at, 100).await.expect("the store");
    found.extend(claims.into_iter().map(|(_, task)| task));
    found
}
