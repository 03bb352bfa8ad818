//! Two hospitals that use the same patient, accession and order numbers, the same UIDs and the same control ids, and name
//! nobody who gave them, order and send at the same moment; only who sends tells them apart. Each order joins its own
//! hospital's case, the reader gets each hospital's own bytes, each report comes home once, and a report that could be of
//! either waits for a person.

use crate::support::{
    center::Center,
    eventually,
    hospital::{Hospital, Scanner},
    ledger::Raw,
    network::{BOTH, Footing, Network, SOON, wall},
    orders::answered,
    reports::{Oru, exchange, folder, send_files, set, xml2dsr},
};
use bytes::Bytes;
use futures_util::future::join_all;
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::{CaseState, Uid},
    store::CaseRow,
};
use std::sync::Arc;
use tokio::sync::Barrier;

const ROUNDS: u64 = 20;
/// So many at once, each with two orders and two associations.
const AT_ONCE: u64 = 5;
const SLICES: usize = 2;

const ROUTES: &str = "[[route]]\nname = \"Always\"\nfrom = [\"rabenstein\", \"lichtenstein\"]\nto = [\"chemnitz\"]\n";

struct House {
    name: &'static str,
    issuer: &'static str,
    ae_title: &'static str,
    facility: &'static str,
    /// What its pixels are made of.
    pixel: u8,
}

const HOUSES: [House; 2] = [
    House { name: "rabenstein", issuer: "RABENSTEIN", ae_title: "RAB_CT1", facility: "DRKRAB", pixel: 0x11 },
    House { name: "lichtenstein", issuer: "LICHTENSTEIN", ae_title: "LIC_CT1", facility: "DRKLIC", pixel: 0x22 },
];

/// How a report says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Patient and accession number with the hospital as their issuer.
    Hospital,
    /// Nothing but the placer order number has an issuer.
    Placer,
    /// An SR object, with the patient's issuer.
    Object,
    /// Nobody.
    Nobody,
}

impl Names {
    fn of(round: u64) -> Self {
        [Names::Hospital, Names::Placer, Names::Object, Names::Nobody][(round % 4) as usize]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hospitals_with_equal_everything_are_never_mixed_up() {
    for footing in BOTH {
        let systems = [Hospital::start().await, Hospital::start().await];
        let archives = [Center::start("RAB_PACS").await, Center::start("LIC_PACS").await];
        let network = network(footing, &systems, &archives, "").await;
        for first in (0..ROUNDS).step_by(AT_ONCE as usize) {
            join_all((first..first + AT_ONCE).map(|round| order_and_send(&network, round))).await;
        }
        let cases = cases(&network).await;
        each_order_is_its_own_hospital_s(&network, footing).await;
        reader_has_the_bytes_of_both(&network).await;
        for first in (0..ROUNDS).step_by(AT_ONCE as usize) {
            join_all((first..first + AT_ONCE).map(|round| report(&network, round))).await;
        }
        came_home(&network, &cases, &systems, &archives).await;
        both_are_listed(&network).await;
        network.at_rest().await;
    }
}

/// `reader`: what else stands in chemnitz' file, within its `[hl7]` at first.
async fn network(footing: Footing, systems: &[Hospital; 2], archives: &[Center; 2], reader: &str) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ROUTES, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        for (house, (system, archive)) in HOUSES.iter().zip(systems.iter().zip(archives)) {
            let House { name, issuer, ae_title, facility, .. } = house;
            let (hl7, dicom, archive) = (system.port, archive.port, &archive.ae_title);
            let file = format!(
                "name = \"{name}\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nlanguage = \"de\"\n\
                 issuer = \"{issuer}\"\n\
                 [dicom]\nsenders = [{{ ae_title = \"{ae_title}\" }}]\ncharset = \"ISO_IR 100\"\n\
                 deliver = {{ ae_title = \"{archive}\", host = \"127.0.0.1\", port = {dicom}, associations = 2 }}\n\
                 [hl7]\nsenders = [{{ facility = \"{facility}\" }}]\ncharset = \"8859/1\"\n\
                 deliver = {{ host = \"127.0.0.1\", port = {hl7}, application = \"KIS\", facility = \"{facility}\" }}\n\
                 [orders]\nexpected = false\n[reports]\nforms = [\"oru\", \"sr\"]\n\
                 [specimens]\nevents = true\n"
            );
            files.insert(format!("partners/{name}.toml"), file);
        }
        files.get_mut("partners/chemnitz.toml").expect("the reader").push_str(reader);
    })
    .await
}

