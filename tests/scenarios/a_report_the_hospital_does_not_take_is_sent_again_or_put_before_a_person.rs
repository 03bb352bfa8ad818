//! The hospital's information system is down, slow, confused, or will not have a report. Its archive, which takes the
//! same report by DICOM, gets it at once.

use crate::support::{
    center::Center,
    center::{About, oru},
    eventually,
    faults::{is_delivered, send_head_ct, set, tonight},
    hospital::control_id,
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON},
    proxy::Proxy,
};
use neisse::{
    cli::sample::SampleCase,
    hl7::ack::Verdict,
    model::{CaseState, Channel, DeliveryKind, DeliveryState, Fault, Moment, Outcome},
    store::{CaseRow, DeliveryRow},
};
use std::{collections::BTreeMap, time::Duration};

/// Rabenstein gets reports by HL7 and as SR; its archive is played by the second center.
async fn delivered_case() -> (Network, SampleCase, CaseRow) {
    delivered_case_where(tonight(), |_| ()).await
}

async fn delivered_case_where(
    at: Moment,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> (Network, SampleCase, CaseRow) {
    let (chemnitz, archive) = (Center::start("CHEMNITZ").await, Center::start("RAB_PACS").await);
    let port = archive.port;
    let network = Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, at, chemnitz, archive, |files| {
        set(files, "partners/rabenstein.toml", "forms", "[\"oru\", \"sr\"]");
        let file = files.get_mut("partners/rabenstein.toml").expect("a file");
        let target = format!("[dicom]\ndeliver = {{ ae_title = \"RAB_PACS\", host = \"127.0.0.1\", port = {port} }}\n");
        *file = file.replace("[dicom]\n", &target);
        change(files);
    })
    .await;
    let (patient, _) = send_head_ct(&network, 1, 3).await;
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    (network, patient, case)
}

async fn report(network: &Network, patient: &SampleCase, control_id: &str, status: &str) {
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", control_id, &about, status, "keine Blutung");
    let answer = network.chemnitz.send_hl7(network.node().hl7, &message, control_id).await;
    assert_eq!(answer.code.as_str(), "AA");
}

async fn over_hl7(network: &Network, case: &CaseRow) -> Vec<DeliveryRow> {
    let rows = network.owed_to(case, "rabenstein").await;
    rows.into_iter().filter(|row| row.kind == DeliveryKind::ReportOru).collect()
}

