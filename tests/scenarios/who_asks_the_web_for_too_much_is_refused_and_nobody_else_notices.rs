//! The router as a process of its own, because its memory is measured: paths that lead elsewhere, queries without measure,
//! bodies without end, studies of others. Each is refused by its status, says nothing of what is there, and costs little; an honest
//! scanner is served all the while.

use crate::support::{
    blocking,
    center::Center,
    eventually,
    hospital::{Hospital, head_ct, send_study},
    hostile::Honest,
    network::{ALWAYS_CHEMNITZ, Footing, SOON, files},
    process::{self, Process},
    service_folder,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const MIB: u64 = 1 << 20;
const IN_TIME: Duration = Duration::from_secs(60);

struct House {
    router: Process,
    center: Center,
    _hospital: Hospital,
    folder: tempfile::TempDir,
}

impl House {
    async fn start() -> Self {
        let (hospital, center) = (Hospital::start().await, Center::start("CHEMNITZ").await);
        let folder = service_folder("process-");
        let files = files(Footing::Embedded, ALWAYS_CHEMNITZ, hospital.port, center.port, 1).await;
        process::write(folder.path(), &files);
        let router = Process::start(folder.path()).await;
        Self { router, center, _hospital: hospital, folder }
    }

    async fn token(&self, partner: &str) -> String {
        let mut command = process::command(self.folder.path(), "token", &["create"]);
        command.args(["--partner", partner, "--name", "WS"]);
        let made = blocking(move || command.output()).await.expect("neisse token");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).expect("text").trim().to_owned()
    }

    /// As it is written, without a library that would mend the path. The status and all that was answered.
    async fn ask(&self, token: &str, line: &str, more: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: node\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
        );
        answered(self.router.http, &[head.as_bytes(), body].concat()).await
    }

    async fn get(&self, token: &str, path: &str) -> (u16, String) {
        self.ask(token, &format!("GET {path}"), "Accept: */*\r\n", b"").await
    }
}

