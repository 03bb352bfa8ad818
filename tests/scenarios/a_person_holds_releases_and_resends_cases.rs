//! `neisse cases` beside a running node, as the operator at 03:00 uses it: what waits is listed with its reason, a held
//! case stays here until it is released, to whom the rules or the operator say, and what stopped or was lost is sent
//! again.

use crate::support::{
    center::{About, Manners, oru},
    eventually,
    hospital::{head_ct, send_study},
    network::{BOTH, Network, SOON},
};
use chrono::Utc;
use neisse::{
    dicom::status::StoreStatus,
    model::{CaseState, Moment},
    store::CaseRow,
};
use std::time::Duration;

/// Nobody reads Lichtenstein's, so that it is held.
const CT_OF_RABENSTEIN: &str = r#"
[[route]]
name = "CT of Rabenstein"
from = ["rabenstein"]
modality = ["CT"]
to = ["chemnitz"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_holds_releases_and_resends_cases() {
    for footing in BOTH {
        // The command has no other clock than the machine's.
        let network = Network::example(footing, Moment::from_utc(Utc::now()), |example| {
            example.rules(CT_OF_RABENSTEIN);
            example.wants("rabenstein", &["oru"]);
            example.edit("neisse.toml", |node| drop(table(node, "dicom").insert("quiet".into(), "1s".into())));
        })
        .await;
        let empty = network.cases_screen(&["list"]).await;
        assert!(empty.contains("No cases"), "{empty}");
        nobody_reads_it_until_a_person_says_who(&network).await;
        held_on_the_way_and_released(&network).await;
        refused_and_sent_again(&network).await;
        mistakes_are_explained(&network).await;
        let calm = network.cases_screen(&["list", "--attention"]).await;
        assert!(calm.contains("No cases wait for a person"), "{calm}");
        network.at_rest().await;
    }
}

fn table<'a>(file: &'a mut toml::Table, name: &str) -> &'a mut toml::Table {
    file[name].as_table_mut().expect("a table")
}

