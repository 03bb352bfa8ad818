//! An object of more than a hundred megabytes is on its way to Chemnitz and takes its time: a head CT for the same
//! center passes it.

use crate::support::{
    center::{Center, Manners},
    eventually,
    faults::{send_head_ct, set, tonight},
    hospital::{grown, send_study},
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON},
};
use neisse::{
    cli::sample::{self, SampleCase},
    model::{CaseState, DeliveryState, Lane},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slide_goes_by_the_bulk_lane_and_does_not_delay_a_head_ct() {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let network = Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, tonight(), chemnitz, leipzig, |files| {
        set(files, "neisse.toml", "response", "\"10m\"");
    })
    .await;
    let patient = SampleCase::numbered(7);
    let slide = grown(sample::slide(1, 1, "S26-1", &patient), 101_000_000);
    network.chemnitz.behave(Manners { hold: vec![slide.sop_instance.clone()], ..Manners::default() });
    send_study(network.node().dicom, std::slice::from_ref(&slide)).await;
    let case = network.case(&patient.study(), "the slide's case", |case| case.instances == 1).await;
    eventually("the slide is on its way", SOON, async || {
        let rows = network.ledger(&case).await;
        rows.iter().any(|row| row.state == DeliveryState::Attempting && row.lane == Lane::Bulk)
    })
    .await;
    let (head, slices) = send_head_ct(&network, 1, 5).await;
    let head = network.case_in(&head.study(), CaseState::Delivered).await;
    assert!(network.ledger(&head).await.iter().all(|row| row.lane == Lane::Routine));
    assert_eq!(network.chemnitz.arrivals().len(), slices.len(), "and the slide is not there yet");
    assert_eq!(network.ledger(&case).await[0].state, DeliveryState::Attempting);
    network.chemnitz.behave(Manners::default());
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert!(network.chemnitz.archive()[&slide.sop_instance] == slide.data_set, "byte for byte as sent");
    network.at_rest().await;
}
