//! Events of tasks over a WebSocket: what a workstation has not confirmed comes again, what it has confirmed does not; the
//! newest connection of a receiver is the one that is told.

use crate::support::{
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, wall},
    readers::{Reader, said},
};
use reqwest::{Method, StatusCode};
use std::time::Duration;

const GLOBAL: &str = "1.2.840.10008.5.1.4.34.5";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_a_dead_line_comes_again() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let path = format!("/workitems/{GLOBAL}/subscribers/WS1");
        assert_eq!(chemnitz.ask(Method::POST, &path, None).await.status, StatusCode::CREATED);
        // The bytes arrive, and nothing comes back.
        let mut dead = chemnitz.listen_without_a_word("WS1").await;
        let (patient, _) = send_head_ct(&network, 1, 2).await;
        let first = dead.event().await;
        network.case(&patient.study(), "whole", |case| case.whole.is_some()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;

        let mut heard = chemnitz.listen("WS1").await;
        dead.ended().await;
        assert_eq!(heard.event().await, first, "it comes again");
        while !heard.is_quiet(Duration::from_secs(3)).await {}
        drop(heard);
        let mut next = chemnitz.listen("WS1").await;
        assert!(next.is_quiet(Duration::from_secs(2)).await, "what was confirmed does not");
        let uid = said(&first, "00001000");
        assert_eq!(chemnitz.move_to(&uid, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
        assert_eq!(said(&next.event().await, "00741000"), "IN PROGRESS");
        network.at_rest().await;
    }
}
