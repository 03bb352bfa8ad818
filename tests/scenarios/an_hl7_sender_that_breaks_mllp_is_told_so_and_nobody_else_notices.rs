//! Broken, endless and dripping HL7 against a running node, with an honest scanner and an honest center beside it: each
//! sender is told what is wrong in its own control id, nothing of it is kept, and the center's report goes through.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    hospital::{head_ct, send_study},
    hostile::{Honest, Peer, drip},
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON, wall},
};
use neisse::{
    cli::sample::SampleCase,
    hl7::ack::{AckCode, Acknowledgement},
    model::CaseState,
};
use std::{net::SocketAddr, time::Duration};

const MAX_MESSAGE_BYTES: usize = 256 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn an_hl7_sender_that_breaks_mllp_is_told_so_and_nobody_else_notices() {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = wall("2026-11-24T23:10");
    let network = Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
        let node = files.get_mut("neisse.toml").expect("the node's file");
        *node = node.replace("[hl7]\n", "[hl7]\nmax_message = \"256KiB\"\nmessage_within = \"4s\"\n");
    })
    .await;
    let router = network.node().hl7;
    let (patient, slices) = head_ct(42, 3);
    send_study(network.node().dicom, &slices).await;
    let honest = Honest::start(network.node().dicom, &network.chemnitz, 43);
    for broken in broken(&patient) {
        refused(router, broken).await;
    }
    noise_is_cut_off(router).await;
    a_cut_message_leaves_nothing(router, &patient).await;
    honest.goes_on().await;
    let dripping = async {
        let (heard, took) = drip(Peer::connect(router).await, b"\x0bMSH|^~\\&|A|KLCHEM|", Duration::from_secs(1)).await;
        assert!(took >= Duration::from_secs(3), "cut after {took:?}");
        let answer = read(&heard);
        assert_eq!(answer.code, AckCode::AR);
        assert!(answer.text.contains("not complete within 4 s"), "{}", answer.text);
    };
    let reporting = async {
        let study = patient.study().to_string();
        let message = oru("KLCHEM", "GOOD", &about(&patient, &study), "F", "keine Blutung");
        network.case_in(&patient.study(), CaseState::Delivered).await;
        assert_eq!(network.chemnitz.send_hl7(router, &message, "GOOD").await.code, AckCode::AA);
        eventually("the report is back", SOON, async || !network.hospital.reports().is_empty()).await;
    };
    tokio::join!(dripping, reporting);
    honest.finish().await;
    network.case_in(&patient.study(), CaseState::Reported).await;
    assert_eq!(network.hospital.reports().len(), 1, "nothing but the one report came through");
    assert_eq!(network.node().store.held_reports().await.expect("the store").len(), 0, "nothing else was kept");
    network.at_rest().await;
}

fn about<'a>(patient: &'a SampleCase, study: &'a str) -> About<'a> {
    About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study }
}

struct Broken {
    what: &'static str,
    /// With its 0x0B, and with its end only if it has one.
    bytes: Vec<u8>,
    code: AckCode,
    /// Echoed from MSH-10, where that could be read.
    control_id: &'static str,
    says: &'static str,
}

