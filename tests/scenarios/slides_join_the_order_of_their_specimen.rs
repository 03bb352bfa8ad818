//! What stands on the label of a slide leads to its order: the hospital's own slides become the study of the case that the
//! order began, whichever comes first, and the institute's go to the hospital that asked; never across patients.

use crate::support::{
    center::Center,
    eventually,
    hospital::{Hospital, Scanner},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{ask, oml, order, specimen},
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::{CaseState, Discipline, PartnerId},
    store::CaseRow,
};

/// One study of patient `number`, whose glass is labelled so; it names no order.
fn slide(number: u64, study: &str, container: &str) -> (SampleCase, SampleInstance) {
    let (accession, placer_order, filler_order) = Default::default();
    let key = format!("slide {study}");
    let patient = SampleCase { key, accession, placer_order, filler_order, ..SampleCase::numbered(number) };
    let slide = sample::slide(1, 1, container, &patient);
    (patient, slide)
}

async fn network(footing: Footing, laboratory: &Hospital, archive: Option<&Center>) -> Network {
    network_by(ALWAYS_CHEMNITZ, footing, laboratory, archive).await
}

async fn network_by(routes: &str, footing: Footing, laboratory: &Hospital, archive: Option<&Center>) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, routes, wall("2026-11-24T08:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        let deliver = archive.map_or(String::new(), |archive| {
            format!("deliver = {{ ae_title = \"RAB_PACS\", host = \"127.0.0.1\", port = {} }}\n", archive.port)
        });
        *rabenstein = rabenstein
            .replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n")
            .replace("[dicom]\n", &format!("[dicom]\n{deliver}"));
        files.get_mut("partners/chemnitz.toml").expect("the institute").push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"LIS\", facility = \"PATHO\" }}\n\
             [orders]\ndeliver = true\n",
            laboratory.port
        ));
    })
    .await
}

async fn send(network: &Network, by: &str, slide: &SampleInstance) {
    let mut scanner = Scanner::connect_as(by, network.node().dicom, slide).await;
    assert_eq!(scanner.send(slide).await, 0x0000);
    scanner.release().await;
}

async fn cases_of(network: &Network, patient: &SampleCase) -> Vec<CaseRow> {
    let mut cases = network.cases().await;
    cases.retain(|case| case.facts.patient_id.value == patient.patient_id);
    cases
}

/// The only case of a patient, delivered.
async fn delivered(network: &Network, patient: &SampleCase) -> CaseRow {
    eventually("its case is delivered", SOON, async || {
        cases_of(network, patient).await.iter().any(|case| case.state == CaseState::Delivered)
    })
    .await;
    let mut cases = cases_of(network, patient).await;
    assert_eq!(cases.len(), 1, "one case");
    cases.remove(0)
}

/// The case of a study of any origin.
async fn case_from(network: &Network, origin: &str, study: &SampleCase, state: CaseState) -> CaseRow {
    let (origin, mut found) = (PartnerId::new(origin).expect("an id"), None);
    eventually(&format!("a {state} case of {origin}"), SOON, async || {
        found = network.node().store.find_case(&origin, &study.study()).await.expect("the store");
        found.as_ref().is_some_and(|case| case.state == state)
    })
    .await;
    found.expect("found")
}

