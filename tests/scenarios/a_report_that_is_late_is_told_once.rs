//! A report that has not come within `report_within` is told of once: on the case, in its story, by webhook. The first
//! report ends it; and nobody is told of what is held, read on site, reported or taken back.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    faults::send_head_ct,
    network::{BOTH, Footing, Network, SOON},
    operator::Operator,
};
use chrono::Utc;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, Moment},
    store::CaseRow,
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const WITHIN_45: &str =
    "[[route]]\nname = \"Heads\"\nfrom = [\"rabenstein\"]\nto = [\"chemnitz\"]\nreport_within = \"45m\"\n";
const ON_SITE: &str =
    "[[route]]\nname = \"Day\"\nfrom = [\"rabenstein\"]\nto = [\"origin\"]\nreport_within = \"45m\"\n";
const LATE: &str = "no report from chemnitz within 45 min (report_within)";
const MINUTE: Duration = Duration::from_secs(60);

async fn network(footing: Footing, operator: &Operator, routes: &str) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    // `neisse cases` beside the node has no other clock than the machine's.
    let at = Moment::from_utc(Utc::now());
    Network::with_centers(footing, routes, at, chemnitz, leipzig, |files| {
        operator.watch(files, "");
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
    })
    .await
}

async fn sent(network: &Network, number: u64) -> (SampleCase, CaseRow) {
    let (patient, _) = send_head_ct(network, number, 2).await;
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    (patient, case)
}

async fn report(network: &Network, patient: &SampleCase, control_id: &str, status: &str) {
    let study = patient.study().to_string();
    let (patient_id, accession) = (&patient.patient_id, &patient.accession);
    let about = About { patient_id, issuer: "RABENSTEIN", accession, study: &study };
    let message = oru("KLCHEM", control_id, &about, status, "o. B.");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, control_id).await.code.as_str(), "AA");
}

async fn is_late(network: &Network, patient: &SampleCase) -> CaseRow {
    network.case(&patient.study(), "a person is told", |case| case.attention.contains(LATE)).await
}

/// The watch has looked several times.
async fn watched() {
    tokio::time::sleep(Duration::from_secs(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_late_is_told_once() {
    for footing in BOTH {
        let operator = Operator::start().await;
        let mut network = network(footing, &operator, WITHIN_45).await;
        let (late, case) = sent(&network, 1).await;
        assert_eq!(case.report_due, Some(case.first + 45 * MINUTE));
        let listed = network.cases_screen(&["list"]).await;
        assert!(listed.contains(", report due "), "{listed}");
        let shown = network.cases_screen(&["show", &case.id.to_string()]).await;
        assert!(shown.contains("report     due from chemnitz by") && shown.contains("Europe/Berlin"), "{shown}");
        let (in_time, _) = sent(&network, 2).await;
        report(&network, &in_time, "R2", "P").await;
        network.clock.advance(44 * MINUTE);
        watched().await;
        assert_eq!(network.case_in(&late.study(), CaseState::Delivered).await.attention, "", "a minute is left");

        network.clock.advance(2 * MINUTE);
        let case = is_late(&network, &late).await;
        assert_eq!((case.attention.as_str(), case.report_due), (LATE, None));
        eventually("it is posted", SOON, async || !operator.posted().is_empty()).await;
        let notice = &operator.posted()[0];
        assert_eq!((&notice["reason"], &notice["reader"]), (&LATE.into(), &"chemnitz".into()));
        network.restart().await;
        network.clock.advance(24 * 60 * MINUTE);
        watched().await;
        assert_eq!(network.told(&case, LATE).await, 1, "{}", network.story(&case).await);
        assert_eq!(operator.posted().len(), 1, "once, and not of what was reported in time");

        network.cases_screen(&["resend", "--all", &case.id.to_string()]).await;
        // Beside it, that its images are late too, until they have arrived again.
        assert!(is_late(&network, &late).await.attention.contains(LATE), "sending again mends no late report");

        report(&network, &late, "R1", "P").await;
        let is_over = |case: &CaseRow| case.state == CaseState::Preliminary && case.attention.is_empty();
        network.case(&late.study(), "the first report ends it", is_over).await;
        eventually("nobody is needed", SOON, async || {
            network.node().store.count_open_notices().await.expect("the store") == 0
        })
        .await;
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_of_a_report_that_nobody_owes() {
    let operator = Operator::start().await;
    let network = network(Footing::Embedded, &operator, WITHIN_45).await;
    // Taken back by the hospital, by an order for it alone.
    let (cancelled, case) = sent(&network, 1).await;
    for (control_id, control) in [("M1", "NW"), ("M2", "CA")] {
        order(&network, control_id, control, &cancelled).await;
    }
    let told = "its order is cancelled";
    network.case(&cancelled.study(), "taken back", |case| case.attention.contains(told)).await;
    network.cases_screen(&["seen", &case.id.to_string(), "--why", "called them"]).await;
    // Held by a person, and released again.
    let (held, case) = sent(&network, 2).await;
    let id = case.id.to_string();
    network.cases_screen(&["hold", &id, "--why", "wrong patient"]).await;
    network.clock.advance(46 * MINUTE);
    watched().await;
    let row = network.case_in(&held.study(), CaseState::Held).await;
    assert!(!row.attention.contains("no report") && row.report_due.is_none(), "{}", row.attention);
    let row = network.case_in(&cancelled.study(), CaseState::Delivered).await;
    assert_eq!((row.attention.as_str(), row.report_due), ("", None), "{}", network.story(&row).await);
    assert_eq!(network.told(&row, "no report is due any more: its order was taken back").await, 1);

    // Back to the machine's time, by which the command counts.
    network.clock.set(Moment::from_utc(Utc::now()));
    network.cases_screen(&["release", &id]).await;
    let row = network.case_in(&held.study(), CaseState::Delivered).await;
    assert!(row.report_due.is_some_and(|due| due > case.first + 45 * MINUTE), "counted from the release");
    network.clock.advance(46 * MINUTE);
    is_late(&network, &held).await;
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_on_site_has_no_report_to_be_late() {
    let operator = Operator::start().await;
    let network = network(Footing::Embedded, &operator, ON_SITE).await;
    let (patient, case) = sent(&network, 1).await;
    assert!(case.report_awaited().is_none());
    network.clock.advance(46 * MINUTE);
    watched().await;
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!((case.attention.as_str(), case.report_due), ("", None));
    assert!(operator.calls().is_empty(), "{}", operator.heard());
    network.at_rest().await;
}

/// An ORM^O01 for the patient's study.
async fn order(network: &Network, control_id: &str, control: &str, patient: &SampleCase) {
    let message = format!(
        "\x0bMSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124225900||ORM^O01|{control_id}|P|2.3.1||||||8859/1\r\
         PID|1||{}^^^RABENSTEIN||Doe^J||19600101|M\r\
         ORC|{control}|P1^KIS\r\
         OBR|1|P1^KIS||CTKOPF^CT Kopf^L||||||||||||||{}|||||||||^^^^^S\rZDS|{}^KIS^Application^DICOM\r\x1c\r",
        patient.patient_id,
        patient.accession,
        patient.study()
    );
    let mut line = TcpStream::connect(network.node().hl7).await.expect("connected");
    line.write_all(message.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1c\r") {
        assert!(line.read_buf(&mut answer).await.expect("an answer") > 0, "closed");
    }
    assert!(answer.windows(6).any(|part| part == b"MSA|AA"), "{}", String::from_utf8_lossy(&answer));
}