fn broken(patient: &SampleCase) -> Vec<Broken> {
    let study = patient.study().to_string();
    let good = |id: &str| String::from_utf8(oru("KLCHEM", id, &about(patient, &study), "F", "Befund")).expect("UTF-8");
    let framed = |text: &str| [&[0x0B], text.as_bytes(), &[0x1C, 0x0D]].concat();
    let broken = |what, bytes, code, control_id, says| Broken { what, bytes, code, control_id, says };
    let endless = [&[0x0B], good("E1").as_bytes(), &vec![b'x'; MAX_MESSAGE_BYTES + 100_000]].concat();
    let twice = [&[0x0B], &good("E2").as_bytes()[..300], &framed(&good("E3"))].concat();
    let with = |id: &str, from: &str, to: &str| {
        let text = good(id);
        assert!(text.contains(from), "{from}");
        framed(&text.replace(from, to))
    };
    vec![
        broken("a message without end", endless, AckCode::AR, "E1", "larger than 262144 bytes"),
        broken("a message inside a message", twice, AckCode::AR, "E2", "second message starts"),
        broken("no HL7", framed("hello, this is a fax"), AckCode::AE, "", "no readable MSH"),
        broken("nothing", framed(""), AckCode::AE, "", "no readable MSH"),
        broken("a stranger", with("E4", "|KLCHEM|", "|NOBODY|"), AckCode::AR, "E4", "sender not known"),
        broken("a pharmacy order", with("E5", "ORU^R01^ORU_R01", "OMP^O09"), AckCode::AR, "E5", ""),
        broken("an order of nothing", with("E9", "ORU^R01^ORU_R01", "ORM^O01"), AckCode::AE, "E9", "no ORC"),
        broken("no OBR", with("E6", "\rOBR|", "\rZBR|"), AckCode::AE, "E6", ""),
        broken("an alphabet nobody knows", with("E7", "UNICODE UTF-8", "KLINGON"), AckCode::AE, "E7", "haracter set"),
        broken("a document that is none", with("E8", "|FT|", "|ED|"), AckCode::AE, "E8", ""),
    ]
}

async fn refused(router: SocketAddr, broken: Broken) {
    let Broken { what, bytes, code, control_id, says } = broken;
    let mut peer = Peer::connect(router).await;
    // The router may have had enough before it has all.
    let (mut reader, mut writer) = peer.0.split();
    let sending = async {
        use tokio::io::AsyncWriteExt;
        let _ = writer.write_all(&bytes).await;
    };
    let answer = async {
        use tokio::io::AsyncReadExt;
        let mut heard = Vec::new();
        while !heard.ends_with(&[0x1C, 0x0D]) {
            let mut piece = [0; 1024];
            match reader.read(&mut piece).await {
                Ok(read @ 1..) => heard.extend_from_slice(&piece[..read]),
                ended => panic!("{what}: the connection ended without an answer: {ended:?}"),
            }
        }
        read(&heard)
    };
    let (answer, ()) = tokio::time::timeout(SOON, async { tokio::join!(answer, sending) }).await.expect("in time");
    assert_eq!((answer.code, answer.control_id.as_str()), (code, control_id), "{what}: {}", answer.text);
    assert!(answer.text.contains(says), "{what}: {}", answer.text);
    assert!(!answer.error_codes.is_empty(), "{what}: ERR-3 says which error");
}

fn read(frame: &[u8]) -> Acknowledgement {
    assert!(frame.starts_with(&[0x0B]) && frame.ends_with(&[0x1C, 0x0D]), "one frame: {frame:?}");
    Acknowledgement::parse(&frame[1..frame.len() - 2]).expect("an acknowledgement")
}

/// What is not MLLP at all has nobody to answer to; it is closed as soon as that is clear.
async fn noise_is_cut_off(router: SocketAddr) {
    let mut peer = Peer::connect(router).await;
    peer.send(&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(300)).await;
    let (heard, ended) = peer.hear_out(Duration::from_secs(3)).await;
    assert!(heard.is_empty() && ended, "{heard:?}");
}

async fn a_cut_message_leaves_nothing(router: SocketAddr, patient: &SampleCase) {
    let study = patient.study().to_string();
    let message = oru("KLCHEM", "CUT", &about(patient, &study), "F", "abgeschnitten");
    for bytes in [1, 20, message.len() / 2, message.len()] {
        let mut peer = Peer::connect(router).await;
        peer.send(&[&[0x0B], &message[..bytes]].concat()).await;
        drop(peer);
    }
    // All but the very last byte of the frame.
    let mut peer = Peer::connect(router).await;
    peer.send(&[&[0x0B], &message[..], &[0x1C]].concat()).await;
    drop(peer);
}