fn says(report: &[u8], status: &[u8]) -> bool {
    report.windows(status.len()).any(|bytes| bytes == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_down_and_its_archive_gets_the_report_all_the_same() {
    let (mut network, patient, case) = delivered_case().await;
    network.hospital.go_away().await;
    report(&network, &patient, "R1", "F").await;
    let pause = network.until_paused("rabenstein").await;
    assert_eq!(pause.channel, Channel::Hl7);
    assert!(pause.reason.contains("cannot be reached"), "{}", pause.reason);
    eventually("the archive has the report", SOON, async || network.leipzig.arrivals().len() == 1).await;
    for _ in 0..4 {
        network.probe_in_vain("rabenstein").await;
    }
    let rows = over_hl7(&network, &case).await;
    assert_eq!((rows.len(), rows[0].attempts), (1, 1), "probes are no attempts");
    // Another case meanwhile: its images reach their reader, its report the archive.
    let (other, _) = send_head_ct(&network, 2, 3).await;
    network.case_in(&other.study(), CaseState::Delivered).await;
    report(&network, &other, "R2", "F").await;
    eventually("the archive has this report too", SOON, async || network.leipzig.arrivals().len() == 2).await;
    assert!(network.hospital.reports().is_empty());
    network.hospital.come_back().await;
    network.probe_until_back("rabenstein").await;
    eventually("both reports are there", SOON, async || network.hospital.reports().len() == 2).await;
    assert_eq!(network.now(case.id).await.attention, "");
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_stops_this_version_and_not_the_next() {
    // The command line goes by the system's clock.
    let (network, patient, case) = delivered_case_where(Moment::from_utc(chrono::Utc::now()), |_| ()).await;
    network.hospital.answer(Verdict::Error);
    report(&network, &patient, "R1", "P").await;
    let told = network.case(&patient.study(), "a person is told", |case| !case.attention.is_empty()).await;
    assert!(told.attention.ends_with("message in error (AE)"), "{}", told.attention);
    let rows = over_hl7(&network, &case).await;
    assert_eq!((rows.len(), rows[0].state, rows[0].attempts), (1, DeliveryState::Stopped, 1));
    assert!(network.pauses().await.is_empty(), "the line is good");
    network.hospital.answer(Verdict::Accept);
    report(&network, &patient, "R2", "F").await;
    eventually("the final version is there", SOON, async || network.hospital.reports().len() == 1).await;
    assert_eq!(over_hl7(&network, &case).await[0].state, DeliveryState::Stopped, "a person's matter still");
    // Sent again by a person, it does not stay the last thing the hospital hears.
    network.cases_screen(&["resend", &case.id.to_string()]).await;
    network.soon("both are there, the final one once more", async || network.hospital.reports().len() == 3).await;
    let reports = network.hospital.reports();
    assert!(says(&reports[1], b"||||||P") && says(&reports[2], b"||||||F"), "in order");
    assert_eq!(reports[0], reports[2], "the same message");
    let told = network.told(&case, "1 delivery sent again, and after it 1 later version of a report").await;
    assert_eq!(told, 1, "{}", network.story(&case).await);
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_sent_again_unchanged_and_keeps_the_versions_in_order() {
    let (network, patient, case) = delivered_case().await;
    network.hospital.answer(Verdict::Reject);
    report(&network, &patient, "R1", "P").await;
    eventually("it has been tried", SOON, async || over_hl7(&network, &case).await.iter().any(|row| row.attempts > 0))
        .await;
    report(&network, &patient, "R2", "F").await;
    network.soon("it has been tried again", async || over_hl7(&network, &case).await[0].attempts >= 3).await;
    let rows = over_hl7(&network, &case).await;
    let because = Outcome::TryAgain { reason: "message rejected (AR)".into(), fault: Fault::Case };
    assert_eq!(rows[0].last_outcome, Some(because));
    assert_eq!(rows[1].attempts, 0, "the final version does not overtake the preliminary one");
    assert!(network.pauses().await.is_empty(), "the line is good");
    network.hospital.answer(Verdict::Accept);
    network.soon("both are there", async || network.hospital.reports().len() == 2).await;
    let reports = network.hospital.reports();
    assert!(says(&reports[0], b"||||||P") && says(&reports[1], b"||||||F"), "in order");
    eventually("by the ledger too", SOON, async || over_hl7(&network, &case).await.iter().all(is_delivered)).await;
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_rejects_for_good_and_a_person_is_told() {
    let (network, patient, case) = delivered_case().await;
    network.hospital.answer(Verdict::Reject);
    report(&network, &patient, "R1", "F").await;
    network
        .soon("it has stopped", async || {
            over_hl7(&network, &case).await.iter().any(|row| row.state == DeliveryState::Stopped)
        })
        .await;
    let told = network.now(case.id).await.attention;
    assert!(told.ends_with("not delivered to rabenstein after 8 attempts: message rejected (AR)"), "{told}");
    // Sent again by a person, it is tried as often as the first time.
    assert_eq!(network.resend(&case).await, 1);
    network.soon("it is tried again and again", async || over_hl7(&network, &case).await[0].attempts >= 10).await;
    assert_ne!(over_hl7(&network, &case).await[0].state, DeliveryState::Stopped);
    network.hospital.answer(Verdict::Accept);
    network.soon("sent again, it is there", async || network.hospital.reports().len() == 1).await;
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_too_slow_or_answers_something_else_and_gets_the_very_same_message_again() {
    let (network, patient, case) = delivered_case().await;
    // Longer than `response`.
    network.hospital.be_slow(Duration::from_secs(7));
    report(&network, &patient, "R1", "F").await;
    network
        .soon("it has taken too long", async || {
            let rows = over_hl7(&network, &case).await;
            let reason = rows[0].last_outcome.as_ref().map(|outcome| format!("{outcome:?}"));
            reason.is_some_and(|reason| reason.contains("the message may have arrived"))
        })
        .await;
    assert!(network.node().store.pauses().await.expect("the store").is_empty(), "nobody is paused over one message");
    network.hospital.be_slow(Duration::ZERO);
    network.hospital.answer_another(true);
    network
        .soon("it has answered something else", async || {
            let rows = over_hl7(&network, &case).await;
            let reason = rows[0].last_outcome.as_ref().map(|outcome| format!("{outcome:?}"));
            reason.is_some_and(|reason| reason.contains("does not acknowledge the message"))
        })
        .await;
    network.hospital.answer_another(false);
    network.soon("it is acknowledged", async || over_hl7(&network, &case).await.iter().all(is_delivered)).await;
    let reports = network.hospital.reports();
    assert!(reports.len() >= 3, "{}", reports.len());
    assert!(reports.iter().all(|report| *report == reports[0]), "the same to the byte");
    assert!(!control_id(&reports[0]).is_empty());
    assert_eq!(network.now(case.id).await.attention, "");
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_longer_than_a_lease_and_gets_the_report_once() {
    let (network, patient, case) =
        delivered_case_where(tonight(), |files| set(files, "neisse.toml", "response", "\"60s\"")).await;
    network.hospital.be_slow(Duration::from_secs(15));
    report(&network, &patient, "R1", "F").await;
    eventually("the hospital has it in hand", SOON, async || network.hospital.reports().len() == 1).await;
    // Eight minutes by the node's clock, in which the attempt has once shown that it lives.
    network.clock.advance(Duration::from_secs(4 * 60));
    tokio::time::sleep(Duration::from_secs(7)).await;
    network.clock.advance(Duration::from_secs(4 * 60));
    eventually("it is acknowledged", SOON, async || over_hl7(&network, &case).await.iter().all(is_delivered)).await;
    assert_eq!(over_hl7(&network, &case).await[0].attempts, 1, "{}", network.story(&case).await);
    assert_eq!(network.hospital.reports().len(), 1);
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_one_connection_at_a_time_and_keeps_it_between_reports() {
    let (mut network, patient, _) = delivered_case().await;
    let port = network.hospital.port;
    let proxy = Proxy::to(&format!("127.0.0.1:{port}")).await;
    network.reload(|files| {
        let file = files.get_mut("partners/rabenstein.toml").expect("a file");
        *file = file.replace(&format!("port = {port}"), &format!("port = {}", proxy.address.port()));
    });
    for (number, (control_id, status)) in [("R1", "P"), ("R2", "F")].into_iter().enumerate() {
        report(&network, &patient, control_id, status).await;
        eventually("the hospital has it", SOON, async || network.hospital.reports().len() == number + 1).await;
        assert_eq!(proxy.open(), 1);
        // Longer than an association is kept.
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(proxy.open(), 1, "it stays open");
    }
    network.at_rest().await;
}
