//! A result with a scanned PDF, 50 MB as a message: taken, held or sent home, and attached by a person, in less than three
//! times its size of memory, the router being a process of its own; and the PDF arrives to the byte.

use crate::support::{
    blocking,
    center::{About, Center, oru},
    eventually,
    hospital::{Hospital, head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, SOON, files},
    process::{self, Process},
    reports::Oru,
    service_folder,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use dicom_dictionary_std::uids;
use neisse::{
    cli::sample::SampleCase,
    hl7::{
        ack::AckCode,
        sender::{Hl7Sender, SenderSettings},
    },
};
use std::time::Duration;

const MESSAGE_BYTES: usize = 50_000_000;
/// A debug build on a loaded machine takes its time over 50 MB.
const PATIENCE: Duration = Duration::from_secs(180);

struct House {
    router: Process,
    hospital: Hospital,
    center: Center,
    patient: SampleCase,
    /// Keeps the router's files until it has ended.
    folder: tempfile::TempDir,
}

impl House {
    /// With a study of the hospital's own that is at the center, and a first report of ordinary size behind it.
    async fn start(footing: Footing, forms: &str) -> Self {
        let (hospital, center) = (Hospital::start().await, Center::start("CHEMNITZ").await);
        let folder = service_folder("process-");
        let mut files = files(footing, ALWAYS_CHEMNITZ, hospital.port, center.port, 1).await;
        let node = files.get_mut("neisse.toml").expect("the node's file");
        *node = node.replace("response = \"5s\"", "response = \"60s\"");
        // Its PACS is the center's: what comes there is what is looked at.
        let deliver =
            format!("[dicom]\ndeliver = {{ ae_title = \"CHEMNITZ\", host = \"127.0.0.1\", port = {} }}\n", center.port);
        let partner = files.get_mut("partners/rabenstein.toml").expect("the hospital's file");
        *partner = partner.replace("[dicom]\n", &deliver).replace("forms = [\"oru\"]", forms);
        process::write(folder.path(), &files);
        let router = Process::start(folder.path()).await;
        let (patient, slices) = head_ct(61, 1);
        send_study(router.dicom, &slices).await;
        eventually("the study is at the center", SOON, async || center.archive().contains_key(&slices[0].sop_instance))
            .await;
        let house = Self { router, hospital, center, patient, folder };
        house.taken("FIRST", &house.patient.accession, "").await;
        house.are_back(1).await;
        house
    }

    /// Sends a report, with more results behind its text.
    async fn taken(&self, control_id: &str, accession: &str, more: &str) {
        // One that fits no case names no study.
        let study = if accession == self.patient.accession { self.patient.study().to_string() } else { String::new() };
        let about = About { patient_id: &self.patient.patient_id, issuer: "RABENSTEIN", accession, study: &study };
        let mut message = oru("KLCHEM", control_id, &about, "F", "keine Blutung");
        message.extend_from_slice(more.as_bytes());
        let settings = SenderSettings { connect: SOON, response: PATIENCE };
        let mut line = Hl7Sender::new("127.0.0.1", self.router.hl7.port(), settings);
        let answer = line.send(&message, control_id).await.expect("an acknowledgement");
        assert_eq!(answer.code, AckCode::AA, "{control_id}");
    }

    async fn are_back(&self, number: usize) {
        eventually("the report is back", PATIENCE, async || self.hospital.reports().len() >= number).await;
        // The hospital's answer has been written down then.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// The document of the last report that is back.
    fn document(&self) -> Vec<u8> {
        let last = self.hospital.reports().pop().expect("a report");
        Oru::read(&last).documents().pop().expect("a document")
    }

    async fn command(&self, arguments: &[&str]) -> String {
        let mut command = process::command(self.folder.path(), "cases", arguments);
        let output = blocking(move || command.output()).await.expect("the command");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Three times the message's size, beyond what there was before, is the most that `work` may cost.
    async fn cost(&self, what: &str, work: impl Future<Output = ()>) {
        self.router.forget_peak();
        let before = self.router.peak_memory_bytes();
        work.await;
        let grown = self.router.peak_memory_bytes() - before;
        let hundredths = grown * 100 / MESSAGE_BYTES as u64;
        println!("{what}: {hundredths} % of the message's size");
        assert!(hundredths <= 300, "{what} costs {} KiB, {hundredths} % of the message's size", grown / 1024);
    }
}

/// Nothing that compresses, with the beginning and the end of a PDF.
fn pdf() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = b"%PDF-1.7\n".to_vec();
    while bytes.len() < MESSAGE_BYTES / 4 * 3 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_be_bytes()[..5]);
    }
    bytes.extend_from_slice(b"\n%%EOF\n");
    bytes
}

