//! A hospital in enhanced mode (MSH-15 and MSH-16) hears at once that its order message was taken, and later, over the other
//! line, what was done with each order. What was refused and cannot be told by any message is told by a person.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    hospital::{Hospital, control_id, head_ct, send_study},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{ask, orm},
};
use neisse::{cli::sample::SampleCase, hl7::ack::Verdict, model::CaseState};
use std::net::SocketAddr;

async fn network(footing: Footing, has_a_line: bool) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        if !has_a_line {
            let without = |line: &&str| !line.starts_with("deliver = ");
            *rabenstein = rabenstein.lines().filter(without).collect::<Vec<_>>().join("\n").replace("\"oru\"", "");
        }
    })
    .await
}

/// An order message that asks for acknowledgements as MSH-15 and MSH-16 say.
fn asks(
    control_id: &str,
    control: &str,
    placer: &str,
    patient: &SampleCase,
    accept: &str,
    application: &str,
) -> String {
    orm(control_id, control, placer, patient, true)
        .replace("|P|2.3.1||||||8859/1", &format!("|P|2.3.1|||{accept}|{application}||8859/1"))
}

/// MSA-1 of what the sender hears at once, which says nothing of orders.
async fn at_once(hl7: SocketAddr, message: &str) -> String {
    let answer = ask(hl7, message).await;
    assert!(answer.iter().all(|segment| !segment.starts_with("ORC")), "{answer:?}");
    answer[1].split('|').nth(1).expect("MSA-1").to_owned()
}

/// The responses a hospital got: MSA-2 and ORC-1.
fn heard(hospital: &Hospital) -> Vec<String> {
    let read = |message: &[u8]| {
        let text = String::from_utf8_lossy(message).into_owned();
        let field = |id: &str, n: usize| {
            let segment = text.split('\r').find(|line| line.starts_with(id))?;
            segment.split('|').nth(n).map(str::to_owned)
        };
        if text.contains("|ORR^O02|") { Some(format!("{} {}", field("MSA|AA", 2)?, field("ORC", 1)?)) } else { None }
    };
    hospital.reports().iter().filter_map(|message| read(message)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_came_to_is_heard_later_where_its_sender_wants_it_so() {
    for footing in BOTH {
        let mut network = network(footing, true).await;
        let hl7 = network.node().hl7;
        let (patient, slices) = head_ct(1, 3);
        assert_eq!(at_once(hl7, &asks("M1", "NW", "P1", &patient, "AL", "AL")).await, "CA");
        eventually("taken, said later", SOON, async || heard(&network.hospital) == ["M1 OK"]).await;
        send_study(network.node().dicom, &slices).await;
        network.case_in(&patient.study(), CaseState::Delivered).await;
        let study = patient.study().to_string();
        let about = About {
            patient_id: &patient.patient_id,
            issuer: "RABENSTEIN",
            accession: &patient.accession,
            study: &study,
        };
        let report = oru("KLCHEM", "R1", &about, "F", "keine Blutung");
        assert_eq!(network.chemnitz.send_hl7(hl7, &report, "R1").await.code.as_str(), "AA");
        network.case_in(&patient.study(), CaseState::Reported).await;

        // It has been read. The hospital's system is away, and hears it when it is back; the same message again owes nothing.
        network.hospital.go_away().await;
        let cancel = asks("M2", "CA", "P1", &patient, "AL", "AL");
        assert_eq!(at_once(hl7, &cancel).await, "CA");
        assert_eq!(at_once(hl7, &cancel).await, "CA");
        network.hospital.come_back().await;
        eventually("refused, said later", SOON, async || heard(&network.hospital) == ["M1 OK", "M2 UC"]).await;

        // By what MSH-16 says: refusals alone; what was done alone; nothing.
        for (id, control, application) in
            [("M3", "CA", "ER"), ("M4", "NA", "ER"), ("M5", "NA", "SU"), ("M6", "NA", "NE")]
        {
            assert_eq!(at_once(hl7, &asks(id, control, "P1", &patient, "AL", application)).await, "CA");
        }
        let all = ["M1 OK", "M2 UC", "M3 UC", "M5 OK"];
        eventually("as asked", SOON, async || heard(&network.hospital) == all).await;
        // Where no acceptance is wanted, the response is the answer.
        let answer = ask(hl7, &asks("M7", "CA", "P1", &patient, "NE", "ER")).await;
        assert!(answer[1].starts_with("MSA|AA|M7") && answer[2].starts_with("ORC|UC|P1"), "{answer:?}");
        // It is a message of its own, and asks for no answer to an answer.
        let messages = network.hospital.reports();
        let own = messages.iter().find(|message| String::from_utf8_lossy(message).contains("MSA|AA|M2")).expect("one");
        assert!(String::from_utf8_lossy(own).contains("|P|2.3.1|||AL|NE|"), "{}", String::from_utf8_lossy(own));
        assert_ne!(control_id(own), "M2");
        let case = network.case_in(&patient.study(), CaseState::Reported).await;
        assert_eq!(case.attention, "", "it has heard all of it");

        // Refused there: a person tells them.
        network.hospital.answer(Verdict::Error);
        assert_eq!(at_once(hl7, &asks("M8", "CA", "P9", &patient, "AL", "AL")).await, "CA");
        a_person_is_told(&network, footing, "rabenstein could not be told that its order was not carried out (UC)")
            .await;
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_no_message_can_bring_is_told_by_a_person() {
    for footing in BOTH {
        let network = network(footing, false).await;
        let hl7 = network.node().hl7;
        let (patient, slices) = head_ct(1, 3);
        assert_eq!(at_once(hl7, &asks("M1", "NW", "P1", &patient, "AL", "AL")).await, "CA");
        send_study(network.node().dicom, &slices).await;
        network.case_in(&patient.study(), CaseState::Delivered).await;
        // Of an order that has a case, on the case; and of one that nobody knows, by itself.
        assert_eq!(at_once(hl7, &asks("M2", "RL", "P1", &patient, "AL", "AL")).await, "CA");
        let told = "what rabenstein asked of its order was refused (UR), and it has not heard so";
        network.case(&patient.study(), told, |case| case.attention.contains(told)).await;
        assert_eq!(at_once(hl7, &asks("M3", "CA", "P9", &patient, "AL", "AL")).await, "CA");
        a_person_is_told(&network, footing, "what rabenstein asked of its order was refused (UC)").await;
        network.at_rest().await;
    }
}

/// By a notice; and who has seen to it takes it off the list.
async fn a_person_is_told(network: &Network, footing: Footing, what: &str) {
    let raw = Raw::of(network, footing).await;
    let notice = "SELECT reason FROM notices WHERE kind = 'answer' AND resolved_us IS NULL";
    eventually("a person is told", SOON, async || !raw.rows(notice).await.is_empty()).await;
    let reason = raw.ask(notice).await;
    assert!(reason.starts_with(what), "{reason}");
    let id = raw.ask("SELECT id FROM order_answers WHERE stopped <> ''").await;
    network.cases_screen(&["dismiss", &id, "--why", "called them"]).await;
    eventually("seen to", SOON, async || raw.rows(notice).await.is_empty()).await;
}
