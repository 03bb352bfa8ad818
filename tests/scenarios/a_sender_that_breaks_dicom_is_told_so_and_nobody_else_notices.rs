//! Broken, lying and malicious DICOM against a running node, with an honest scanner beside it: each breach has its
//! answer, nothing of it is kept or sent on, no name a peer chose reaches the disk, and the scanner is served all along.

use crate::support::{
    eventually,
    hostile::{
        CT, CT_DEFLATED, CT_EXPLICIT, CT_IMPLICIT, ECHO, Honest, NOT_ACCEPTED, Peer, associate_rq, claim, ct_header,
        drip, element, p_data, pdu, store_rq,
    },
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON, wall},
};
use neisse::dicom::dimse::Command;
use std::{net::SocketAddr, path::Path, time::Duration};

const INSTANCE: &str = "1.2.276.0.7230010.3.1.4.666";
const STUDY: &str = "1.2.276.0.7230010.3.1.2.666";
const SERIES: &str = "1.2.276.0.7230010.3.1.3.666";

/// A node that cuts who is silent for 5 s.
async fn network() -> Network {
    let (chemnitz, leipzig) =
        (crate::support::center::Center::start("CHEMNITZ").await, crate::support::center::Center::start("UKL").await);
    Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let node = files.get_mut("neisse.toml").expect("the node's file");
        *node = node.replace("[dicom]\n", "[dicom]\nidle = \"5s\"\nhandshake = \"5s\"\n");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_breaks_dicom_is_told_so_and_nobody_else_notices() {
    let network = network().await;
    let router = network.node().dicom;
    let honest = Honest::start(router, &network.chemnitz, 41);
    strangers_are_rejected(router).await;
    breaches_of_the_upper_layer_are_aborted(router).await;
    cut_messages_leave_nothing(router).await;
    honest.goes_on().await;
    names_that_are_no_uids_are_refused(router).await;
    data_sets_that_lie_are_refused(router).await;
    honest.goes_on().await;
    drippers_are_cut(router).await;
    let sent = honest.finish().await;

    let cases = network.cases().await;
    let origins: Vec<_> = cases.iter().map(|case| &case.origin).collect();
    assert_eq!(cases.len(), 1, "only the honest study became a case: {origins:?}");
    eventually("every instance is counted", SOON, async || {
        network.cases().await.iter().all(|case| case.instances == i64::try_from(sent).expect("a count"))
    })
    .await;
    assert!(network.chemnitz.arrivals().iter().all(|arrived| arrived.offer.sop_instance.as_str() != INSTANCE));
    assert_no_name_of_a_peer(&network.folder.path().join("data"));
    assert!(!Path::new("/tmp/neisse-evil").exists() && !network.folder.path().join("evil").exists());
    network.at_rest().await;
}

async fn strangers_are_rejected(router: SocketAddr) {
    for (calling, called, codes) in
        [("STRANGER", "NEISSE", [1, 1, 3]), ("RAB_CT1", "ELSEWHERE", [1, 1, 7]), ("../../../etc", "NEISSE", [1, 1, 3])]
    {
        let mut peer = Peer::connect(router).await;
        peer.send(&associate_rq(calling, called)).await;
        let (kind, body) = peer.pdu().await.expect("an A-ASSOCIATE-RJ");
        assert_eq!((kind, &body[1..]), (3, &codes[..]), "{calling} to {called}");
    }
    let huge = [1, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    for (what, bytes, codes) in [
        ("HTTP", &b"GET / HTTP/1.1\r\n\r\n"[..], (2, 1)),
        ("a 4 GiB request", &huge, (2, 6)),
        ("data", &[4, 0], (2, 2)),
    ] {
        let mut peer = Peer::connect(router).await;
        peer.send(bytes).await;
        assert_eq!(peer.abort().await, codes, "{what}");
    }
}

async fn breaches_of_the_upper_layer_are_aborted(router: SocketAddr) {
    let pdv_of = |length: u32| pdu(4, &[&length.to_be_bytes()[..], &[CT_EXPLICIT, 2, 0, 0]].concat());
    let echo = Command::EchoRq { message_id: 1 }.encode();
    let cases: Vec<(&str, Vec<u8>, (u8, u8))> = vec![
        ("a 4 GiB PDU", vec![4, 0, 0xFF, 0xFF, 0xFF, 0xFF], (2, 6)),
        ("a PDV longer than its PDU", pdv_of(1000), (2, 6)),
        ("a PDV of 4 GiB", pdv_of(u32::MAX), (2, 6)),
        ("a PDV of one byte", pdv_of(1), (2, 6)),
        ("a context that was not accepted", p_data(NOT_ACCEPTED, 3, &echo), (2, 5)),
        ("a context never proposed", p_data(99, 3, &echo), (2, 5)),
        ("an even context", p_data(4, 3, &echo), (2, 5)),
        ("an unknown PDU", vec![0x42, 0, 0, 0, 0, 0], (2, 1)),
        ("a second request", associate_rq("RAB_CT1", "NEISSE"), (2, 2)),
        ("a data set without a command", p_data(CT_EXPLICIT, 2, b"x"), (2, 5)),
        ("garbage for a command", p_data(CT_EXPLICIT, 3, &[0xEE; 64]), (0, 0)),
        ("a command element of 4 GiB", p_data(CT_EXPLICIT, 3, &[0, 0, 2, 0, 0xFF, 0xFF, 0xFF, 0xFF]), (0, 0)),
        ("a command without end", p_data(CT_EXPLICIT, 1, &[0; 10_000]).repeat(3), (0, 0)),
    ];
    for (what, bytes, codes) in cases {
        let mut peer = Peer::associate(router).await;
        peer.send(&bytes).await;
        assert_eq!(peer.abort().await, codes, "{what}");
        // The same in the middle of an instance.
        if codes != (0, 0) && !what.starts_with("a data set") {
            let mut peer = Peer::associate(router).await;
            peer.send(&p_data(CT_EXPLICIT, 3, &store_rq(CT, INSTANCE))).await;
            peer.send(&p_data(CT_EXPLICIT, 0, &ct_header(INSTANCE, STUDY, SERIES))).await;
            peer.send(&bytes).await;
            assert_eq!(peer.abort().await, codes, "{what}, inside an instance");
        }
    }
}

/// Cut anywhere: in a PDU header, in a PDV header, in the data, or after all of it but the last fragment.
async fn cut_messages_leave_nothing(router: SocketAddr) {
    let whole = [
        p_data(CT_EXPLICIT, 3, &store_rq(CT, INSTANCE)),
        p_data(CT_EXPLICIT, 0, &ct_header(INSTANCE, STUDY, SERIES)),
        p_data(CT_EXPLICIT, 2, &element(0x7FE0, 0x0010, "OW", &[0; 64])),
    ]
    .concat();
    for bytes in [3, 9, 40, whole.len() / 2, whole.len() - 70, whole.len() - 1] {
        let mut peer = Peer::associate(router).await;
        peer.send(&whole[..bytes]).await;
        drop(peer);
    }
}

async fn names_that_are_no_uids_are_refused(router: SocketAddr) {
    const EVIL: [&str; 7] = [
        "../../../../../../tmp/neisse-evil",
        "/tmp/neisse-evil",
        "1.2.3/../../evil",
        "..",
        "1..2",
        "1.2.840.10008.5.1.4.1.1.2.12345678901234567890123456789012345678901234567890",
        "1.2.3;rm -rf",
    ];
    let mut peer = Peer::associate(router).await;
    for evil in EVIL {
        let header = ct_header(INSTANCE, STUDY, SERIES);
        let (status, _) = peer.store(CT_EXPLICIT, (CT, evil), &header).await;
        assert_eq!(status, 0x0117, "invalid object instance: {evil}");
        let (status, _) = peer.store(CT_EXPLICIT, (evil, INSTANCE), &header).await;
        assert_eq!(status, 0x0118, "no such SOP class: {evil}");
        for (what, header) in [
            ("SOP instance", ct_header(evil, STUDY, SERIES)),
            ("study", ct_header(INSTANCE, evil, SERIES)),
            ("series", ct_header(INSTANCE, STUDY, evil)),
        ] {
            let (status, comment) = peer.store(CT_EXPLICIT, (CT, INSTANCE), &header).await;
            assert_eq!(status, 0xC000, "{what} {evil}");
            assert!(comment.contains("UID") && !comment.contains("evil"), "{comment}");
        }
    }
    let other_class = ("1.2.840.10008.5.1.4.1.1.4", INSTANCE);
    assert_eq!(peer.store(CT_EXPLICIT, other_class, &ct_header(INSTANCE, STUDY, SERIES)).await.0, 0x0122);
    let other_instance = ct_header("1.2.3.4", STUDY, SERIES);
    assert_eq!(peer.store(CT_EXPLICIT, (CT, INSTANCE), &other_instance).await.0, 0xC000);
}

async fn data_sets_that_lie_are_refused(router: SocketAddr) {
    let header = ct_header(INSTANCE, STUDY, SERIES);
    let nested = [claim(0x0008, 0x1140, "SQ", u32::MAX), [0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF].to_vec()];
    let nested = nested.concat().repeat(100_000);
    // Implicit VR: (0010,0010) and (0008,1140) with a length of 4 bytes.
    let implicit_claim = [0x10, 0, 0x10, 0, 0xFE, 0xFF, 0xFF, 0xFF, b'X', b'^', b'Y', b' '];
    let implicit_nested = [0x08, 0, 0x40, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF];
    let mut peer = Peer::associate(router).await;
    let cases: Vec<(&str, u8, Vec<u8>)> = vec![
        ("an element of 4 GiB", CT_EXPLICIT, [claim(0x0008, 0x0005, "UN", u32::MAX - 1), header.clone()].concat()),
        ("a name of 4 GiB", CT_IMPLICIT, implicit_claim.to_vec()),
        ("100,000 nested sequences", CT_EXPLICIT, [&nested[..], &header].concat()),
        ("100,000 nested implicit ones", CT_IMPLICIT, implicit_nested.repeat(100_000)),
        ("a sequence of 4 GiB", CT_EXPLICIT, [claim(0x0008, 0x1140, "SQ", u32::MAX - 1), header.clone()].concat()),
        ("a data set cut inside a value", CT_EXPLICIT, header[..header.len() - 3].to_vec()),
        ("two patients in one", CT_EXPLICIT, [&header[..], &element(0x0010, 0x0020, "LO", b"OTHER")].concat()),
        ("no data set at all", CT_EXPLICIT, Vec::new()),
        ("random bytes", CT_EXPLICIT, (0..5000_u32).map(|n| ((n * n) >> 3) as u8).collect()),
        ("a deflate bomb", CT_DEFLATED, bomb()),
        ("what is not deflated", CT_DEFLATED, vec![0xFF; 4096]),
    ];
    for (what, context, data_set) in cases {
        let (status, comment) = if data_set.is_empty() {
            peer.send(&p_data(context, 3, &store_rq(CT, INSTANCE))).await;
            peer.send(&p_data(context, 2, b"")).await;
            peer.answer().await
        } else {
            peer.store(context, (CT, INSTANCE), &data_set).await
        };
        assert_eq!(status, 0xC000, "{what}");
        assert!(!comment.is_empty(), "{what}");
    }
    // The association is still good for what is sound.
    peer.send(&p_data(ECHO, 3, &Command::EchoRq { message_id: 1 }.encode())).await;
    assert_eq!(peer.answer().await.0, 0x0000);
}

/// 100 KB that inflate to 100 MB.
fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflated.write_all(&claim(0x0008, 0x0005, "UN", u32::MAX - 1)).expect("in memory");
    let zeros = vec![0; 1 << 20];
    for _ in 0..100 {
        deflated.write_all(&zeros).expect("in memory");
    }
    deflated.finish().expect("in memory")
}

/// A byte now and then, never silent for the idle time: in a request, in a PDU header, in a data set.
async fn drippers_are_cut(router: SocketAddr) {
    let mut in_a_data_set = Peer::associate(router).await;
    in_a_data_set.send(&p_data(CT_EXPLICIT, 3, &store_rq(CT, INSTANCE))).await;
    let in_a_header = Peer::associate(router).await;
    let in_a_request = Peer::connect(router).await;
    let second = Duration::from_secs(1);
    let (request, one_byte) = (associate_rq("RAB_CT1", "NEISSE"), p_data(CT_EXPLICIT, 0, b"x"));
    let (a, b, c) = tokio::join!(
        drip(in_a_data_set, &one_byte, second),
        drip(in_a_header, &[4, 0, 0, 0, 0x40], second),
        drip(in_a_request, &request, second),
    );
    for (what, (heard, took), codes) in
        [("a data set", a, (0, 0)), ("a PDU header", b, (0, 0)), ("a request", c, (2, 0))]
    {
        assert!(took >= Duration::from_secs(4), "{what}: cut after {took:?}");
        assert_eq!(heard, [7, 0, 0, 0, 0, 4, 0, 0, codes.0, codes.1], "{what}: an A-ABORT");
    }
}

/// File names are journals' and the database's own.
fn assert_no_name_of_a_peer(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the data folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a plain name");
        for part in ["1.2.", "666", "evil", "passwd", "..", "RAB", "HOST"] {
            assert!(!name.contains(part), "{name}");
        }
        if entry.file_type().expect("its type").is_dir() {
            assert_no_name_of_a_peer(&entry.path());
        }
    }
}
