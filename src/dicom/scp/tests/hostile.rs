//! What a broken, lying or slow sender sees, and what the handler then does.

use super::*;
use Note::{Commit, Discard, End};
use std::time::Instant;

#[tokio::test]
async fn each_breach_of_the_protocol_is_answered_with_its_abort() {
    let lying_pdv = |length: u32| pdu(4, &[&length.to_be_bytes()[..], &[CT_CONTEXT, 2, 0, 0]].concat());
    let cases: Vec<(&str, Vec<u8>, (u8, u8))> = vec![
        ("unknown PDU", vec![9, 0, 0, 0, 0, 0], (2, 1)),
        ("second A-ASSOCIATE-RQ", associate_rq("RAB_CT1", "NEISSE"), (2, 2)),
        ("release response", vec![6, 0, 0, 0, 0, 4, 0, 0, 0, 0], (2, 2)),
        ("4 GiB PDU", vec![4, 0, 0xFF, 0xFF, 0xFF, 0xFF], (2, 6)),
        ("empty P-DATA-TF", pdu(4, b""), (2, 6)),
        ("PDV longer than its PDU", lying_pdv(1000), (2, 6)),
        ("PDV of 4 GiB", lying_pdv(u32::MAX), (2, 6)),
        ("PDV too short", lying_pdv(1), (2, 6)),
        ("empty PDV", p_data(CT_CONTEXT, 1, b""), (2, 6)),
        ("context that was refused", p_data(5, 3, b"x"), (2, 5)),
        ("context never proposed", p_data(99, 3, b"x"), (2, 5)),
        ("data set without a command", p_data(CT_CONTEXT, 2, b"x"), (2, 5)),
        ("garbage for a command", p_data(CT_CONTEXT, 3, &[0xEE; 64]), (0, 0)),
        ("endless command", p_data(CT_CONTEXT, 1, &[0; 10_000]).repeat(2), (0, 0)),
        ("response to nothing", p_data(CT_CONTEXT, 3, &Command::EchoRsp { message_id: 1, status: 0 }.encode()), (0, 0)),
    ];
    let listening = listen(PATIENT).await;
    for (name, bytes, codes) in cases {
        let mut scu = Scu::associate(&listening).await;
        scu.send(&bytes).await;
        assert_eq!(scu.abort().await, codes, "{name}");
        assert_eq!(listening.notes.at_end().await, [End(AssociationEnd::ProtocolError)], "{name}");
        listening.notes.all.lock().expect("not poisoned").clear();
    }
}

#[tokio::test]
async fn an_instance_that_is_interrupted_is_discarded() {
    let echo = Command::EchoRq { message_id: 1 }.encode();
    type Case = (&'static str, Vec<u8>, Option<(u8, u8)>, AssociationEnd);
    let cases: Vec<Case> = vec![
        ("command between", p_data(CT_CONTEXT, 3, &echo), Some((2, 5)), AssociationEnd::ProtocolError),
        ("other context", p_data(VERIFICATION_CONTEXT, 0, b"x"), Some((2, 5)), AssociationEnd::ProtocolError),
        ("release", RELEASE_RQ.to_vec(), Some((2, 2)), AssociationEnd::ProtocolError),
        ("garbage", b"GET / HTTP/1.1\r\n".to_vec(), Some((2, 1)), AssociationEnd::ProtocolError),
        ("abort", vec![7, 0, 0, 0, 0, 4, 0, 0, 0, 0], None, AssociationEnd::Aborted),
        ("end", vec![], None, AssociationEnd::ConnectionLost),
        ("end inside a PDU", vec![4, 0, 0, 0, 1, 0, 0, 0], None, AssociationEnd::ConnectionLost),
    ];
    let listening = listen(PATIENT).await;
    for (name, bytes, abort, end) in cases {
        let mut scu = Scu::associate(&listening).await;
        scu.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, TAKEN))).await;
        scu.send(&p_data(CT_CONTEXT, 0, b"half a data set")).await;
        scu.send(&bytes).await;
        match abort {
            Some(codes) => assert_eq!(scu.abort().await, codes, "{name}"),
            None => drop(scu),
        }
        assert_eq!(listening.notes.at_end().await, [offer(TAKEN), Discard, End(end)], "{name}");
        listening.notes.all.lock().expect("not poisoned").clear();
    }
}

