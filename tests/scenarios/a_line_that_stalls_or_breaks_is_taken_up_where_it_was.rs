//! The line to the center stalls in the middle of an instance, is cut between two, or the center breaks off each time:
//! what was confirmed is not sent again, the rest follows, Leipzig notices nothing.

use crate::support::{
    center::Center,
    dcmtk::StoreScp,
    faults::{CHEMNITZ_AND_LEIPZIG, deliver_to, send_head_ct, tonight},
    hospital::send_study,
    network::{ALWAYS_CHEMNITZ, Footing, Network},
    proxy::{Line, Proxy},
};
use neisse::{
    cli::sample::{self, SampleCase},
    model::{CaseState, DeliveryState},
};
use std::time::Duration;

/// Chemnitz behind a line that can be harmed.
async fn behind_a_proxy(routes: &str) -> (Network, Proxy) {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let proxy = Proxy::to(&format!("127.0.0.1:{}", chemnitz.port)).await;
    let port = proxy.address.port();
    let network = Network::with_centers(Footing::Embedded, routes, tonight(), chemnitz, leipzig, |files| {
        deliver_to(files, "chemnitz", "CHEMNITZ", port);
    })
    .await;
    (network, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_in_the_middle_of_an_instance() {
    let (network, proxy) = behind_a_proxy(CHEMNITZ_AND_LEIPZIG).await;
    // Half a megabyte a slice: more than the buffers on the way take.
    let patient = SampleCase::numbered(1);
    let slices: Vec<_> = sample::head_ct(12, 512, &patient).collect();
    proxy.set(Line::Slow(2_000_000));
    let sending = send_study(network.node().dicom, &slices);
    let stalling = async {
        crate::support::eventually("some of it is on its way", Duration::from_secs(30), async || {
            proxy.bytes_passed() > 700_000
        })
        .await;
        proxy.set(Line::Stalled);
    };
    tokio::join!(sending, stalling);
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    let pause = network.until_paused("chemnitz").await;
    assert!(pause.reason.contains("no progress") || pause.reason.contains("no association"), "{}", pause.reason);
    let there = network.chemnitz.arrivals().len();
    assert!(there < slices.len(), "it stalled before the end");
    proxy.set(Line::Good);
    network.probe_until_back("chemnitz").await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let archive = network.chemnitz.archive();
    for slice in &slices {
        assert_eq!(archive[&slice.sop_instance], slice.data_set);
    }
    // Two associations stalled at most, each with one instance that nobody knows the fate of.
    assert!(network.chemnitz.arrivals().len() <= slices.len() + 2, "{}", network.chemnitz.arrivals().len());
    assert_eq!(network.now(case.id).await.attention, "");
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_again_and_again() {
    let (network, proxy) = behind_a_proxy(ALWAYS_CHEMNITZ).await;
    let patient = SampleCase::numbered(1);
    let slices: Vec<_> = sample::head_ct(40, 128, &patient).collect();
    let mut cuts = 0;
    let sending = send_study(network.node().dicom, &slices);
    let cutting = async {
        for _ in 0..3 {
            proxy.cut_after(proxy.bytes_passed() + 250_000).await;
            cuts += 1;
        }
    };
    let hurrying = network.soon("all is there", async || network.chemnitz.archive().len() == slices.len());
    tokio::join!(sending, cutting, hurrying);
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let arrivals = network.chemnitz.arrivals().len();
    // A cut ends at most two associations and their probes; each may have had one answer under way.
    assert!(arrivals <= slices.len() + 2 * cuts, "{arrivals} arrivals of {} over {cuts} cuts", slices.len());
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_breaks_off_at_the_same_instance_every_time_is_not_besieged_for_a_day() {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    // It answers an echo, takes an instance, and aborts.
    let port = crate::support::free_port();
    let _breaking = StoreScp::start_with("CHEMNITZ", port, &["--abort-after"]).await;
    let network =
        Network::with_centers(Footing::Embedded, CHEMNITZ_AND_LEIPZIG, tonight(), chemnitz, leipzig, |files| {
            deliver_to(files, "chemnitz", "CHEMNITZ", port);
        })
        .await;
    let (patient, _) = send_head_ct(&network, 1, 1).await;
    let case = network.case(&patient.study(), "a case", |case| case.whole.is_some()).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    network
        .soon("it ends in front of a person", async || {
            network.owed_to(&case, "chemnitz").await.iter().all(|row| row.state == DeliveryState::Stopped)
        })
        .await;
    let rows = network.owed_to(&case, "chemnitz").await;
    assert_eq!(rows.iter().map(|row| row.attempts).collect::<Vec<_>>(), [8], "{}", network.story(&case).await);
    let attention = network.now(case.id).await.attention;
    assert_eq!(attention, "chemnitz did not store 1 of 1 instances (it breaks off each time)");
    network.at_rest().await;
}
