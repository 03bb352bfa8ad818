//! An order that is replaced leaves its reading where it is; one that is cancelled ends it, and the next order for the same study
//! has it offered again, once. What its performer has ended is not offered again by an order.

use crate::support::{
    center::Center,
    eventually,
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    orders::{answered, ask, orm},
    readers::{Reader, said},
};
use neisse::model::CaseState;
use reqwest::StatusCode;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_offered_again_when_another_order_asks_for_it() {
    for footing in BOTH {
        let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        let night = wall("2026-11-24T23:10");
        let network = Network::with_centers(footing, ALWAYS_CHEMNITZ, night, chemnitz, leipzig, |files| {
            let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
            *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        })
        .await;
        let reader = Reader::of(&network, "chemnitz", "WS1").await;
        let hl7 = network.node().hl7;
        let offered = async || {
            let tasks = reader.tasks("ProcedureStepState=SCHEDULED").await;
            tasks.iter().map(|task| said(task, "00080018")).collect::<Vec<_>>()
        };
        // As urgent as its order: it moves up once that is joined, and its priority is what a list is read by.
        let urgent =
            async || reader.tasks("ProcedureStepState=SCHEDULED&ScheduledProcedureStepPriority=HIGH").await.len() == 1;
        let joined = async |times: usize| {
            let case = network.cases().await.remove(0);
            eventually("the order is joined", SOON, async || {
                network.story(&case).await.matches("joined to its order").count() == times
            })
            .await;
        };

        let (patient, _) = send_head_ct(&network, 1, 3).await;
        network.case_in(&patient.study(), CaseState::Delivered).await;
        assert_eq!(answered(hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
        joined(1).await;
        // The offer is made just after the case was routed, not with it.
        eventually("it is offered", SOON, urgent).await;
        let first = offered().await;

        // The old and the new in one message: nobody's list changes.
        let new = orm("", "RO", "P2", &patient, true);
        let message = format!("{}{}", orm("M2", "RP", "P1", &patient, false), &new[new.find("ORC|").unwrap_or(0)..]);
        let answer = ask(hl7, &message).await;
        let codes: Vec<&str> = answer.iter().filter_map(|line| line.strip_prefix("ORC|")?.split('|').next()).collect();
        assert_eq!(codes, ["RQ", "OK"], "{answer:?}");
        joined(2).await;
        assert_eq!(offered().await, first);

        // Cancelled, and placed anew.
        assert_eq!(answered(hl7, &orm("M3", "CA", "P2", &patient, true)).await, "CR");
        assert_eq!(said(&reader.task(&first[0]).await, "00741000"), "CANCELED");
        assert!(offered().await.is_empty());
        assert_eq!(answered(hl7, &orm("M4", "NW", "P3", &patient, true)).await, "OK");
        eventually("it is offered again", SOON, urgent).await;
        let second = offered().await.remove(0);
        assert_ne!(second, first[0]);

        // Its performer's word stands, whatever is ordered.
        assert_eq!(reader.move_to(&second, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
        assert_eq!(reader.move_to(&second, "CANCELED", "1.2.3").await.status, StatusCode::OK);
        assert_eq!(answered(hl7, &orm("M5", "NW", "P4", &patient, true)).await, "OK");
        joined(4).await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert!(offered().await.is_empty());
        }
        network.at_rest().await;
    }
}
