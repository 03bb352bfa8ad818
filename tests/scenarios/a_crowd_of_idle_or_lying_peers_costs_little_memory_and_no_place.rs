//! The router as a process of its own, because its memory is what is measured: a thousand connections that say nothing,
//! lengths that claim gigabytes, messages without end and reports of 64 MB, while honest peers come and go.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    hospital::{Hospital, head_ct, send_study},
    hostile::{CT, CT_DEFLATED, CT_EXPLICIT, CT_IMPLICIT, Honest, Peer, claim, ct_header, p_data, store_rq},
    network::{ALWAYS_CHEMNITZ, Footing, SOON, files},
    process::{self, Process},
    service_folder,
};
use neisse::hl7::{
    ack::AckCode,
    sender::{Hl7Sender, SenderSettings},
};
use std::{net::SocketAddr, time::Duration};
use tokio::net::TcpStream;

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(180);

struct House {
    router: Process,
    center: Center,
    hospital: Hospital,
    /// Keeps the router's files until it has ended.
    _folder: tempfile::TempDir,
}

async fn house() -> House {
    let (hospital, center) = (Hospital::start().await, Center::start("CHEMNITZ").await);
    let folder = service_folder("process-");
    let mut files = files(Footing::Embedded, ALWAYS_CHEMNITZ, hospital.port, center.port, 1).await;
    let node = files.get_mut("neisse.toml").expect("the node's file");
    // Nobody is let go during the scenario: it is the crowd that must not matter, not its patience.
    *node = node
        .replace("[dicom]\n", "[dicom]\nidle = \"5m\"\nhandshake = \"5m\"\n")
        .replace("response = \"5s\"", "response = \"60s\"");
    process::write(folder.path(), &files);
    let router = Process::start(folder.path()).await;
    House { router, center, hospital, _folder: folder }
}

/// A report about a study of the hospital's own, which must be there.
async fn honest_report(house: &House, number: u64, extra: &str) -> AckCode {
    let (patient, slices) = head_ct(number, 1);
    send_study(house.router.dicom, &slices).await;
    eventually("the study is at the center", SOON, async || {
        house.center.archive().contains_key(&slices[0].sop_instance)
    })
    .await;
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let (control_id, reports) = (format!("R{number}"), house.hospital.reports().len());
    let mut message = oru("KLCHEM", &control_id, &about, "F", "keine Blutung");
    message.extend_from_slice(extra.as_bytes());
    // A debug build on a loaded machine takes its time over 64 MB.
    let settings = SenderSettings { connect: SOON, response: PATIENCE };
    let mut line = Hl7Sender::new("127.0.0.1", house.router.hl7.port(), settings);
    let answer = line.send(&message, &control_id).await.expect("an acknowledgement");
    if answer.code == AckCode::AA {
        eventually("the report is back", PATIENCE, async || house.hospital.reports().len() > reports).await;
    }
    answer.code
}

/// So many connections that say nothing; held until dropped.
async fn crowd(to: SocketAddr, size: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..size {
        crowd.push(TcpStream::connect(to).await.expect("connected"));
    }
    crowd
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections_take_nobodys_place() {
    let house = house().await;
    let honest = Honest::start(house.router.dicom, &house.center, 51);
    assert_eq!(honest_report(&house, 52, "").await, AckCode::AA);
    honest.goes_on().await;
    let before = house.router.peak_memory_bytes();
    let silent = crowd(house.router.dicom, 1000).await;
    honest.goes_on().await;
    let silent_hl7 = crowd(house.router.hl7, 1000).await;
    // New ones of both kinds are served while the crowd stands there.
    assert_eq!(honest_report(&house, 53, "").await, AckCode::AA);
    honest.finish().await;
    let grown = house.router.peak_memory_bytes() - before;
    assert!(grown < 64 * MIB, "2,000 silent connections took {} KiB", grown / 1024);
    drop((silent, silent_hl7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_is_never_believed_before_its_bytes_are_there() {
    let house = house().await;
    let honest = Honest::start(house.router.dicom, &house.center, 54);
    honest.goes_on().await;
    let (before, reserved) = (house.router.peak_memory_bytes(), house.router.peak_reserved_bytes());
    let mut peers = Vec::new();
    // 120 peers, 480 GiB claimed: in a PDU of its own size, in a value, in a sequence, in pixels.
    for number in 0..120 {
        let mut peer = Peer::associate(house.router.dicom).await;
        let header = ct_header("1.2.3.4", "1.2.3", "1.2.3.1");
        let (context, data): (u8, Vec<u8>) = match number % 4 {
            0 => (CT_EXPLICIT, claim(0x0008, 0x0005, "UN", u32::MAX - 1)),
            1 => (CT_IMPLICIT, vec![0x10, 0, 0x10, 0, 0xFE, 0xFF, 0xFF, 0xFF, b'X', b'^', b'Y', b' ']),
            2 => (CT_EXPLICIT, [&header[..], &claim(0x7FE0, 0x0010, "OW", u32::MAX - 1)].concat()),
            _ => (CT_DEFLATED, vec![0xEC, 0xC0]),
        };
        peer.send(&p_data(context, 3, &store_rq(CT, "1.2.3.4"))).await;
        peer.send(&p_data(context, 0, &data)).await;
        peer.send(&p_data(context, 0, &[0; 60_000])).await;
        peers.push(peer);
    }
    honest.goes_on().await;
    honest.finish().await;
    let grown = house.router.peak_memory_bytes() - before;
    assert!(grown < 96 * MIB, "claims took {} KiB", grown / 1024);
    let reserved = house.router.peak_reserved_bytes() - reserved;
    assert!(reserved < 2048 * MIB, "{} MiB were reserved for claims", reserved / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_64_mb_and_messages_without_end_are_taken_in_bounded_memory() {
    let house = house().await;
    let honest = Honest::start(house.router.dicom, &house.center, 55);
    assert_eq!(honest_report(&house, 56, "").await, AckCode::AA);
    let before = house.router.peak_memory_bytes();
    // Ten senders who never end a message, two of them beyond the largest allowed.
    let mut endless = Vec::new();
    for _ in 0..10 {
        let mut peer = Peer::connect(house.router.hl7).await;
        peer.send(b"\x0bMSH|^~\\&|RIS|KLCHEM|N|N|20261124||ORU^R01|ENDLESS|P|2.5.1\rOBX|1|FT|A||").await;
        peer.send(&vec![b'x'; 512 * 1024]).await;
        endless.push(peer);
    }
    honest.goes_on().await;
    let small = house.router.peak_memory_bytes() - before;
    let document = "QUJD".repeat(15_900_000);
    let extra = format!("OBX|3|ED|PDF^Befund^L||^application^pdf^Base64^{document}||||||F\r");
    let code = honest_report(&house, 57, &extra).await;
    let grown = house.router.peak_memory_bytes() - before;
    honest.finish().await;
    assert!(small < 64 * MIB, "messages without end took {} KiB", small / 1024);
    assert_eq!(code, AckCode::AA);
    // As received, and no copy of it: what goes to the origin shares its memory.
    assert!(grown < 3 * 64 * MIB, "a report of 64 MB took {} KiB", grown / 1024);
}
