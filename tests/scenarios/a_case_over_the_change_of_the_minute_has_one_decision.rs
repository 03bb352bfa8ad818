//! A study whose first slice arrives at 06:59:50 and whose last arrives at 07:01:10 is one case with one decision; and so
//! is one that begins by day and ends by night.

use crate::support::{
    eventually,
    hospital::{Scanner, head_ct},
    network::{BOTH, Network, SOON, wall},
};
use neisse::model::CaseState;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_case_over_the_change_of_the_minute_has_one_decision() {
    for footing in BOTH {
        let network = Network::example(footing, wall("2026-11-24T06:59:50"), |_| ()).await;
        for (number, begins, turns, ends, reader) in [
            (1, "2026-11-24T06:59:50", "2026-11-24T07:00:00", "2026-11-24T07:01:10", "chemnitz"),
            (2, "2026-11-24T17:59:50", "2026-11-24T18:00:00", "2026-11-24T18:01:10", "rabenstein"),
        ] {
            let (patient, slices) = head_ct(number, 9);
            let [first, middle, last] = [&slices[..3], &slices[3..6], &slices[6..]];
            let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
            for (at, part) in [(begins, first), (turns, middle), (ends, last)] {
                network.clock.set(wall(at));
                for slice in part {
                    assert_eq!(scanner.send(slice).await, 0x0000);
                }
                // What has come is decided and sent on before the hands are moved.
                let so_far = slices.iter().position(|slice| std::ptr::eq(slice, &part[2])).expect("of these") + 1;
                network.case(&patient.study(), "all of it taken on", |case| case.routed_to == so_far as i64).await;
            }
            scanner.release().await;
            network.clock.advance(Duration::from_secs(31));
            let case = network.case_in(&patient.study(), CaseState::Delivered).await;
            let story = network.story(&case).await;
            assert!(case.first < wall(turns) && case.last >= wall(ends), "it did span the change: {story}");
            assert_eq!(case.reader.as_ref().map(|reader| reader.as_str()), Some(reader), "{story}");
            assert_eq!(story.matches(": read by ").count(), 1, "one decision: {story}");
            assert_eq!(network.cases().await.len(), number as usize, "one case: {story}");
            let decided = case.decision.expect("decided").decided_at;
            assert!(decided < wall(turns), "by the clock of the first slice: {decided}");
            if reader == "rabenstein" {
                assert!(network.node().store.ledger(case.id).await.expect("the store").is_empty(), "nothing leaves");
            }
        }
        eventually("all of the night's case, none of the day's", SOON, async || network.chemnitz.arrivals().len() == 9)
            .await;
        network.at_rest().await;
    }
}