/// Images that name no order: both hospitals' slices have the same UIDs and say the same, but for the pixels.
fn patient(round: u64) -> SampleCase {
    let nothing = String::new;
    SampleCase { placer_order: nothing(), filler_order: nothing(), ..SampleCase::numbered(round) }
}

fn slices(house: &House, round: u64) -> Vec<SampleInstance> {
    let mut slices: Vec<SampleInstance> = sample::head_ct(SLICES, 64, &patient(round)).collect();
    for slice in &mut slices {
        let length = slice.data_set.len();
        slice.data_set[length - 64..].fill(house.pixel);
    }
    slices
}

fn order(house: &House, round: u64) -> String {
    let patient = patient(round);
    format!(
        "MSH|^~\\&|KIS|{}|NEISSE|NEISSE|20261124225900||ORM^O01|M{round}|P|2.3.1||||||8859/1\r\
         PID|1||{}||Doe^J||19600101|M\rORC|NW|P{round}\r\
         OBR|1|P{round}||CTKOPF^CT Kopf^L||||||||||||||{}\rZDS|{}\r",
        house.facility,
        patient.patient_id,
        patient.accession,
        patient.study()
    )
}

/// Order and images of both, over four connections at the same moment.
async fn order_and_send(network: &Network, round: u64) {
    let start = Arc::new(Barrier::new(4));
    let (hl7, dicom) = (network.node().hl7, network.node().dicom);
    let order = async |house: &House| {
        start.wait().await;
        assert_eq!(answered(hl7, &order(house, round)).await, "OK", "{} {round}", house.name);
    };
    let send = async |house: &House| {
        let slices = slices(house, round);
        let mut scanner = Scanner::connect_as(house.ae_title, dicom, &slices[0]).await;
        start.wait().await;
        for slice in &slices {
            assert_eq!(scanner.send(slice).await, 0x0000);
        }
        scanner.release().await;
    };
    let [one, other] = &HOUSES;
    tokio::join!(order(one), order(other), send(one), send(other));
}

/// The cases of each round: rabenstein's and lichtenstein's.
async fn cases(network: &Network) -> Vec<[CaseRow; 2]> {
    let mut cases = Vec::new();
    for round in 0..ROUNDS {
        let study = patient(round).study();
        let mut both = Vec::new();
        for house in &HOUSES {
            let case = network.case_of(house.name, &study, CaseState::Delivered).await;
            eventually("its order has joined it", SOON, async || {
                network.story(&case).await.contains("joined to its order (Study Instance UID)")
            })
            .await;
            let now = network.node().store.case(case.id).await.expect("the case");
            assert_eq!((now.instances, now.attention.as_str()), (SLICES as i64, ""), "{}", house.name);
            assert_eq!(now.facts.placer_issuer, house.issuer, "{}", house.name);
            both.push(now);
        }
        cases.push(both.try_into().unwrap_or_else(|_| panic!("two cases")));
    }
    assert_eq!(network.cases().await.len(), 2 * ROUNDS as usize);
    cases
}

async fn each_order_is_its_own_hospital_s(network: &Network, footing: Footing) {
    let joined = "SELECT o.origin, c.origin FROM order_cases j JOIN orders o ON o.id = j.order_id JOIN cases c ON c.id = j.case_id";
    let rows = Raw::of(network, footing).await.rows(joined).await;
    assert_eq!(rows.len(), 2 * ROUNDS as usize, "each joined once");
    assert!(rows.iter().all(|row| row[0] == row[1]), "an order joined another hospital's case: {rows:?}");
}

