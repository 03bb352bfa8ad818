//! Orders as a hospital's information system writes them, and the answers it gets.

use neisse::cli::sample::SampleCase;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An ORM^O01 as a hospital's information system writes it.
pub fn orm(control_id: &str, control: &str, placer: &str, patient: &SampleCase, zds: bool) -> String {
    let study = if zds { format!("ZDS|{}^KIS^Application^DICOM\r", patient.study()) } else { String::new() };
    format!(
        "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124225900||ORM^O01|{control_id}|P|2.3.1||||||8859/1\r\
         PID|1||{}^^^RABENSTEIN||Doe^J||19600101|M\r\
         ORC|{control}|{placer}^KIS\r\
         OBR|1|{placer}^KIS||CTKOPF^CT Kopf^L||||||||||||||{}|||||||||^^^^^S\r{study}",
        patient.patient_id, patient.accession
    )
}

/// Sends one message and returns the answer, segment by segment.
pub async fn ask(router: SocketAddr, message: &str) -> Vec<String> {
    let mut line = TcpStream::connect(router).await.expect("connected");
    line.write_all(format!("\x0b{message}\x1c\r").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1c\r") {
        assert!(line.read_buf(&mut answer).await.expect("an answer") > 0, "closed after {} bytes", answer.len());
    }
    let text = String::from_utf8(answer[1..answer.len() - 2].to_vec()).expect("ASCII");
    text.split('\r').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// The order control of the answer to a message with one order, which must have been accepted.
pub async fn answered(router: SocketAddr, message: &str) -> String {
    let answer = ask(router, message).await;
    assert!(answer[0].contains("|ORR^O02|"), "{answer:?}");
    assert!(answer[1].starts_with("MSA|AA|"), "{answer:?}");
    answer[2].split('|').nth(1).expect("ORC-1").to_owned()
}

/// An OML as a hospital's information system writes it, for patient `patient`.
pub fn oml(event: &str, control_id: &str, patient: &str, rest: &[&str]) -> String {
    // As the sample studies of that patient say it.
    let number = patient.strip_prefix("SYN-").and_then(|number| number.parse().ok()).unwrap_or(0);
    let born = SampleCase::numbered(number).birth_date;
    format!(
        "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124080000||OML^{event}^OML_{event}|{control_id}|P|2.5.1||||||8859/1\r\
         PID|1||{patient}^^^RABENSTEIN||Doe^Jane||{born}|F\rPV1|1|I\r{}",
        rest.concat()
    )
}

/// One order of it, with its group and procedure.
pub fn order(control: &str, placer: &str, group: &str, code: &str) -> String {
    format!("ORC|{control}|{placer}^KIS||{group}^KIS\rTQ1|1||||||||R\rOBR|1|{placer}^KIS||{code}\r")
}

/// A biopsy, perhaps taken from another specimen.
pub fn specimen(id: &str, parent: &str) -> String {
    let parent = if parent.is_empty() { String::new() } else { format!("{parent}&KIS") };
    format!("SPM|1|{id}&KIS|{parent}|BX^Biopsy^L\r")
}

/// Sends a message whose orders must all be answered with this order control.
pub async fn answered_by(router: SocketAddr, message: &str, control: &str) {
    let answer = ask(router, message).await;
    let controls = answer.iter().filter(|segment| segment.starts_with("ORC|")).filter_map(|orc| orc.split('|').nth(1));
    assert!(
        answer[1].starts_with("MSA|AA|")
            && controls.eq([control].into_iter().cycle().take(message.matches("\rORC|").count())),
        "{answer:?}"
    );
}
