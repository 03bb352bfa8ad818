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
use neisse::cli::sample::{self, SampleCase};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const MIB: u64 = 1 << 20;
const IN_TIME: Duration = Duration::from_secs(60);
/// More than the minute of silence after which the node lets a sender go.
const LET_GO: Duration = Duration::from_secs(100);
/// What both ends of a connection hold of a body that nobody reads.
const IN_THE_LINE: usize = 16 << 20;
const PARTS: &str = "Content-Type: multipart/related; type=\"application/dicom\"; boundary=part\r\n";
const DICOM_PART: &str = "--part\r\nContent-Type: application/dicom\r\n\r\n";

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
        answered(self.router.http, &[head.as_bytes(), body].concat(), IN_TIME).await
    }

    async fn get(&self, token: &str, path: &str) -> (u16, String) {
        self.ask(token, &format!("GET {path}"), "Accept: */*\r\n", b"").await
    }
}

async fn answered(http: SocketAddr, request: &[u8], patience: Duration) -> (u16, String) {
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
    let answer = tokio::time::timeout(patience, talk).await.expect("an answer in time");
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
            assert!((400..500).contains(&status), "{what} of {path}: {status}");
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
    // Who says how much will come, and stops: before any part, within a part's head, within a part that is no DICOM.
    let stops = async |head: &'static str| {
        let asked = posted(token, "Content-Length: 9999999999\r\n");
        let request = [asked.as_bytes(), head.as_bytes(), &vec![b'x'; 32 << 20]].concat();
        (head, answered(house.router.http, &request, LET_GO).await.0)
    };
    let (no_part, no_head, silent) = tokio::join!(stops(""), stops("--part\r\nX-Head: "), stops(DICOM_PART));
    for (head, status) in [no_part, no_head] {
        // Refused while it was sent, or the line was closed on it.
        assert!(matches!(status, 0 | 400), "{head:?}: {status}");
    }
    assert_eq!(silent.1, 408, "let go after a minute of silence");
    // Who goes on for ever: without a part, and with nothing but parts, of nothing and of one image again and again. Parts are
    // counted, what is stored is bounded by the disk's reserve.
    let (nothing, image) = (b"--part\r\n\r\n\r\n".repeat(500), image_part());
    let most_images = 10_000 * image.len();
    for (piece, expected, most) in
        [(vec![b'x'; 64 << 10], 400, 64 << 10), (nothing, 413, 10_000 * 12), (image, 413, most_images)]
    {
        let (status, sent) = goes_on(house.router.http, token, &piece).await;
        let what = format!("{} bytes over and over: {status} after {sent}", piece.len());
        assert!(status == 0 || status == expected, "{what}");
        assert!(sent < most + IN_THE_LINE, "{what}");
    }
    // Many that stop in the middle of a part.
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut line = TcpStream::connect(house.router.http).await.expect("a connection");
        let head = posted(token, "Content-Length: 9999999999\r\n") + DICOM_PART;
        let _ = line.write_all(head.as_bytes()).await;
        let _ = line.write_all(&[0; 100_000]).await;
        open.push(line);
    }
    assert_eq!(house.get(token, "/dicom-web/studies").await.0, 200);
}

fn posted(token: &str, more: &str) -> String {
    format!(
        "POST /dicom-web/studies HTTP/1.1\r\nHost: node\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{PARTS}{more}\r\n"
    )
}

/// An image as a part of a body.
fn image_part() -> Vec<u8> {
    let image = sample::head_ct(1, 16, &SampleCase::numbered(74)).next().expect("a slice");
    [DICOM_PART.as_bytes(), &image.part10(), b"\r\n"].concat()
}

/// A chunked body of the same over and over, until the other side has had enough: the status, and how many bytes it took.
async fn goes_on(http: SocketAddr, token: &str, piece: &[u8]) -> (u16, usize) {
    let talk = async {
        let (mut heard, mut line) = TcpStream::connect(http).await.expect("a connection").into_split();
        line.write_all(posted(token, "Transfer-Encoding: chunked\r\n").as_bytes()).await.expect("sent");
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        let (mut answer, mut sent) = ([0; 12], 0);
        let told = {
            let answered = heard.read_exact(&mut answer);
            tokio::pin!(answered);
            loop {
                tokio::select! {
                    biased;
                    told = &mut answered => break told.is_ok(),
                    written = line.write_all(&chunk) => match written {
                        Ok(()) => sent += piece.len(),
                        Err(_) => break answered.as_mut().await.is_ok(),
                    },
                }
            }
        };
        let status = String::from_utf8_lossy(&answer[9..]).parse().unwrap_or(0);
        (if told { status } else { 0 }, sent)
    };
    tokio::time::timeout(LET_GO, talk).await.expect("it has had enough in time")
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
