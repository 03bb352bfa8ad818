//! Görlitz reads Zgorzelec's CT by night and has studies of its own. Its report comes as an SR in a study of Görlitz's
//! making, with Zgorzelec's accession number and patient: it goes back to Zgorzelec. An SR about Görlitz's own patient
//! stays part of Görlitz's own study.

use crate::support::{
    center::Center,
    eventually,
    hospital::{Hospital, Scanner, head_ct},
    network::{BOTH, Network, SOON, wall},
    reports::Oru,
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    dicom::documents::{DocumentAbout, basic_text_sr},
    model::{CaseState, IssuedId, Moment, Outgoing, PartnerId, ReportStatus, StudyFacts, Uid},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_sends_and_reads_reports_under_a_study_of_its_own() {
    for footing in BOTH {
        let (goerlitz, zgorzelec) = (Center::start("GR_PACS").await, Hospital::start().await);
        let network = Network::example(footing, wall("2026-11-25T01:20"), |example| {
            example.takes_images_at("goerlitz", goerlitz.port);
            example.takes_messages_at("zgorzelec", zgorzelec.port);
            example.wants("zgorzelec", &["oru"]);
        })
        .await;
        let (patient, slices) = head_ct(3, 1);
        send(&network, "ZGO_CT1", &slices[0]).await;
        network.decided("zgorzelec", &patient.study()).await;
        network.clock.advance(Duration::from_secs(31));
        network.case_of("zgorzelec", &patient.study(), CaseState::Delivered).await;

        let (theirs, own) = (Uid::generate(), Uid::generate());
        // The same bare numbers: only the issuers say whose they are.
        send(&network, "GR_PACS", &sr(&patient, &own, "GOERLITZ", "von Görlitz selbst")).await;
        network.decided("goerlitz", &own).await;
        send(&network, "GR_PACS", &sr(&patient, &theirs, "ZGORZELEC", "Keine Blutung")).await;
        network.case_of("zgorzelec", &patient.study(), CaseState::Reported).await;
        eventually("the report is back", SOON, async || zgorzelec.reports().len() == 1).await;
        let report = Oru::read(&zgorzelec.reports()[0]);
        assert!(report.values("FT").join(" ").contains("Keine Blutung"));
        assert_eq!(report.values("HD"), [patient.study().as_str()], "under the study of the hospital");
        let goerlitz = PartnerId::new("goerlitz").expect("an id");
        let kept = network.node().store.find_case(&goerlitz, &theirs).await.expect("the store");
        assert!(kept.is_none(), "the report became a study of its reader");
        network.at_rest().await;
    }
}

fn sr(patient: &SampleCase, study: &Uid, issuer: &str, text: &str) -> SampleInstance {
    let facts = StudyFacts {
        patient_id: IssuedId::new(&patient.patient_id, issuer),
        accession: IssuedId::new(&patient.accession, issuer),
        ..StudyFacts::default()
    };
    let about = DocumentAbout {
        study: study.clone(),
        series: Uid::generate(),
        sop_instance: Uid::generate(),
        facts: &facts,
        orders: &[],
        status: ReportStatus::Final,
        title: "CT".into(),
        language: "de".into(),
        content: Moment(0),
        time_zone: chrono_tz::Europe::Berlin,
        institution: "Görlitz".into(),
        author: Some("Beispiel^Ruth".into()),
        evidence: Vec::new(),
        version: 1,
        predecessor: None,
        outgoing: Outgoing::default(),
    };
    let made = basic_text_sr(&about, text).expect("an SR");
    SampleInstance {
        sop_class: made.sop_class,
        sop_instance: made.sop_instance,
        transfer_syntax: made.transfer_syntax,
        data_set: made.data_set,
    }
}

async fn send(network: &Network, calling_ae: &str, instance: &SampleInstance) {
    let mut scanner = Scanner::connect_as(calling_ae, network.node().dicom, instance).await;
    assert_eq!(scanner.send(instance).await, 0x0000);
    scanner.release().await;
}
