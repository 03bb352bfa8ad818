//! Tissue of the DRK hospital in Rabenstein, examined in Chemnitz' institute of pathology: a biopsy, a frozen section and
//! a cytology are ordered, shipped with a printed list, received, rejected and lost; a test is added; interim, final and
//! amended results and a slide come home, each once and in order. Everybody but Neisse is an engine of other people:
//! `hl7`, `hl7apy`, `pynetdicom`, `pydicom`.

use crate::support::{
    eventually,
    network::{BOTH, Footing, Network, SOON},
    network_side::{Message, NetworkSide, Segment, send, store},
    reports::{pdf_text, small_pdf},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::Utc;
use neisse::{
    model::{CaseState, DeliveryKind, Lane, Moment, Priority, ReportStatus},
    store::{AlarmKind, CaseRow},
};
use serde_json::{Value, json};
use std::time::Duration;

const HOSPITAL: &str = "rabenstein";
const LABORATORY: &str = "chemnitz-pathology";

/// Somebody whose tissue is examined.
struct Patient {
    id: &'static str,
    name: &'static str,
    born: &'static str,
}

const BIOPSY: Patient = Patient { id: "4711", name: "Müßig^Jörg", born: "19580312" };
const FROZEN: Patient = Patient { id: "4712", name: "Schön^Änne", born: "19711130" };
const CYTOLOGY: Patient = Patient { id: "4713", name: "Grün^Käthe", born: "19640501" };

struct World {
    network: Network,
    side: NetworkSide,
}

#[tokio::test(flavor = "multi_thread")]
async fn tissue_travels_to_chemnitz_and_its_result_comes_home() {
    for footing in BOTH {
        let world = World::start(footing).await;
        world.ordered().await;
        world.shipped().await;
        world.received_and_rejected().await;
        world.lost_on_the_way().await;
        world.a_test_is_added().await;
        world.the_frozen_section_is_answered().await;
        world.results_come_home().await;
        world.a_slide_comes_home().await;
        world.nobody_else_got_anything().await;
        world.network.at_rest().await;
    }
}

fn header(facility: &str, message: &str, control_id: &str, charset: &str) -> Segment {
    let fields = json!({ "3": "IS", "4": facility, "5": "NEISSE", "6": "NEISSE", "7": "20261124080000", "9": message,
                         "10": control_id, "11": "P", "12": "2.5.1", "18": charset });
    ("MSH", fields)
}

/// As the hospital writes its patient, without an issuer.
fn of_the_hospital(patient: &Patient) -> Segment {
    ("PID", json!({ "1": "1", "3": patient.id, "5": patient.name, "7": patient.born, "8": "F" }))
}

/// One order: ORC, TQ1 and OBR.
fn order(control: &str, placer: &str, group: &str, priority: &str, code: &str) -> [Segment; 3] {
    [
        ("ORC", json!({ "1": control, "2": placer, "4": group })),
        ("TQ1", json!({ "1": "1", "9": priority })),
        ("OBR", json!({ "1": "1", "2": placer, "4": code })),
    ]
}

/// A specimen in its container, collected.
fn specimen(set: u8, number: &str, kind: &str) -> [Segment; 2] {
    // In UTC, a quarter of an hour ago.
    let collected = (Utc::now() - Duration::from_secs(900)).format("%Y%m%d%H%M%S+0000").to_string();
    [
        ("SPM", json!({ "1": set.to_string(), "2": number, "4": kind, "17": collected })),
        ("SAC", json!({ "3": format!("C-{number}") })),
    ]
}

/// A result: what is said of an order in OBR and ORC.
fn answer(placer: &str, filler: &str, code: &str, status: &str) -> [Segment; 2] {
    let (placer, filler) = (format!("{placer}^RABENSTEIN"), format!("{filler}^PATHO-CHEMNITZ"));
    let obr = json!({ "1": "1", "2": placer, "3": filler, "4": code, "25": status });
    [("ORC", json!({ "1": "RE", "2": placer, "3": filler })), ("OBR", obr)]
}

fn finding(number: u8, text: &str, status: &str) -> Segment {
    let number = number.to_string();
    ("OBX", json!({ "1": number, "2": "FT", "3": "22637-3^Diagnose^LN", "4": number, "5": text, "11": status }))
}

fn document(number: u8, line: &str, status: &str) -> Segment {
    let value = format!("LIS^application^pdf^Base64^{}", STANDARD.encode(small_pdf(line)));
    ("OBX", json!({ "1": number.to_string(), "2": "ED", "3": "PDF^Befund^L", "5": value, "11": status }))
}

impl World {
    async fn start(footing: Footing) -> Self {
        let side = NetworkSide::start().await;
        let (archive, scanner) = (side.pacs("RAB_PACS").await, side.pacs("KCP_PACS").await);
        let hospital = side.system(HOSPITAL, "iso8859-1").await;
        let laboratory = side.system(LABORATORY, "utf-8").await;
        // The command has no other clock than the machine's.
        let network = Network::example(footing, Moment::from_utc(Utc::now()), |example| {
            example.takes_images_at(HOSPITAL, archive);
            example.takes_images_at(LABORATORY, scanner);
            example.takes_messages_at(HOSPITAL, hospital);
            example.takes_messages_at(LABORATORY, laboratory);
            example.wants(HOSPITAL, &["oru", "oul", "pdf"]);
            example.edit_partner(HOSPITAL, |partner| {
                partner.insert("specimens".into(), toml::Table::from_iter([("events".into(), true.into())]).into());
            });
        })
        .await;
        Self { network, side }
    }

    async fn hospital_sends(&self, message: &str, control_id: &str, rest: Vec<Segment>) -> Message {
        let segments = [vec![header("DRKRAB", message, control_id, "8859/1")], rest].concat();
        self.side.accepted(send(self.network.node().hl7, "iso8859-1", "2.5.1", &segments)).await
    }

    async fn laboratory_sends(&self, message: &str, control_id: &str, rest: Vec<Segment>) -> Message {
        let segments = [vec![header("KCPATHO", message, control_id, "UNICODE UTF-8")], rest].concat();
        self.side.accepted(send(self.network.node().hl7, "utf-8", "2.5.1", &segments)).await
    }

    /// What a system got of this message type, each good.
    async fn got(&self, system: &str, kind: &str) -> Vec<Message> {
        let mut messages = self.side.messages(system).await;
        messages.retain(|message| message.field("MSH", 9).starts_with(kind));
        messages.iter().for_each(Message::is_good);
        messages
    }

    /// The orders the laboratory got so far, as control and number.
    async fn laboratory_has(&self, expected: &[&str]) {
        let orders = async || -> Vec<String> {
            let messages = self.got(LABORATORY, "OML").await;
            let short = |message: &Message| format!("{} {}", message.field("ORC", 1), message.field("ORC", 2));
            messages.iter().map(short).collect()
        };
        eventually(&format!("the laboratory has {expected:?}"), SOON, async || orders().await.len() >= expected.len())
            .await;
        let (mut orders, mut expected) = (orders().await, expected.to_vec());
        // In sequence within a case; three cases know nothing of each other.
        orders.sort();
        expected.sort_unstable();
        assert_eq!(orders, expected);
    }

    /// An SSU about this specimen and event; exactly one.
    async fn told(&self, system: &str, number: &str, event: &str) -> Message {
        let find = async || {
            let mut messages = self.got(system, "SSU").await;
            messages.retain(|ssu| {
                ssu.field("SPM", 2).starts_with(&format!("{number}&RABENSTEIN"))
                    && ssu.field("SAC", 8).ends_with(&format!("^{event}^{event}^99NEISSE"))
            });
            messages
        };
        eventually(&format!("{system} is told: {number} {event}"), SOON, async || !find().await.is_empty()).await;
        let mut found = find().await;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    async fn case_of(&self, patient: &Patient) -> CaseRow {
        let mut cases = self.network.cases().await;
        cases.retain(|case| case.facts.patient_id.value == patient.id && case.origin.as_str() == HOSPITAL);
        assert_eq!(cases.len(), 1, "one case of this patient");
        cases.remove(0)
    }

    async fn alarms_are(&self, wanted: &[AlarmKind]) {
        let store = &self.network.node().store;
        eventually(&format!("alarms: {wanted:?}"), SOON, async || {
            let alarms = store.specimen_alarms(100).await.expect("the store");
            alarms.iter().map(|alarm| alarm.kind).eq(wanted.iter().copied())
        })
        .await;
    }

    async fn ordered(&self) {
        let biopsy = [
            vec![of_the_hospital(&BIOPSY)],
            order("NW", "P-1", "G-1", "R", "HE^Histologie^L").to_vec(),
            specimen(1, "S-1", "TISS^Gewebe^HL70487").to_vec(),
            specimen(2, "S-2", "TISS^Gewebe^HL70487").to_vec(),
            specimen(3, "S-5", "TISS^Gewebe^HL70487").to_vec(),
            specimen(4, "S-6", "TISS^Gewebe^HL70487").to_vec(),
        ];
        let answer = self.hospital_sends("OML^O21^OML_O21", "H1", biopsy.concat()).await;
        assert_eq!(answer.field("MSH", 9), "ORL^O22^ORL_O22");
        assert_eq!((answer.field("ORC", 1), answer.field("ORC", 2)), ("OK", "P-1"));
        assert_eq!(answer.field("PID", 5), BIOPSY.name);

        // Somebody waits at the operating table: by specimen, stat.
        let frozen = [
            vec![of_the_hospital(&FROZEN)],
            specimen(1, "S-3", "TISS^Gewebe^HL70487").to_vec(),
            order("NW", "P-2", "", "S", "FS^Schnellschnitt^L").to_vec(),
        ];
        let answer = self.hospital_sends("OML^O33^OML_O33", "H2", frozen.concat()).await;
        assert_eq!(answer.field("MSH", 9), "ORL^O34^ORL_O34");
        assert_eq!((answer.field("SPM", 2), answer.field("ORC", 1)), ("S-3", "OK"));

        let cytology = [
            vec![of_the_hospital(&CYTOLOGY)],
            order("NW", "P-3", "", "R", "ZYT^Zytologie^L").to_vec(),
            specimen(1, "S-4", "PLR^Pleuraerguss^HL70487").to_vec(),
        ];
        self.hospital_sends("OML^O21^OML_O21", "H3", cytology.concat()).await;

        self.laboratory_has(&["NW P-1^RABENSTEIN", "NW P-2^RABENSTEIN", "NW P-3^RABENSTEIN"]).await;
        for order in self.got(LABORATORY, "OML").await {
            assert_eq!(order.charset(), "UNICODE UTF-8");
            let patient = [&BIOPSY, &FROZEN, &CYTOLOGY].into_iter().find(|one| order.field("PID", 5) == one.name);
            let patient = patient.expect("one of the three, with every letter");
            assert_eq!(order.field("PID", 3), format!("{}^^^RABENSTEIN", patient.id));
            assert!(order.field("SPM", 2).starts_with("S-"), "{}", order.text());
        }
        for (patient, priority) in
            [(&BIOPSY, Priority::Routine), (&FROZEN, Priority::Stat), (&CYTOLOGY, Priority::Routine)]
        {
            let case = self.case_of(patient).await;
            assert_eq!(case.priority, priority, "{}", self.network.story(&case).await);
            assert_eq!(case.attention, "");
        }
    }

    async fn shipped(&self) {
        let pdf = self.network.folder.path().join("list.pdf");
        let list = pdf.to_str().expect("UTF-8");
        let words = "ship --from rabenstein --to chemnitz-pathology --due 4h --by OP --courier Kurierdienst \
                     --specimens S-1 S-2 S-3 S-4 S-5 S-6 --pdf";
        let arguments: Vec<&str> = words.split_whitespace().chain([list]).collect();
        let screen = self.network.screen("specimen", &arguments).await;
        assert!(screen.contains("RABENSTEIN-000001"), "{screen}");
        let text = pdf_text(&std::fs::read(&pdf).expect("the list")).await;
        let numbers = ["S-1", "S-2", "S-3", "S-4", "S-5", "S-6"];
        for words in ["RABENSTEIN-000001", "C-S-4", "Pleuraerguss", "Institute of Pathology"].iter().chain(&numbers) {
            assert!(text.contains(words), "{words} in {text}");
        }
        assert!(!text.contains("Jörg"), "no patient's name unless it is asked for");
        for number in numbers {
            self.told(LABORATORY, number, "shipped").await;
        }
    }

    /// The laboratory's word on one specimen.
    async fn ssu(&self, control_id: &str, container: Value, specimen: Option<Value>) {
        let now = self.network.clock.now().utc().format("%Y%m%d%H%M%S+0000").to_string();
        let mut message = vec![("EQU", json!({ "1": "EINGANG", "2": now })), ("SAC", container)];
        message.extend(specimen.map(|specimen| ("SPM", specimen)));
        self.laboratory_sends("SSU^U03^SSU_U03", control_id, message).await;
    }

    async fn received_and_rejected(&self) {
        let spm = |number: &str, own: &str| json!({ "1": "1", "2": format!("{number}&RABENSTEIN^{own}&PATHO-CHEMNITZ"), "4": "TISS^Gewebe^HL70487" });
        for (control_id, number, own) in [("L1", "S-1", "E26-1"), ("L2", "S-3", "E26-3")] {
            let sac = json!({ "3": format!("C-{number}^RABENSTEIN"), "8": "I^Identified^HL70370" });
            self.ssu(control_id, sac, Some(spm(number, own))).await;
            let home = self.told(HOSPITAL, number, "received").await;
            assert_eq!(home.field("SPM", 2), format!("{number}&RABENSTEIN^{own}&PATHO-CHEMNITZ"));
        }
        // Two reasons of HL7 table 0490, and one of the laboratory's own that names the nearest of the table beside it.
        for (control_id, number, reason, arrives, name) in [
            ("L3", "S-5", "RM^Gefäß ohne Etikett^HL70490", "RM^Gefäß ohne Etikett^HL70490", "labeling"),
            (
                "L3a",
                "S-6",
                "RI^Etikett eines anderen^HL70490",
                "RI^Etikett eines anderen^HL70490",
                "identification problem",
            ),
            (
                "L3b",
                "S-2",
                "LEAK^Gefäß undicht^L^RB^Broken container^HL70490",
                "RB^Broken container; Gefäß undicht^HL70490",
                "broken container",
            ),
        ] {
            let mut rejected = spm(number, &number.replace("S-", "E26-"));
            rejected["21"] = reason.into();
            self.ssu(control_id, json!({ "3": format!("C-{number}^RABENSTEIN") }), Some(rejected)).await;
            let home = self.told(HOSPITAL, number, "rejected").await;
            assert_eq!((home.field("SPM", 21), home.charset()), (arrives, "8859/1"), "{}", home.text());
            let case = self.case_of(&BIOPSY).await;
            assert!(case.attention.ends_with(&format!(": rejected ({name})")), "{}", case.attention);
        }
        self.alarms_are(&[AlarmKind::Rejected; 3]).await;
        for number in ["S-2", "S-5", "S-6"] {
            self.network.screen("specimen", &["seen", number, "--why", "S-1 is enough"]).await;
        }
        self.alarms_are(&[]).await;
        assert_eq!(self.case_of(&BIOPSY).await.attention, "");
    }

    async fn lost_on_the_way(&self) {
        self.network.clock.advance(Duration::from_secs(4 * 3600 + 60));
        self.alarms_are(&[AlarmKind::NotReceived]).await;
        let case = self.case_of(&CYTOLOGY).await;
        assert!(case.attention.contains("shipped and not received in time"), "{}", case.attention);
        assert_eq!(self.network.story(&case).await.matches("shipped and not received in time").count(), 1, "once");
        let screen = self.network.screen("specimen", &["list", "--late"]).await;
        assert!(screen.contains("S-4") && !screen.contains("S-1"), "{screen}");

        // They look for it and find nothing: another is to be taken, and the order is taken back.
        let missing = json!({ "1": "1", "2": "S-4&RABENSTEIN", "4": "PLR^Pleuraerguss^HL70487", "24": "SNR" });
        self.ssu("L4", json!({ "3": "C-S-4^RABENSTEIN" }), Some(missing)).await;
        self.told(HOSPITAL, "S-4", "lost").await;
        self.alarms_are(&[AlarmKind::Lost]).await;
        let cancel = [vec![of_the_hospital(&CYTOLOGY)], order("CA", "P-3", "", "R", "ZYT^Zytologie^L").to_vec()];
        let answer = self.hospital_sends("OML^O21^OML_O21", "H4", cancel.concat()).await;
        assert_eq!(answer.field("ORC", 1), "CR");
        self.laboratory_has(&["NW P-1^RABENSTEIN", "NW P-2^RABENSTEIN", "NW P-3^RABENSTEIN", "CA P-3^RABENSTEIN"])
            .await;
    }

    async fn a_test_is_added(&self) {
        let added = [
            vec![of_the_hospital(&BIOPSY)],
            order("NW", "P-4", "", "R", "KI67^Ki-67^L").to_vec(),
            vec![("SPM", json!({ "1": "1", "2": "S-1", "4": "TISS^Gewebe^HL70487" }))],
        ];
        let before = self.case_of(&BIOPSY).await;
        let answer = self.hospital_sends("OML^O21^OML_O21", "H5", added.concat()).await;
        assert_eq!(answer.field("ORC", 1), "OK");
        eventually("the laboratory has the added test", SOON, async || {
            self.got(LABORATORY, "OML").await.iter().any(|order| order.field("ORC", 2) == "P-4^RABENSTEIN")
        })
        .await;
        assert_eq!(self.case_of(&BIOPSY).await.id, before.id, "the same case");
    }

    async fn the_frozen_section_is_answered(&self) {
        let result = [
            vec![("PID", json!({ "1": "1", "3": "4712^^^RABENSTEIN", "5": FROZEN.name }))],
            answer("P-2", "E26-3", "FS^Schnellschnitt^L", "F").to_vec(),
            vec![finding(1, "Schnittränder tumorfrei.", "F")],
            vec![("SPM", json!({ "1": "1", "2": "S-3&RABENSTEIN^E26-3&PATHO-CHEMNITZ", "4": "TISS^Gewebe^HL70487" }))],
        ];
        self.laboratory_sends("ORU^R01^ORU_R01", "L5", result.concat()).await;
        self.results_are(&FROZEN, &[("F", "Schnittränder tumorfrei.")]).await;
        let case = self.case_of(&FROZEN).await;
        assert_eq!(case.state, CaseState::Reported);
        // Somebody waits: the order there and all forms of its result back went before everything else.
        let ledger = self.network.ledger(&case).await;
        let lanes = |partner: &str, kind: DeliveryKind| -> Vec<Lane> {
            let its = ledger.iter().filter(|row| row.partner.as_str() == partner && row.kind == kind);
            its.map(|row| row.lane).collect()
        };
        let orders = lanes(LABORATORY, DeliveryKind::Message);
        assert!(!orders.is_empty() && orders.iter().all(|lane| *lane == Lane::Stat), "{orders:?}");
        for kind in [DeliveryKind::ReportOru, DeliveryKind::ReportOul, DeliveryKind::ReportPdf] {
            assert_eq!(lanes(HOSPITAL, kind), [Lane::Stat], "{kind:?}");
        }
        // What nobody waits for at the table does not.
        let routine = self.network.ledger(&self.case_of(&BIOPSY).await).await;
        assert!(!routine.is_empty() && routine.iter().all(|row| row.lane == Lane::Routine));
    }

    async fn results_come_home(&self) {
        let pid = || vec![("PID", json!({ "1": "1", "3": "4711^^^RABENSTEIN", "5": BIOPSY.name }))];
        let spm =
            || ("SPM", json!({ "1": "1", "2": "S-1&RABENSTEIN^E26-1&PATHO-CHEMNITZ", "4": "TISS^Gewebe^HL70487" }));
        let interim = [
            pid(),
            answer("P-1", "E26-1", "HE^Histologie^L", "P").to_vec(),
            vec![finding(1, "Vorläufig: Drüsen mit Atypien.", "P"), spm()],
        ];
        self.laboratory_sends("ORU^R01^ORU_R01", "L6", interim.concat()).await;

        // By specimen, with a PDF; then the added test. An ORC follows its OBR there.
        let reversed = |mut pair: [Segment; 2]| {
            pair.reverse();
            pair.to_vec()
        };
        let ki67 = json!({ "1": "2", "2": "NM", "3": "KI67^Ki-67^L", "5": "20", "6": "%^^UCUM", "11": "F" });
        let by_specimen = [
            pid(),
            vec![spm(), ("SAC", json!({ "3": "C-S-1^RABENSTEIN" }))],
            reversed(answer("P-1", "E26-1", "HE^Histologie^L", "F")),
            vec![finding(1, "Tubuläres Adenom.", "F"), document(2, "document of the final result", "F")],
        ];
        self.laboratory_sends("OUL^R22^OUL_R22", "L7", by_specimen.concat()).await;
        let added = [
            pid(),
            vec![spm(), ("SAC", json!({ "3": "C-S-1^RABENSTEIN" }))],
            reversed(answer("P-4", "E26-1b", "KI67^Ki-67^L", "F")),
            vec![finding(1, "Geringe Proliferation.", "F"), ("OBX", ki67)],
        ];
        self.laboratory_sends("OUL^R22^OUL_R22", "L8", added.concat()).await;
        let amended = [
            pid(),
            answer("P-1", "E26-1", "HE^Histologie^L", "C").to_vec(),
            vec![
                finding(1, "Serratiertes Adenom, ß-Catenin größer.", "C"),
                document(2, "document of the amended result", "C"),
                spm(),
            ],
        ];
        self.laboratory_sends("ORU^R01^ORU_R01", "L9", amended.concat()).await;
        self.results_are(
            &BIOPSY,
            &[
                ("P", "Vorläufig: Drüsen mit Atypien."),
                ("F", "Tubuläres Adenom."),
                ("F", "Geringe Proliferation."),
                ("C", "Serratiertes Adenom, ß-Catenin größer."),
            ],
        )
        .await;
        let all = self.got(HOSPITAL, "OUL").await;
        let numbers =
            all.iter().filter(|oul| oul.field("PID", 3) == "4711^^^RABENSTEIN").map(|oul| oul.field("OBR", 2));
        let numbers: Vec<&str> = numbers.collect();
        assert_eq!(
            numbers,
            ["P-1^RABENSTEIN", "P-1^RABENSTEIN", "P-4^RABENSTEIN", "P-1^RABENSTEIN"],
            "each to its order"
        );
        let ki67 = all.iter().find(|oul| oul.field("OBR", 2) == "P-4^RABENSTEIN").expect("the added test");
        assert_eq!((ki67.values("NM"), ki67.field("SAC", 3)), (vec!["20"], "C-S-1^RABENSTEIN"));
        self.each_version_has_its_pdf().await;
    }

    /// The laboratory's own document where there was one, else the text as one: of each version what that version said, and
    /// of no other.
    async fn each_version_has_its_pdf(&self) {
        let case = self.case_of(&BIOPSY).await;
        let store = &self.network.node().store;
        let mut reports = store.reports(case.id).await.expect("the store");
        reports.sort_by_key(|report| report.version);
        let instances = self.side.instances("RAB_PACS").await;
        let versions = [
            (ReportStatus::Preliminary, "Drüsen mit Atypien"),
            (ReportStatus::Final, "document of the final result"),
            (ReportStatus::Final, "Geringe Proliferation"),
            (ReportStatus::Corrected, "document of the amended result"),
        ];
        assert_eq!(reports.len(), versions.len());
        for (report, (status, words)) in reports.iter().zip(versions) {
            assert_eq!(report.status, status, "version {}", report.version);
            let form = store.report_content(report.id, DeliveryKind::ReportPdf.as_str()).await.expect("the store");
            let its: Vec<&Value> = instances.iter().filter(|one| one["SOPInstanceUID"] == form.sop_uid).collect();
            assert_eq!(its.len(), 1, "version {}: once in the archive", report.version);
            let pdf = std::fs::read(its[0]["file"].as_str().expect("a path")).expect("the PDF");
            let page = pdf_text(&pdf).await.split_whitespace().collect::<Vec<_>>().join(" ");
            for (_, said) in versions {
                assert_eq!(page.contains(said), said == words, "version {}: {said} in {page}", report.version);
            }
        }
    }

    /// All the results of this patient that the hospital has: status and text, each once as ORU and once as OUL, in order,
    /// in the hospital's identifiers and letters; and as many PDFs in its archive.
    async fn results_are(&self, patient: &Patient, wanted: &[(&str, &str)]) {
        for kind in ["ORU", "OUL"] {
            let its = async || {
                let mut messages = self.got(HOSPITAL, kind).await;
                messages.retain(|message| message.field("PID", 3) == format!("{}^^^RABENSTEIN", patient.id));
                messages
            };
            eventually(&format!("{} {kind}", wanted.len()), SOON, async || its().await.len() >= wanted.len()).await;
            let messages = its().await;
            let said = messages.iter().map(|message| (message.field("OBR", 25), message.values("FT")[0]));
            assert_eq!(said.collect::<Vec<_>>(), wanted);
            for message in messages {
                assert_eq!(message.charset(), "8859/1", "{}", message.text());
                assert_eq!(message.field("PID", 5), format!("{}^^^^^L", patient.name));
                assert!(message.field("OBR", 2).ends_with("^RABENSTEIN"), "{}", message.text());
                assert!(message.field("SPM", 2).starts_with("S-"), "{}", message.text());
                assert!(!message.text().contains('?'), "{}", message.text());
            }
        }
        let mut documents = Vec::new();
        eventually("a PDF of each", SOON, async || {
            documents = self.side.instances("RAB_PACS").await;
            documents.retain(|one| one["Modality"] == "DOC" && one["PatientID"] == patient.id);
            documents.len() >= wanted.len()
        })
        .await;
        assert_eq!(documents.len(), wanted.len());
        assert!(documents.iter().all(|document| document["PatientName"] == patient.name), "{documents:?}");
    }

    /// The institute scans the glass it has made of S-1, under its own number.
    async fn a_slide_comes_home(&self) {
        let (class, study) = ("1.2.840.10008.5.1.4.1.1.77.1.6", "2.25.990001");
        let slide = json!({
            "do": "image", "file": "slide.dcm", "gray": 200,
            "elements": {
                "SpecificCharacterSet": "ISO_IR 192", "SOPClassUID": class, "StudyInstanceUID": study,
                "SeriesInstanceUID": format!("{study}.1"), "SOPInstanceUID": format!("{study}.1.1"), "Modality": "SM",
                "PatientName": BIOPSY.name, "PatientID": BIOPSY.id, "PatientBirthDate": BIOPSY.born,
                "StudyDate": "20261124", "StudyTime": "120000", "SeriesNumber": "1", "InstanceNumber": "1",
                "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "NumberOfFrames": "4",
                "TotalPixelMatrixColumns": 32, "TotalPixelMatrixRows": 32, "ContainerIdentifier": "E26-1-A1",
                "SpecimenDescriptionSequence": [{
                    "SpecimenIdentifier": "E26-1", "SpecimenUID": format!("{study}.9"),
                    "IssuerOfTheSpecimenIdentifierSequence": [{ "LocalNamespaceEntityID": "PATHO-CHEMNITZ" }],
                }],
            },
        });
        let made = self.side.ask(slide).await;
        let file = made["file"].as_str().expect("a path");
        let statuses = self.side.ask(store(self.network.node().dicom, "KCP_PACS", &[file])).await;
        assert_eq!(statuses, json!([0]));
        let mut slides = Vec::new();
        eventually("the slide is in the hospital's archive", SOON, async || {
            slides = self.side.instances("RAB_PACS").await;
            slides.retain(|instance| instance["Modality"] == "SM");
            !slides.is_empty()
        })
        .await;
        assert_eq!(slides.len(), 1);
        for keyword in ["SOPClassUID", "SOPInstanceUID", "PatientID", "PatientName", "ContainerIdentifier", "pixels"] {
            assert_eq!(slides[0][keyword], made[keyword], "{keyword}");
        }
    }

    async fn nobody_else_got_anything(&self) {
        assert!(self.network.chemnitz.arrivals().is_empty() && self.network.leipzig.arrivals().is_empty());
        assert!(self.network.hospital.reports().is_empty());
        assert!(self.side.instances("KCP_PACS").await.is_empty(), "its own slide does not come back");
        let (hospital, laboratory) = (self.side.messages(HOSPITAL).await, self.side.messages(LABORATORY).await);
        assert!(hospital.iter().all(|message| !message.field("MSH", 9).starts_with("OML")));
        let takes = |message: &Message| ["OML", "SSU"].contains(&&message.field("MSH", 9)[..3]);
        assert!(laboratory.iter().all(takes), "no result comes back to who wrote it");
    }
}
