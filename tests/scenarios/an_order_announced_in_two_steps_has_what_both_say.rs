//! A hospital announces an order as IHE Scheduled Workflow has it: OMG^O19 says what is wanted, OMI^O23 (NW or SC) later under
//! which numbers and in which study. The order is found by these, the worklist shows the step as scheduled, and images join it,
//! whether they come before the second message or after it.

use crate::support::{
    center::Center,
    eventually,
    hospital::{Hospital, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    network_side::NetworkSide,
    orders::ask,
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::CaseState,
};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Chemnitz has an information system that takes orders.
async fn network(footing: Footing, ris: &Hospital) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        let center = files.get_mut("partners/chemnitz.toml").expect("a center");
        center.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"RIS\", facility = \"KLCHEM\" }}\n[orders]\ndeliver = true\n",
            ris.port
        ));
    })
    .await
}

/// A patient's order as it is spoken of in messages.
struct Ordered {
    patient: SampleCase,
    slices: Vec<SampleInstance>,
    placer: String,
}

impl Ordered {
    /// Its images name no order.
    fn numbered(number: u64) -> Self {
        let patient = SampleCase { placer_order: String::new(), ..SampleCase::numbered(number) };
        let slices = sample::head_ct(3, 64, &patient).collect();
        Self { patient, slices, placer: format!("P{number}") }
    }

    fn message(&self, control_id: &str, message_type: &str, rest: &str) -> String {
        format!(
            "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124225900||{message_type}|{control_id}|P|2.5.1||||||8859/1\r\
             PID|1||{}^^^RABENSTEIN||Doe^J||19600101|M\r{rest}",
            self.patient.patient_id
        )
    }

    /// What is wanted; nobody has scheduled it yet.
    fn wanted(&self, control_id: &str) -> String {
        let order =
            format!("ORC|NW|{0}^KIS\rTQ1|1||||||||R\rOBR|1|{0}^KIS||CTKOPF^CT Kopf^L|||||||||Sturz\r", self.placer);
        self.message(control_id, "OMG^O19^OMG_O19", &order)
    }

    /// How it has been scheduled.
    fn scheduled(&self, control_id: &str, control: &str, accession: &str) -> String {
        let (placer, study) = (&self.placer, self.patient.study());
        let order = format!(
            "ORC|{control}|{placer}^KIS|||SC\rTQ1|1||||||20261124233000||S\r\
             OBR|1|{placer}^KIS||CTCTA^CT Angiographie^L\rIPC|{accession}|RP-{placer}|{study}|SPS-{placer}|CT\r"
        );
        self.message(control_id, "OMI^O23^OMI_O23", &order)
    }
}

/// ORC-1 of the answer, which must be an acceptance.
async fn answered(hl7: SocketAddr, message: &str) -> String {
    let answer = ask(hl7, message).await;
    assert!(answer[1].starts_with("MSA|AA|"), "{answer:?}");
    answer[2].split('|').nth(1).expect("ORC-1").to_owned()
}

/// The steps of a patient, as a scanner is shown them.
async fn steps(side: &NetworkSide, network: &Network, ordered: &Ordered) -> Vec<Value> {
    let keys = json!({
        "PatientName": "", "PatientID": ordered.patient.patient_id, "AccessionNumber": "", "StudyInstanceUID": "",
        "RequestedProcedureID": "", "RequestedProcedureDescription": "", "RequestedProcedurePriority": "",
        "AdditionalPatientHistory": "",
        "ScheduledProcedureStepSequence": [{
            "Modality": "", "ScheduledProcedureStepStartDate": "", "ScheduledProcedureStepStartTime": "",
            "ScheduledProcedureStepID": "",
        }],
    });
    let command = json!({ "do": "worklist", "port": network.dicom_port(), "calling": "RAB_CT1", "keys": keys });
    let answer = side.ask(command).await;
    assert_eq!(answer["status"], 0, "{answer}");
    answer["items"].as_array().expect("a list").clone()
}

async fn is_shown_as_scheduled(side: &NetworkSide, network: &Network, ordered: &Ordered) {
    let steps = steps(side, network, ordered).await;
    assert_eq!(steps.len(), 1, "{steps:?}");
    let (step, placer) = (&steps[0], &ordered.placer);
    assert_eq!(step["AccessionNumber"], ordered.patient.accession, "{step}");
    assert_eq!(step["StudyInstanceUID"], ordered.patient.study().to_string(), "{step}");
    assert_eq!(step["RequestedProcedureID"], format!("RP-{placer}"), "{step}");
    assert_eq!(step["RequestedProcedurePriority"], "STAT", "{step}");
    assert_eq!(step["step"]["ScheduledProcedureStepID"], format!("SPS-{placer}"), "{step}");
    assert_eq!(step["step"]["Modality"], "CT", "{step}");
    assert_eq!(step["step"]["ScheduledProcedureStepStartTime"], "233000", "{step}");
}

