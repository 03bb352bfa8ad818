//! Zgorzelec, Liberec and Görlitz, with equal patient IDs, order numbers, accession numbers, control ids and UIDs, at the
//! same time: order, images and report of each stay its own, in its character set, its identifiers and its language,
//! whatever day it is in which state. Everybody but Neisse is an engine of other people: `hl7`, `hl7apy`, `pynetdicom`,
//! `pydicom`, DCMTK.

use crate::support::{
    dcmtk::{Target, dcmsend},
    eventually,
    network::{BOTH, Footing, Network, SOON, wall},
    network_side::{Message, NetworkSide, Segment, send, store},
    reports::pdf_text,
};
use neisse::{
    model::{CaseState, Moment, PartnerId, Uid},
    store::CaseRow,
};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};

/// A hospital and its patient.
struct House {
    partner: &'static str,
    facility: &'static str,
    issuer: &'static str,
    /// What its information system writes and reads, as Python calls it, and what it says in MSH-18.
    codec: &'static str,
    charset: &'static str,
    /// MSH-18 of what it gets.
    gets: &'static str,
    scanner: &'static str,
    pacs: &'static str,
    images_in: &'static str,
    name: &'static str,
    /// Of every pixel of its images.
    gray: u8,
    description: &'static str,
    /// What its reader writes, and how it arrives.
    report: (&'static str, &'static str),
    /// What its case says of letters on their way.
    warning: &'static str,
    /// What stands in the PDF, in its language.
    words: [&'static str; 2],
    /// How its language says both half past twos of the night in which summer time ends.
    half_past_two: [&'static str; 2],
}

const ZGORZELEC: House = House {
    partner: "zgorzelec",
    facility: "SZPZGO",
    issuer: "ZGORZELEC",
    codec: "iso8859-2",
    charset: "8859/2",
    gets: "8859/2",
    scanner: "ZGO_CT1",
    pacs: "ZGO_PACS",
    images_in: "ISO_IR 101",
    name: "Świątek^Łucja",
    gray: 11,
    description: "TK głowy",
    // It takes no UTF-8, and its set has no ≥.
    report: (
        "CT des Schädels von Łucja Świątek: keine Blutung. Zyste ≥ 5 mm.",
        "CT des Schädels von Łucja Świątek: keine Blutung. Zyste >= 5 mm.",
    ),
    warning: "order to goerlitz: sent as UTF-8: 8859/1 does not hold ą (U+0105), Ł (U+0141), ł (U+0142), Ś (U+015A); \
              letters replaced: 8859/2 does not hold ≥ (U+2265) as >=",
    words: ["Pacjent", "Łucja"],
    half_past_two: ["25.10.2026, 02:30 (CEST)", "25.10.2026, 02:30 (CET)"],
};

const LIBEREC: House = House {
    partner: "liberec",
    facility: "KNLIBEREC",
    issuer: "LIBEREC",
    codec: "cp1250",
    charset: "",
    gets: "Windows-1250",
    scanner: "LBC_CT1",
    pacs: "LBC_PACS",
    images_in: "ISO_IR 101",
    name: "Dvořák^Jiří",
    gray: 22,
    description: "CT hlavy",
    report: (
        "CT des Schädels von Jiří Dvořák: keine Blutung – „unauffällig“.",
        "CT des Schädels von Jiří Dvořák: keine Blutung – „unauffällig“.",
    ),
    warning: "order to goerlitz: sent as UTF-8: 8859/1 does not hold ř (U+0159)",
    words: ["Pacient", "Jiří"],
    half_past_two: ["25. 10. 2026, 02:30 (SELČ)", "25. 10. 2026, 02:30 (SEČ)"],
};

const GOERLITZ: House = House {
    partner: "goerlitz",
    facility: "SKGOERLITZ",
    issuer: "GOERLITZ",
    codec: "iso8859-1",
    charset: "8859/1",
    // It takes UTF-8 where its own set is too small, as for every č.
    gets: "UNICODE UTF-8",
    scanner: "GR_CT1",
    pacs: "GR_PACS",
    images_in: "ISO_IR 100",
    name: "Müßig^Jörg",
    gray: 33,
    description: "Zweitmeinung CT Schädel",
    report: ("CT hlavy, Jörg Müßig: bez čerstvého krvácení.", "CT hlavy, Jörg Müßig: bez čerstvého krvácení."),
    warning: "sent as UTF-8: 8859/1 does not hold č (U+010D)",
    words: ["Patient", "Jörg"],
    half_past_two: ["25.10.2026, 02:30 Uhr (MESZ)", "25.10.2026, 02:30 Uhr (MEZ)"],
};

const HOUSES: [&House; 3] = [&ZGORZELEC, &LIBEREC, &GOERLITZ];

/// What all three give their patients, orders, images and messages.
struct Numbers {
    patient: &'static str,
    placer: String,
    accession: String,
    control_id: String,
    study: String,
}

impl Numbers {
    fn of(round: u8) -> Self {
        Self {
            patient: "4711",
            placer: format!("P-{round}"),
            accession: format!("2026-{round}"),
            control_id: format!("M{round}"),
            study: format!("2.25.77000{round}"),
        }
    }
}

struct World {
    network: Network,
    side: NetworkSide,
}

#[tokio::test(flavor = "multi_thread")]
async fn three_countries_keep_their_names_and_numbers_apart() {
    for footing in BOTH {
        let world = World::start(footing).await;
        let all = [(&ZGORZELEC, &GOERLITZ), (&LIBEREC, &GOERLITZ), (&GOERLITZ, &LIBEREC)];
        // Half past two comes twice that night, in all three.
        world.network.clock.set(utc("2026-10-25T00:30:00Z"));
        let home = world.round(5, &all, &[], true).await;
        says_when(&home, "+0200", |house| house.half_past_two[0]);
        world.network.clock.set(utc("2026-10-25T01:30:00Z"));
        let home = world.round(6, &all, &[], true).await;
        says_when(&home, "+0100", |house| house.half_past_two[1]);
        // Independence Day in Poland, a working day in the other two.
        world.network.clock.set(wall("2026-11-11T10:00"));
        world.round(1, &[(&ZGORZELEC, &GOERLITZ)], &[&LIBEREC], true).await;
        // The Day of Struggle for Freedom and Democracy in Czechia; images before their orders.
        world.network.clock.set(wall("2026-11-17T10:00"));
        world.round(2, &[(&LIBEREC, &GOERLITZ)], &[&ZGORZELEC], false).await;
        // Buß- und Bettag is a holiday in Saxony alone, and Görlitz does not travel for it.
        world.network.clock.set(wall("2026-11-18T10:00"));
        world.round(3, &[], &[&LIBEREC, &ZGORZELEC], true).await;
        // Night in all three; a second opinion goes the other way.
        world.network.clock.set(wall("2026-11-18T22:00"));
        world.round(4, &all, &[], true).await;
        disclosed(&world).await;
        world.network.at_rest().await;
    }
}

fn utc(text: &str) -> Moment {
    Moment::from_utc(text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time"))
}

/// Message and PDF say which of the two half past twos it was, in the hospital's own time and words.
fn says_when(home: &[Home], offset: &str, words: impl Fn(&House) -> &'static str) {
    for Home { house, report, page } in home {
        for (segment, field) in [("MSH", 7), ("OBR", 22)] {
            let time = report.field(segment, field);
            assert!(time.starts_with("2026102502") && time.ends_with(offset), "{segment}-{field}: {}", report.text());
        }
        // Some minutes may have passed since.
        let (before, behind) = words(house).split_once("30").expect("half past two");
        let line = page.split_whitespace().collect::<Vec<_>>().join(" ");
        let minute = line.split(before).nth(1).and_then(|rest| rest.get(..2)?.parse::<u32>().ok());
        let minute = minute.unwrap_or_else(|| panic!("{before} in {line}"));
        assert!((30..40).contains(&minute) && line.contains(&format!("{before}{minute}{behind}")), "{behind}: {line}");
    }
}

/// What a hospital got of a report.
struct Home {
    house: &'static House,
    report: Message,
    /// The text of its PDF.
    page: String,
}

impl World {
    async fn start(footing: Footing) -> Self {
        let side = NetworkSide::start().await;
        let mut ports = Vec::new();
        for house in HOUSES {
            ports.push((house, side.pacs(house.pacs).await, side.system(house.partner, house.codec).await));
        }
        let network = Network::example(footing, utc("2026-10-25T00:20:00Z"), |example| {
            for (house, pacs, system) in ports {
                example.takes_images_at(house.partner, pacs);
                example.takes_messages_at(house.partner, system);
            }
            let hl7 = |partner: &mut toml::Table| partner["hl7"].as_table_mut().expect("[hl7]").clone();
            example.edit_partner("goerlitz", |partner| {
                let mut own = hl7(partner);
                own.insert("charset".into(), "8859/1".into());
                partner.insert("hl7".into(), own.into());
            });
            example.edit_partner("zgorzelec", |partner| {
                let mut own = hl7(partner);
                own["deliver"].as_table_mut().expect("[hl7.deliver]").insert("utf8".into(), false.into());
                partner.insert("hl7".into(), own.into());
            });
        })
        .await;
        Self { network, side }
    }

    /// Orders and images of all, at once; what goes to a reader is reported on and comes home.
    async fn round(
        &self,
        round: u8,
        away: &[(&'static House, &'static House)],
        on_site: &[&House],
        orders_first: bool,
    ) -> Vec<Home> {
        let numbers = Numbers::of(round);
        let origins: Vec<&House> = away.iter().map(|(origin, _)| *origin).chain(on_site.iter().copied()).collect();
        let before = Before::look(self).await;
        if orders_first {
            self.order(&origins, &numbers).await;
        }
        self.scan(&origins, &numbers, round).await;
        if !orders_first {
            self.order(&origins, &numbers).await;
        }
        let study: Uid = Uid::new(&numbers.study).expect("a UID");
        for origin in &origins {
            self.network.decided(origin.partner, &study).await;
        }
        self.network.clock.advance(Duration::from_secs(31));
        for (origin, reader) in away {
            self.network.case_of(origin.partner, &study, CaseState::Delivered).await;
            self.has_arrived(&before, origin, reader, &numbers).await;
        }
        for house in on_site {
            let case = self.network.decided(house.partner, &study).await;
            assert!(self.network.ledger(&case).await.is_empty(), "read on site: {}", self.network.story(&case).await);
        }
        self.report(away, &numbers, round).await;
        let mut home = Vec::new();
        for (origin, _) in away {
            let case = self.network.case_of(origin.partner, &study, CaseState::Reported).await;
            home.push(self.has_come_home(&before, origin, &numbers, &case).await);
        }
        before.nothing_else(self, away).await;
        home
    }

    /// Each orders its own, all at the same time.
    async fn order(&self, origins: &[&House], numbers: &Numbers) {
        let router = self.network.node().hl7;
        let order = |house: &&House| {
            let message: [Segment; 4] = [
                ("MSH", house.header("ORM^O01^ORM_O01", "2.5", &numbers.control_id, house.charset)),
                ("PID", json!({ "1": "1", "3": numbers.patient, "5": house.name, "7": "19700101", "8": "F" })),
                ("ORC", json!({ "1": "NW", "2": numbers.placer })),
                (
                    "OBR",
                    json!({ "1": "1", "2": numbers.placer, "4": format!("CT1^{}^L", house.description),
                            "18": numbers.accession }),
                ),
            ];
            send(router, house.codec, "2.5", &message)
        };
        for answer in self.side.together(origins.iter().map(order).collect()).await {
            let answer = Message(answer);
            assert_eq!(answer.field("MSA", 1), "AA", "{}", answer.text());
            assert_eq!((answer.field("MSA", 2), answer.field("ORC", 1)), (numbers.control_id.as_str(), "OK"));
            assert_eq!(answer.field("ORC", 2), numbers.placer);
        }
    }

    /// One data set, sent by each with its own patient's name and pixels: Liberec by `dcmsend`, the others by `pynetdicom`.
    async fn scan(&self, origins: &[&House], numbers: &Numbers, round: u8) {
        let (mut by_pynetdicom, mut by_dcmsend) = (Vec::new(), Vec::new());
        let router = self.network.node().dicom;
        for house in origins {
            let made = self.side.ask(house.image(numbers, round)).await;
            let file = made["file"].as_str().expect("a path").to_owned();
            if house.partner == "liberec" {
                by_dcmsend.push((house.scanner, PathBuf::from(file)));
            } else {
                by_pynetdicom.push(store(router, house.scanner, &[&file]));
            }
        }
        let others = async {
            for (calling, file) in by_dcmsend {
                let target = Target { calling: calling.into(), called: "NEISSE".into(), port: router.port() };
                let output = dcmsend(&target, &[], &[file]).await;
                assert!(output.status.success(), "dcmsend: {}", String::from_utf8_lossy(&output.stderr));
            }
        };
        let (statuses, ()) = tokio::join!(self.side.together(by_pynetdicom), others);
        assert!(statuses.iter().all(|status| *status == json!([0])), "{statuses:?}");
    }

    /// The reader has this origin's order, and its images as they were sent.
    async fn has_arrived(&self, before: &Before, origin: &House, reader: &House, numbers: &Numbers) {
        let what = format!("{} has the order of {}", reader.partner, origin.partner);
        let its_own = |message: &Message| message.field("PID", 3).ends_with(&format!("^^^{}", origin.issuer));
        let order = self.message(before, reader, &what, its_own).await;
        order.is_good();
        assert_eq!(order.charset(), reader.gets, "{}", order.text());
        assert_eq!(order.field("PID", 3), format!("{}^^^{}", numbers.patient, origin.issuer));
        assert_eq!(order.field("PID", 5), origin.name);
        assert_eq!(order.field("ORC", 2), format!("{}^{}", numbers.placer, origin.issuer));
        assert_eq!(order.field("OBR", 4), format!("CT1^{}^L", origin.description));
        let instances = self.side.instances(reader.pacs).await;
        let instances = &instances[before.instances(reader)..];
        let its: Vec<&Value> = instances.iter().filter(|instance| instance["PatientName"] == origin.name).collect();
        assert_eq!(its.len(), 1, "{instances:?}");
        assert_eq!(its[0]["pixels"], origin.pixels(), "{}: its own pixels", origin.partner);
        assert_eq!(its[0]["SOPInstanceUID"], format!("{}.1.1", numbers.study));
        assert_eq!(its[0]["PatientID"], numbers.patient);
        assert_eq!(its[0]["SpecificCharacterSet"], origin.images_in, "images are passed on as they are");
    }

    /// The readers report, all at the same time, in UTF-8 where Görlitz has no letters for the name.
    async fn report(&self, away: &[(&House, &House)], numbers: &Numbers, round: u8) {
        let router = self.network.node().hl7;
        let report = |(number, (origin, reader)): (usize, &(&House, &House))| {
            let (codec, charset) = match reader.partner {
                "goerlitz" => ("utf-8", "UNICODE UTF-8"),
                _ => (reader.codec, reader.charset),
            };
            let number = format!("R{round}{number}");
            let placer = format!("{}^{}", numbers.placer, origin.issuer);
            let message: [Segment; 5] = [
                ("MSH", reader.header("ORU^R01^ORU_R01", "2.5.1", &number, charset)),
                ("PID", json!({ "1": "1", "3": format!("{}^^^{}", numbers.patient, origin.issuer), "5": origin.name })),
                ("ORC", json!({ "1": "RE", "2": placer, "3": format!("{number}^{}", reader.issuer) })),
                (
                    "OBR",
                    json!({ "1": "1", "2": placer, "3": format!("{number}^{}", reader.issuer), "4": "CT1^CT^L",
                            "18": numbers.accession, "25": "F" }),
                ),
                ("OBX", json!({ "1": "1", "2": "FT", "3": "GDT^Befund^L", "5": origin.report.0, "11": "F" })),
            ];
            send(router, codec, "2.5.1", &message)
        };
        for answer in self.side.together(away.iter().enumerate().map(report).collect()).await {
            let answer = Message(answer);
            answer.is_good();
            assert_eq!(answer.field("MSA", 1), "AA", "{}", answer.text());
        }
    }

    /// The report is where it was asked for, as message and as PDF.
    async fn has_come_home(&self, before: &Before, origin: &'static House, numbers: &Numbers, case: &CaseRow) -> Home {
        let what = format!("{} has its report", origin.partner);
        let report = self.message(before, origin, &what, |message| message.field("MSH", 9).starts_with("ORU")).await;
        report.is_good();
        assert_eq!(report.charset(), origin.gets, "{}", report.text());
        assert_eq!(report.field("PID", 3), format!("{}^^^{}", numbers.patient, origin.issuer));
        assert_eq!(report.field("PID", 5), format!("{}^^^^^L", origin.name));
        assert_eq!(report.field("OBR", 2), format!("{}^{}", numbers.placer, origin.issuer));
        assert_eq!(report.field("OBR", 18), numbers.accession);
        assert_eq!(report.values("FT"), [origin.report.1]);
        assert!(!report.text().contains('?'), "{}", report.text());
        for other in HOUSES.iter().filter(|other| other.partner != origin.partner) {
            let (family, _) = other.name.split_once('^').expect("a name");
            assert!(!report.text().contains(family), "{}", report.text());
        }

        let mut documents = Vec::new();
        eventually(&format!("{} has its PDF", origin.partner), SOON, async || {
            let instances = self.side.instances(origin.pacs).await.split_off(before.instances(origin));
            documents = instances.into_iter().filter(|instance| instance["Modality"] == "DOC").collect();
            !documents.is_empty()
        })
        .await;
        assert_eq!(documents.len(), 1, "{documents:?}");
        let document = &documents[0];
        assert_eq!(document["PatientName"], origin.name);
        assert_eq!(document["PatientID"], numbers.patient);
        assert_eq!(document["StudyInstanceUID"], numbers.study);
        let pdf = std::fs::read(document["file"].as_str().expect("a path")).expect("the PDF");
        let page = pdf_text(&pdf).await;
        for words in origin.words.iter().chain(&[origin.report.0]) {
            assert!(page.contains(words), "{words} in {page}");
        }
        assert!(!page.contains('?'), "{page}");
        assert_eq!(case.attention, origin.warning, "{}", self.network.story(case).await);
        Home { house: origin, report, page }
    }

    /// The one message of this round that `is_it`.
    async fn message(&self, before: &Before, house: &House, what: &str, is_it: impl Fn(&Message) -> bool) -> Message {
        let mut found = Vec::new();
        eventually(what, SOON, async || {
            let messages = self.side.messages(house.partner).await.split_off(before.messages(house));
            found = messages.into_iter().filter(&is_it).collect();
            !found.is_empty()
        })
        .await;
        assert_eq!(found.len(), 1, "{what}: {found:?}");
        found.remove(0)
    }
}

/// How many messages and instances each house had.
struct Before(Vec<(&'static str, usize, usize)>);

impl Before {
    async fn look(world: &World) -> Self {
        let mut had = Vec::new();
        for house in HOUSES {
            let messages = world.side.messages(house.partner).await.len();
            had.push((house.partner, messages, world.side.instances(house.pacs).await.len()));
        }
        Self(had)
    }

    fn messages(&self, house: &House) -> usize {
        self.0.iter().find(|had| had.0 == house.partner).expect("one of the three").1
    }

    fn instances(&self, house: &House) -> usize {
        self.0.iter().find(|had| had.0 == house.partner).expect("one of the three").2
    }

    /// An order and an image for each case it reads, a message and a PDF for each of its own that was read elsewhere.
    async fn nothing_else(&self, world: &World, away: &[(&House, &House)]) {
        let now = Self::look(world).await;
        for house in HOUSES {
            let its = away.iter().map(|(origin, reader)| {
                usize::from(origin.partner == house.partner) + usize::from(reader.partner == house.partner)
            });
            let its: usize = its.sum();
            assert_eq!(now.messages(house), self.messages(house) + its, "messages of {}", house.partner);
            assert_eq!(now.instances(house), self.instances(house) + its, "instances of {}", house.partner);
        }
    }
}

impl House {
    fn header(&self, message: &str, version: &str, control_id: &str, charset: &str) -> Value {
        json!({ "3": "KIS", "4": self.facility, "5": "NEISSE", "6": "NEISSE", "7": "20261111100000", "9": message,
                "10": control_id, "11": "P", "12": version, "18": charset })
    }

    fn file(&self, numbers: &Numbers) -> String {
        format!("{}-{}.dcm", self.partner, numbers.study)
    }

    fn image(&self, numbers: &Numbers, round: u8) -> Value {
        let ct = "1.2.840.10008.5.1.4.1.1.2";
        json!({
            "do": "image", "file": self.file(numbers), "gray": self.gray,
            "elements": {
                "SpecificCharacterSet": self.images_in, "SOPClassUID": ct,
                "StudyInstanceUID": numbers.study, "SeriesInstanceUID": format!("{}.1", numbers.study),
                "SOPInstanceUID": format!("{}.1.1", numbers.study), "Modality": "CT", "PatientName": self.name,
                "PatientID": numbers.patient, "PatientBirthDate": "19700101", "PatientSex": "F",
                "AccessionNumber": numbers.accession, "StudyDate": format!("2026111{round}"), "StudyTime": "100000",
                "StudyDescription": self.description, "StudyID": "1", "SeriesNumber": "1", "InstanceNumber": "1",
            },
        })
    }

    /// SHA-256 of its pixels.
    fn pixels(&self) -> String {
        use sha2::{Digest, Sha256};
        Sha256::digest([self.gray; 256]).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The list of each partner has what it read for each of the others, and its own reports; and no name.
async fn disclosed(world: &World) {
    let cases = world.network.cases().await;
    for house in HOUSES {
        let days = ["disclosed", house.partner, "--from", "2026-10-01", "--to", "2026-11-30"];
        let screen = world.network.screen("partners", &days).await;
        let listed = |what: &str, of: &str| {
            screen.lines().filter(|line| line.contains(what) && line.contains(&format!("  {of}  "))).count()
        };
        for origin in HOUSES.iter().filter(|origin| origin.partner != house.partner) {
            let read = cases.iter().filter(|case| {
                let reader = case.reader.as_ref().map(PartnerId::as_str);
                (case.origin.as_str(), reader) == (origin.partner, Some(house.partner))
            });
            let read = read.count();
            assert_eq!(listed("1 image ", origin.partner), read, "images of {}: {screen}", origin.partner);
            assert_eq!(listed("task offered", origin.partner), read, "tasks of {}: {screen}", origin.partner);
            assert_eq!(listed("report (", origin.partner), 0, "{screen}");
        }
        let mut reports = 0;
        for case in cases.iter().filter(|case| case.origin.as_str() == house.partner) {
            reports += world.network.node().store.reports(case.id).await.expect("the store").len();
        }
        assert_eq!(listed("report (HL7 ORU)", house.partner), reports, "{screen}");
        for other in HOUSES {
            let (family, _) = other.name.split_once('^').expect("a name");
            assert!(!screen.contains(family), "{screen}");
        }
    }
}
