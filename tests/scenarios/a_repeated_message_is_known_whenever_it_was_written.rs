//! An engine that got no answer sends its message again, with another time in MSH-7 or another line end: it gets the same answer, and
//! nothing happens twice. Another message under the same number is a message of its own.

use crate::support::{
    center::{About, oru},
    eventually,
    hospital::{head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    orders::orm,
    reports::exchange,
};
use neisse::{cli::sample::SampleCase, model::CaseState};

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_is_known_whenever_it_was_written() {
    for footing in BOTH {
        let network = Network::with_centers(
            footing,
            ALWAYS_CHEMNITZ,
            wall("2026-11-24T23:10"),
            crate::support::center::Center::start("CHEMNITZ").await,
            crate::support::center::Center::start("UKL").await,
            |files| {
                let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
                *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
            },
        )
        .await;
        let hl7 = network.node().hl7;
        let order = orm("M1", "NW", "P1", &SampleCase::numbered(9), true);
        let given = exchange(hl7, order.as_bytes()).await;
        assert!(String::from_utf8_lossy(&given).contains("|OK|"), "{}", String::from_utf8_lossy(&given));
        // Without this its number would be in use already: ORC-1 UA.
        for again in [order.replace("20261124225900", "20261124230112"), format!("{order}\r\n"), order.clone()] {
            assert_eq!(exchange(hl7, again.as_bytes()).await, given, "the answer it got, to the byte");
        }
        let other = exchange(hl7, order.replace("CT Kopf", "CT Hals").as_bytes()).await;
        assert_ne!(other, given, "another message");

        let (patient, slices) = head_ct(1, 2);
        send_study(network.node().dicom, &slices).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let study = patient.study().to_string();
        let about = About {
            patient_id: &patient.patient_id,
            issuer: "RABENSTEIN",
            accession: &patient.accession,
            study: &study,
        };
        let report = oru("KLCHEM", "R1", &about, "F", "keine Blutung");
        let later =
            String::from_utf8(report.clone()).expect("text").replace("20261124231500+0100", "20261124231730+0100");
        let given = exchange(hl7, &report).await;
        assert_eq!(exchange(hl7, later.as_bytes()).await, given);
        let versions = async || network.node().store.reports(case.id).await.expect("the store").len();
        assert_eq!(versions().await, 1, "{}", network.story(&case).await);
        // Engines do use a number twice.
        assert_ne!(exchange(hl7, &oru("KLCHEM", "R1", &about, "C", "doch eine Blutung")).await, given);
        assert_eq!(versions().await, 2);
        eventually("both versions are home", SOON, async || network.hospital.reports().len() == 2).await;
        network.at_rest().await;
    }
}
