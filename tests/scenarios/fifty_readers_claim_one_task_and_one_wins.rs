//! Fifty workstations of one center claim the same reading task at the same moment: one gets it, forty-nine are told that it
//! is IN PROGRESS, by HTTP (409) as by DIMSE (C302), on both databases. The story says who has it, once.

use crate::support::{
    carrier::partner,
    eventually,
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    readers::{Reader, said},
};
use dicom_core::{Tag, VR};
use neisse::{
    dicom::{
        service::{Asker, DataSet, Services, Target},
        ups,
    },
    model::{Outgoing, Uid},
};
use reqwest::StatusCode;
use std::sync::Arc;

const READERS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_readers_claim_one_task_and_one_wins() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let (first, _) = send_head_ct(&network, 1, 2).await;
        let (second, _) = send_head_ct(&network, 2, 2).await;
        let reader = Reader::of(&network, "chemnitz", "WS1").await;
        let mut found = Vec::new();
        eventually("two tasks are on the worklist", SOON, async || {
            found = reader.tasks("ProcedureStepState=SCHEDULED").await;
            found.len() == 2
        })
        .await;
        let of = |patient: &neisse::model::Uid| {
            let task = found.iter().find(|task| said(task, "0020000D") == patient.as_str()).expect("a task");
            said(task, "00080018")
        };
        let (by_http, by_dimse) = (of(&first.study()), of(&second.study()));

        let claims = (0..READERS).map(|nth| {
            let (reader, uid) = (reader.clone(), by_http.clone());
            tokio::spawn(async move { reader.move_to(&uid, "IN PROGRESS", &format!("1.2.3.{}", nth + 1)).await })
        });
        let mut won = 0;
        for claim in claims.collect::<Vec<_>>() {
            let told = claim.await.expect("no panic");
            match told.status {
                StatusCode::OK => won += 1,
                StatusCode::CONFLICT => assert!(told.warning.contains("inconsistent with the state"), "{told:?}"),
                other => panic!("{other}: {told:?}"),
            }
        }
        assert_eq!(won, 1, "{footing:?}: one wins");

        let desk = Arc::new(network.node().desk.clone());
        let claims = (0..READERS).map(|nth| {
            let (desk, uid) = (Arc::clone(&desk), by_dimse.clone());
            tokio::spawn(async move { claim(&*desk, &uid, nth).await })
        });
        let mut statuses = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            statuses.push(claim.await.expect("no panic"));
        }
        statuses.sort_unstable();
        let expected: Vec<u16> = std::iter::once(0x0000).chain(vec![0xC302; READERS - 1]).collect();
        assert_eq!(statuses, expected, "{footing:?}");

        for study in [first.study(), second.study()] {
            let case = network.case(&study, "a case", |_| true).await;
            let story = network.story(&case).await;
            assert_eq!(story.matches("claimed by").count(), 1, "{story}");
        }
        network.at_rest().await;
    }
}

/// As an association of that workstation would.
async fn claim(desk: &impl Services, task: &str, nth: usize) -> u16 {
    let uid = |text: &str| Uid::new(text).expect("a UID");
    let asker = Asker { partner: partner("chemnitz"), ae_title: format!("WS{nth}"), letters: Outgoing::default() };
    let target = Target { class: uid(ups::PUSH), instance: Some(uid(task)) };
    let mut information = DataSet::new_empty();
    ups::put(&mut information, Tag(0x0008, 0x1195), VR::UI, &format!("1.2.4.{}", nth + 1));
    ups::put(&mut information, Tag(0x0074, 0x1000), VR::CS, "IN PROGRESS");
    let done = desk.action(&asker, target, 1, information).await;
    done.map_or_else(|refusal| refusal.status, |done| done.status)
}