async fn reader_has_the_bytes_of_both(network: &Network) {
    network.chemnitz.arrivals_of(2 * SLICES * ROUNDS as usize).await;
    let arrivals = network.chemnitz.arrivals();
    for round in 0..ROUNDS {
        for slice in HOUSES.iter().flat_map(|house| slices(house, round)) {
            let same = |arrived: &&crate::support::center::Arrived| arrived.data_set == slice.data_set;
            let theirs: Vec<_> = arrivals.iter().filter(same).collect();
            assert_eq!(theirs.len(), 1, "round {round}: each hospital's own bytes, once");
            assert_eq!(theirs[0].offer.sop_instance, slice.sop_instance);
        }
    }
}

fn words(house: &House, round: u64) -> String {
    format!("Befund {} {round:02}", house.name)
}

/// On both, at the same moment, under the same control id.
async fn report(network: &Network, round: u64) {
    let [one, other] = &HOUSES;
    tokio::join!(report_on(network, one, round), report_on(network, other, round));
}

async fn report_on(network: &Network, house: &House, round: u64) {
    let names = Names::of(round);
    if names == Names::Object {
        return send_object(network, house, round).await;
    }
    let message = oru(house, round, names);
    let control_id = format!("R{round}");
    let answer = network.chemnitz.send_hl7(network.node().hl7, message.as_bytes(), &control_id).await;
    assert_eq!(answer.code.as_str(), "AA", "{names:?}");
}

fn oru(house: &House, round: u64, names: Names) -> String {
    let patient = patient(round);
    let by = |is: bool| if is { house.issuer } else { "" };
    let (everywhere, placer) = (by(names == Names::Hospital), by(names == Names::Placer));
    format!(
        "MSH|^~\\&|RIS|KLCHEM|NEISSE|NEISSE|20261124231500+0100||ORU^R01^ORU_R01|R{round}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{}^^^{everywhere}||Doe^J\r\
         OBR|1|P{round}^{placer}|{}^{everywhere}|CT^CT Schädel^L|||20261124230500||||||||||||||||||F\r\
         OBX|1|FT|CT^CT Schädel^L|1|{}||||||F\rOBX|2|HD|113014^DICOM Study^DCM||{}||||||F\r",
        patient.patient_id,
        patient.accession,
        words(house, round),
        patient.study()
    )
}

/// A Basic Text SR of DCMTK, with the issuer of the patient's identifier.
async fn send_object(network: &Network, house: &House, round: u64) {
    let folder = folder();
    let file = xml2dsr(folder.path(), &object(house, round)).await;
    set(&file, &format!("(0010,0021)={}", house.issuer)).await;
    send_files("CHEMNITZ", network.dicom_port(), &[file]).await;
}

fn object(house: &House, round: u64) -> String {
    let concept = |value: &str, scheme: &str, meaning: &str| {
        format!(
            "<concept><value>{value}</value><scheme><designator>{scheme}</designator></scheme>\
             <meaning>{meaning}</meaning></concept>"
        )
    };
    let (title, finding) = (concept("18748-4", "LN", "Diagnostic Imaging Report"), concept("121071", "DCM", "Finding"));
    let patient = patient(round);
    let (id, number, study) = (&patient.patient_id, &patient.accession, patient.study());
    let (series, instance, text) = (Uid::generate(), Uid::generate(), words(house, round));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<report type=\"Basic Text SR\">\
         <sopclass uid=\"1.2.840.10008.5.1.4.1.1.88.11\">BasicTextSRStorage</sopclass><charset>ISO_IR 192</charset>\
         <modality>SR</modality><patient><id>{id}</id></patient>\
         <study uid=\"{study}\"><accession><number>{number}</number></accession></study>\
         <series uid=\"{series}\"><number>1</number></series><instance uid=\"{instance}\"><number>1</number></instance>\
         <document><completion flag=\"COMPLETE\"/><verification flag=\"VERIFIED\"><observer pos=\"1\">\
         <datetime>2026-11-24T23:14:00</datetime><name><first>Ruth</first><last>Beispiel</last></name>\
         <organization>Klinikum Chemnitz</organization></observer></verification>\
         <content><date>2026-11-24</date><time>23:14:00</time><container flag=\"SEPARATE\">{title}\
         <text><relationship>CONTAINS</relationship>{finding}<value>{text}</value></text>\
         </container></content></document></report>\n"
    )
}

