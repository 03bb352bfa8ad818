//! A report that fits no case, contradicts its case's patient, fits two cases equally well or comes from somebody who
//! does not read the case: its sender gets AA, nobody gets the report, and a person sees it and why. What is no report
//! is answered AE or AR, and leaves nothing behind.

use crate::support::{
    eventually,
    hospital::{Scanner, head_ct},
    network::{BOTH, Network, SOON, wall},
    reports::{Oru, exchange},
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    model::CaseState,
};
use std::time::Duration;

/// What a report says about whose it is.
#[derive(Clone)]
struct Said {
    facility: &'static str,
    patient: String,
    accession: String,
    /// One OBX each.
    studies: Vec<String>,
    obr_25: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_fits_no_case_waits_for_a_person() {
    for footing in BOTH {
        let network = Network::example(footing, wall("2026-11-25T01:20"), |example| {
            example.wants("rabenstein", &["oru"]);
        })
        .await;
        let (patient, slices) = head_ct(5, 1);
        for (scanner, origin) in [("RAB_CT1", "rabenstein"), ("LIC_CT1", "lichtenstein")] {
            send(&network, scanner, &slices[0]).await;
            network.decided(origin, &patient.study()).await;
        }
        network.clock.advance(Duration::from_secs(31));
        for origin in ["rabenstein", "lichtenstein"] {
            network.case_of(origin, &patient.study(), CaseState::Delivered).await;
        }
        let held = held(&patient);
        for (number, (said, _)) in held.iter().enumerate() {
            let control_id = format!("H{number}");
            let answer = answer(&network, &control_id, said).await;
            assert!(answer.contains(&format!("MSA|AA|{control_id}")), "{answer}");
        }
        refuses_what_is_no_report(&network, &patient).await;

        let screen = network.cases_screen(&["list", "--attention"]).await;
        for (_, reason) in &held {
            assert!(screen.contains(reason), "{reason:?} in\n{screen}");
        }
        assert!(screen.contains("5 reports of no known case") && screen.matches("    ! ").count() == 5, "{screen}");
        for identifier in [&patient.patient_id, &patient.accession, patient.study().as_str(), "4711"] {
            assert!(!screen.contains(identifier), "a screen that is shared shows no identifier: {screen}");
        }
        // The one that says whose it is goes where it belongs, and only there.
        let answer = answer(&network, "LAST", &right(&patient)).await;
        assert!(answer.contains("MSA|AA|LAST"), "{answer}");
        eventually("the right report is back", SOON, async || network.hospital.reports().len() == 1).await;
        assert_eq!(Oru::read(&network.hospital.reports()[0]).values("FT"), ["Befund LAST"]);
        network.case_of("rabenstein", &patient.study(), CaseState::Reported).await;
        network.case_of("lichtenstein", &patient.study(), CaseState::Delivered).await;
        network.at_rest().await;
    }
}

fn right(patient: &SampleCase) -> Said {
    Said {
        facility: "KCHEMNITZ",
        patient: format!("{}^^^RABENSTEIN", patient.patient_id),
        accession: format!("{}^RABENSTEIN", patient.accession),
        studies: vec![patient.study().to_string()],
        obr_25: "F",
    }
}

/// Each with what a person is told.
fn held(patient: &SampleCase) -> [(Said, &'static str); 5] {
    let right = right(patient);
    let another = || "1.2.826.0.1.3680043.9.999".to_owned();
    let nobody = Said { studies: vec![another()], accession: "4711^RABENSTEIN".into(), ..right.clone() };
    let wrong_patient = Said { patient: "4711^^^RABENSTEIN".into(), ..right.clone() };
    let bare = Said { patient: patient.patient_id.clone(), accession: patient.accession.clone(), ..right.clone() };
    let two_studies = Said { studies: vec![patient.study().to_string(), another()], ..right.clone() };
    let not_theirs = Said { facility: "STGEORG", ..right };
    [
        (nobody, "no case that this partner reads has its study or accession number"),
        (wrong_patient, "its patient identifier is not the one of the case with its study or accession number"),
        (bare, "it fits several cases equally well"),
        (two_studies, "it names several studies"),
        (not_theirs, "no case that this partner reads has its study or accession number"),
    ]
}

async fn refuses_what_is_no_report(network: &Network, patient: &SampleCase) {
    let right = right(patient);
    let good = message("BAD", &right);
    let no_result = message("BAD", &Said { obr_25: "O", ..right.clone() });
    let (before, _) = good.split_once("OBR|").expect("an OBR");
    for (bad, verdict, code, why) in [
        (no_result, "AE", "103", "a status that carries no result"),
        (before.to_owned(), "AE", "100", "no OBR"),
        (good.replace("UNICODE UTF-8", "KLINGON"), "AE", "103", "a character set nobody knows"),
        (good.replace("ORU^R01^ORU_R01", "DFT^P03^DFT_P03"), "AR", "200", "not a report"),
        (good.replace("KCHEMNITZ", "SOMEBODY"), "AR", "207", "nobody we know"),
    ] {
        let answer = exchange(network.node().hl7, bad.as_bytes()).await;
        let answer = String::from_utf8(answer).expect("ASCII");
        assert!(answer.contains(&format!("MSA|{verdict}|BAD")), "{why}: {answer}");
        let error = answer.split('\r').find(|segment| segment.starts_with("ERR|")).expect("an ERR segment");
        assert!(error.split('|').nth(3).expect("ERR-3").starts_with(code), "{why}: {answer}");
        assert!(!answer.contains(&patient.patient_id), "{why}: {answer}");
    }
    let answer = exchange(network.node().hl7, b"GET / HTTP/1.1\r\n").await;
    assert!(answer.windows(6).any(|bytes| bytes == b"MSA|AE" || bytes == b"MSA|AR"), "no HL7 at all is told so");
}

async fn answer(network: &Network, control_id: &str, said: &Said) -> String {
    let answer = exchange(network.node().hl7, message(control_id, said).as_bytes()).await;
    String::from_utf8(answer).expect("ASCII")
}

fn message(control_id: &str, said: &Said) -> String {
    let Said { facility, patient, accession, studies, obr_25 } = said;
    let head = format!(
        "MSH|^~\\&|RIS|{facility}|NEISSE|NEISSE|20261125021500||ORU^R01^ORU_R01|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{patient}||X^Y\r\
         OBR|1||{accession}|CT^CT Schädel^L|||20261125012500||||||||||||||||||{obr_25}\r\
         OBX|1|FT|CT^Befund^L||Befund {control_id}||||||F\r"
    );
    let study = |study: &String| format!("OBX|2|HD|113014^DICOM Study^DCM||{study}||||||F\r");
    head + &studies.iter().map(study).collect::<String>()
}

async fn send(network: &Network, calling_ae: &str, slice: &SampleInstance) {
    let mut scanner = Scanner::connect_as(calling_ae, network.node().dicom, slice).await;
    assert_eq!(scanner.send(slice).await, 0x0000);
    scanner.release().await;
}
