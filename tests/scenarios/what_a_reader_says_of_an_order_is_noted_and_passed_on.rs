//! A reader's information system says how far it has come with a hospital's order (SC), or which number it has given it (NA): it
//! stands in the case's story, the hospital hears of it where it takes such messages, and no order is made of it. Whoever does
//! not read the case is answered as if there were no such order. The reader's answer to an order may come as a message of its
//! own.

use crate::support::{
    center::Center,
    eventually,
    hospital::{Hospital, control_id, head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered, ask, orm},
};
use neisse::{cli::sample::SampleCase, model::CaseState};

/// Chemnitz has an information system that takes orders; Rabenstein's takes what is said of its orders, or does not.
async fn network(footing: Footing, ris: &Hospital, takes: bool) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        if takes {
            *rabenstein = rabenstein.replace("[orders]\n", "[orders]\ndeliver = true\n");
        }
        let center = files.get_mut("partners/chemnitz.toml").expect("a center");
        center.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"RIS\", facility = \"KLCHEM\" }}\n[orders]\ndeliver = true\n",
            ris.port
        ));
    })
    .await
}

/// What an information system says of order `placer` of a patient of Rabenstein.
fn says(facility: &str, control_id: &str, control: &str, placer: &str, status: &str, patient: &SampleCase) -> String {
    format!(
        "MSH|^~\\&|RIS|{facility}|NEISSE|NEISSE|20261124231500||ORM^O01|{control_id}|P|2.3.1||||||8859/1\r\
         PID|1||{}^^^RABENSTEIN||Doe^J||19600101|M\r\
         ORC|{control}|{placer}|F-{placer}^KLCHEM||{status}\r\
         OBR|1|{placer}|F-{placer}^KLCHEM|CTKOPF^CT Kopf^L\r",
        patient.patient_id
    )
}

/// An application response as a message of its own.
fn response(control_id: &str, to: &str, code: &str, order: &str) -> String {
    format!(
        "MSH|^~\\&|RIS|KLCHEM|NEISSE|NEISSE|20261124231500||ORR^O02|{control_id}|P|2.3.1||||||8859/1\r\
         MSA|{code}|{to}\r{order}"
    )
}

/// The messages that brought `what` in ORC-1.
fn heard(system: &Hospital, what: &str) -> Vec<String> {
    let texts =
        system.reports().iter().map(|message| String::from_utf8_lossy(message).into_owned()).collect::<Vec<_>>();
    texts.into_iter().filter(|text| text.contains(&format!("\rORC|{what}|"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_says_of_an_order_is_noted_and_passed_on() {
    for footing in BOTH {
        for takes in [true, false] {
            let ris = Hospital::start().await;
            let network = network(footing, &ris, takes).await;
            let hl7 = network.node().hl7;
            let (patient, slices) = head_ct(1, 3);
            assert_eq!(answered(hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
            send_study(network.node().dicom, &slices).await;
            let case = network.case_in(&patient.study(), CaseState::Delivered).await;
            eventually("the reader has it", SOON, async || heard(&ris, "NW").len() == 1).await;

            for (id, control, status, told) in [
                ("S1", "SC", "IP", "chemnitz says that its order is in process"),
                ("S2", "NA", "", "chemnitz has given its order a number of its own"),
                ("S3", "SC", "CM", "chemnitz says that its order is completed"),
            ] {
                assert_eq!(answered(hl7, &says("KLCHEM", id, control, "P1^KIS", status, &patient)).await, "OK");
                let story = network.story(&case).await;
                assert!(story.contains(told), "{told}: {story}");
            }
            if takes {
                eventually("the hospital heard", SOON, async || heard(&network.hospital, "SC").len() == 2).await;
                let message = &heard(&network.hospital, "SC")[0];
                assert!(
                    message.contains("\rORC|SC|P1^KIS|F-P1^KIS^KLCHEM") || message.contains("|P1^KIS|F-P1^KIS"),
                    "{message}"
                );
                assert_eq!(heard(&network.hospital, "NA").len(), 1);
            }
            let now = network.node().store.case(case.id).await.expect("the case");
            assert_eq!(now.attention, "", "nobody has to do anything");
            // That it is not done somebody must know.
            assert_eq!(answered(hl7, &says("KLCHEM", "S4", "SC", "P1^KIS", "DC", &patient)).await, "OK");
            let told = "chemnitz says that its order is discontinued: speak with them";
            network.case(&patient.study(), told, |case| case.attention.contains(told)).await;

            // Nobody's order, another's reader, another patient, and no number to go by.
            assert_eq!(answered(hl7, &says("KLCHEM", "S5", "SC", "P9^KIS", "IP", &patient)).await, "UA");
            assert_eq!(answered(hl7, &says("UKL", "S6", "SC", "P1^KIS", "CM", &patient)).await, "UA");
            let (other, _) = head_ct(2, 1);
            assert_eq!(answered(hl7, &says("KLCHEM", "S7", "SC", "P1^KIS", "IP", &other)).await, "UA");
            assert_eq!(answered(hl7, &says("KLCHEM", "S8", "NA", "P9^KIS", "", &patient)).await, "UA");
            assert_eq!(answered(hl7, &says("KLCHEM", "S9", "SN", "P1^KIS", "", &patient)).await, "UA");
            // No order has been made of any of it.
            for facility in ["KLCHEM", "UKL"] {
                for placer in ["P1^KIS", "P9^KIS"] {
                    let id = format!("C-{facility}-{placer}");
                    assert_eq!(answered(hl7, &says(facility, &id, "CA", placer, "", &patient)).await, "UC");
                }
            }
            network.at_rest().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_a_reader_may_come_as_a_message_of_its_own() {
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris, false).await;
        let hl7 = network.node().hl7;
        let (patient, slices) = head_ct(1, 3);
        assert_eq!(answered(hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
        send_study(network.node().dicom, &slices).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        eventually("the reader has it", SOON, async || ris.reports().len() == 1).await;
        let sent = control_id(&ris.reports()[0]);

        let taken = response("R1", &sent, "AA", "ORC|OK|P1^KIS|F1^KLCHEM\r");
        let answer = ask(hl7, &taken).await;
        assert_eq!(answer[1], "MSA|AA|R1", "{answer:?}");
        assert_eq!(ask(hl7, &taken).await, answer, "the same again, the same answer");
        assert!(network.story(&case).await.contains("chemnitz has answered ORM^O01 (AA)"));
        let now = network.node().store.case(case.id).await.expect("the case");
        assert_eq!(now.attention, "");

        let unable = response("R2", &sent, "AA", "ORC|UA|P1^KIS\r");
        assert_eq!(ask(hl7, &unable).await[1], "MSA|AA|R2");
        let told = "chemnitz cannot do what was ordered (UA): speak with them";
        network.case(&patient.study(), told, |case| case.attention.contains(told)).await;
        let refused = response("R3", &sent, "AE", "").replace("ORR^O02", "ACK^O01");
        assert_eq!(ask(hl7, &refused).await[1], "MSA|AA|R3");
        let told = "chemnitz did not take over ORM^O01 (AE): call them";
        network.case(&patient.study(), told, |case| case.attention.contains(told)).await;

        // Of what was sent to nobody, or to somebody else.
        let nothing = ask(hl7, &response("R4", "NOBODY", "AA", "")).await;
        assert!(nothing[1].starts_with("MSA|AE|R4") && nothing[2].contains("204^"), "{nothing:?}");
        let another = response("R5", &sent, "AA", "").replace("KLCHEM", "UKL");
        assert!(ask(hl7, &another).await[1].starts_with("MSA|AE|R5"));
        network.at_rest().await;
    }
}
