//! A person holds a case while it is being sent: nothing more of it leaves, not even what was under way and failed. Then
//! it goes to another reader whole, and held and released once more it does not get stuck.

use crate::support::{
    blocking,
    center::Manners,
    eventually,
    faults::send_head_ct,
    hospital::{head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON},
};
use neisse::{
    model::{CaseState, DeliveryState, Moment},
    store::CaseRow,
};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_case_held_in_the_middle_goes_to_another_reader_whole() {
    let network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, Moment::from_utc(chrono::Utc::now())).await;
    for (name, text) in &network.files {
        let file = network.folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    }
    // Chemnitz stops answering at the third slice. It keeps what is in its hands then: one slice an association.
    let (_, slices) = head_ct(1, 12);
    let unanswered = slices[2..].iter().map(|slice| slice.sop_instance.clone()).collect();
    network.chemnitz.behave(Manners { hold: unanswered, ..Manners::default() });
    let (patient, _) = send_head_ct(&network, 1, 12).await;
    eventually("two slices are in Chemnitz", SOON, async || network.chemnitz.arrivals().len() == 2).await;
    let case = network.case(&patient.study(), "routed and whole", |case| case.whole.is_some()).await;
    say(&network, &case, &["hold", "--why", "wrong side"]).await;
    eventually("nothing of it is owed", SOON, async || {
        let ledger = network.ledger(&case).await;
        ledger.iter().all(|delivery| [DeliveryState::Delivered, DeliveryState::Withdrawn].contains(&delivery.state))
    })
    .await;
    network.chemnitz.behave(Manners::default());
    eventually("Chemnitz is back", SOON, async || network.pauses().await.is_empty()).await;
    // The next case of Chemnitz arrives; of the held one nothing more does.
    let (next, next_slices) = head_ct(2, 2);
    send_study(network.node().dicom, &next_slices).await;
    network.case_in(&next.study(), CaseState::Delivered).await;
    let archive = network.chemnitz.archive();
    let arrived = slices.iter().filter(|slice| archive.contains_key(&slice.sop_instance)).count();
    assert!(arrived <= 4, "{arrived} slices: {}", network.story(&case).await);
    assert_eq!(network.case_in(&patient.study(), CaseState::Held).await.id, case.id);

    say(&network, &case, &["release", "--to", "leipzig-ukl"]).await;
    let delivered = network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(delivered.attention, "", "{}", network.story(&case).await);
    assert_eq!(network.leipzig.archive().len(), slices.len(), "all of it");

    say(&network, &case, &["hold", "--why", "asked to wait"]).await;
    network.case_in(&patient.study(), CaseState::Held).await;
    say(&network, &case, &["release", "--to", "leipzig-ukl"]).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(network.leipzig.arrivals().len(), slices.len(), "nothing is sent twice");
    network.at_rest().await;
}

/// `neisse cases VERB CASE …` beside the running node.
async fn say(network: &Network, case: &CaseRow, words: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neisse"));
    command.args(["cases", "--config"]).arg(network.folder.path()).arg(words[0]).arg(case.id.to_string());
    command.args(&words[1..]);
    let output = blocking(move || command.output().expect("neisse")).await;
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
