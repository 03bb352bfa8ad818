//! Who is not let in, what that does to the others, and what a stop does to all.

use super::*;
use Note::{Commit, Discard, End};

/// Result, source and reason of the A-ASSOCIATE-RJ.
async fn rejected(listening: &Listening, request: &[u8]) -> [u8; 3] {
    let mut scu = Scu::connect(listening).await;
    scu.send(request).await;
    let (kind, body) = scu.pdu().await.expect("an answer");
    assert_eq!(kind, 3);
    assert_eq!(scu.pdu().await, None);
    [body[1], body[2], body[3]]
}

#[tokio::test]
async fn rejections_carry_the_codes_of_the_standard() {
    let listening = listen(PATIENT).await;
    assert_eq!(rejected(&listening, &associate_rq("STRANGER", "NEISSE")).await, [1, 1, 3]);
    assert_eq!(rejected(&listening, &associate_rq("RAB_CT1", "ELSEWHERE")).await, [1, 1, 7]);
    assert_eq!(rejected(&listening, &associate_rq("BUSY", "NEISSE")).await, [2, 3, 1]);
    let mut request = associate_rq("RAB_CT1", "NEISSE");
    request[7] = 2;
    assert_eq!(rejected(&listening, &request).await, [1, 2, 2]);
    let mut request = associate_rq("RAB_CT1", "NEISSE");
    let application_context = 6 + 68 + 4;
    request[application_context] = b'9';
    assert_eq!(rejected(&listening, &request).await, [1, 1, 2]);
    assert_eq!(listening.notes.taken(), []);
}

/// Closing with bytes unread would reset the connection, and some systems then throw away what they had received.
#[tokio::test]
async fn a_rejection_is_heard_by_a_peer_that_is_still_sending() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::connect(&listening).await;
    scu.send(&associate_rq("STRANGER", "NEISSE")).await;
    scu.send(&vec![0; 100_000]).await;
    assert_eq!(scu.pdu().await.map(|(kind, _)| kind), Some(3));
    let end = within(scu.0.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0)), "an orderly end expected, found {end:?}");
}

#[tokio::test]
async fn a_handler_that_cannot_make_up_its_mind_is_temporary_congestion() {
    let listening = listen(HASTY).await;
    assert_eq!(rejected(&listening, &associate_rq("SLOW", "NEISSE")).await, [2, 3, 1]);
}

#[tokio::test]
async fn one_association_too_many_is_rejected_and_the_others_go_on() {
    let listening = listen(PATIENT).await;
    let mut scus = Vec::new();
    for _ in 0..PATIENT.max_associations {
        scus.push(Scu::associate(&listening).await);
    }
    assert_eq!(rejected(&listening, &associate_rq("RAB_CT1", "NEISSE")).await, [2, 3, 2]);
    for scu in &mut scus {
        scu.echo().await;
    }
    drop(scus.pop());
    within(async {
        loop {
            let mut scu = Scu::connect(&listening).await;
            scu.send(&associate_rq("RAB_CT1", "NEISSE")).await;
            if scu.pdu().await.is_some_and(|(kind, _)| kind == 2) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn silent_connections_do_not_disturb_an_association() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(Scu::connect(&listening).await);
    }
    // One more than there is room for: it is served, and the one that has been silent longest goes.
    let mut newcomer = Scu::associate(&listening).await;
    newcomer.echo().await;
    assert_eq!(silent[0].abort().await, (2, 0));
    silent[1].send(&associate_rq("RAB_CT1", "NEISSE")).await;
    assert_eq!(silent[1].pdu().await.map(|(kind, _)| kind), Some(2), "the next one is still welcome");
    scu.echo().await;
}

#[tokio::test]
async fn a_stop_lets_the_instance_that_is_on_its_way_arrive() {
    let listening = listen(PATIENT).await;
    let mut idle = Scu::associate(&listening).await;
    let mut sending = Scu::associate(&listening).await;
    sending.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, TAKEN))).await;
    sending.send(&p_data(CT_CONTEXT, 0, b"first half, ")).await;
    within(async {
        while listening.notes.written.lock().expect("not poisoned").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    listening.stop.cancel();
    assert_eq!(idle.abort().await, (0, 0));
    drop(idle);
    sending.send(&p_data(CT_CONTEXT, 2, b"second half")).await;
    assert_eq!(sending.response().await, stored(0, None, CT, TAKEN));
    assert_eq!(sending.abort().await, (0, 0));
    drop(sending);
    within(listening.served).await.expect("returned");
    let shutdown = End(AssociationEnd::Shutdown);
    let expected = [offer(TAKEN), shutdown.clone(), Commit(b"first half, second half".to_vec()), shutdown];
    assert_eq!(listening.notes.taken(), expected);
    assert!(TcpStream::connect(listening.address).await.is_err(), "the listener is closed");
}

#[tokio::test]
async fn a_sender_that_does_not_finish_cannot_hold_up_a_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, notes, stop) = (listener.local_addr().expect("bound"), Notes::default(), CancellationToken::new());
    let drain_time = Duration::from_millis(200);
    let served = tokio::spawn(serve_draining(listener, PATIENT, notes.clone(), None, stop.clone(), drain_time));
    let listening = Listening { address, notes, stop, served };
    let mut scu = Scu::associate(&listening).await;
    scu.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, TAKEN))).await;
    scu.send(&p_data(CT_CONTEXT, 0, b"half")).await;
    within(async {
        while listening.notes.written.lock().expect("not poisoned").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    listening.stop.cancel();
    within(listening.served).await.expect("returned");
    assert_eq!(listening.notes.taken(), [offer(TAKEN), Discard, End(AssociationEnd::Shutdown)]);
}
