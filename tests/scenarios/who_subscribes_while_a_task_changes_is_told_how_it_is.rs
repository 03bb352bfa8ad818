//! Who subscribes to a task, or to all with a lock, in the moment of a change is told the state that it has afterwards: the first
//! event is not the older one, nor does a change fall between what is read and the subscription. In both databases.

use crate::support::{
    carrier::partner,
    ledger::{NOW, both},
};
use dicom_core::{Tag, VR};
use neisse::{
    config::Live,
    dicom::{
        service::{Asker, DataSet, Target},
        ups::{self, GLOBAL},
    },
    model::{Bell, Clock, Outgoing, TaskState, Uid},
    store::NewClaim,
    worklist::tasks::Tasks,
};
use std::{path::Path, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_while_a_task_changes_is_told_how_it_is() {
    let config = neisse::config::load(Path::new("config")).expect("the example");
    let (_replacer, config) = Live::new(config);
    for ledger in both().await {
        for (number, lock) in [(1, None), (2, Some(true))] {
            let (case, task) = ledger.offered(&format!("1.2.{number}"), true).await;
            let tasks = Tasks {
                store: ledger.store.clone(),
                config: config.clone(),
                clock: Clock::starting_at(NOW),
                bell: Bell::default(),
            };
            // A claim that is not committed yet.
            let mut claiming = ledger.begin().await;
            claiming.case(case.id).await.expect("the case");
            let claim = NewClaim { task: &task, transaction: "1.2.3", by: "WS1", lease: None, now: NOW };
            assert!(claiming.claim_task(claim).await.expect("a claim"));
            let scope = if lock.is_some() { Uid::new(GLOBAL).expect("a UID") } else { task.clone() };
            let subscribing = tokio::spawn(async move { subscribe(&tasks, scope, lock.is_some()).await });
            tokio::time::sleep(Duration::from_millis(500)).await;
            claiming.commit().await.expect("a commit");
            assert_eq!(subscribing.await.expect("no panic"), 0x0000);

            let events = ledger.store.task_events_to_note(1_000).await.expect("the store");
            let of_task: Vec<_> = events.iter().filter(|event| event.task == task).collect();
            let states: Vec<(TaskState, bool)> =
                of_task.iter().map(|event| (event.state, event.only.is_some())).collect();
            let (last, before) = states.split_last().expect("events");
            assert_eq!(*last, (TaskState::InProgress, true), "{}: the newest comes last: {states:?}", ledger.name);
            assert_eq!(before.iter().filter(|(_, only)| *only).count(), 0, "{}: once: {states:?}", ledger.name);
        }
    }
}

async fn subscribe(tasks: &Tasks, scope: Uid, lock: bool) -> u16 {
    let asker = Asker { partner: partner("chemnitz"), ae_title: "WS1".into(), letters: Outgoing::default() };
    let target = Target { class: Uid::new(ups::PUSH).expect("a UID"), instance: Some(scope) };
    let mut information = DataSet::new_empty();
    ups::put(&mut information, Tag(0x0074, 0x1234), VR::AE, "WS1");
    ups::put(&mut information, Tag(0x0074, 0x1230), VR::LO, if lock { "TRUE" } else { "FALSE" });
    let done = tasks.action(&asker, &target, 3, &information).await;
    done.map_or_else(|refusal| refusal.status, |done| done.status)
}
