//! A scanner (pynetdicom) asks for a list of twenty thousand steps and cancels it after the first (PS3.7 9.3.2.3): the answers end
//! with FE00 long before the last, and whoever asks next is answered.

use crate::support::{
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, wall},
    network_side::NetworkSide,
};
use serde_json::{Value, json};

const STEPS: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_canceled_in_the_middle_of_its_answers() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        Raw::of(&network, footing).await.schedule(STEPS, "'rabenstein'").await;
        let asked = async |keys: Value, cancel_after: Value| {
            let port = network.dicom_port();
            let answer = side.ask(json!({ "do": "find", "port": port, "calling": "RAB_CT1", "model": "Worklist", "keys": keys, "cancel_after": cancel_after })).await;
            (answer["status"].as_u64(), answer["matches"].as_array().expect("a list").len())
        };
        let (status, answered) = asked(json!({ "PatientID": "", "AccessionNumber": "" }), json!(1)).await;
        assert_eq!(status, Some(0xFE00), "{footing:?}: after {answered}");
        assert!((1..STEPS / 2).contains(&answered), "{footing:?}: {answered}");
        let next = asked(json!({ "PatientID": "P17", "AccessionNumber": "" }), Value::Null).await;
        assert_eq!(next, (Some(0), 1), "{footing:?}");
        network.at_rest().await;
    }
}
