//! Reports that fit no case, as HL7 and as SR: attached by a person, they go to the hospital in its own identifiers as if
//! they had fitted; dismissed, they are kept and listed no more. Either way they are decided once.

use crate::support::{
    center::{About, oru},
    eventually,
    hospital::{Scanner, head_ct},
    network::{BOTH, Network, SOON},
    reports::Oru,
};
use chrono::Utc;
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    dicom::documents::{DocumentAbout, basic_text_sr},
    model::{CaseState, IssuedId, Moment, Outgoing, ReportId, ReportStatus, StudyFacts, Uid},
};
use std::time::Duration;

const CT_OF_RABENSTEIN: &str = r#"
[[route]]
name = "CT of Rabenstein"
from = ["rabenstein"]
modality = ["CT"]
to = ["chemnitz"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_person_attaches_a_held_report_or_dismisses_it() {
    for footing in BOTH {
        // The command has no other clock than the machine's.
        let network = Network::example(footing, Moment::from_utc(Utc::now()), |example| {
            example.rules(CT_OF_RABENSTEIN);
            example.wants("rabenstein", &["oru"]);
        })
        .await;
        let (patient, slices) = head_ct(5, 1);
        send(&network, "RAB_CT1", &slices[0]).await;
        network.decided("rabenstein", &patient.study()).await;
        network.clock.advance(Duration::from_secs(31));
        let case = network.case_of("rabenstein", &patient.study(), CaseState::Delivered).await;
        let id = case.id.to_string();

        send(&network, "KC_PACS", &sr()).await;
        held(&network, 1).await;
        // Each a minute later, so that their order is known.
        for (number, control_id) in (2..).zip(["ONE", "TWO"]) {
            network.clock.advance(Duration::from_secs(60));
            hl7(&network, &patient, control_id).await;
            held(&network, number).await;
        }
        let held_reports = network.node().store.held_reports().await.expect("the store");
        let [two, one, sr]: [ReportId; 3] =
            held_reports.iter().map(|held| held.id).collect::<Vec<_>>().try_into().expect("three, newest first");

        for (report, version) in [(sr, 1), (one, 2)] {
            let why = ["attach", &report.to_string(), &id, "--why", "the reader told me"];
            let said = network.cases_screen(&why).await;
            assert!(said.contains(&format!("version {version} of case {id}; 1 form owed")), "{said}");
            let again = network.cases_command(&why).await;
            let said = String::from_utf8_lossy(&again.stderr).into_owned();
            assert!(!again.status.success() && said.contains("is not held"), "{said}");
            eventually("it is back", SOON, async || network.hospital.reports().len() == version).await;
        }
        let reports = network.hospital.reports();
        for (message, text) in reports.iter().zip(["Keine Blutung im SR", "Befund ONE"]) {
            let message = Oru::read(message);
            assert!(message.values("FT")[0].contains(text), "{text}: {:?}", message.values("FT"));
            assert_eq!(message.field("PID", 3), format!("{}^^^RABENSTEIN", patient.patient_id));
        }
        network.case_of("rabenstein", &patient.study(), CaseState::Reported).await;
        let shown = network.cases_screen(&["show", &id]).await;
        assert!(shown.contains("operator") && shown.contains("the reader told me"), "{shown}");
        assert!(shown.contains("version 2 final") && shown.contains("by a person"), "{shown}");

        refuses_the_senders_own_case(&network, two).await;
        let said = network.cases_screen(&["dismiss", &two.to_string(), "--why", "came again"]).await;
        assert!(said.contains("It is kept"), "{said}");
        assert_eq!(network.node().store.count_held_reports().await.expect("the store"), 0);
        let two = two.to_string();
        for arguments in [vec!["dismiss", &two, "--why", "x"], vec!["attach", &two, &id, "--why", "x"]] {
            let again = network.cases_command(&arguments).await;
            let said = String::from_utf8_lossy(&again.stderr).into_owned();
            assert!(!again.status.success() && said.contains("is not held"), "{arguments:?}: {said}");
        }
        let calm = network.cases_screen(&["list"]).await;
        assert!(!calm.contains("of no known case"), "{calm}");
        network.at_rest().await;
    }
}

async fn refuses_the_senders_own_case(network: &Network, report: ReportId) {
    let (patient, slices) = head_ct(6, 1);
    send(network, "KC_PACS", &slices[0]).await;
    let own = network.case_of("chemnitz", &patient.study(), CaseState::Held).await;
    let (report, own) = (report.to_string(), own.id.to_string());
    let refused = network.cases_command(&["attach", &report, &own, "--why", "by mistake"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("sent both the report and the images"), "{said}");
}

/// With the right patient, and numbers that nobody knows.
async fn hl7(network: &Network, patient: &SampleCase, control_id: &str) {
    let about = About {
        patient_id: &patient.patient_id,
        issuer: "RABENSTEIN",
        accession: "4711",
        study: "1.2.826.0.1.3680043.9.999",
    };
    let message = oru("KCHEMNITZ", control_id, &about, "F", &format!("Befund {control_id}"));
    let answer = network.chemnitz.send_hl7(network.node().hl7, &message, control_id).await;
    assert_eq!(answer.code.as_str(), "AA", "{answer:?}");
}

/// An SR that says nothing of whose it is.
fn sr() -> SampleInstance {
    let facts = StudyFacts { patient_id: IssuedId::new("K-1", ""), ..StudyFacts::default() };
    let about = DocumentAbout {
        orders: &[],
        study: Uid::generate(),
        series: Uid::generate(),
        sop_instance: Uid::generate(),
        facts: &facts,
        status: ReportStatus::Final,
        title: "Befund".into(),
        language: "de".into(),
        content: Moment(1_780_000_000_000_000),
        time_zone: chrono_tz::Europe::Berlin,
        institution: "Chemnitz".into(),
        author: Some("Beispiel^Ruth".into()),
        evidence: Vec::new(),
        version: 1,
        predecessor: None,
        outgoing: Outgoing::default(),
    };
    let made = basic_text_sr(&about, "Keine Blutung im SR.").expect("an SR");
    SampleInstance {
        sop_class: made.sop_class,
        sop_instance: made.sop_instance,
        transfer_syntax: made.transfer_syntax,
        data_set: made.data_set,
    }
}

async fn held(network: &Network, number: i64) {
    let what = format!("{number} reports are held");
    eventually(&what, SOON, async || network.node().store.count_held_reports().await.expect("the store") == number)
        .await;
}

async fn send(network: &Network, calling_ae: &str, instance: &SampleInstance) {
    let mut scanner = Scanner::connect_as(calling_ae, network.node().dicom, instance).await;
    assert_eq!(scanner.send(instance).await, 0x0000);
    scanner.release().await;
}
