//! A workstation says that the reading is done, and its report does not come: a person is told, after the rule's time where that runs
//! and after two hours where it does not; also where only a preliminary report has come, before or after. The report ends it.

use crate::support::{
    center::{About, oru},
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, NIGHT_ROUTES, Network, wall},
    readers::{Reader, performed, said},
};
use neisse::{cli::sample::SampleCase, model::CaseState, store::CaseRow};
use reqwest::{Method, StatusCode};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const NONE: &str = "no report from chemnitz, though it has completed its reading";
const NO_FINAL_ONE: &str = "no report from chemnitz beyond a preliminary one, though it has completed its reading";

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_is_done_without_its_report_is_told() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let (silent, without) = delivered(&network, 1).await;
        let (before, after_preliminary) = delivered(&network, 2).await;
        let (later, before_preliminary) = delivered(&network, 3).await;
        let (_, unread) = delivered(&network, 4).await;
        let (prompt, reported) = delivered(&network, 5).await;

        report(&network, &before, "P1", "P").await;
        for patient in [&silent, &before, &later, &prompt] {
            complete(&chemnitz, patient).await;
        }
        report(&network, &later, "P2", "P").await;
        report(&network, &prompt, "F1", "F").await;
        network.clock.advance(119 * MINUTE);
        tokio::time::sleep(Duration::from_secs(2)).await;
        for case in [&without, &after_preliminary, &before_preliminary, &unread, &reported] {
            assert_eq!(network.now(case.id).await.attention, "", "not yet");
        }
        network.clock.advance(2 * MINUTE);
        for (patient, expected) in [(&silent, NONE), (&before, NO_FINAL_ONE), (&later, NO_FINAL_ONE)] {
            let case = network.case(&patient.study(), "a person is told", |case| !case.attention.is_empty()).await;
            assert_eq!(case.attention, expected);
        }
        network.clock.advance(600 * MINUTE);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(network.told(&without, NONE).await, 1, "once");
        for case in [&unread, &reported] {
            assert_eq!(network.now(case.id).await.attention, "", "nobody has said that it is done, or it is reported");
        }
        for (patient, control_id) in [(&silent, "F2"), (&before, "F3"), (&later, "F4")] {
            report(&network, patient, control_id, "F").await;
            assert_eq!(network.case_in(&patient.study(), CaseState::Reported).await.attention, "");
        }
        network.at_rest().await;
    }
}

/// Where the rule's own time runs, it is that which counts.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_without_its_report_is_told_by_the_rule_where_it_has_a_time() {
    for footing in BOTH {
        let network = Network::start(footing, NIGHT_ROUTES, wall("2026-11-24T23:10")).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let (patient, _) = delivered(&network, 1).await;
        complete(&chemnitz, &patient).await;
        network.clock.advance(46 * MINUTE);
        let case = network.case(&patient.study(), "a person is told", |case| !case.attention.is_empty()).await;
        assert_eq!(case.attention, NONE);
        report(&network, &patient, "F1", "F").await;
        network.at_rest().await;
    }
}

async fn delivered(network: &Network, number: u64) -> (SampleCase, CaseRow) {
    let (patient, _) = send_head_ct(network, number, 1).await;
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    (patient, case)
}

async fn complete(reader: &Reader, patient: &SampleCase) {
    let found = reader.tasks(&format!("StudyInstanceUID={}", patient.study())).await;
    let uid = said(&found[0], "00080018");
    assert_eq!(reader.move_to(&uid, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
    let path = format!("/workitems/{uid}");
    assert_eq!(reader.ask(Method::POST, &path, Some(performed("1.2.3"))).await.status, StatusCode::OK);
    assert_eq!(reader.move_to(&uid, "COMPLETED", "1.2.3").await.status, StatusCode::OK);
}

async fn report(network: &Network, patient: &SampleCase, control_id: &str, status: &str) {
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", control_id, &about, status, "keine Blutung");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, control_id).await.code.as_str(), "AA");
}
