//! A German and a Polish scanner (pynetdicom) pull their worklists: each reads its patient's name in its own character set, byte
//! by byte. What is asked by day and hour together is one range over midnight; by hours alone it is those of every night.

use crate::support::{
    center::Center,
    hospital::head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, wall},
    network_side::NetworkSide,
    orders::{answered, orm},
};
use serde_json::{Value, json};

/// Who asks, how the patient is called, and how that is written in the set of the hospital (ISO 8859-1, ISO 8859-2).
const LETTERS: [(&str, &str, &str, &[u8]); 2] = [
    ("RAB_CT1", "Müller^Jürgen", "ISO_IR 100", b"M\xfcller^J\xfcrgen"),
    ("ZGO_CT1", "Świątek^Łucja", "ISO_IR 101", b"\xa6wi\xb1tek^\xa3ucja"),
];
/// When there is something to do.
const STARTS: [&str; 5] = ["20261124003000", "20261124233000", "20261125003000", "20261125120000", "20261125233000"];

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_is_answered_in_its_own_letters_and_by_the_hours_of_its_night() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        let network = two_hospitals(footing).await;
        let hl7 = network.node().hl7;
        for (number, (scanner, name, _, _)) in (1_u64..).zip(LETTERS) {
            let order = ordered(number, name, "20261124100000").replace("DRKRAB", facility(scanner));
            assert_eq!(answered(hl7, &order).await, "OK");
        }
        for (scanner, name, charset, bytes) in LETTERS {
            let found = listed(&side, &network, scanner, "", "").await;
            let [item] = found.as_slice() else { panic!("{footing:?}: {found:?}") };
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((&item["charset"], &item["name"]), (&json!(charset), &json!(hex)), "{footing:?}: {item}");
            assert_eq!(item["PatientName"], name, "{footing:?}");
        }

        for (number, start) in (11_u64..).zip(STARTS) {
            assert_eq!(answered(hl7, &ordered(number, "Doe^J", start)).await, "OK");
        }
        for (dates, times, expected) in [
            ("20261124-20261125", "2300-0100", &STARTS[1..3]),
            ("20261124-20261125", "233000-003000", &STARTS[1..3]),
            ("20261124-20261125", "2330-1200", &STARTS[1..4]),
            ("20261125-", "0100-", &STARTS[3..]),
            ("20261125", "1200", &STARTS[3..4]),
            ("20261124-20261125", "", &STARTS[..]),
        ] {
            assert_eq!(starts(&side, &network, dates, times).await, expected, "{footing:?}: {dates} {times}");
        }
        let nights = [STARTS[0], STARTS[1], STARTS[2], STARTS[4]];
        assert_eq!(starts(&side, &network, "", "2300-0100").await, nights, "{footing:?}: every night");
        network.at_rest().await;
    }
}

async fn two_hospitals(footing: Footing) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T08:00"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        let zgorzelec = rabenstein
            .replace("DRK-Krankenhaus Chemnitz-Rabenstein", "Zgorzelec")
            .replace("\"RABENSTEIN\"", "\"ZGORZELEC\"")
            .replace("RAB_", "ZGO_")
            .replace("DRKRAB", "WSSZGO")
            .replace("ISO_IR 100", "ISO_IR 101");
        files.insert("partners/zgorzelec.toml".into(), zgorzelec);
    })
    .await
}

fn facility(scanner: &str) -> &'static str {
    if scanner.starts_with("ZGO") { "WSSZGO" } else { "DRKRAB" }
}

/// An order of a head CT of this patient, to be made then.
fn ordered(number: u64, name: &str, start: &str) -> String {
    let (patient, _) = head_ct(number, 1);
    orm(&format!("M{number}"), "NW", &format!("P{number}"), &patient, true)
        .replace("8859/1", "UNICODE UTF-8")
        .replace("Doe^J", name)
        .replace(&format!("ORC|NW|P{number}^KIS"), &format!("ORC|NW|P{number}^KIS|||||^^^{start}^^S"))
        .replace("|||||||||^^^^^S", "||||||CT|||^^^^^S")
}

async fn listed(side: &NetworkSide, network: &Network, calling: &str, dates: &str, times: &str) -> Vec<Value> {
    let keys = json!({
        "PatientName": "", "AccessionNumber": "",
        "ScheduledProcedureStepSequence": [{
            "Modality": "CT", "ScheduledProcedureStepStartDate": dates, "ScheduledProcedureStepStartTime": times,
        }],
    });
    let port = network.dicom_port();
    let answer = side.ask(json!({ "do": "worklist", "port": port, "calling": calling, "keys": keys })).await;
    assert_eq!(answer["status"], 0, "{answer}");
    answer["items"].as_array().expect("a list").clone()
}

/// When the steps of patient Doe begin that fit.
async fn starts(side: &NetworkSide, network: &Network, dates: &str, times: &str) -> Vec<String> {
    let found = listed(side, network, "RAB_CT1", dates, times).await;
    let does = found.iter().filter(|item| item["PatientName"] == "Doe^J");
    let start = |item: &Value| {
        let of = |key: &str| item["step"][key].as_str().unwrap_or_default().to_owned();
        of("ScheduledProcedureStepStartDate") + &of("ScheduledProcedureStepStartTime")
    };
    does.map(start).collect()
}
