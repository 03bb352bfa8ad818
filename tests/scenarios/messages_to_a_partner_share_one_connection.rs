//! An interface engine that takes one connection gets everything over one: messages seconds apart, of both lanes, stat first. A
//! connection that it has closed meanwhile is not used, and no message is lost or comes twice by it.

use crate::support::{
    carrier::partner,
    center::Center,
    engine::Engine,
    eventually,
    ledger::case,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
};
use neisse::{
    model::Lane,
    store::{CaseRow, Durability, NewMessage},
};
use std::time::Duration;

/// Longer than an association is kept.
const APART: Duration = Duration::from_secs(4);

pub async fn network(footing: Footing, engine: &Engine) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let chemnitz = files.get_mut("partners/chemnitz.toml").expect("the center");
        chemnitz.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"RIS\", facility = \"KLCHEM\" }}\n",
            engine.port
        ));
    })
    .await
}

/// A case that Chemnitz has.
pub async fn case_of(network: &Network, study: &str) -> CaseRow {
    let case = case("rabenstein", study);
    let mut tx = network.node().store.begin(Durability::Synced).await.expect("a transaction");
    assert!(tx.add_case(&case).await.expect("the case"));
    tx.commit().await.expect("a commit");
    case
}

/// Each with this MSH-10, all at once.
pub async fn owe(network: &Network, of: &[(&CaseRow, &str, Lane)]) {
    let mut tx = network.node().store.begin(Durability::Synced).await.expect("a transaction");
    for (case, control_id, lane) in of {
        let content = format!("MSH|^~\\&|N|N|RIS|KLCHEM|20261124230000||ORM^O01|{control_id}|P|2.5\rORC|NW|1\r");
        let now = network.clock.now();
        let new = NewMessage {
            case: case.id,
            partner: partner("chemnitz"),
            lane: *lane,
            what: "ORM^O01".into(),
            control_id: (*control_id).into(),
            content: content.into_bytes(),
            deadline: None,
            give_up: now + Duration::from_secs(86_400),
            now,
        };
        tx.owe_message(&new).await.expect("owed");
    }
    tx.commit().await.expect("a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_to_a_partner_share_one_connection() {
    for footing in BOTH {
        let engine = Engine::start().await;
        let network = network(footing, &engine).await;
        let case = case_of(&network, "1.2.3").await;
        for (count, (control_id, lane)) in
            [("M1", Lane::Routine), ("M2", Lane::Stat), ("M3", Lane::Bulk)].into_iter().enumerate()
        {
            owe(&network, &[(&case, control_id, lane)]).await;
            eventually("the message", SOON, async || engine.came().len() == count + 1).await;
            tokio::time::sleep(APART).await;
        }
        assert_eq!(engine.connections(), (1, 0));

        // Closed while nobody used it.
        engine.hang_up();
        owe(&network, &[(&case, "M4", Lane::Routine)]).await;
        eventually("the fourth", SOON, async || engine.came().len() == 4).await;
        assert_eq!(engine.connections(), (2, 0));

        // Many of both lanes: the order of one case is kept, and urgent ones do not wait for the others.
        let other = case_of(&network, "1.2.4").await;
        let names: Vec<String> = (0..20).map(|number| format!("R{number:02}")).collect();
        let mut many: Vec<(&CaseRow, &str, Lane)> = Vec::new();
        for name in &names {
            many.push((&case, name, Lane::Routine));
        }
        many.extend(["S1", "S2"].map(|name| (&other, name, Lane::Stat)));
        owe(&network, &many).await;
        eventually("all of them", SOON, async || engine.came().len() == 26).await;
        let came = engine.came().split_off(4);
        let of = |letter: char| -> Vec<&String> { came.iter().filter(|name| name.starts_with(letter)).collect() };
        assert_eq!(of('R'), names.iter().collect::<Vec<_>>(), "in the order of their case");
        let last = came.iter().position(|name| name == "S2").expect("it came");
        assert!(last < came.len() / 2, "{came:?}");
        assert_eq!(engine.connections(), (2, 0));
        network.at_rest().await;
    }
}
