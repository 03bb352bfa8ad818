//! After 90 days the answers to HL7 messages leave the database, but not of what is still open: an order that waits for its study,
//! a case without its final report, a report that fits no case.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    hospital::{head_ct, send_study},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    orders::{answered, orm},
};
use neisse::{cli::sample::SampleCase, model::CaseState};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_forgotten_when_nobody_sends_the_message_again() {
    for footing in BOTH {
        let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        let network =
            Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
                let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
                *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
                // What has no final report is never done.
                let node = files.get_mut("neisse.toml").expect("the node");
                node.push_str("[retention]\nkeep_unreported = \"forever\"\n");
            })
            .await;
        let (hl7, raw) = (network.node().hl7, Raw::of(&network, footing).await);
        // Orders: one that nobody carries out, one that is taken back.
        assert_eq!(answered(hl7, &orm("OPEN", "NW", "P8", &SampleCase::numbered(8), true)).await, "OK");
        assert_eq!(answered(hl7, &orm("TAKEN", "NW", "P9", &SampleCase::numbered(9), true)).await, "OK");
        assert_eq!(answered(hl7, &orm("BACK", "CA", "P9", &SampleCase::numbered(9), true)).await, "CR");
        // Reports: a final one, a preliminary one, one that fits no case.
        for (number, control_id, status) in [(1, "FINAL", "F"), (2, "PRELIMINARY", "P")] {
            let (patient, slices) = head_ct(number, 1);
            send_study(network.node().dicom, &slices).await;
            network.case_in(&patient.study(), CaseState::Delivered).await;
            report(&network, &patient, control_id, status).await;
        }
        report(&network, &SampleCase::numbered(7), "HELD", "F").await;
        let known = async || raw.rows("SELECT control_id FROM messages ORDER BY control_id").await.concat();
        let all = ["BACK", "FINAL", "HELD", "OPEN", "PRELIMINARY", "TAKEN"];
        assert_eq!(known().await, all);
        eventually("the reports are home", SOON, async || network.hospital.reports().len() == 2).await;

        network.clock.advance(89 * DAY);
        // Whoever looks has looked: something that must go by now has gone.
        eventually("images leave the disk", SOON, async || {
            raw.ask("SELECT CAST(COUNT(*) AS TEXT) FROM cases WHERE purged_us IS NOT NULL").await == "1"
        })
        .await;
        assert_eq!(known().await, all, "not yet");
        network.clock.advance(DAY);
        eventually("answers are forgotten", SOON, async || known().await.len() < all.len()).await;
        assert_eq!(raw.ask("SELECT state FROM orders WHERE placer = 'P9'").await, "cancelled");
        let kept = ["HELD", "OPEN", "PRELIMINARY"];
        assert_eq!(known().await, kept);
        network.at_rest().await;
    }
}

async fn report(network: &Network, patient: &SampleCase, control_id: &str, status: &str) {
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", control_id, &about, status, "fine");
    let answer = network.chemnitz.send_hl7(network.node().hl7, &message, control_id).await;
    assert_eq!(answer.code.as_str(), "AA");
}
