//! A center rejects our associations for good: intake goes on, a person is told at once, the center is probed and not
//! besieged, and Leipzig has its copy all the while.

use crate::support::{
    center::{Center, Manners},
    eventually,
    faults::{CHEMNITZ_AND_LEIPZIG, attempts, is_delivered, send_head_ct, set, tonight},
    network::{Footing, Network, SOON},
};
use neisse::{
    dicom::scp::Rejection,
    model::{CaseState, Channel},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_turns_us_away_costs_probes_and_a_person_is_told() {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    chemnitz.behave(Manners { reject: Some(Rejection::CallingAeNotRecognized), ..Manners::default() });
    let slow = |files: &mut std::collections::BTreeMap<_, _>| {
        set(files, "neisse.toml", "retry_min", "\"60s\"");
        set(files, "neisse.toml", "retry_max", "\"10m\"");
    };
    let network =
        Network::with_centers(Footing::Embedded, CHEMNITZ_AND_LEIPZIG, tonight(), chemnitz, leipzig, slow).await;
    let (patient, slices) = send_head_ct(&network, 1, 10).await;
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    assert_eq!(network.leipzig.arrivals().len(), slices.len());

    let pause = network.until_paused("chemnitz").await;
    assert_eq!(pause.channel, Channel::Dicom);
    let why = "association rejected (permanent): calling AE title not recognized";
    assert!(pause.reason.contains(why), "{}", pause.reason);
    let told = format!("chemnitz takes nothing from us: {why}");
    let case = network.case(&patient.study(), "a person is told", |case| case.attention.contains(&told)).await;
    assert_eq!(case.state, CaseState::Routed);
    assert!(network.page("/readyz").await.contains("chemnitz (DICOM)"), "the node says who is paused");

    let tried = attempts(&network.owed_to(&case, "chemnitz").await);
    let waits = [120, 240, 480, 600, 600];
    for wait in waits {
        let waited = network.probe_in_vain("chemnitz").await.as_secs();
        assert!((wait..wait + 30).contains(&waited), "{waited} s instead of {wait} s");
    }
    let rows = network.owed_to(&case, "chemnitz").await;
    assert_eq!(attempts(&rows), tried, "probes are no attempts: {}", network.story(&case).await);
    assert!(rows.iter().all(|row| row.attempts <= 1));
    assert_eq!(network.pauses().await.len(), 1, "nobody else is paused");
    assert_eq!(network.told(&case, &told).await, 1);
    assert!(network.chemnitz.arrivals().is_empty());

    // Another case is not even tried while the pause lasts, and Leipzig gets it at once.
    let (second, _) = send_head_ct(&network, 2, 3).await;
    let second = network.case(&second.study(), "a whole case", |case| case.whole.is_some()).await;
    network.until_delivered(&second, "leipzig-ukl").await;
    assert_eq!(attempts(&network.owed_to(&second, "chemnitz").await), 0);

    network.chemnitz.behave(Manners::default());
    network.probe_until_back("chemnitz").await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    eventually("the second case too", SOON, async || {
        network.owed_to(&second, "chemnitz").await.iter().all(is_delivered)
    })
    .await;
    assert_eq!(network.chemnitz.arrivals().len(), slices.len() + 3, "each exactly once");
    for slice in &slices {
        assert_eq!(network.chemnitz.archive()[&slice.sop_instance], slice.data_set);
    }
    network.at_rest().await;
}
