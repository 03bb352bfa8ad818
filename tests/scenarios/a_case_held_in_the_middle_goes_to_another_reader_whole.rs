//! A person holds a case while it is being sent: nothing more of it leaves, not even what was under way and failed. Then
//! it goes to another reader whole, and held and released once more it does not get stuck. What the rule promised to
//! others stays promised.

use crate::support::{
    blocking,
    carrier::partner,
    center::{About, Manners, oru},
    eventually,
    faults::{CHEMNITZ_AND_LEIPZIG, is_delivered, send_head_ct},
    hospital::{head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON},
};
use neisse::{
    dicom::status::StoreStatus,
    model::{CaseState, DeliveryState, Disposition, Moment, ReadingMode},
    store::CaseRow,
};
use std::{process::Command, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_case_held_in_the_middle_goes_to_another_reader_whole() {
    let network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, Moment::from_utc(chrono::Utc::now())).await;
    for (name, text) in &network.files {
        let file = network.folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    }
    // Chemnitz stops answering at the third slice. It keeps what is in its hands then: one slice an association.
    let (_, slices) = head_ct(1, 12);
    let unanswered = slices[2..].iter().map(|slice| slice.sop_instance.clone()).collect();
    network.chemnitz.behave(Manners { hold: unanswered, ..Manners::default() });
    let (patient, _) = send_head_ct(&network, 1, 12).await;
    eventually("two slices are in Chemnitz", SOON, async || network.chemnitz.arrivals().len() == 2).await;
    let case = network.case(&patient.study(), "routed and whole", |case| case.whole.is_some()).await;
    say(&network, &case, &["hold", "--why", "wrong side"]).await;
    eventually("nothing of it is owed", SOON, async || {
        let ledger = network.ledger(&case).await;
        ledger.iter().all(|delivery| [DeliveryState::Delivered, DeliveryState::Withdrawn].contains(&delivery.state))
    })
    .await;
    network.chemnitz.behave(Manners::default());
    eventually("Chemnitz is back", SOON, async || network.pauses().await.is_empty()).await;
    // The next case of Chemnitz arrives; of the held one nothing more does.
    let (next, next_slices) = head_ct(2, 2);
    send_study(network.node().dicom, &next_slices).await;
    network.case_in(&next.study(), CaseState::Delivered).await;
    let archive = network.chemnitz.archive();
    let arrived = slices.iter().filter(|slice| archive.contains_key(&slice.sop_instance)).count();
    assert!(arrived <= 4, "{arrived} slices: {}", network.story(&case).await);
    assert_eq!(network.case_in(&patient.study(), CaseState::Held).await.id, case.id);

    say(&network, &case, &["release", "--to", "leipzig-ukl"]).await;
    let delivered = network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(delivered.attention, "", "{}", network.story(&case).await);
    assert_eq!(network.leipzig.archive().len(), slices.len(), "all of it");

    say(&network, &case, &["hold", "--why", "asked to wait"]).await;
    network.case_in(&patient.study(), CaseState::Held).await;
    say(&network, &case, &["release", "--to", "leipzig-ukl"]).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(network.leipzig.arrivals().len(), slices.len(), "nothing is sent twice");
    network.at_rest().await;
}

/// Leipzig gets copies whoever reads, and it has not taken one when the case is held.
#[tokio::test(flavor = "multi_thread")]
async fn the_copies_the_deadline_and_the_former_reader_stay() {
    let rules = format!("{CHEMNITZ_AND_LEIPZIG}report_within = \"60m\"\n");
    let network = Network::start(Footing::Embedded, &rules, Moment::from_utc(chrono::Utc::now())).await;
    let (_, slices) = head_ct(1, 4);
    let refuse = Some((slices[1].sop_instance.clone(), StoreStatus::CannotUnderstand));
    network.leipzig.behave(Manners { refuse, ..Manners::default() });
    let (patient, _) = send_head_ct(&network, 1, 4).await;
    let case = network.case(&patient.study(), "whole", |case| case.whole.is_some()).await;
    network.until_delivered(&case, "chemnitz").await;
    eventually("Leipzig has refused a slice", SOON, async || {
        let copies = network.owed_to(&case, "leipzig-ukl").await;
        copies.iter().all(|row| row.finished.is_some()) && copies.iter().any(|row| !is_delivered(row))
    })
    .await;
    network.leipzig.behave(Manners::default());
    let id = case.id.to_string();
    network.cases_screen(&["hold", &id, "--why", "Chemnitz has no time"]).await;
    network.cases_screen(&["release", &id, "--to", "origin"]).await;
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(case.attention, "", "{}", network.story(&case).await);
    assert_eq!(network.leipzig.archive().len(), slices.len(), "all of it: {}", network.story(&case).await);
    let decision = case.decision.as_ref().map(|decision| &decision.disposition);
    let Some(Disposition::Read(reading)) = decision else { panic!("{decision:?}") };
    assert_eq!(reading.readers, [partner("rabenstein"), partner("chemnitz")]);
    assert_eq!((&reading.also_to[..], reading.reading_mode), (&[partner("leipzig-ukl")][..], ReadingMode::OnSite));
    // What was owed at first counts from the first image, what was owed anew from the release.
    let first = case.first + Duration::from_secs(3600);
    let copies = network.owed_to(&case, "leipzig-ukl").await;
    assert!(copies.iter().all(|row| row.deadline >= Some(first)), "{copies:?}");
    assert!(copies.iter().any(|row| row.deadline > Some(first)), "{copies:?}");

    // Chemnitz had the images, and reports after all.
    let study = patient.study().to_string();
    let (patient_id, accession) = (&patient.patient_id, &patient.accession);
    let about = About { patient_id, issuer: "RABENSTEIN", accession, study: &study };
    let message = oru("KLCHEM", "R1", &about, "F", "keine Blutung");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, "R1").await.code.as_str(), "AA");
    network.case_in(&patient.study(), CaseState::Reported).await;

    network.at_rest().await;
}

/// `neisse cases VERB CASE …` beside the running node.
async fn say(network: &Network, case: &CaseRow, words: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neisse"));
    command.args(["cases", "--config"]).arg(network.folder.path()).arg(words[0]).arg(case.id.to_string());
    command.args(&words[1..]);
    let output = blocking(move || command.output().expect("neisse")).await;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
