//! Preliminary, final and corrected report come while the hospital's HL7 listener is down. When it is back it gets all
//! three, in order, once. The reader's repetitions got the same answer byte for byte and made no version.

use crate::support::{
    center::{About, oru},
    eventually, free_port,
    hospital::{Hospital, head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    reports::{Oru, exchange},
};
use neisse::model::{CaseState, ReportStatus};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn report_versions_keep_their_order_though_the_hospital_is_away() {
    for footing in BOTH {
        let port = free_port();
        let mut network = Network::example(footing, wall("2026-11-25T02:00"), |example| {
            example.takes_messages_at("rabenstein", port);
            example.wants("rabenstein", &["oru"]);
            example.rules(ALWAYS_CHEMNITZ);
        })
        .await;
        let (patient, slices) = head_ct(1, 3);
        send_study(network.node().dicom, &slices).await;
        network.clock.advance(Duration::from_secs(31));
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;

        let study = patient.study().to_string();
        let (patient_id, accession) = (&patient.patient_id, &patient.accession);
        let about = About { patient_id, issuer: "RABENSTEIN", accession, study: &study };
        let versions = [
            oru("KCHEMNITZ", "V1", &about, "P", "vorläufig"),
            oru("KCHEMNITZ", "V2", &about, "F", "endgültig"),
            oru("KCHEMNITZ", "V3", &about, "C", "berichtigt"),
        ];
        let mut answers = Vec::new();
        for (number, message) in versions.iter().enumerate() {
            let answer = exchange(network.node().hl7, message).await;
            assert!(contains(&answer, format!("MSA|AA|V{}", number + 1).as_bytes()));
            answers.push(answer);
            if number == 0 {
                eventually("an attempt has failed", SOON, async || {
                    network
                        .ledger(&case)
                        .await
                        .iter()
                        .any(|delivery| delivery.last_outcome.is_some() && delivery.report.is_some())
                })
                .await;
            }
        }
        // A reader that lost the answer sends again, an hour and a restart later too.
        network.clock.advance(Duration::from_secs(3600));
        network.restart().await;
        for (message, answer) in versions.iter().zip(&answers).rev() {
            assert_eq!(&exchange(network.node().hl7, message).await, answer, "byte for byte, time stamp included");
        }
        let stored = network.node().store.reports(case.id).await.expect("the store");
        let statuses: Vec<_> = stored.iter().map(|report| (report.version, report.status)).collect();
        let wanted = [(1, ReportStatus::Preliminary), (2, ReportStatus::Final), (3, ReportStatus::Corrected)];
        assert_eq!(statuses, wanted, "and no fourth");

        let hospital = Hospital::start_at(port).await;
        eventually("all three are back", SOON, async || {
            // The pause after failures is the clock's.
            network.clock.advance(Duration::from_secs(5));
            hospital.reports().len() == 3
        })
        .await;
        network.case_in(&patient.study(), CaseState::Reported).await;
        let received: Vec<Oru> = hospital.reports().iter().map(|message| Oru::read(message)).collect();
        let told: Vec<_> = received.iter().map(|message| (message.field("OBR", 25), message.values("FT")[0])).collect();
        assert_eq!(told, [("P", "vorläufig"), ("F", "endgültig"), ("C", "berichtigt")]);
        network.at_rest().await;
        assert_eq!(hospital.reports().len(), 3, "each once");
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