#[tokio::test]
async fn a_silent_peer_is_aborted_between_messages_and_inside_one() {
    let listening = listen(HASTY).await;
    let began = Instant::now();
    let mut scu = Scu::associate(&listening).await;
    assert_eq!(scu.abort().await, (0, 0));
    assert!(began.elapsed() >= HASTY.idle);
    let mut scu = Scu::associate(&listening).await;
    scu.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, TAKEN))).await;
    scu.send(&p_data(CT_CONTEXT, 0, b"half")).await;
    assert_eq!(scu.abort().await, (0, 0));
    let timed_out = End(AssociationEnd::TimedOut);
    assert_eq!(listening.notes.at_end().await, [timed_out.clone(), offer(TAKEN), Discard, timed_out]);
}

/// Sends `bytes` one by one, each well inside the idle time, until the peer has had enough.
async fn drip(mut scu: Scu, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    let (mut reader, mut writer) = scu.0.split();
    let dripping = async {
        for byte in bytes.iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(HASTY.idle / 6).await;
        }
    };
    let mut heard = Vec::new();
    let hearing = reader.read_to_end(&mut heard);
    within(async {
        tokio::select! {
            () = dripping => {}
            _ = hearing => {}
        }
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn a_sender_that_drips_is_cut_wherever_it_drips() {
    let listening = listen(HASTY).await;
    let mut inside_a_data_set = Scu::associate(&listening).await;
    inside_a_data_set.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, TAKEN))).await;
    let one_byte = p_data(CT_CONTEXT, 0, b"x");
    let inside_a_header = Scu::associate(&listening).await;
    let inside_a_request = Scu::connect(&listening).await;
    let request = associate_rq("RAB_CT1", "NEISSE");
    let (a, b, c) = tokio::join!(
        drip(inside_a_data_set, &one_byte),
        drip(inside_a_header, &[4, 0, 0, 0, 0x40]),
        drip(inside_a_request, &request),
    );
    for took in [a, b, c] {
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

#[tokio::test]
async fn a_slow_line_may_take_longer_than_the_idle_time() {
    let listening = listen(HASTY).await;
    let mut scu = Scu::associate(&listening).await;
    scu.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, TAKEN))).await;
    let began = Instant::now();
    while began.elapsed() < HASTY.idle * 3 {
        scu.send(&p_data(CT_CONTEXT, 0, &[1; 1024])).await;
        tokio::time::sleep(HASTY.idle / 6).await;
    }
    scu.send(&p_data(CT_CONTEXT, 2, b"end")).await;
    assert_eq!(scu.response().await, stored(0, None, CT, TAKEN));
    assert!(matches!(listening.notes.taken().last(), Some(Commit(_))));
}

#[tokio::test]
async fn a_refused_instance_is_not_read_past_for_ever() {
    let listening = listen(HASTY).await;
    let mut scu = Scu::associate(&listening).await;
    scu.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, REFUSED_AT_BEGIN))).await;
    let piece = p_data(CT_CONTEXT, 0, &[0; 16_000]);
    let began = Instant::now();
    let (mut reader, mut writer) = scu.0.split();
    let flooding = async { while writer.write_all(&piece).await.is_ok() {} };
    let mut heard = [0; 10];
    within(async {
        tokio::select! {
            () = flooding => {}
            _ = reader.read_exact(&mut heard) => {}
        }
    })
    .await;
    assert!(began.elapsed() >= HASTY.idle * 5);
    assert_eq!(listening.notes.at_end().await, [offer(REFUSED_AT_BEGIN), End(AssociationEnd::TimedOut)]);
}

#[tokio::test]
async fn what_is_not_dicom_is_aborted_before_it_costs_anything() {
    let listening = listen(PATIENT).await;
    for (bytes, codes) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], (2, 1)),
        (&[4, 0, 0, 0, 0, 4][..], (2, 2)),
        (&[1, 0, 0xFF, 0xFF, 0xFF, 0xFF][..], (2, 6)),
        (&[1, 0, 0, 0, 0, 3, 0, 0, 0][..], (2, 6)),
    ] {
        let mut scu = Scu::connect(&listening).await;
        scu.send(bytes).await;
        assert_eq!(scu.abort().await, codes);
    }
    assert_eq!(listening.notes.taken(), []);
}
