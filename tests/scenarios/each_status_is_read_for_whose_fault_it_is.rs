//! C-STORE statuses: one instance refused, one case refused, a warning, no room, a failure that may pass. Each costs
//! what it must and nothing else.

use crate::support::{
    center::Manners,
    eventually,
    faults::{CHEMNITZ_AND_LEIPZIG, attempts, is_delivered, send_head_ct, tonight},
    hospital::head_ct,
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON},
};
use neisse::{
    cli::sample::SampleInstance,
    dicom::status::StoreStatus,
    model::{CaseState, DeliveryState, Moment},
    store::CaseRow,
};
use std::process::Command;

/// Chemnitz answers the `number`th slice of the case so.
fn refuse(network: &Network, slices: &[SampleInstance], number: usize, status: StoreStatus) {
    let refuse = Some((slices[number].sop_instance.clone(), status));
    network.chemnitz.behave(Manners { refuse, ..Manners::default() });
}

async fn until_stopped(network: &Network, case: &CaseRow) {
    network
        .soon("every delivery has ended, one of them in front of a person", async || {
            let rows = network.owed_to(case, "chemnitz").await;
            rows.iter().all(|row| row.finished.is_some()) && rows.iter().any(|row| row.state == DeliveryState::Stopped)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_of_ten_is_not_understood() {
    // The command line goes by the system's clock.
    let now = Moment::from_utc(chrono::Utc::now());
    let network = Network::start(Footing::Embedded, CHEMNITZ_AND_LEIPZIG, now).await;
    let (_, planned) = head_ct(1, 10);
    refuse(&network, &planned, 4, StoreStatus::CannotUnderstand);
    let (patient, slices) = send_head_ct(&network, 1, 10).await;
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    until_stopped(&network, &case).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    assert_eq!(network.chemnitz.arrivals().len(), 9, "the others arrived, each once");
    let case = network.now(case.id).await;
    assert!(case.attention.starts_with("chemnitz did not store 1 of "), "{}", case.attention);
    assert!(case.attention.ends_with(" instances (C000)"), "{}", case.attention);
    assert_eq!(case.state, CaseState::Routed, "not taken for delivered");
    assert!(network.pauses().await.is_empty(), "one instance pauses nobody");
    assert!(network.owed_to(&case, "chemnitz").await.iter().all(|row| row.attempts == 1), "and is not tried again");

    network.chemnitz.behave(Manners::default());
    for (name, text) in &network.files {
        let file = network.folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, text).expect("written");
    }
    let resend = Command::new(env!("CARGO_BIN_EXE_neisse"))
        .args(["cases", "--config"])
        .arg(network.folder.path())
        .args(["resend", &case.id.to_string()])
        .output()
        .expect("neisse");
    assert!(resend.status.success(), "{}", String::from_utf8_lossy(&resend.stderr));
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(case.attention, "", "nobody need look any more");
    assert_eq!(network.chemnitz.archive()[&slices[4].sop_instance], slices[4].data_set);
    assert_eq!(network.leipzig.arrivals().len(), 10, "Leipzig got nothing twice");
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_means_stored() {
    let network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, tonight()).await;
    let warn = Some(StoreStatus::CoercionOfDataElements);
    network.chemnitz.behave(Manners { status: warn, ..Manners::default() });
    let (patient, slices) = send_head_ct(&network, 1, 5).await;
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(network.chemnitz.arrivals().len(), slices.len(), "nothing is sent twice over a warning");
    assert!(network.told(&case, "chemnitz stored with warning B000").await >= 1, "{}", network.story(&case).await);
    assert_eq!(case.attention, "");
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_pauses_the_center_until_there_is_room() {
    let network = Network::start(Footing::Embedded, CHEMNITZ_AND_LEIPZIG, tonight()).await;
    network.chemnitz.behave(Manners { status: Some(StoreStatus::OutOfResources), ..Manners::default() });
    let (patient, slices) = send_head_ct(&network, 1, 6).await;
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    let pause = network.until_paused("chemnitz").await;
    assert_eq!(pause.reason, "out of resources (A700)");
    // An echo is answered all the same, so it is tried again, after longer and longer waits.
    network.soon("it has been tried again", async || attempts(&network.owed_to(&case, "chemnitz").await) >= 4).await;
    let rows = network.owed_to(&case, "chemnitz").await;
    assert!(rows.iter().all(|row| row.state != DeliveryState::Stopped), "no room is no reason to give up");
    assert!(network.chemnitz.arrivals().is_empty());
    network.chemnitz.behave(Manners::default());
    network.soon("there is room again", async || network.chemnitz.arrivals().len() == slices.len()).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(network.chemnitz.arrivals().len(), slices.len(), "each exactly once");
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_one_instance_that_does_not_pass_does_not_hold_up_the_rest() {
    let network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, tonight()).await;
    let (_, planned) = head_ct(1, 10);
    refuse(&network, &planned, 4, StoreStatus::ProcessingFailure);
    let (patient, _) = send_head_ct(&network, 1, 10).await;
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    until_stopped(&network, &case).await;
    let case = network.now(case.id).await;
    assert_eq!(network.chemnitz.archive().len(), 9, "the others arrived: {}", network.story(&case).await);
    assert!(case.attention.contains("chemnitz did not store 1 of "), "{}", case.attention);
    assert!(case.attention.ends_with("(0110)"), "{}", case.attention);
    let tried = network.ledger(&case).await.iter().map(|row| row.attempts).max();
    assert_eq!(tried, Some(8), "a few tries, then a person");
    assert!(network.pauses().await.is_empty());

    // Passed: sent again, it arrives.
    network.chemnitz.behave(Manners::default());
    assert_eq!(network.resend(&case).await, 1);
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(network.chemnitz.archive().len(), 10);
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_is_refused_stops_and_the_next_one_goes_on() {
    let network = Network::start(Footing::Embedded, CHEMNITZ_AND_LEIPZIG, tonight()).await;
    let (_, planned) = head_ct(1, 1);
    refuse(&network, &planned, 0, StoreStatus::NotAuthorized);
    let (refused, _) = send_head_ct(&network, 1, 1).await;
    let (taken, slices) = send_head_ct(&network, 2, 5).await;
    let case = network.case(&refused.study(), "a person is told", |case| !case.attention.is_empty()).await;
    assert_eq!(case.attention, "chemnitz refused images: answered 0124");
    network.until_delivered(&case, "leipzig-ukl").await;
    let taken = network.case_in(&taken.study(), CaseState::Delivered).await;
    assert!(network.ledger(&taken).await.iter().all(is_delivered));
    assert_eq!(network.chemnitz.arrivals().len(), slices.len());
    assert!(network.pauses().await.is_empty());
    eventually("it is tried once", SOON, async || attempts(&network.owed_to(&case, "chemnitz").await) == 1).await;
    network.at_rest().await;
}
