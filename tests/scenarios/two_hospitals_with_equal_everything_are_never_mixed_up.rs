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
    reports::{folder, send_files, set, xml2dsr},
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
        let network = network(footing, &systems, &archives).await;
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

async fn network(footing: Footing, systems: &[Hospital; 2], archives: &[Center; 2]) -> Network {
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
                 [orders]\nexpected = false\n[reports]\nforms = [\"oru\", \"sr\"]\n"
            );
            files.insert(format!("partners/{name}.toml"), file);
        }
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