#[tokio::test(flavor = "multi_thread")]
async fn slides_join_the_order_of_their_specimen() {
    for footing in BOTH {
        let (laboratory, archive) = (Hospital::start().await, Center::start("RAB_PACS").await);
        let network = network(footing, &laboratory, Some(&archive)).await;
        let hl7 = network.node().hl7;
        // Without a namespace the ids are the hospital's own, as on its slides.
        let biopsy = "SPM|1|S1||BX^Biopsy^L\rSAC|||G1\r";

        // The order first, and delivered; then its slide.
        let (patient, glass) = slide(1, "one", "G1");
        let message = oml("O21", "M1", &patient.patient_id, &[&order("NW", "P1", "", "HE^HE^L"), biopsy]);
        assert_eq!(ask(hl7, &message).await[3], "ORC|OK|P1^KIS|");
        let begun = delivered(&network, &patient).await;
        assert!(!begun.has_study && begun.instances == 0);
        send(&network, "RAB_CT1", &glass).await;
        network.chemnitz.arrivals_of(1).await;
        let case = case_from(&network, "rabenstein", &patient, CaseState::Delivered).await;
        assert_eq!((case.id, case.has_study, case.discipline), (begun.id, true, Discipline::Pathology));
        assert_eq!((case.facts.modality.as_str(), case.facts.placer_order_number.as_str()), ("SM", "P1"));
        let story = network.story(&case).await;
        assert!(story.contains("first instance of its SM study (RAB_CT1), known by specimen"), "{story}");
        assert_eq!(case.attention, "");

        // A second study of the same specimen is a case of its own, of the same order.
        let (second, glass) = slide(1, "two", "S1");
        send(&network, "RAB_CT1", &glass).await;
        network.chemnitz.arrivals_of(2).await;
        let other = case_from(&network, "rabenstein", &second, CaseState::Delivered).await;
        assert_ne!(other.id, case.id);
        assert!(network.story(&other).await.contains("joined to its order (specimen)"));

        // The slide first: its order finds it and begins no case.
        let (patient, glass) = slide(2, "three", "G7");
        send(&network, "RAB_CT1", &glass).await;
        case_from(&network, "rabenstein", &patient, CaseState::Delivered).await;
        let message = oml(
            "O21",
            "M2",
            &patient.patient_id,
            &[&order("NW", "P2", "", "HE^HE^L"), "SPM|1|S7||BX^Biopsy^L\rSAC|||G7\r"],
        );
        assert_eq!(ask(hl7, &message).await[3], "ORC|OK|P2^KIS|");
        let case = delivered(&network, &patient).await;
        assert!(network.story(&case).await.contains("joined to its order (specimen)"));

        // The same label on another patient's slide.
        let (stranger, glass) = slide(3, "four", "G1");
        send(&network, "RAB_CT1", &glass).await;
        let case = case_from(&network, "rabenstein", &stranger, CaseState::Delivered).await;
        assert!(case.attention.contains("is for another patient"), "{}", case.attention);
        assert!(!network.story(&case).await.contains("joined to its order"));
        network.at_rest().await;
        assert!(archive.arrivals().is_empty(), "the hospital's own slides stay where they are");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slides_the_institute_scans_go_to_the_hospital_that_asked() {
    for footing in BOTH {
        let (laboratory, archive) = (Hospital::start().await, Center::start("RAB_PACS").await);
        let network = network(footing, &laboratory, Some(&archive)).await;
        let hl7 = network.node().hl7;
        let patient = SampleCase::numbered(1);
        // The institute's own number is on its glass, which was made of a block of the specimen.
        let block = "SPM|2|^E26-1&CHEMNITZ|S1&KIS|BLK^Block^L\r";
        let message =
            oml("O21", "M1", &patient.patient_id, &[&order("NW", "P1", "", "HE^HE^L"), &specimen("S1", ""), block]);
        assert_eq!(ask(hl7, &message).await[3], "ORC|OK|P1^KIS|");
        let asked = delivered(&network, &patient).await;

        let (scanned, glass) = slide(1, "five", "E26-1");
        send(&network, "CHEMNITZ", &glass).await;
        archive.arrivals_of(1).await;
        let case = case_from(&network, "chemnitz", &scanned, CaseState::Delivered).await;
        assert_eq!(case.reader.as_ref().map(PartnerId::as_str), Some("rabenstein"));
        assert!(case.report_due.is_none() && case.attention.is_empty(), "{}", case.attention);
        assert!(network.story(&case).await.contains("no report is expected"));
        // The order is still the institute's to answer, and is not sent back.
        let asked_still = network.node().store.case(asked.id).await.expect("the case");
        assert!(!asked_still.has_study && asked_still.attention.is_empty());
        assert!(network.hospital.reports().is_empty());

        // Of somebody else, though the label is the same.
        let (stranger, glass) = slide(2, "six", "E26-1");
        send(&network, "CHEMNITZ", &glass).await;
        let case = case_from(&network, "chemnitz", &stranger, CaseState::Held).await;
        assert!(case.attention.contains("is for another patient"), "{}", case.attention);
        network.at_rest().await;
        assert_eq!(archive.arrivals().len(), 1);
    }
}

/// An order of patient `number` at rabenstein for one specimen in chemnitz' own number.
async fn ordered(network: &Network, number: u64, specimen: &str) -> CaseRow {
    let patient = SampleCase::numbered(number);
    let placer = format!("P{number}-{specimen}");
    let rest =
        [&order("NW", &placer, "", "HE^HE^L"), &format!("SPM|1|S-{specimen}&KIS^{specimen}&CHEMNITZ||BX^Biopsy^L\r")];
    let message = oml("O21", &format!("M-{placer}"), &patient.patient_id, &rest.map(String::as_str));
    assert_eq!(ask(network.node().hl7, &message).await[3], format!("ORC|OK|{placer}^KIS|"));
    let is_begun = |case: &CaseRow| {
        case.facts.placer_order_number == placer && !case.has_study && case.state == CaseState::Delivered
    };
    eventually("its case is delivered", SOON, async || cases_of(network, &patient).await.iter().any(is_begun)).await;
    let mut cases = cases_of(network, &patient).await;
    cases.retain(is_begun);
    cases.remove(0)
}

/// What the institute scanned before anybody asked, held by the rules.
async fn scanned(network: &Network, number: u64, study: &str, container: &str) -> (SampleCase, CaseRow) {
    let (study, glass) = slide(number, study, container);
    send(network, "CHEMNITZ", &glass).await;
    let case = case_from(network, "chemnitz", &study, CaseState::Held).await;
    assert!(case.attention.contains("none of the 1 rules matches"), "{}", case.attention);
    (study, case)
}

#[tokio::test(flavor = "multi_thread")]
async fn slides_the_institute_scanned_first_go_home_when_they_are_asked_for() {
    let routes = ALWAYS_CHEMNITZ.replace("[\"rabenstein\"]", "[\"rabenstein\", \"leipzig-ukl\"]");
    for footing in BOTH {
        let (laboratory, archive) = (Hospital::start().await, Center::start("RAB_PACS").await);
        let network = network_by(&routes, footing, &laboratory, Some(&archive)).await;
        let (study, waiting) = scanned(&network, 1, "eight", "E26-8").await;
        let (held, by_a_person) = scanned(&network, 1, "nine", "E26-9").await;
        network.cases_screen(&["hold", &by_a_person.id.to_string(), "--why", "wrong stain"]).await;
        let (strange, _) = scanned(&network, 2, "ten", "E26-10").await;

        // Of a specimen of somebody else's, of one that two hospitals ask for, and what a person has taken in hand.
        ordered(&network, 1, "E26-10").await;
        ordered(&network, 3, "E26-11").await;
        ordered_by_leipzig(&network, 3, "E26-11").await;
        let (of_two, _) = scanned(&network, 3, "eleven", "E26-11").await;
        ordered(&network, 1, "E26-9").await;
        let asked = ordered(&network, 1, "E26-8").await;
        archive.arrivals_of(1).await;

        let case = case_from(&network, "chemnitz", &study, CaseState::Delivered).await;
        assert_eq!((case.id, case.reader.as_ref().map(PartnerId::as_str)), (waiting.id, Some("rabenstein")));
        assert!(case.report_due.is_none() && case.attention.is_empty(), "{}", case.attention);
        let story = network.story(&case).await;
        assert!(story.contains("of a specimen that rabenstein sent (its order is known)"), "{story}");
        assert!(story.contains("no report is expected"), "{story}");
        assert_eq!(story.matches("its order is known").count(), 1, "{story}");
        // The order is still the institute's to answer, and is not sent back.
        let asked_still = network.node().store.case(asked.id).await.expect("the case");
        assert!(!asked_still.has_study && asked_still.attention.is_empty(), "{}", asked_still.attention);
        assert!(network.hospital.reports().is_empty());

        for (study, reason) in [
            (&strange, "an order with the same specimen is for another patient"),
            (&of_two, "a specimen of orders of several hospitals"),
        ] {
            let says = async || {
                let case = case_from(&network, "chemnitz", study, CaseState::Held).await;
                case.attention.contains(reason) && case.attention.contains("none of the 1 rules matches")
            };
            eventually(reason, SOON, says).await;
        }
        let case = case_from(&network, "chemnitz", &held, CaseState::Held).await;
        assert!(!network.story(&case).await.contains("its order is known"), "{}", network.story(&case).await);
        network.at_rest().await;
        assert_eq!(archive.arrivals().len(), 1);
    }
}

/// Another hospital asks for a specimen by the same number of the institute, for a patient who was born on the same day.
async fn ordered_by_leipzig(network: &Network, number: u64, specimen: &str) {
    let patient = SampleCase::numbered(number);
    let of_leipzig = oml(
        "O21",
        "M-UKL",
        &patient.patient_id,
        &[&order("NW", "P-UKL", "", "HE^HE^L"), &format!("SPM|1|S1&UKL^{specimen}&CHEMNITZ||BX^Biopsy^L\r")],
    );
    let of_leipzig = of_leipzig.replace("|DRKRAB|", "|UKL|").replace("^^^RABENSTEIN", "^^^UKL");
    assert_eq!(ask(network.node().hl7, &of_leipzig).await[3], "ORC|OK|P-UKL^KIS|");
    let is_read = |case: &CaseRow| case.origin.as_str() == "leipzig-ukl" && case.reader.is_some();
    eventually("chemnitz reads it", SOON, async || cases_of(network, &patient).await.iter().any(is_read)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slides_for_a_hospital_that_takes_no_images_are_held() {
    let laboratory = Hospital::start().await;
    let network = network(Footing::Embedded, &laboratory, None).await;
    let patient = SampleCase::numbered(1);
    let message = oml(
        "O21",
        "M1",
        &patient.patient_id,
        &[&order("NW", "P1", "", "HE^HE^L"), "SPM|1|S1&KIS^E26-1&CHEMNITZ||BX^Biopsy^L\r"],
    );
    assert_eq!(ask(network.node().hl7, &message).await[3], "ORC|OK|P1^KIS|");
    delivered(&network, &patient).await;
    let (scanned, glass) = slide(1, "seven", "E26-1");
    send(&network, "CHEMNITZ", &glass).await;
    let case = case_from(&network, "chemnitz", &scanned, CaseState::Held).await;
    assert!(case.attention.contains("has no [dicom] deliver"), "{}", case.attention);
    network.at_rest().await;
}