/// Each report that says whose it is, in both forms wanted, at its own hospital and nowhere else; the others are held.
async fn came_home(network: &Network, cases: &[[CaseRow; 2]], systems: &[Hospital; 2], archives: &[Center; 2]) {
    let told = (0..ROUNDS).filter(|round| Names::of(*round) != Names::Nobody).count();
    eventually("every report is home", SOON, async || {
        systems.iter().all(|system| system.reports().len() >= told)
            && archives.iter().all(|archive| archive.arrivals().len() >= told)
    })
    .await;
    for (at, house) in HOUSES.iter().enumerate() {
        let messages = systems[at].reports();
        let objects: Vec<Bytes> = archives[at].arrivals().into_iter().map(|arrived| arrived.data_set).collect();
        assert_eq!((messages.len(), objects.len()), (told, told), "{}: each once", house.name);
        for round in 0..ROUNDS {
            let is_told = usize::from(Names::of(round) != Names::Nobody);
            for (what, of) in [("messages", &messages), ("objects", &objects)] {
                assert_eq!(with(of, &words(house, round)), is_told, "{what} {}, round {round}", house.name);
                let other = &HOUSES[1 - at];
                assert_eq!(with(of, &words(other, round)), 0, "{what} of {} at {}", other.name, house.name);
            }
            let state = if is_told == 1 { CaseState::Reported } else { CaseState::Delivered };
            let case = network.node().store.case(cases[round as usize][at].id).await.expect("the case");
            assert_eq!((case.state, case.attention.as_str()), (state, ""), "{}, round {round}", house.name);
        }
        let theirs = format!("^^^{}", house.issuer);
        assert_eq!(with(&messages, &theirs), told, "in its own identifiers");
    }
    let held = network.node().store.held_reports().await.expect("the store");
    assert_eq!(held.len(), 2 * (ROUNDS as usize - told), "never guessed");
    for report in held {
        assert_eq!(report.hold_reason, "it fits several cases equally well");
    }
}

fn with(all: &[Bytes], words: &str) -> usize {
    all.iter().filter(|bytes| bytes.windows(words.len()).any(|window| window == words.as_bytes())).count()
}

async fn both_are_listed(network: &Network) {
    let screen = network.cases_screen(&["list", "--limit", "100"]).await;
    for house in &HOUSES {
        let lines = screen.lines().filter(|line| line.contains(&format!("  {}", house.name))).count();
        assert_eq!(lines, ROUNDS as usize, "{screen}");
    }
}

/// Patients of both hospitals: one identifier stays, one is merged into it by both, one by rabenstein alone.
const PATIENTS: [&str; 3] = ["4711", "4712", "4713"];

#[tokio::test(flavor = "multi_thread")]
async fn tissue_and_merged_patients_of_two_hospitals_are_never_mixed_up() {
    for footing in BOTH {
        for identifiers in ["as_is", "prefix"] {
            let (systems, laboratory) = ([Hospital::start().await, Hospital::start().await], Hospital::start().await);
            let archives = [Center::start("RAB_PACS").await, Center::start("LIC_PACS").await];
            let reader = format!(
                "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"LIS\", facility = \"KLCHEM\" }}\n\
                 [orders]\ndeliver = true\n[identity]\nidentifiers = \"{identifiers}\"\n",
                laboratory.port
            );
            let network = network(footing, &systems, &archives, &reader).await;
            let names = Called { is_prefixed: identifiers == "prefix" };
            tissue_is_ordered(&network, &laboratory, &names).await;
            tissue_is_shipped_and_received(&network, &laboratory, &systems).await;
            patients_are_merged(&network, &laboratory, &names).await;
            let all: Vec<Oru> = laboratory.reports().iter().map(|message| Oru::read(message)).collect();
            for message in all.iter().filter(|message| !message.field("PID", 3).is_empty()) {
                let issuers = HOUSES.map(|house| house.issuer);
                let is_of =
                    |issuer: &&str| PATIENTS.iter().any(|id| message.field("PID", 3) == names.patient(id, issuer));
                assert_eq!(issuers.iter().filter(|issuer| is_of(issuer)).count(), 1, "{}", message.field("PID", 3));
            }
            network.at_rest().await;
        }
    }
}