/// ORC-1 of the messages that name this order.
fn heard(ris: &Hospital, ordered: &Ordered) -> Vec<String> {
    let named = format!("|{}^KIS", ordered.placer);
    let orc = |message: &[u8]| {
        let text = String::from_utf8_lossy(message).into_owned();
        let orc = text.split('\r').find(|line| line.starts_with("ORC") && line.contains(&named))?;
        Some(format!("{} {}", text.split('|').nth(8)?.split('^').next()?, orc.split('|').nth(1)?))
    };
    ris.reports().iter().filter_map(|message| orc(message)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_announced_in_two_steps_has_what_both_say() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris).await;
        let hl7 = network.node().hl7;
        for (number, control) in [(1, "NW"), (2, "SC")] {
            let ordered = Ordered::numbered(number);
            let accession = ordered.patient.accession.clone();
            assert_eq!(answered(hl7, &ordered.wanted(&format!("A{number}"))).await, "OK");
            let before = steps(&side, &network, &ordered).await;
            assert_eq!(before.len(), 1, "{before:?}");
            let scheduled = ordered.scheduled(&format!("B{number}"), control, &accession);
            assert_eq!(answered(hl7, &scheduled).await, "OK");
            is_shown_as_scheduled(&side, &network, &ordered).await;
            send_study(network.node().dicom, &ordered.slices).await;
            let case = network.case_in(&ordered.patient.study(), CaseState::Delivered).await;
            let joined = "joined to its order (Study Instance UID)";
            eventually(joined, SOON, async || network.story(&case).await.contains(joined)).await;
            let expected = ["OMG NW".to_owned(), format!("OMI {control}")];
            eventually("the reader has both", SOON, async || heard(&ris, &ordered) == expected).await;
            let now = network.node().store.case(case.id).await.expect("the case");
            assert_eq!(now.attention, "", "nothing contradicts");
        }
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_before_the_second_message_join_with_it() {
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris).await;
        let hl7 = network.node().hl7;
        let ordered = Ordered::numbered(3);
        assert_eq!(answered(hl7, &ordered.wanted("A3")).await, "OK");
        send_study(network.node().dicom, &ordered.slices).await;
        let case = network.case_in(&ordered.patient.study(), CaseState::Delivered).await;
        assert!(!network.story(&case).await.contains("joined to its order"), "nothing says so yet");
        assert_eq!(answered(hl7, &ordered.scheduled("B3", "NW", &ordered.patient.accession)).await, "OK");
        let joined = "joined to its order (Study Instance UID)";
        eventually(joined, SOON, async || network.story(&case).await.contains(joined)).await;
        eventually("the reader has both", SOON, async || heard(&ris, &ordered) == ["OMG NW", "OMI NW"]).await;
        // The same again says nothing new; of a change the reader hears, and nobody has to look at it.
        assert_eq!(answered(hl7, &ordered.scheduled("C3", "NW", &ordered.patient.accession)).await, "OK");
        assert!(!network.story(&case).await.contains("its order was changed"), "the same again");
        assert_eq!(answered(hl7, &ordered.scheduled("D3", "SC", "ACC-NEW")).await, "OK");
        assert!(network.story(&case).await.contains("its order was changed"));
        network.at_rest().await;
    }
}

/// What a message leaves empty stays, and what it empties goes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_empty_stays_and_what_is_emptied_goes() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris).await;
        let hl7 = network.node().hl7;
        for (number, control, answer) in [(4, "SC", "OK"), (5, "NW", "OK"), (6, "XO", "XR")] {
            let ordered = Ordered::numbered(number);
            let placer = &ordered.placer;
            assert_eq!(answered(hl7, &ordered.wanted(&format!("A{number}"))).await, "OK");
            let scheduled = ordered.scheduled(&format!("B{number}"), "NW", &ordered.patient.accession);
            assert_eq!(answered(hl7, &scheduled).await, "OK");
            let short = format!("ORC|{control}|{placer}^KIS|||SC\rOBR|1|{placer}^KIS||CTCTA^CT Angiographie^L\r");
            let short = ordered.message(&format!("C{number}"), "OMG^O19^OMG_O19", &short);
            assert_eq!(answered(hl7, &short).await, answer);
            is_shown_as_scheduled(&side, &network, &ordered).await;
            let shown = &steps(&side, &network, &ordered).await[0];
            assert_eq!(shown["AdditionalPatientHistory"], "Sturz", "{shown}");
            let emptied = format!(
                "ORC|{control}|{placer}^KIS|||SC\rOBR|1|{placer}^KIS||CTCTA^CT Angiographie^L|||||||||\"\"\r\
                 IPC|\"\"|RP-{placer}|\"\"|SPS-{placer}|CT\r"
            );
            let emptied = ordered.message(&format!("D{number}"), "OMI^O23^OMI_O23", &emptied);
            assert_eq!(answered(hl7, &emptied).await, answer);
            let shown = &steps(&side, &network, &ordered).await[0];
            assert_eq!(
                (&shown["AccessionNumber"], &shown["AdditionalPatientHistory"]),
                (&json!(""), &json!("")),
                "{shown}"
            );
            let study = shown["StudyInstanceUID"].as_str().expect("a UID");
            assert!(study.starts_with("2.25."), "one of ours, for a scanner must have one: {study}");
        }
        network.at_rest().await;
    }
}
