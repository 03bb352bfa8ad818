//! The night at Rabenstein: a CT at 01:20, the preliminary report at 02:00, the final one at 08:10, when by day the
//! hospital reads itself. Both come back in the hospital's own identifiers and character set, as HL7 and as PDF.

use crate::support::{
    center::{About, oru},
    data_set::{encapsulated, text},
    dcmtk::StoreScp,
    hospital::{head_ct, send_study},
    network::{BOTH, Network, wall},
    reports::{Oru, pdf_text},
};
use dicom_dictionary_std::tags;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, DeliveryState},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_preliminary_report_of_two_is_followed_by_the_final_one_of_eight() {
    for footing in BOTH {
        let pacs = StoreScp::start("RAB_PACS").await;
        let network = Network::example(footing, wall("2026-11-25T01:20:00"), |example| {
            example.takes_images_at("rabenstein", pacs.port);
        })
        .await;
        let (patient, slices) = head_ct(4, 5);
        send_study(network.node().dicom, &slices).await;
        network.clock.advance(Duration::from_secs(31));
        network.case_in(&patient.study(), CaseState::Delivered).await;

        let preliminary = "vorläufig: keine Blutung";
        report(&network, &patient, "2026-11-25T02:00:00", ("N1", "P"), preliminary).await;
        arrived(&network, &patient, 2, CaseState::Preliminary).await;
        let r#final = "endgültig: keine Blutung,\nfrische Ischämie links";
        report(&network, &patient, "2026-11-25T08:10:00", ("N2", "F"), r#final).await;
        arrived(&network, &patient, 4, CaseState::Reported).await;

        let messages = network.hospital.reports();
        assert_eq!(messages.len(), 2);
        assert_is_their_own(&Oru::read(&messages[0]), &patient, "P", "20261125020", preliminary);
        let second = "endgültig: keine Blutung,\\.br\\frische Ischämie links";
        assert_is_their_own(&Oru::read(&messages[1]), &patient, "F", "20261125081", second);
        assert_ne!(Oru::read(&messages[0]).field("MSH", 10), Oru::read(&messages[1]).field("MSH", 10));

        let mut documents = pacs.received();
        documents.sort_by_key(|file| text(file, tags::INSTANCE_NUMBER));
        assert_eq!(documents.len(), 2, "and nothing else is sent back");
        for (file, words) in documents.iter().zip([
            ["vorläufig: keine Blutung", "25.11.2026, 02:0", "Klinikum Chemnitz, Radiology"],
            ["frische Ischämie links", "25.11.2026, 08:1", "Klinikum Chemnitz, Radiology"],
        ]) {
            assert_eq!(text(file, tags::STUDY_INSTANCE_UID), patient.study().to_string());
            assert_eq!(text(file, tags::PATIENT_ID), patient.patient_id);
            assert_eq!(text(file, tags::ISSUER_OF_PATIENT_ID), "RABENSTEIN");
            assert_eq!(text(file, tags::ACCESSION_NUMBER), patient.accession);
            let page = pdf_text(&encapsulated(file)).await;
            for word in words {
                assert!(page.contains(word), "{word:?} in {page}");
            }
        }
        network.at_rest().await;
    }
}

async fn report(network: &Network, patient: &SampleCase, at: &str, (id, status): (&str, &str), text: &str) {
    network.clock.set(wall(at));
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KCHEMNITZ", id, &about, status, text);
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, id).await.code.as_str(), "AA");
}

/// Waits until this many returns have been made, each of them once.
async fn arrived(network: &Network, patient: &SampleCase, returns: usize, state: CaseState) {
    let case = network.case_in(&patient.study(), state).await;
    crate::support::eventually("the report is back in both forms", crate::support::network::SOON, async || {
        let ledger = network.ledger(&case).await;
        let back = ledger.iter().filter(|delivery| delivery.report.is_some());
        back.filter(|delivery| delivery.state == DeliveryState::Delivered && delivery.attempts == 1).count() == returns
    })
    .await;
}

fn assert_is_their_own(message: &Oru, patient: &SampleCase, status: &str, at: &str, words: &str) {
    assert_eq!(message.charset, "8859/1", "what Rabenstein reads");
    assert_eq!((message.field("MSH", 5), message.field("MSH", 6)), ("KIS", "DRKRAB"));
    assert!(message.field("MSH", 7).starts_with(at) && message.field("MSH", 7).ends_with("+0100"), "on its own clock");
    assert_eq!(message.field("PID", 3), format!("{}^^^RABENSTEIN", patient.patient_id));
    assert_eq!(message.field("ORC", 2), format!("{}^RABENSTEIN", patient.placer_order));
    assert_eq!(message.field("OBR", 3), format!("{}^RABENSTEIN", patient.filler_order));
    assert_eq!(message.field("OBR", 18), patient.accession);
    assert_eq!(message.field("OBR", 25), status);
    assert_eq!(message.values("FT"), [words]);
    assert_eq!(message.values("HD"), [patient.study().as_str()]);
}