/// What the laboratory is to call a patient and an order.
struct Called {
    is_prefixed: bool,
}

impl Called {
    fn number(&self, number: &str, issuer: &str) -> (String, String) {
        if self.is_prefixed {
            (format!("{issuer}-{number}"), "CHEMNITZ".to_owned())
        } else {
            (number.to_owned(), issuer.to_owned())
        }
    }

    fn patient(&self, number: &str, issuer: &str) -> String {
        let (number, issuer) = self.number(number, issuer);
        format!("{number}^^^{issuer}")
    }

    fn order(&self, number: &str, issuer: &str) -> String {
        let (number, issuer) = self.number(number, issuer);
        format!("{number}^{issuer}")
    }
}

/// A message of a hospital: what follows its header.
fn from(house: &House, message_type: &str, control_id: &str, rest: &str) -> String {
    format!(
        "MSH|^~\\&|KIS|{}|NEISSE|NEISSE|20261124225900||{message_type}|{control_id}|P|2.5.1||||||8859/1\r{rest}",
        house.facility
    )
}

/// The same of both, at the same moment; each is taken.
async fn both_say(network: &Network, message_type: &str, control_id: &str, rest: &str) {
    let router = network.node().hl7;
    let say = async |house: &House| {
        let answer = exchange(router, from(house, message_type, control_id, rest).as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("MSA|AA|"), "{}: {answer}", house.name);
    };
    let [one, other] = &HOUSES;
    tokio::join!(say(one), say(other));
}

/// What the laboratory has of this kind.
fn of_kind(laboratory: &Hospital, kind: &str) -> Vec<Oru> {
    let all = laboratory.reports().into_iter().map(|message| Oru::read(&message));
    all.filter(|message| message.field("MSH", 9).starts_with(kind)).collect()
}

async fn tissue_is_ordered(network: &Network, laboratory: &Hospital, names: &Called) {
    for (number, patient) in PATIENTS.iter().enumerate() {
        let rest = format!(
            "PID|1||{patient}||Doe^J||19600101|M\rORC|NW|P{number}\rOBR|1|P{number}||HE^Histologie^L\r\
             SPM|1|S{number}||TISS^Gewebe^L\rSAC|||C{number}\r"
        );
        both_say(network, "OML^O21^OML_O21", &format!("T{number}"), &rest).await;
    }
    let number = 2 * PATIENTS.len();
    eventually("the laboratory has every order", SOON, async || of_kind(laboratory, "OML").len() >= number).await;
    let orders = of_kind(laboratory, "OML");
    assert_eq!(orders.len(), number, "each once");
    for house in &HOUSES {
        for (at, patient) in PATIENTS.iter().enumerate() {
            let placer = names.order(&format!("P{at}"), house.issuer);
            let its: Vec<&Oru> = orders.iter().filter(|order| order.field("ORC", 2) == placer).collect();
            assert_eq!(its.len(), 1, "{placer}");
            assert_eq!(its[0].field("PID", 3), names.patient(patient, house.issuer));
            assert_eq!(its[0].field("SPM", 2), format!("S{at}"), "as it stands on the tube");
        }
    }
    let cases = network.cases().await;
    assert_eq!(cases.len(), number, "no order joined another hospital's case");
}

