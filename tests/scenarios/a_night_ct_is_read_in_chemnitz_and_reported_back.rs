//! The main job, on both footings: a CT at night is decided, sent on while it arrives, reported, and the report returned.

use crate::support::{
    center::{About, oru},
    eventually,
    hospital::{Scanner, head_ct},
    network::{BOTH, Network, SOON},
};
use neisse::model::CaseState;

#[tokio::test(flavor = "multi_thread")]
async fn a_night_ct_is_read_in_chemnitz_and_reported_back() {
    for footing in BOTH {
        let network = Network::night(footing, "2026-11-24T23:10").await;
        let (patient, slices) = head_ct(1, 12);
        let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
        assert_eq!(scanner.send(&slices[0]).await, 0x0000);
        eventually("the first slice is there while the scanner holds its association", SOON, async || {
            network.chemnitz.arrivals().len() == 1
        })
        .await;
        for slice in &slices[1..] {
            assert_eq!(scanner.send(slice).await, 0x0000);
        }
        scanner.release().await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let archive = network.chemnitz.archive();
        assert_eq!(network.chemnitz.arrivals().len(), slices.len(), "each exactly once");
        for slice in &slices {
            assert_eq!(archive[&slice.sop_instance], slice.data_set, "byte for byte as sent");
        }

        let study = patient.study().to_string();
        let about = About {
            patient_id: &patient.patient_id,
            issuer: "RABENSTEIN",
            accession: &patient.accession,
            study: &study,
        };
        let hl7 = network.node().hl7;
        for (control_id, status, text) in
            [("R1", "P", "vorläufig: keine Blutung"), ("R2", "F", "endgültig: keine Blutung")]
        {
            let message = oru("KLCHEM", control_id, &about, status, text);
            assert_eq!(network.chemnitz.send_hl7(hl7, &message, control_id).await.code.as_str(), "AA");
        }
        eventually("both versions are back", SOON, async || network.hospital.reports().len() == 2).await;
        let reports = network.hospital.reports();
        // 8859-1 at the hospital: ä is one byte, E4.
        assert!(reports[0].windows(9).any(|bytes| bytes == b"vorl\xe4ufig"), "the preliminary one comes first");
        assert!(reports[1].windows(9).any(|bytes| bytes == b"endg\xfcltig"), "the final one follows");
        network.case_in(&patient.study(), CaseState::Reported).await;
        assert!(network.chemnitz.associations() <= 4, "{}", network.story(&case).await);
        network.at_rest().await;
    }
}