fn with_document(base64: &str) -> String {
    format!("OBX|3|ED|PDF^Befund^L|1|^application^pdf^Base64^{base64}||||||F\r")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifty_megabyte_result_costs_little_memory() {
    let pdf = pdf();
    let base64 = STANDARD.encode(&pdf);
    let plain = with_document(&base64);
    // As some systems write it, 76 letters a line.
    let lines: Vec<&str> = (0..base64.len()).step_by(76).map(|at| &base64[at..base64.len().min(at + 76)]).collect();
    let in_lines = with_document(&lines.join("\\.br\\"));
    for footing in BOTH {
        let house = House::start(footing, "forms = [\"oru\"]").await;
        let accession = house.patient.accession.as_str();
        house.cost(&format!("{footing:?}, held"), house.taken("HELD", "NOBODYS", &plain)).await;
        house
            .cost(&format!("{footing:?}, sent home"), async {
                house.taken("HOME", accession, &plain).await;
                house.are_back(2).await;
            })
            .await;
        assert!(house.document() == pdf, "{footing:?}: another document than was sent");
        house
            .cost(&format!("{footing:?}, in lines"), async {
                house.taken("LINES", accession, &in_lines).await;
                house.are_back(3).await;
            })
            .await;
        assert!(house.document() == pdf, "{footing:?}: another document than was sent in lines");
        attach(&house).await;
        assert!(house.document() == pdf, "{footing:?}: another document than was held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifty_megabyte_result_goes_home_as_a_dicom_document_too() {
    let pdf = pdf();
    let house = House::start(Footing::Embedded, "forms = [\"oru\", \"pdf\"]").await;
    let documents = || {
        let arrivals = house.center.arrivals().into_iter();
        arrivals
            .filter(|arrived| arrived.offer.sop_class.as_str() == uids::ENCAPSULATED_PDF_STORAGE)
            .collect::<Vec<_>>()
    };
    eventually("the first report is in the archive", SOON, async || documents().len() == 1).await;
    let message = with_document(&STANDARD.encode(&pdf));
    let sending = async {
        house.taken("HOME", &house.patient.accession, &message).await;
        house.are_back(2).await;
        eventually("the document is in the archive", PATIENCE, async || documents().len() == 2).await;
    };
    house.cost("as ORU and as a DICOM document", sending).await;
    assert!(house.document() == pdf, "another document in the message than was sent");
    let archived = documents().pop().expect("the document");
    assert!(memchr::memmem::find(&archived.data_set, &pdf).is_some(), "another document in the archive than was sent");
}

/// A person joins the held one to the case; it is read back from the store.
async fn attach(house: &House) {
    let listed = house.command(&["list"]).await;
    let case = listed.lines().find(|line| line.contains("rabenstein")).and_then(first_word).expect("a case");
    let held = listed.lines().skip_while(|line| !line.contains("of no known case")).find(|line| line.contains(" oru "));
    let report = held.and_then(first_word).expect("a report");
    let attaching = async {
        house.command(&["attach", report, case, "--why", "by telephone"]).await;
        house.are_back(4).await;
    };
    house.cost("attached", attaching).await;
}

fn first_word(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}