async fn answered(http: SocketAddr, request: &[u8]) -> (u16, String) {
    let talk = async {
        let mut line = TcpStream::connect(http).await.expect("a connection");
        // It may be refused before all of it is sent.
        let _ = line.write_all(request).await;
        let (mut answer, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        while let Ok(read) = line.read(&mut piece).await
            && read > 0
        {
            answer.extend_from_slice(&piece[..read]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(IN_TIME, talk).await.expect("an answer in time");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_the_web_for_too_much_is_refused_and_nobody_else_notices() {
    let house = House::start().await;
    let (reader, other) = (house.token("chemnitz").await, house.token("leipzig-ukl").await);
    let (patient, slices) = head_ct(71, 3);
    send_study(house.router.dicom, &slices).await;
    let study = format!("/dicom-web/studies/{}", patient.study());
    eventually("the reader finds it", SOON, async || house.get(&reader, &format!("{study}/metadata")).await.0 == 200)
        .await;
    let honest = Honest::start(house.router.dicom, &house.center, 72);
    honest.goes_on().await;
    let before = house.router.peak_memory_bytes();

    paths_that_lead_elsewhere(&house, &reader).await;
    queries_without_measure(&house, &reader).await;
    what_is_others(&house, &other, &study, &patient.patient_id).await;
    bodies_without_end(&house, &reader).await;
    listeners_that_never_read(&house, &reader).await;

    honest.goes_on().await;
    honest.finish().await;
    assert_eq!(house.get(&reader, &format!("{study}/metadata")).await.0, 200, "and whoever may is served");
    let grown = house.router.peak_memory_bytes() - before;
    assert!(grown < 96 * MIB, "they took {} KiB", grown / 1024);
}

async fn paths_that_lead_elsewhere(house: &House, token: &str) {
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "/dicom-web/studies/../../../etc/passwd",
        "/dicom-web/studies/1.2/series/..%2f..%2f..%2fetc%2fpasswd/metadata",
        "/dicom-web/studies/1.2.3%00.4/metadata",
        "/dicom-web/studies/1.2/series/1.3/instances/1.4/bulkdata/..%2f..%2fneisse.sqlite",
        "/workitems/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
    ] {
        let (status, answer) = house.get(token, path).await;
        assert!((400..500).contains(&status), "{path}: {status}");
        assert!(!answer.contains("root:") && !answer.contains("SQLite"), "{path}");
    }
}

async fn queries_without_measure(house: &House, token: &str) {
    let many = vec!["PatientName=A"; 300].join("&");
    let nested = format!("{}PatientID=1", "RequestAttributesSequence.".repeat(40));
    let long = format!("PatientName={}", "A".repeat(8 << 10));
    let named = format!("SOPInstanceUID={}", vec!["1.2.3"; 3_000].join(","));
    for (what, query) in [("many", &many), ("nested", &nested), ("long", &long), ("named", &named)] {
        for path in ["/dicom-web/studies", "/dicom-web/instances", "/workitems"] {
            let (status, _) = house.get(token, &format!("{path}?{query}")).await;
            // To tasks an attribute of images is one that is not supported, and passed over.
            let passed = path == "/workitems" && matches!(status, 200 | 204);
            assert!((400..500).contains(&status) || passed, "{what} of {path}: {status}");
        }
    }
    let head = format!("X-Long: {}\r\n", "x".repeat(200 << 10));
    let (status, _) = house.ask(token, "GET /dicom-web/studies", &head, b"").await;
    assert!(matches!(status, 0 | 431), "a head of 200 KiB: {status}");
    let deep = [vec![b'['; 200_000], vec![b']'; 200_000]].concat();
    let more = format!("Content-Type: application/dicom+json\r\nContent-Length: {}\r\n", deep.len());
    let (status, _) = house.ask(token, "PUT /workitems/1.2.3/state", &more, &deep).await;
    assert!((400..500).contains(&status), "200,000 levels: {status}");
}

/// Answered as what never was, to the letter.
async fn what_is_others(house: &House, token: &str, study: &str, patient_id: &str) {
    let never = "/dicom-web/studies/1.2.3.4.5.6";
    let body = |answer: &str| answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    for part in ["", "/metadata", "/rendered", "/thumbnail"] {
        let (theirs, none) =
            (house.get(token, &format!("{study}{part}")).await, house.get(token, &format!("{never}{part}")).await);
        assert_eq!((theirs.0, body(&theirs.1)), (none.0, body(&none.1)), "{part}");
        assert!((400..500).contains(&theirs.0), "{part}: {}", theirs.0);
    }
    let (status, answer) = house.get(token, &format!("/dicom-web/studies?PatientID={patient_id}")).await;
    assert!(matches!(status, 200 | 204) && !answer.contains(patient_id), "{status}");
    let (status, answer) = house.get(token, "/workitems?ProcedureStepState=SCHEDULED").await;
    assert!(matches!(status, 200 | 204) && !answer.contains(patient_id), "{status}");
}

async fn bodies_without_end(house: &House, token: &str) {
    let kind = "Content-Type: multipart/related; type=\"application/dicom\"; boundary=part\r\n";
    let endless = format!("{kind}Content-Length: 9999999999\r\n");
    // No part ever begins; a part's head that does not end; a part that is no DICOM.
    let heads = ["", "--part\r\nX-Head: ", "--part\r\nContent-Type: application/dicom\r\n\r\n"];
    for head in heads {
        let body = [head.as_bytes(), &vec![b'x'; 32 << 20]].concat();
        let (status, _) = house.ask(token, "POST /dicom-web/studies", &endless, &body).await;
        // Refused while it was sent, or the line was closed on it.
        assert!(matches!(status, 0 | 400..500), "{head:?}: {status}");
    }
    // Many that stop in the middle of a part.
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut line = TcpStream::connect(house.router.http).await.expect("a connection");
        let head = format!(
            "POST /dicom-web/studies HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\n{endless}\r\n{}",
            heads[2]
        );
        let _ = line.write_all(head.as_bytes()).await;
        let _ = line.write_all(&[0; 100_000]).await;
        open.push(line);
    }
    assert_eq!(house.get(token, "/dicom-web/studies").await.0, 200);
}

async fn listeners_that_never_read(house: &House, token: &str) {
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut open = Vec::new();
    for number in 0..60 {
        let mut line = TcpStream::connect(house.router.http).await.expect("a connection");
        let head = format!(
            "GET /ws/subscribers/WS{number} HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nAuthorization: Bearer {token}\r\n{upgrade}\r\n"
        );
        line.write_all(head.as_bytes()).await.expect("sent");
        let subscribe = format!("POST /workitems/1.2.840.10008.5.1.4.34.5/subscribers/WS{number}");
        house.ask(token, &subscribe, "Content-Length: 0\r\n", b"").await;
        open.push(line);
    }
    // Fifty of a partner listen; the others are turned away.
    let mut answers = Vec::new();
    for line in &mut open {
        let mut answer = [0; 12];
        tokio::time::timeout(IN_TIME, line.read_exact(&mut answer)).await.expect("in time").expect("an answer");
        answers.push(String::from_utf8_lossy(&answer[9..]).into_owned());
    }
    assert_eq!(answers.iter().filter(|status| *status == "101").count(), 50, "{answers:?}");
    // There is something to tell them, which none of them takes.
    let (_, slices) = head_ct(73, 2);
    send_study(house.router.dicom, &slices).await;
    eventually("it is a task", SOON, async || {
        house.get(token, "/workitems?ProcedureStepState=SCHEDULED").await.1.matches("00741000").count() >= 2
    })
    .await;
}
