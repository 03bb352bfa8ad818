//! A hospital's PACS (pynetdicom) asks for storage commitments: it is told on another association which instances are kept,
//! which are not known and whose class is another; also when it was away, and the node has been started anew meanwhile. What
//! another hospital sent is for it as if it did not exist.

use crate::support::{
    center::Center,
    eventually, free_port,
    hospital::{Scanner, head_ct},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    network_side::NetworkSide,
};
use neisse::{cli::sample::SampleInstance, model::CaseState};
use serde_json::{Value, json};
use std::time::Duration;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_promised_on_an_association_of_our_own() {
    for footing in BOTH {
        it_is_promised(footing).await;
    }
}

struct Scene {
    network: Network,
    side: NetworkSide,
    slices: Vec<SampleInstance>,
}

async fn it_is_promised(footing: Footing) {
    let (side, later) = (NetworkSide::start().await, free_port());
    let at = [
        ("RAB_PACS", side.ask(json!({ "do": "commitments", "ae_title": "RAB_PACS" })).await),
        ("RAB_CT1", json!(later)),
    ];
    let center = side.ask(json!({ "do": "commitments", "ae_title": "CHEM_WS" })).await;
    let places =
        at.map(|(name, port)| format!("{{ ae_title = \"{name}\", host = \"127.0.0.1\", port = {port} }}")).join(", ");
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let network =
        Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
            let change =
                |files: &mut std::collections::BTreeMap<String, String>, name: &str, from: &str, to: String| {
                    let file = files.get_mut(&format!("partners/{name}.toml")).expect("a file");
                    *file = file.replacen(from, &to, 1);
                };
            let more = format!("charset = \"ISO_IR 100\"\ndestinations = [{places}]\n");
            change(files, "rabenstein", "charset = \"ISO_IR 100\"\n", more);
            let place = format!("{{ ae_title = \"CHEM_WS\", host = \"127.0.0.1\", port = {center} }}");
            let more = format!(
                "senders = [{{ ae_title = \"CHEM_WS\" }}, {{ ae_title = \"CHEMNITZ\" }}]\ndestinations = [{place}]\n"
            );
            change(files, "chemnitz", "senders = [{ ae_title = \"CHEMNITZ\" }]\n", more);
        })
        .await;
    let (patient, slices) = head_ct(7, 3);
    let mut scanner = Scanner::connect_as("RAB_CT1", network.node().dicom, &slices[0]).await;
    for slice in &slices {
        assert_eq!(scanner.send(slice).await, 0);
    }
    scanner.release().await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let mut scene = Scene { network, side, slices };
    scene.all_are_kept().await;
    scene.some_are_not().await;
    scene.another_has_sent_nothing().await;
    scene.nobody_takes_it(footing).await;
    scene.it_was_away(later).await;
    assert_eq!(scene.commit("RAB_PACS", "1.2.9.9", &[]).await, 0x0115, "nothing is asked for");
    scene.network.at_rest().await;
}

impl Scene {
    async fn commit(&self, calling: &str, transaction: &str, instances: &[(&str, &str)]) -> u16 {
        let port = self.network.dicom_port();
        let asked = json!({ "do": "commit", "port": port, "calling": calling, "transaction": transaction, "instances": instances });
        u16::try_from(self.side.ask(asked).await.as_u64().expect("a status")).expect("16 bits")
    }

    fn sent(&self) -> Vec<(&'static str, &str)> {
        self.slices.iter().map(|slice| (CT, slice.sop_instance.as_str())).collect()
    }

    /// What it was told about this transaction.
    async fn told(&self, calling: &str, transaction: &str) -> Value {
        let mut told = Value::Null;
        eventually("it is told", SOON, async || {
            let all = self.side.ask(json!({ "do": "committed", "ae_title": calling })).await;
            let found = all.as_array().expect("a list").iter().find(|one| one["transaction"] == transaction).cloned();
            told = found.unwrap_or_default();
            !told.is_null()
        })
        .await;
        told
    }

    async fn all_are_kept(&self) {
        let sent = self.sent();
        assert_eq!(self.commit("RAB_PACS", "1.2.9.1", &sent).await, 0);
        let told = self.told("RAB_PACS", "1.2.9.1").await;
        let uids: Vec<&str> = sent.iter().map(|(_, uid)| *uid).collect();
        assert_eq!((&told["type"], &told["referenced"], &told["failed"]), (&json!(1), &json!(uids), &json!([])));
    }

    async fn some_are_not(&self) {
        let sent = self.sent();
        let asked = [sent[0], (MR, sent[1].1), (CT, "1.2.3.4.5")];
        assert_eq!(self.commit("RAB_PACS", "1.2.9.2", &asked).await, 0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let told = self.side.ask(json!({ "do": "committed", "ae_title": "RAB_PACS" })).await;
        assert_eq!(told.as_array().map(Vec::len), Some(1), "what is not known may still come: {told}");
        self.network.clock.advance(Duration::from_secs(61));
        let told = self.told("RAB_PACS", "1.2.9.2").await;
        assert_eq!(told["type"], 2);
        assert_eq!(told["referenced"], json!([sent[0].1]));
        assert_eq!(told["failed"], json!([[sent[1].1, 0x0119], ["1.2.3.4.5", 0x0112]]));
    }

    async fn another_has_sent_nothing(&self) {
        assert_eq!(self.commit("CHEM_WS", "1.2.9.3", &self.sent()[..1]).await, 0);
        self.network.clock.advance(Duration::from_secs(61));
        let told = self.told("CHEM_WS", "1.2.9.3").await;
        assert_eq!(told["failed"], json!([[self.sent()[0].1, 0x0112]]), "read, but not sent by it");
    }

    /// Of an instance that nobody knows, so that no case tells of it; and the time is up before anything can be told.
    async fn nobody_takes_it(&self, footing: Footing) {
        let raw = Raw::of(&self.network, footing).await;
        assert_eq!(self.commit("RAB_CT1", "1.2.9.5", &[(CT, "1.2.3.4.5")]).await, 0);
        self.network.clock.advance(Duration::from_secs(2 * 24 * 3600));
        let ended =
            "SELECT state || ' ' || attempts || ' ' || instances FROM commitments WHERE transaction_uid = '1.2.9.5'";
        let mut state = String::new();
        eventually("it is given up", 2 * SOON, async || {
            self.network.clock.advance(Duration::from_secs(700));
            tokio::time::sleep(Duration::from_millis(500)).await;
            state = raw.ask(ended).await;
            !state.starts_with("asked")
        })
        .await;
        assert_eq!(state, "given_up 8 []");
        let open = "SELECT COALESCE(MAX(reason), '') FROM notices WHERE kind = 'commitment' AND resolved_us IS NULL";
        eventually("a person is told", SOON, async || raw.ask(open).await.contains("took no answer")).await;
        self.network.clock.advance(Duration::from_secs(8 * 24 * 3600));
        eventually("and no more after a week", SOON, async || raw.ask(open).await.is_empty()).await;
    }

    async fn it_was_away(&mut self, port: u16) {
        assert_eq!(self.commit("RAB_CT1", "1.2.9.4", &self.sent()).await, 0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.network.restart().await;
        self.side.ask(json!({ "do": "commitments", "ae_title": "RAB_CT1", "port": port })).await;
        self.network.clock.advance(Duration::from_secs(60));
        assert_eq!(self.told("RAB_CT1", "1.2.9.4").await["type"], 1);
    }
}
