//! What a well-behaved sender sees.

use super::*;
use Note::{Commit, Discard, End};

#[tokio::test]
async fn an_echo_is_answered_and_a_release_too() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    scu.echo().await;
    scu.send(&RELEASE_RQ).await;
    assert_eq!(scu.pdu().await, Some((6, vec![0; 4])));
    drop(scu);
    assert_eq!(listening.notes.at_end().await, [End(AssociationEnd::Released)]);
}

#[tokio::test]
async fn an_instance_arrives_as_it_was_sent_however_it_is_cut() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    let data_set: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let command = store_rq(CT, TAKEN);
    let (head, tail) = command.split_at(9);
    // The command in two PDVs, the second with the first of the data set behind it in the same PDU.
    let mut bytes = p_data(CT_CONTEXT, 1, head);
    bytes.extend(pdu(4, &[pdv(CT_CONTEXT, 3, tail), pdv(CT_CONTEXT, 0, &data_set[..1])].concat()));
    for piece in data_set[1..].chunks(16_000) {
        bytes.extend(p_data(CT_CONTEXT, 0, piece));
    }
    bytes.extend(p_data(CT_CONTEXT, 2, b""));
    for piece in bytes.chunks(7_001) {
        scu.send(piece).await;
    }
    assert_eq!(scu.response().await, stored(0, None, CT, TAKEN));
    assert_eq!(listening.notes.taken(), [offer(TAKEN), Commit(data_set)]);
}

#[tokio::test]
async fn the_handler_gets_bytes_while_the_sender_is_still_sending() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    scu.send(&p_data(CT_CONTEXT, 3, &store_rq(CT, TAKEN))).await;
    let whole = p_data(CT_CONTEXT, 2, &[7; 10_000]);
    scu.send(&whole[..512]).await;
    within(async {
        while listening.notes.written.lock().expect("not poisoned").len() < 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    scu.send(&whole[512..]).await;
    assert_eq!(scu.response().await, stored(0, None, CT, TAKEN));
}

#[tokio::test]
async fn a_refused_instance_is_answered_and_the_next_is_stored() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    for refused in [REFUSED_AT_BEGIN, REFUSED_AT_WRITE, REFUSED_AT_COMMIT] {
        let response = scu.store(CT, refused, &[1; 5000]).await;
        assert_eq!(response, stored(0xA700, Some("disk below its reserve"), CT, refused));
    }
    assert_eq!(scu.store(CT, TAKEN, b"data").await, stored(0, None, CT, TAKEN));
    let expected = [
        offer(REFUSED_AT_BEGIN),
        offer(REFUSED_AT_WRITE),
        Discard,
        offer(REFUSED_AT_COMMIT),
        Discard,
        offer(TAKEN),
        Commit(b"data".to_vec()),
    ];
    assert_eq!(listening.notes.taken(), expected);
}

#[tokio::test]
async fn an_offer_that_breaks_the_rules_never_reaches_the_handler() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    let cases = [
        ("../../etc", TAKEN, 0x0118, "Affected SOP Class UID is not a UID", "", TAKEN),
        (CT, "", 0x0117, "Affected SOP Instance UID is not a UID", CT, ""),
        (CT, "1..2", 0x0117, "Affected SOP Instance UID is not a UID", CT, ""),
        (MR, TAKEN, 0x0122, "SOP class is not that of the presentation context", MR, TAKEN),
    ];
    for (class, instance, status, comment, class_back, instance_back) in cases {
        let response = scu.store(class, instance, b"data").await;
        assert_eq!(response, stored(status, Some(comment), class_back, instance_back));
    }
    assert_eq!(listening.notes.taken(), []);
    // An empty data set is no instance.
    let response = scu.store(CT, TAKEN, b"").await;
    assert_eq!(response, stored(0xC000, Some("data set is empty"), CT, TAKEN));
    assert_eq!(listening.notes.taken(), [offer(TAKEN), Discard]);
}

#[tokio::test]
async fn nothing_is_stored_on_a_verification_context() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    scu.send(&p_data(VERIFICATION_CONTEXT, 3, &store_rq(VERIFICATION, TAKEN))).await;
    scu.send(&p_data(VERIFICATION_CONTEXT, 2, b"data")).await;
    let Command::StoreRsp { status, .. } = scu.response().await else { panic!("no C-STORE-RSP") };
    assert_eq!((status, listening.notes.taken()), (0x0122, vec![]));
}

#[tokio::test]
async fn an_unknown_service_is_answered_and_a_cancel_is_ignored() {
    let listening = listen(PATIENT).await;
    let mut scu = Scu::associate(&listening).await;
    let find = Command::Other { field: 0x0060, message_id: 9, sop_class: CT.into(), has_data_set: true };
    scu.send(&p_data(CT_CONTEXT, 3, &find.encode())).await;
    scu.send(&p_data(CT_CONTEXT, 0, &[1; 3000])).await;
    scu.send(&p_data(CT_CONTEXT, 2, &[2; 3000])).await;
    let (kind, body) = scu.pdu().await.expect("an answer");
    assert_eq!((kind, &body[6..]), (4, &Command::unrecognized_operation(0x0060, 9)[..]));
    scu.send(&p_data(CT_CONTEXT, 3, &Command::CancelRq { message_id: 9 }.encode())).await;
    scu.echo().await;
}

#[tokio::test]
async fn another_implementation_can_associate_and_echo() {
    let listening = listen(PATIENT).await;
    let address = listening.address;
    let sent = tokio::task::spawn_blocking(move || {
        let mut scu = dicom_ul::ClientAssociationOptions::new()
            .calling_ae_title("RAB_CT1")
            .called_ae_title("NEISSE")
            .with_presentation_context(VERIFICATION, vec![IMPLICIT])
            .establish(address)
            .expect("associated");
        let data = dicom_ul::pdu::PDataValue {
            presentation_context_id: scu.presentation_contexts()[0].id,
            value_type: dicom_ul::pdu::PDataValueType::Command,
            is_last: true,
            data: Command::EchoRq { message_id: 1 }.encode(),
        };
        scu.send(&dicom_ul::Pdu::PData { data: vec![data] }).expect("sent");
        let dicom_ul::Pdu::PData { data } = scu.receive().expect("answered") else { panic!("no P-DATA-TF") };
        scu.release().expect("released");
        data[0].data.clone()
    });
    let answer = within(sent).await.expect("no panic");
    assert_eq!(Command::parse(&answer).expect("a command set"), Command::EchoRsp { message_id: 1, status: 0 });
    assert_eq!(listening.notes.at_end().await, [End(AssociationEnd::Released)]);
}
