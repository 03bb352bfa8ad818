//! What a hospital orders, changes and takes back reaches the information system of the reader that has the case: each
//! message once, in the order it was given, though that system is away meanwhile; and a reader that loses the case is told.

use crate::support::{
    center::Center,
    eventually,
    hospital::{Hospital, Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered, orm},
};
use neisse::{cli::sample::SampleInstance, model::CaseState, store::CaseRow};

/// Chemnitz and Leipzig have information systems that take orders.
async fn network(footing: Footing, chemnitz: &Hospital, leipzig: &Hospital) -> Network {
    let centers = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), centers.0, centers.1, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        for (name, port) in [("chemnitz", chemnitz.port), ("leipzig-ukl", leipzig.port)] {
            let center = files.get_mut(&format!("partners/{name}.toml")).expect("a center");
            center.push_str(&format!(
                "deliver = {{ host = \"127.0.0.1\", port = {port}, application = \"RIS\", facility = \"{name}\" }}\n\
                 [orders]\ndeliver = true\n"
            ));
        }
    })
    .await
}

/// MSH-6, ORC-1 and ORC-2 of what an information system got.
fn got(system: &Hospital) -> Vec<String> {
    let short = |message: &[u8]| {
        let text = String::from_utf8(message.to_vec()).expect("UTF-8, as the receiver wants it");
        assert!(text.contains("|UNICODE UTF-8\r") && text.contains("^^^RABENSTEIN"), "{text}");
        let orc = text.split('\r').find(|segment| segment.starts_with("ORC")).expect("ORC");
        let fields: Vec<&str> = orc.split('|').collect();
        format!("{} {}", fields[1], fields[2])
    };
    system.reports().iter().map(|message| short(message)).collect()
}

async fn send(network: &Network, slices: &[SampleInstance]) {
    let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
    for slice in slices {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    scanner.release().await;
}

async fn has_got(system: &Hospital, expected: &[&str]) {
    eventually(&expected.join(", "), SOON, async || got(system) == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_reach_the_reader_in_their_sequence() {
    for footing in BOTH {
        let (mut ris, other) = (Hospital::start().await, Hospital::start().await);
        let network = network(footing, &ris, &other).await;
        let hl7 = network.node().hl7;

        // Ordered and changed before the images come: the reader hears of it when the case is its.
        let (patient, slices) = head_ct(1, 3);
        assert_eq!(answered(hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
        assert_eq!(answered(hl7, &orm("M2", "XO", "P1", &patient, true)).await, "XR");
        assert_eq!(
            answered(hl7, &orm("M3", "RL", "P1", &patient, true)).await,
            "UR",
            "refused: the reader never hears of it"
        );
        send(&network, &slices).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        has_got(&ris, &["NW P1^KIS", "XO P1^KIS"]).await;

        // Images first.
        let (second, slices) = head_ct(2, 3);
        send(&network, &slices).await;
        network.case_in(&second.study(), CaseState::Delivered).await;
        assert_eq!(answered(hl7, &orm("M4", "NW", "P2", &second, false)).await, "OK");
        has_got(&ris, &["NW P1^KIS", "XO P1^KIS", "NW P2^KIS"]).await;

        // Away: what is changed and taken back meanwhile arrives in its sequence, and nobody needs to phone.
        ris.go_away().await;
        for (control_id, control, answer) in
            [("M5", "XO", "XR"), ("M6", "HD", "HR"), ("M7", "RL", "OR"), ("M8", "CA", "CR")]
        {
            assert_eq!(answered(hl7, &orm(control_id, control, "P1", &patient, true)).await, answer);
        }
        ris.come_back().await;
        let all = ["NW P1^KIS", "XO P1^KIS", "NW P2^KIS", "XO P1^KIS", "HD P1^KIS", "RL P1^KIS", "CA P1^KIS"];
        has_got(&ris, &all).await;
        let now = network.node().store.case(case.id).await.expect("the case");
        assert_eq!(now.attention, "", "the reader was told by message");

        // An order that was taken back before anybody saw it.
        let (third, _) = head_ct(3, 3);
        assert_eq!(answered(hl7, &orm("M9", "NW", "P3", &third, true)).await, "OK");
        assert_eq!(answered(hl7, &orm("M10", "CA", "P3", &third, true)).await, "CR");
        network.at_rest().await;
        has_got(&ris, &all).await;
        assert!(got(&other).is_empty(), "who does not read it hears nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_loses_the_case_is_told_once() {
    for footing in BOTH {
        let (ris, other) = (Hospital::start().await, Hospital::start().await);
        let network = network(footing, &ris, &other).await;
        let (patient, slices) = head_ct(1, 3);
        assert_eq!(answered(network.node().hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
        send(&network, &slices).await;
        let case: CaseRow = network.case_in(&patient.study(), CaseState::Delivered).await;
        has_got(&ris, &["NW P1^KIS"]).await;
        let id = case.id.to_string();
        network.cases_screen(&["hold", &id, "--why", "the wrong house"]).await;
        network.cases_screen(&["release", &id, "--to", "leipzig-ukl"]).await;
        has_got(&other, &["NW P1^KIS"]).await;
        has_got(&ris, &["NW P1^KIS", "CA P1^KIS"]).await;
        // What comes now is the other's.
        assert_eq!(answered(network.node().hl7, &orm("M2", "XO", "P1", &patient, true)).await, "XR");
        has_got(&other, &["NW P1^KIS", "XO P1^KIS"]).await;
        network.at_rest().await;
        has_got(&ris, &["NW P1^KIS", "CA P1^KIS"]).await;
    }
}
