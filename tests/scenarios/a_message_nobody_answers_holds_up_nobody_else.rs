//! A receiver swallows one message: it is sent again, and messages of other cases arrive meanwhile, without a pause. When it answers
//! nothing at all, it is paused after two different ones; then everything arrives.

use super::messages_to_a_partner_share_one_connection::{case_of, network, owe};
use crate::support::{
    engine::Engine,
    eventually,
    network::{BOTH, SOON},
};
use neisse::model::Lane;
use std::time::{Duration, Instant};

/// As the configuration has it.
const RESPONSE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_message_nobody_answers_holds_up_nobody_else() {
    for footing in BOTH {
        let engine = Engine::start().await;
        let network = network(footing, &engine).await;
        let (one, other) = (case_of(&network, "1.2.3").await, case_of(&network, "1.2.4").await);
        let third = case_of(&network, "1.2.5").await;
        engine.swallow("BAD");
        owe(&network, &[(&one, "BAD", Lane::Stat)]).await;
        eventually("the one that is swallowed", SOON, async || engine.came() == ["BAD"]).await;
        let began = Instant::now();
        owe(&network, &[(&other, "GOOD1", Lane::Routine), (&third, "GOOD2", Lane::Routine)]).await;
        eventually("the others", 2 * RESPONSE, async || {
            ["GOOD1", "GOOD2"].iter().all(|good| engine.came().iter().any(|name| name == good))
        })
        .await;
        assert!(began.elapsed() < 2 * RESPONSE, "{:?}", began.elapsed());
        // It is tried on and on.
        eventually("it comes again", SOON, async || engine.came().iter().filter(|name| *name == "BAD").count() >= 3)
            .await;
        assert!(
            network.node().store.pauses().await.expect("the store").is_empty(),
            "nobody is paused over one message"
        );

        // Another one is not answered either.
        engine.swallow("WORSE");
        owe(&network, &[(&other, "WORSE", Lane::Routine)]).await;
        eventually("the partner is paused", SOON, async || {
            !network.node().store.pauses().await.expect("the store").is_empty()
        })
        .await;
        engine.swallow_nothing();
        eventually("both arrive", SOON, async || {
            let mut open = Vec::new();
            for case in [&one, &other, &third] {
                open.extend(network.ledger(case).await.into_iter().filter(|delivery| delivery.finished.is_none()));
            }
            open.is_empty()
        })
        .await;
        network.at_rest().await;
    }
}
