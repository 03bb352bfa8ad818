//! Radiology orders: kept and answered order by order, joined to their study whichever of the two comes first, taken back
//! as far as that is still possible, and never joined across hospitals or patients.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered, ask, orm},
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::{CaseState, Priority},
    store::CaseRow,
};

async fn network(footing: Footing) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        let other = rabenstein
            .replace("Rabenstein", "Lichtenstein")
            .replace("\"RABENSTEIN\"", "\"LICHTENSTEIN\"")
            .replace("RAB_", "LIC_")
            .replace("DRKRAB", "DRKLIC");
        files.insert("partners/lichtenstein.toml".into(), other);
    })
    .await
}

async fn send(network: &Network, slices: &[SampleInstance]) {
    let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
    for slice in slices {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    scanner.release().await;
}

async fn story_says(network: &Network, case: &CaseRow, what: &str) {
    eventually(what, SOON, async || network.story(case).await.contains(what)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_joins_its_study_whichever_comes_first() {
    for footing in BOTH {
        let network = network(footing).await;
        let hl7 = network.node().hl7;

        // The order first; the study names neither it nor its urgency.
        let first = SampleCase { placer_order: String::new(), ..SampleCase::numbered(1) };
        let slices: Vec<SampleInstance> = sample::head_ct(3, 64, &first).collect();
        let message = orm("M1", "NW", "P77", &first, true);
        let answer = ask(hl7, &message).await;
        assert_eq!(&answer[1..], ["MSA|AA|M1", "ORC|OK|P77^KIS|"].map(str::to_owned));
        assert_eq!(ask(hl7, &message).await, answer, "the same message again gets the same answer");
        send(&network, &slices).await;
        let case = network.case_in(&first.study(), CaseState::Delivered).await;
        story_says(&network, &case, "joined to its order (Study Instance UID)").await;
        assert_eq!(case.priority, Priority::Stat, "as urgent as ordered");

        // Its numbers are the order's, and so are those of its report.
        let study = first.study().to_string();
        let about =
            About { patient_id: &first.patient_id, issuer: "RABENSTEIN", accession: &first.accession, study: &study };
        assert_eq!(
            network.chemnitz.send_hl7(hl7, &oru("KLCHEM", "R1", &about, "F", "fine"), "R1").await.code.as_str(),
            "AA"
        );
        eventually("the report is back", SOON, async || network.hospital.reports().len() == 1).await;
        let report = String::from_utf8_lossy(&network.hospital.reports()[0]).into_owned();
        assert!(report.contains("|P77^KIS|"), "the placer order number with who gave it: {report}");

        // The images first.
        let (second, slices) = head_ct(2, 3);
        send(&network, &slices).await;
        let case = network.case_in(&second.study(), CaseState::Delivered).await;
        assert_eq!(answered(hl7, &orm("M2", "NW", "P78", &second, false)).await, "OK");
        story_says(&network, &case, "joined to its order (accession number)").await;

        // The same numbers from another hospital are another order.
        let (third, slices) = head_ct(3, 3);
        let elsewhere = orm("M3", "NW", "P79", &third, true).replace("DRKRAB", "DRKLIC");
        assert_eq!(answered(hl7, &elsewhere).await, "OK");
        send(&network, &slices).await;
        let case = network.case_in(&third.study(), CaseState::Delivered).await;
        assert!(!network.story(&case).await.contains("joined to its order"), "not the other hospital's");
        assert_eq!(case.priority, Priority::Routine);
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_taken_back_as_far_as_that_is_still_possible() {
    for footing in BOTH {
        let network = network(footing).await;
        let hl7 = network.node().hl7;
        let (patient, slices) = head_ct(1, 3);
        assert_eq!(answered(hl7, &orm("M1", "CA", "P1", &patient, true)).await, "UC", "not known");
        assert_eq!(answered(hl7, &orm("M2", "NW", "P1", &patient, true)).await, "OK");
        assert_eq!(answered(hl7, &orm("M3", "CA", "P1", &patient, true)).await, "CR", "nothing has come yet");
        assert_eq!(answered(hl7, &orm("M4", "XO", "P1", &patient, true)).await, "UX", "what is cancelled stays so");
        send(&network, &slices).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let case = network.case(&case.study, "a person is told", |case| case.attention.contains("cancelled")).await;
        assert!(case.attention.contains("images came for an order"), "{}", case.attention);

        // The reader has it: it can be taken back, and somebody has to tell the reader.
        let (patient, slices) = head_ct(2, 3);
        assert_eq!(answered(hl7, &orm("M5", "NW", "P2", &patient, true)).await, "OK");
        send(&network, &slices).await;
        network.case_in(&patient.study(), CaseState::Delivered).await;
        assert_eq!(answered(hl7, &orm("M6", "CA", "P2", &patient, true)).await, "CR");
        let told = network.case(&patient.study(), "a person is told", |case| !case.attention.is_empty()).await;
        assert!(told.attention.contains("chemnitz"), "{}", told.attention);

        // It has been reported: too late.
        let (patient, slices) = head_ct(3, 3);
        assert_eq!(answered(hl7, &orm("M7", "NW", "P3", &patient, true)).await, "OK");
        send(&network, &slices).await;
        network.case_in(&patient.study(), CaseState::Delivered).await;
        let study = patient.study().to_string();
        let about = About {
            patient_id: &patient.patient_id,
            issuer: "RABENSTEIN",
            accession: &patient.accession,
            study: &study,
        };
        let report = oru("KLCHEM", "R1", &about, "F", "no bleeding");
        assert_eq!(network.chemnitz.send_hl7(hl7, &report, "R1").await.code.as_str(), "AA");
        network.case_in(&patient.study(), CaseState::Reported).await;
        let answer = ask(hl7, &orm("M8", "CA", "P3", &patient, true)).await;
        assert!(answer[2].starts_with("ORC|UC|P3^KIS|") && answer[2].contains("reported"), "{answer:?}");
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_another_patient_is_not_joined_and_a_broken_one_is_refused_with_its_place() {
    let network = network(Footing::Embedded).await;
    let hl7 = network.node().hl7;
    let (patient, slices) = head_ct(1, 3);
    let wrong = orm("M1", "NW", "P1", &patient, true).replace(&patient.patient_id, "SOMEBODY-ELSE");
    assert_eq!(answered(hl7, &wrong).await, "OK");
    send(&network, &slices).await;
    let case = network.case(&patient.study(), "a person is told", |case| !case.attention.is_empty()).await;
    assert!(case.attention.contains("is for another patient"), "{}", case.attention);
    assert!(!network.story(&case).await.contains("joined to its order"));
    // The number again, with the right patient: an order does not change hands.
    let answer = ask(hl7, &orm("M2", "XO", "P1", &patient, true)).await;
    assert!(answer[2].starts_with("ORC|UX|"), "{answer:?}");

    let broken = orm("M3", "NW", "P2", &patient, true).replace("ORC|NW|", "ORC|QQ|");
    let answer = ask(hl7, &broken).await;
    assert!(answer[1].starts_with("MSA|AE|M3"), "{answer:?}");
    assert!(answer[2].starts_with("ERR|") && answer[2].contains("ORC^1^1"), "{answer:?}");
    assert_eq!(answered(hl7, &orm("M3", "NW", "P2", &patient, true)).await, "OK", "mended, it is taken");
    network.at_rest().await;
}
