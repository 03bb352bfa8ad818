//! A critical result is to be acknowledged by the hospital in time: by its application, in a message of its own, or by a
//! person who has telephoned. Where nobody has, a person is told, until somebody does.

use crate::support::{
    eventually,
    hospital::{control_id, head_ct, send_study},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON},
    reports::{Oru, exchange},
};
use chrono::Utc;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, Lane, Moment},
    store::CaseRow,
};
use std::time::Duration;

const QUARTER: Duration = Duration::from_secs(15 * 60 + 1);
const OVERDUE: &str = "critical result (version 1) not acknowledged by rabenstein within 15 min: call them";

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_result_is_acknowledged_or_a_person_is_told() {
    for footing in BOTH {
        // The command has no other clock than the machine's.
        let network = Network::example(footing, Moment::from_utc(Utc::now()), |example| {
            example.rules(ALWAYS_CHEMNITZ);
            example.wants("rabenstein", &["oru"]);
            example.edit_partner("rabenstein", |partner| {
                let table = |partner: &mut toml::Table, name: &str| partner[name].as_table_mut().cloned().expect(name);
                let mut reports = table(partner, "reports");
                reports.insert("critical_within".into(), "15m".into());
                partner.insert("reports".into(), reports.into());
                let mut hl7 = table(partner, "hl7");
                hl7["deliver"].as_table_mut().expect("[hl7.deliver]").insert("application_ack".into(), true.into());
                partner.insert("hl7".into(), hl7.into());
            });
            example.edit_partner("chemnitz", |partner| {
                let flags: toml::Table = "critical_flags = [\"KRIT\"]".parse().expect("TOML");
                partner.insert("reports".into(), flags.into());
            });
        })
        .await;
        late_and_then_acknowledged_by_hl7(&network).await;
        acknowledged_by_a_person_in_time(&network).await;
        refused_by_the_hospital_s_application(&network).await;
        a_later_version_speaks_for_the_one_before(&network).await;
        nobody_is_asked_about_a_plain_result(&network).await;
        many_that_cannot_be_read_hold_up_nobody(&network, &Raw::of(&network, footing).await).await;
        network.at_rest().await;
    }
}

/// A CT and its report with this flag (OBX-8); the case, and the message the hospital got.
async fn reported(network: &Network, number: u64, flag: &str, status: &str) -> (CaseRow, bytes::Bytes) {
    let (patient, slices) = head_ct(number, 1);
    send_study(network.node().dicom, &slices).await;
    network.decided("rabenstein", &patient.study()).await;
    network.clock.advance(Duration::from_secs(31));
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let message = report(network, &patient, number, flag, status).await;
    let is_reported = |case: &CaseRow| case.state != CaseState::Delivered;
    (network.case(&patient.study(), "a case that is reported on", is_reported).await, message)
}

async fn report(network: &Network, patient: &SampleCase, number: u64, flag: &str, status: &str) -> bytes::Bytes {
    let (id, accession, study) = (&patient.patient_id, &patient.accession, patient.study());
    let before = network.hospital.reports().len();
    let message = format!(
        "MSH|^~\\&|RIS|KCHEMNITZ|NEISSE|NEISSE|20261125021500+0100||ORU^R01^ORU_R01|K{number}{status}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{id}^^^RABENSTEIN||X^Y\r\
         OBR|1||{accession}^RABENSTEIN|CT^CT Kopf^L|||20261125012500||||||||||||||||||{status}\r\
         OBX|1|TX|CT^Befund^L||Akute Blutung|||{flag}|||{status}\r\
         OBX|2|HD|113014^DICOM Study^DCM||{study}||||||F\r"
    );
    let answer = exchange(network.node().hl7, message.as_bytes()).await;
    assert!(String::from_utf8_lossy(&answer).contains("MSA|AA|"));
    eventually("the report is back", SOON, async || network.hospital.reports().len() > before).await;
    network.hospital.reports()[before].clone()
}