async fn tissue_is_shipped_and_received(network: &Network, laboratory: &Hospital, systems: &[Hospital; 2]) {
    let shipped = "EQU|1|20261124225900\rSAC|||C0|||||L\rSPM|1|S0||TISS^Gewebe^L\r";
    both_say(network, "SSU^U03^SSU_U03", "U1", shipped).await;
    eventually("the laboratory knows of both", SOON, async || of_kind(laboratory, "SSU").len() >= 2).await;
    let mut told: Vec<String> = of_kind(laboratory, "SSU").iter().map(|ssu| ssu.field("SPM", 2).to_owned()).collect();
    told.sort();
    assert_eq!(told, ["S0&LICHTENSTEIN", "S0&RABENSTEIN"]);

    // Which of the two has arrived it must say.
    let received = |control_id: &str, sac: &str, spm: &str| {
        format!(
            "MSH|^~\\&|LIS|KLCHEM|NEISSE|NEISSE|20261124225900||SSU^U03^SSU_U03|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
             EQU|1|20261124230500\rSAC|||{sac}|||||I\r{spm}"
        )
    };
    let router = network.node().hl7;
    for (control_id, sac, spm) in [("U2", "", "SPM|1|S0||TISS\r"), ("U3", "C0", "")] {
        let answer = exchange(router, received(control_id, sac, spm).as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("MSA|AE|") && answer.contains("|204^"), "{answer}");
    }
    for (at, house) in HOUSES.iter().enumerate() {
        let spm = format!("SPM|1|S0&{}^E26-7&CHEMNITZ||TISS\r", house.issuer);
        let control_id = format!("U{}", 4 + at);
        let answer = exchange(router, received(&control_id, &format!("C0^{}", house.issuer), &spm).as_bytes()).await;
        assert!(String::from_utf8_lossy(&answer).contains("MSA|AA|"), "{}", house.name);
        let system = &systems[at];
        eventually("its hospital is told", SOON, async || !of_kind(system, "SSU").is_empty()).await;
        let told = of_kind(system, "SSU");
        assert_eq!(told.len(), 1, "{}", house.name);
        assert_eq!(told[0].field("SPM", 2), format!("S0&{}^E26-7&CHEMNITZ", house.issuer));
        let others = of_kind(&systems[1 - at], "SSU").len();
        assert_eq!(others, at, "the other one is told nothing of it");
    }
}

async fn patients_are_merged(network: &Network, laboratory: &Hospital, names: &Called) {
    let merge = |merged: &str| format!("EVN|A40|20261124225900\rPID|1||4711||Doe^J||19600101|M\rMRG|{merged}\r");
    both_say(network, "ADT^A40^ADT_A39", "A1", &merge("4712")).await;
    let alone = from(&HOUSES[0], "ADT^A40^ADT_A39", "A2", &merge("4713"));
    let answer = exchange(network.node().hl7, alone.as_bytes()).await;
    assert!(String::from_utf8_lossy(&answer).contains("MSA|AA|"));
    eventually("the laboratory knows of all three", SOON, async || of_kind(laboratory, "ADT").len() >= 3).await;
    let told: Vec<(String, String)> = of_kind(laboratory, "ADT")
        .iter()
        .map(|adt| (adt.field("PID", 3).to_owned(), adt.field("MRG", 1).to_owned()))
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    for (merged, issuer) in [("4712", "RABENSTEIN"), ("4712", "LICHTENSTEIN"), ("4713", "RABENSTEIN")] {
        let wanted = (names.patient("4711", issuer), names.patient(merged, issuer));
        assert_eq!(told.iter().filter(|one| **one == wanted).count(), 1, "{wanted:?} in {told:?}");
    }
    for case in network.cases().await {
        let facts = &case.facts;
        let house = HOUSES.iter().find(|house| house.name == case.origin.as_str()).expect("one of the two");
        assert_eq!(facts.patient_id.issuer, house.issuer, "{}", house.name);
        let wanted = match facts.placer_order_number.as_str() {
            "P2" if house.name == "lichtenstein" => "4713",
            _ => "4711",
        };
        assert_eq!(facts.patient_id.value, wanted, "{} {}", house.name, facts.placer_order_number);
    }
}