/// A case no rule reads: held; the rules still do not name a reader; the operator does.
async fn nobody_reads_it_until_a_person_says_who(network: &Network) {
    let (patient, slices) = head_ct(1, 2);
    let mut scanner = crate::support::hospital::Scanner::connect_as("LIC_CT1", network.node().dicom, &slices[0]).await;
    for slice in &slices {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    scanner.release().await;
    let case = network.case_of("lichtenstein", &patient.study(), CaseState::Held).await;
    let (id, before) = (case.id.to_string(), network.chemnitz.arrivals().len());
    let listed = network.cases_screen(&["list", "--attention"]).await;
    assert!(listed.contains(&id) && listed.contains("! ") && listed.contains("lichtenstein"), "{listed}");
    let refused = network.cases_command(&["release", &id]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("--to"), "what to do next is said: {said}");
    let said = network.cases_screen(&["release", &id, "--to", "chemnitz"]).await;
    assert!(said.contains("released to chemnitz"), "{said}");
    let case = network.case_of("lichtenstein", &patient.study(), CaseState::Delivered).await;
    network.chemnitz.arrivals_of(before + 2).await;
    assert_eq!(case.attention, "");
    let shown = network.cases_screen(&["show", &id]).await;
    for words in ["released to chemnitz", "a person named the reader", "2 images arrived at chemnitz", "lichtenstein"] {
        assert!(shown.contains(words), "{words:?} in\n{shown}");
    }
    private(&shown, &case);
    let all = network.cases_screen(&["show", &id, "--patient"]).await;
    assert!(all.contains(&patient.patient_id) && all.contains(&patient.accession), "{all}");
}

/// A case held while the center is slow: what has not left stays; released, the rest follows, each image once.
async fn held_on_the_way_and_released(network: &Network) {
    let before = network.chemnitz.arrivals().len();
    network.chemnitz.behave(Manners { status: Some(StoreStatus::OutOfResources), ..Manners::default() });
    let (patient, slices) = head_ct(2, 4);
    send_study(network.node().dicom, &slices).await;
    let case = network.case_in(&patient.study(), CaseState::Routed).await;
    let id = case.id.to_string();
    eventually("the center has refused", SOON, async || {
        network.ledger(&case).await.iter().any(|delivery| delivery.last_outcome.is_some())
    })
    .await;
    let said = network.cases_screen(&["hold", &id, "--why", "wrong side marker"]).await;
    assert!(said.contains("neisse cases release"), "what to do next is said: {said}");
    let case = network.case_in(&patient.study(), CaseState::Held).await;
    assert!(case.attention.contains("wrong side marker"), "{}", case.attention);
    network.chemnitz.behave(Manners::default());
    // What comes meanwhile waits too.
    let (_, five) = head_ct(2, 5);
    send_study(network.node().dicom, &five[4..]).await;
    network.case(&patient.study(), "the fifth has come", |case| case.instances == 5).await;
    network.clock.advance(Duration::from_secs(3600));
    let listed = network.cases_screen(&["list", "--state", "held"]).await;
    assert!(listed.contains(&id) && listed.contains("wrong side marker"), "{listed}");
    assert_eq!(network.chemnitz.arrivals().len(), before, "nothing of it left: {}", network.story(&case).await);
    let said = network.cases_screen(&["release", &id]).await;
    assert!(said.contains("released to chemnitz"), "{said}");
    network.case_in(&patient.study(), CaseState::Delivered).await;
    network.chemnitz.arrivals_of(before + 5).await;
}

/// A report the hospital calls an error stops in front of a person and is sent again when they say so; and images that
/// the center has lost are sent again with --all.
async fn refused_and_sent_again(network: &Network) {
    let before = network.chemnitz.arrivals().len();
    let (patient, slices) = head_ct(3, 3);
    send_study(network.node().dicom, &slices).await;
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    let id = case.id.to_string();
    network.hospital.answer(neisse::hl7::ack::Verdict::Error);
    let study = patient.study().to_string();
    let (patient_id, accession) = (&patient.patient_id, &patient.accession);
    let about = About { patient_id, issuer: "RABENSTEIN", accession, study: &study };
    let message = oru("KCHEMNITZ", "C1", &about, "F", "o. B.");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, "C1").await.code.as_str(), "AA");
    network.case(&patient.study(), "the refusal is in front of a person", |case| !case.attention.is_empty()).await;
    let listed = network.cases_screen(&["list", "--attention"]).await;
    assert!(listed.contains(&id) && listed.contains("1 stopped"), "{listed}");
    let shown = network.cases_screen(&["show", &id]).await;
    assert!(shown.contains("message in error (AE)"), "{shown}");
    private(&shown, &case);

    network.hospital.answer(neisse::hl7::ack::Verdict::Accept);
    let said = network.cases_screen(&["resend", &id]).await;
    assert!(said.contains("1 delivery"), "{said}");
    eventually("the report is there", SOON, async || network.hospital.reports().len() == 1).await;
    network.case(&patient.study(), "nothing waits", |case| case.attention.is_empty()).await;

    network.chemnitz.arrivals_of(before + 3).await;
    network.cases_screen(&["resend", &id, "--all"]).await;
    eventually("images and report have come again", SOON, async || {
        network.chemnitz.arrivals().len() == before + 6 && network.hospital.reports().len() == 2
    })
    .await;
    let reports = network.hospital.reports();
    assert_eq!(reports[0], reports[1], "the same message, with the same control id");
    let shown = network.cases_screen(&["show", &id]).await;
    assert!(shown.contains("sent again"), "{shown}");
}

async fn mistakes_are_explained(network: &Network) {
    let some = network.cases().await[0].id.to_string();
    for (arguments, words) in [
        (vec!["show", "01a202ab-1383-7333-a028-de5cfc2f4342"], "does not exist"),
        (vec!["release", &some], "not held"),
        (vec!["resend", &some], "--all"),
        (vec!["list", "--partner", "nobody"], "nobody"),
        (vec!["list", "--state", "lost"], "expected one of"),
    ] {
        let output = network.cases_command(&arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// A screen that can be shared.
fn private(screen: &str, case: &CaseRow) {
    let facts = &case.facts;
    let family = facts.patient_name.split('^').next().expect("a name");
    for identifier in [&facts.patient_id.value, &facts.accession.value, family, case.study.as_str()] {
        assert!(!screen.contains(identifier), "{identifier} on\n{screen}");
    }
}
