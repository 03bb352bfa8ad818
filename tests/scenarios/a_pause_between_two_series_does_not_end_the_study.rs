//! A scanner holds its association through a pause longer than the quiet time, sends its last slices and releases at
//! once: the study is whole with them, not without.

use crate::support::{
    faults::tonight,
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, Footing, Network},
};
use neisse::model::CaseState;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_between_two_series_does_not_end_the_study() {
    let network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, tonight()).await;
    for number in 1..=8 {
        let (patient, slices) = head_ct(number, 6);
        let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
        for slice in &slices[..3] {
            assert_eq!(scanner.send(slice).await, 0x0000);
        }
        network.case(&patient.study(), "the first series is known", |case| case.instances == 3).await;
        network.clock.advance(Duration::from_secs(60));
        for slice in &slices[3..] {
            assert_eq!(scanner.send(slice).await, 0x0000);
        }
        scanner.release().await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let story = network.story(&case).await;
        assert!(story.contains("study whole: 6 instances"), "{story}");
        assert!(!story.contains("late instance"), "{story}");
    }
    network.at_rest().await;
}
