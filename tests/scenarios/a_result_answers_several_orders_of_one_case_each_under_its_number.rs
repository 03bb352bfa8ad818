//! One result answers two orders of a case, each part under its own order's number, also where the laboratory knows them by
//! numbers of its own domain; with an order of another case beside it, it waits for a person.

use crate::support::{
    center::Center,
    eventually,
    hospital::Hospital,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered_by, oml, order, specimen},
};

async fn network(footing: Footing, laboratory: &Hospital, identity: &str) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T08:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein
            .replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n")
            .replace("forms = [\"oru\"]", "forms = [\"oru\", \"oul\", \"mdm\"]");
        files.get_mut("partners/chemnitz.toml").expect("the institute").push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"LIS\", facility = \"PATHO\" }}\n\
             [orders]\ndeliver = true\n{identity}",
            laboratory.port
        ));
    })
    .await
}

/// What the laboratory calls the patient, and the orders in the sequence it got them.
async fn known_to(laboratory: &Hospital, orders: usize) -> (String, Vec<String>) {
    let read = || {
        let (mut patient, mut numbers) = (String::new(), Vec::new());
        for message in laboratory.reports() {
            let text = String::from_utf8(message.to_vec()).expect("UTF-8");
            for segment in text.split('\r') {
                let fields: Vec<&str> = segment.split('|').collect();
                match fields[0] {
                    "PID" => fields[3].clone_into(&mut patient),
                    "ORC" => numbers.push(fields[2].to_owned()),
                    _ => {}
                }
            }
        }
        (patient, numbers)
    };
    eventually("the laboratory has the orders", SOON, async || read().1.len() == orders).await;
    read()
}

/// A result with a part for each of these orders, under numbers of the laboratory's own beside them.
fn result(control_id: &str, patient: &str, orders: &[&str]) -> String {
    let part = |(index, order): (usize, &&str)| {
        format!(
            "OBR|{n}|{order}|E26-{n}^LIS|T{n}^Test {n}^L|||||||||||||||||||||F\rOBX|1|FT|T{n}^Test {n}^L||words {n}||||||F\r",
            n = index + 1
        )
    };
    let parts: String = orders.iter().enumerate().map(part).collect();
    format!(
        "MSH|^~\\&|LIS|KLCHEM|NEISSE|NEISSE|20261126||ORU^R01^ORU_R01|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{patient}||Doe^Jane\r{parts}"
    )
}

/// ORC-2 and OBR-4 of each OBR, and the text of its results.
fn parts(message: &str) -> Vec<(String, String)> {
    let field = |segment: &str, n: usize| segment.split('|').nth(n).unwrap_or_default().to_owned();
    let obr = message.split('\r').filter(|segment| segment.starts_with("OBR"));
    obr.map(|segment| (field(segment, 2), field(segment, 4))).collect()
}

fn came_home(network: &Network, kind: &str) -> String {
    let messages = network.hospital.reports();
    let text = messages.iter().map(|message| String::from_utf8_lossy(message).into_owned());
    text.into_iter().find(|text| text.contains(kind)).expect("it came home")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_answers_several_orders_of_one_case_each_under_its_number() {
    for footing in BOTH {
        for identity in ["", "[identity]\nidentifiers = \"assigned\"\n"] {
            let laboratory = Hospital::start().await;
            let network = network(footing, &laboratory, identity).await;
            let hl7 = network.node().hl7;
            let (first, second) = (order("NW", "P1", "G1", "HE^H and E^L"), order("NW", "P2", "G1", "PAS^PAS^L"));
            let one_case = oml("O21", "M1", "SYN-1", &[&first, &specimen("S1", ""), &second, &specimen("S1", "")]);
            answered_by(hl7, &one_case, "OK").await;
            known_to(&laboratory, 2).await;
            let other = oml("O21", "M2", "SYN-1", &[&order("NW", "P3", "", "HE^H and E^L"), &specimen("S9", "")]);
            answered_by(hl7, &other, "OK").await;
            let (patient, orders) = known_to(&laboratory, 3).await;
            assert_eq!(identity.is_empty(), orders == ["P1^KIS", "P2^KIS", "P3^KIS"], "{orders:?}");
            let [p1, p2, p3] = [0, 1, 2].map(|n| orders[n].as_str());

            let message = result("R1", &patient, &[p1, p2]);
            assert_eq!(network.chemnitz.send_hl7(hl7, message.as_bytes(), "R1").await.code.as_str(), "AA");
            eventually("every form is at home", SOON, async || network.hospital.reports().len() == 3).await;
            let expected = [("P1^KIS", "T1^Test 1^L"), ("P2^KIS", "T2^Test 2^L")]
                .map(|(order, title)| (order.to_owned(), title.to_owned()));
            for kind in ["ORU^R01", "OUL^R22"] {
                let home = came_home(&network, kind);
                assert_eq!(parts(&home), expected, "{home}");
                assert!(!home.contains("E26-"), "what the laboratory counts stays there: {home}");
                let (one, two) = home.split_once("OBR|2|").expect("a second OBR");
                assert!(one.contains("words 1") && two.contains("words 2"), "{home}");
            }
            let document = came_home(&network, "MDM^T02");
            let numbers: Vec<String> = parts(&document).into_iter().map(|(number, _)| number).collect();
            assert_eq!(numbers, ["P1^KIS", "P2^KIS"], "{document}");
            assert!(document.contains("P1") && document.contains("words 2"), "{document}");
            assert!(network.cases().await.iter().all(|case| case.attention.is_empty()), "nobody needs to phone");

            // An order of the other case beside it: somebody looks.
            let message = result("R2", &patient, &[p1, p3]);
            assert_eq!(network.chemnitz.send_hl7(hl7, message.as_bytes(), "R2").await.code.as_str(), "AA");
            let held = network.node().store.held_reports().await.expect("the store");
            let reasons: Vec<&str> = held.iter().map(|report| report.hold_reason.as_str()).collect();
            assert_eq!(reasons, ["its parts answer orders of different cases"]);
            assert_eq!(network.hospital.reports().len(), 3);
            network.at_rest().await;
        }
    }
}