/// What the hospital's application says later, and the answer to it.
async fn said(network: &Network, facility: &str, number: u64, code: &str, of: &str) -> String {
    let message = format!(
        "MSH|^~\\&|KIS|{facility}|NEISSE|NEISSE|20261125024500||ACK^R01^ACK|Q{number}|P|2.5.1|||AL|NE||8859/1\rMSA|{code}|{of}\r"
    );
    let answer = exchange(network.node().hl7, message.as_bytes()).await;
    assert_eq!(exchange(network.node().hl7, message.as_bytes()).await.len(), answer.len(), "again, the same answer");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn attention(network: &Network, case: &CaseRow, what: &str) {
    eventually(&format!("the case says {what:?}"), SOON, async || {
        let row = network.node().store.case(case.id).await.expect("the store");
        row.attention == what
    })
    .await;
}

async fn late_and_then_acknowledged_by_hl7(network: &Network) {
    let (case, message) = reported(network, 1, "HH", "F").await;
    let text = String::from_utf8_lossy(&message).into_owned();
    let sent = Oru::read(&message);
    assert_eq!((sent.field("MSH", 15), sent.field("MSH", 16), sent.field("OBX", 8)), ("AL", "AL", "HH"), "{text}");
    let ledger = network.ledger(&case).await;
    assert!(ledger.iter().any(|row| row.report.is_some() && row.lane == Lane::Stat), "it goes first");
    attention(network, &case, "").await;
    network.clock.advance(QUARTER);
    attention(network, &case, OVERDUE).await;
    let shown = network.cases_screen(&["show", &case.id.to_string()]).await;
    assert!(shown.contains("! critical, to be acknowledged by") && shown.contains(OVERDUE), "{shown}");

    // Of a message that was never sent, or to somebody else.
    for (number, facility, of) in [(1, "DRKRAB", "N123"), (2, "DRKLIC", control_id(&message).as_str())] {
        let answer = said(network, facility, number, "AA", of).await;
        assert!(answer.contains("MSA|CE|") && answer.contains("ERR||MSA^1^2|204^"), "{answer}");
    }
    attention(network, &case, OVERDUE).await;
    let answer = said(network, "DRKRAB", 3, "AA", &control_id(&message)).await;
    assert!(answer.contains("MSA|CA|Q3"), "{answer}");
    attention(network, &case, "").await;
    assert!(network.story(&case).await.contains("critical result (version 1) acknowledged by rabenstein (HL7)"));
    let shown = network.cases_screen(&["show", &case.id.to_string()]).await;
    assert!(shown.contains("critical, acknowledged") && shown.contains("by rabenstein (HL7)"), "{shown}");
}

async fn acknowledged_by_a_person_in_time(network: &Network) {
    let (case, _) = reported(network, 2, "KRIT", "P").await;
    let id = case.id.to_string();
    let said = network.cases_screen(&["acknowledge", &id, "--by", "Dr. Beispiel, by telephone"]).await;
    assert!(said.contains("1 critical result of case"), "{said}");
    let again = network.cases_command(&["acknowledge", &id, "--by", "me"]).await;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("no critical result"));
    network.clock.advance(QUARTER);
    let (other, _) = reported(network, 3, "AA", "F").await;
    network.clock.advance(QUARTER);
    attention(network, &other, OVERDUE).await;
    attention(network, &case, "").await;
    network.cases_screen(&["acknowledge", &other.id.to_string(), "--by", "ward 3"]).await;
    attention(network, &other, "").await;
}

async fn refused_by_the_hospital_s_application(network: &Network) {
    let (case, message) = reported(network, 4, "LL", "F").await;
    let answer = said(network, "DRKRAB", 5, "AE", &control_id(&message)).await;
    assert!(answer.contains("MSA|CA|Q5"), "{answer}");
    attention(network, &case, "rabenstein did not take over version 1 of the report (AE): call them").await;
    network.cases_screen(&["acknowledge", &case.id.to_string(), "--by", "ward 3"]).await;
    network.cases_screen(&["seen", &case.id.to_string(), "--why", "told by telephone"]).await;
}

async fn a_later_version_speaks_for_the_one_before(network: &Network) {
    let (case, _) = reported(network, 6, "AA", "P").await;
    let (patient, _) = head_ct(6, 1);
    let second = report(network, &patient, 6, "AA", "F").await;
    said(network, "DRKRAB", 6, "AA", &control_id(&second)).await;
    network.clock.advance(QUARTER);
    let open = network.node().store.critical_results(case.id).await.expect("the store");
    assert!(open.len() == 2 && open.iter().all(|critical| critical.acknowledged.is_some()), "{open:?}");
}

async fn nobody_is_asked_about_a_plain_result(network: &Network) {
    let (case, message) = reported(network, 8, "A", "F").await;
    assert_eq!(Oru::read(&message).field("MSH", 16), "", "acknowledged as always");
    assert!(network.node().store.critical_results(case.id).await.expect("the store").is_empty());
    network.clock.advance(QUARTER * 2);
    // Whoever watches has looked since: it has told of another one.
    let (other, _) = reported(network, 9, "AA", "F").await;
    network.clock.advance(QUARTER);
    attention(network, &other, OVERDUE).await;
    attention(network, &case, "").await;
}

/// More than are looked up at a time, all overdue before the one that can be read.
async fn many_that_cannot_be_read_hold_up_nobody(network: &Network, raw: &Raw) {
    const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)";
    let (spoilt, _) = reported(network, 80, "", "F").await;
    raw.run(&format!(
        "{MANY} INSERT INTO reports (id, case_id, sender, source, status, version, received_us, correlated_by, hold_reason, \
         sha256, content, dismissed_us) SELECT 'x' || i, NULL, r.sender, r.source, r.status, 0, 0, '', '', '', r.content, 1 \
         FROM n, (SELECT * FROM reports WHERE case_id = '{}') r",
        spoilt.id
    ))
    .await;
    raw.run(&format!(
        "{MANY} INSERT INTO critical_results (report_id, case_id, asked_us, due_us) SELECT 'x' || i, '{}', 0, 1 FROM n",
        spoilt.id
    ))
    .await;
    let (case, _) = reported(network, 81, "HH", "F").await;
    network.clock.advance(QUARTER);
    attention(network, &case, OVERDUE).await;
    network.cases_screen(&["acknowledge", &case.id.to_string(), "--by", "ward 3"]).await;
    attention(network, &case, "").await;
    raw.run("DELETE FROM critical_results WHERE due_us = 1").await;
    raw.run("DELETE FROM reports WHERE id LIKE 'x%'").await;
}
