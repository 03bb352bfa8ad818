//! A case and a report object that cannot be read from the database: every stage passes them by, a person is told, and
//! the cases behind them are indexed, routed, completed, delivered and reported, by a message of two megabytes too. What
//! came for the spoilt case meanwhile is joined to it when it is mended.

use crate::support::{
    center::{About, oru},
    eventually,
    faults::send_head_ct,
    hospital::{head_ct, send_study},
    ledger::Raw,
    network::{BOTH, Network, SOON},
};
use neisse::{model::CaseState, store::ListFilter};

/// Sorts before every case that is made now.
const SPOILT: &str = "00000000-0000-7000-8000-000000000001";

#[tokio::test(flavor = "multi_thread")]
async fn one_spoilt_row_holds_up_nobody_else() {
    for footing in BOTH {
        let network = Network::night(footing, "2026-11-24T23:10").await;
        let raw = Raw::of(&network, footing).await;
        let (of_spoilt, more) = head_ct(2, 1);
        raw.run(&format!(
            "INSERT INTO cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, \
             patient_id, patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, \
             routed_to, first_us, last_us, whole_us, decision, reader, attention) VALUES ('{SPOILT}', 'rabenstein', '{}', 'new', 'radiology', \
             'routine', 'A', 'B', '{{nonsense', '', '', '', '', '', '', 1, 1, 0, 1, 1, NULL, NULL, NULL, '')",
            of_spoilt.study()
        ))
        .await;
        // An object whose journal is gone.
        raw.run(&format!(
            "INSERT INTO report_objects (sender, sop_uid, sha256, sop_class, transfer_syntax, study_uid, facts, journal, \
             record_at, data_at, length, received_us, done) VALUES ('chemnitz', '1.2.3', '{}', \
             '1.2.840.10008.5.1.4.1.1.88.11', '1.2.840.10008.1.2.1', '1.2.3', '{{}}', '{SPOILT}', 0, 64, 1000, 1, 0)",
            "0".repeat(64)
        ))
        .await;

        // One more of the spoilt case's study, before the others in the same journal.
        send_study(network.node().dicom, &more).await;
        let (patient, slices) = send_head_ct(&network, 1, 3).await;
        network.case_in(&patient.study(), CaseState::Delivered).await;
        assert_eq!(network.chemnitz.archive().len(), slices.len());
        eventually("a person is told of the spoilt case", SOON, async || {
            raw.ask(&format!("SELECT attention FROM cases WHERE id = '{SPOILT}'")).await.contains("cannot be routed")
        })
        .await;

        let study = patient.study().to_string();
        let about = About {
            patient_id: &patient.patient_id,
            issuer: "RABENSTEIN",
            accession: &patient.accession,
            study: &study,
        };
        let long = "kein Befund. ".repeat(160_000);
        let message = oru("KLCHEM", "R1", &about, "F", &long);
        assert!(message.len() > 2_000_000);
        for _ in 0..2 {
            let answer = network.chemnitz.send_hl7(network.node().hl7, &message, "R1").await;
            assert_eq!(answer.code.as_str(), "AA");
        }
        eventually("the report is back", SOON, async || network.hospital.reports().len() == 1).await;
        let case = network.case_in(&patient.study(), CaseState::Reported).await;
        assert_eq!(network.node().store.reports(case.id).await.expect("reports").len(), 1, "sent twice, taken once");

        // The list shows it all the same. Mended by hand, it goes its way.
        let waiting = ListFilter { attention: true, limit: 9, ..ListFilter::default() };
        let waiting = network.node().store.list_cases(&waiting).await.expect("the list");
        assert_eq!(waiting.len(), 1);
        assert!(waiting[0].case.attention.contains("its row in the database cannot be read"));
        raw.run(&format!("UPDATE cases SET facts = '{{}}' WHERE id = '{SPOILT}'")).await;
        eventually("the mended case is routed", SOON, async || {
            raw.ask(&format!("SELECT state FROM cases WHERE id = '{SPOILT}'")).await != "new"
        })
        .await;
        let joined = format!("SELECT 'yes' FROM instances WHERE case_id = '{SPOILT}' UNION ALL SELECT 'no'");
        eventually("what came for it is joined to it", SOON, async || raw.ask(&joined).await == "yes").await;
        network.node.expect("the node runs").stop().await;
    }
}
