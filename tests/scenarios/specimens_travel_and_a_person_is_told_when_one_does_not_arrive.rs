//! Specimens on their way from a hospital to its laboratory: collected, shipped with a printed list that real scanners
//! read, received, accepted, rejected; each side told what the other says, in the ids it knows; a person told, once, of
//! what is late, rejected, nobody's, or did not come at all; and nobody hears of what is not theirs.

use crate::support::{
    blocking,
    carrier::partner,
    center::Center,
    eventually,
    hospital::Hospital,
    ledger::{self, Raw},
    network::{BOTH, Footing, Network, SOON},
    reports::{Oru, exchange, pdf_text},
};
use chrono::Utc;
use neisse::{
    model::{
        CaseState, Decision, Discipline, Disposition, IssuedId, Moment, OrderId, OrderState, Priority, Reading,
        ReadingMode, SpecimenCode, SpecimenId, SpecimenSaid, SpecimenState, Uid,
    },
    store::{AlarmKind, CaseRow, Durability, OrderFacts, OrderMessageRow, OrderRow},
};
use std::{process::Command, time::Duration};

const PATHOLOGY: &str = r#"
[[route]]
name = "Pathology"
from = ["rabenstein"]
discipline = "pathology"
to = ["chemnitz"]
"#;

/// A network whose laboratory listens, and the laboratory's information system.
async fn network(footing: Footing) -> (Network, Hospital) {
    let laboratory = Hospital::start().await;
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let port = laboratory.port;
    // The command has no other clock than the machine's.
    let now = Moment::from_utc(Utc::now());
    let network = Network::with_centers(footing, PATHOLOGY, now, chemnitz, leipzig, |files| {
        let hospital = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *hospital = hospital.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        hospital.push_str("[specimens]\nwithin = \"6h\"\nexpected_within = \"2h\"\nevents = true\n");
        let center = files.get_mut("partners/chemnitz.toml").expect("the laboratory");
        center.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {port}, application = \"LIS\", facility = \"KLCHEM\" }}\n\
             [orders]\ndeliver = true\n"
        ));
    })
    .await;
    (network, laboratory)
}

fn said(number: &str) -> SpecimenSaid {
    SpecimenSaid {
        placer: IssuedId::new(number, "RABENSTEIN"),
        containers: vec![IssuedId::new(format!("C-{number}"), "RABENSTEIN")],
        kind: SpecimenCode { code: "TISS".into(), text: "Gewebe".into(), system: "HL70487".into() },
        ..SpecimenSaid::default()
    }
}

/// The message that asked for it.
fn asked(received: Moment) -> OrderMessageRow {
    OrderMessageRow { received, sha256: Uid::generate().to_string(), sequence: 1, control: "NW", answer: "OK" }
}

/// An order for specimens, and its case, which chemnitz reads; without specimens, where none has been named yet.
async fn ordered(network: &Network, number: &str, specimens: &[&str]) -> (CaseRow, OrderId) {
    ordered_by(network, number, specimens, Some("chemnitz")).await
}

/// The same, read by another, or by nobody yet.
async fn ordered_by(network: &Network, number: &str, specimens: &[&str], reader: Option<&str>) -> (CaseRow, OrderId) {
    let now = network.clock.now();
    let order = OrderRow {
        id: OrderId::generate(),
        origin: partner("rabenstein"),
        state: OrderState::Open,
        placer: IssuedId::new(number, "RABENSTEIN"),
        filler: IssuedId::default(),
        group: IssuedId::default(),
        accession: IssuedId::default(),
        studies: Vec::new(),
        patient: IssuedId::new("SYN-1", "RABENSTEIN"),
        discipline: Discipline::Pathology,
        modality: String::new(),
        priority: Priority::Routine,
        facts: OrderFacts::default(),
        received: now,
        changed: now,
    };
    let mut case = ledger::case("rabenstein", &Uid::generate().to_string());
    (case.has_study, case.state, case.whole) = (false, CaseState::Routed, Some(now));
    case.reader = reader.map(partner);
    let reading = Reading {
        rule: "Pathology".into(),
        readers: vec![partner("chemnitz")],
        also_to: Vec::new(),
        reading_mode: ReadingMode::RemoteReading,
        claim_within: None,
        report_within: None,
        window_ends: None,
    };
    let (reasons, rules_version) = Default::default();
    let disposition = Disposition::Read(reading);
    case.decision = Some(Decision { disposition, reasons, rules_version, decided_at: now });
    case.facts.patient_name = "Doe^J".into();
    let mut tx = network.node().store.begin(Durability::Synced).await.expect("a transaction");
    tx.hold_origin(&order.origin).await.expect("held");
    tx.save_order(&order, true, &asked(now)).await.expect("saved");
    assert!(tx.add_case(&case).await.expect("added"));
    tx.join_order(order.id, case.id, "the test", now).await.expect("joined");
    let said: Vec<SpecimenSaid> = specimens.iter().map(|number| said(number)).collect();
    tx.save_specimens(&order.origin, order.id, &said, now).await.expect("saved");
    tx.commit().await.expect("a commit");
    (case, order.id)
}

/// An SSU^U03; `specimens` are SAC and SPM segments.
fn ssu(facility: &str, control_id: &str, specimens: &str) -> String {
    format!(
        "MSH|^~\\&|LIS|{facility}|NEISSE|NEISSE|20261124080000||SSU^U03^SSU_U03|{control_id}|P|2.5.1||||||8859/1\r\
         EQU|1|{}\r{specimens}",
        Utc::now().format("%Y%m%d%H%M%S+0000")
    )
}

/// The answer to a message; its MSA-1.
async fn answered(network: &Network, message: &str) -> (String, String) {
    let answer = String::from_utf8(exchange(network.node().hl7, message.as_bytes()).await).expect("ASCII");
    let code = answer.split("MSA|").nth(1).expect("an MSA").chars().take(2).collect();
    (code, answer)
}

async fn accepted(network: &Network, message: &str) {
    let (code, answer) = answered(network, message).await;
    assert_eq!(code, "AA", "{answer}");
}

/// Waits for an SSU about this specimen and event, and gives it.
async fn told(system: &Hospital, number: &str, event: &str) -> Oru {
    let find = || {
        let messages = system.reports();
        messages.iter().map(|message| Oru::read(message)).find(|ssu| {
            ssu.field("SPM", 2).starts_with(&format!("{number}&RABENSTEIN"))
                && ssu.field("SAC", 8).ends_with(&format!("^{event}^{event}^99NEISSE"))
        })
    };
    eventually(&format!("told: {number} {event}"), SOON, async || find().is_some()).await;
    find().expect("found")
}

async fn one(network: &Network, number: &str) -> (SpecimenId, SpecimenState) {
    let mut found = network.node().store.specimens_with(number).await.expect("the store");
    found.retain(|specimen| specimen.origin.as_str() == "rabenstein");
    assert_eq!(found.len(), 1, "{number}");
    (found[0].id, found[0].state)
}

async fn alarms(network: &Network) -> Vec<AlarmKind> {
    let alarms = network.node().store.specimen_alarms(100).await.expect("the store");
    alarms.into_iter().map(|alarm| alarm.kind).collect()
}

async fn alarms_are(network: &Network, wanted: &[AlarmKind]) {
    eventually(&format!("alarms: {wanted:?}"), SOON, async || alarms(network).await == wanted).await;
}

async fn attention(network: &Network, case: &CaseRow) -> String {
    network.node().store.case(case.id).await.expect("the case").attention
}

#[tokio::test(flavor = "multi_thread")]
async fn specimens_travel_and_a_person_is_told_when_one_does_not_arrive() {
    for footing in BOTH {
        let (network, laboratory) = network(footing).await;
        let (case, _) = ordered(&network, "P1", &["S-1", "S-2", "S-3"]).await;
        collected_and_shipped(&network, &laboratory).await;
        received_accepted_and_rejected(&network, &case).await;
        one_does_not_arrive(&network, &case).await;
        nobody_tells_of_what_is_not_theirs(&network).await;
        without_an_order(&network, &laboratory).await;
        an_order_without_specimen(&network).await;
        a_result_says_it_beside(&network).await;
        let story = network.story(&case).await;
        for number in ["S-1", "S-2", "S-3", "RABENSTEIN", "Doe"] {
            assert!(!story.contains(number), "no number and no name in a story: {story}");
        }
        network.at_rest().await;
    }
}

async fn collected_and_shipped(network: &Network, laboratory: &Hospital) {
    let spm = |number: &str| {
        format!("SAC|||C-{number}^RABENSTEIN\rSPM|1|{number}&RABENSTEIN||TISS|||||||||||||20261124073000\r")
    };
    let message = ssu("DRKRAB", "H1", &["S-1", "S-2", "S-3"].map(spm).concat());
    let (code, answer) = answered(network, &message).await;
    assert_eq!(code, "AA", "{answer}");
    assert_eq!(answered(network, &message).await.1, answer, "the same message again gets the same answer");
    let ssu = told(laboratory, "S-2", "collected").await;
    assert_eq!(ssu.field("SPM", 17), "20261124073000+0100", "when it was taken, in the laboratory's time");
    assert_eq!(ssu.field("SAC", 3), "C-S-2^RABENSTEIN");

    let pdf = network.folder.path().join("list.pdf");
    let list = pdf.to_str().expect("UTF-8");
    let arguments =
        "ship --from rabenstein --to chemnitz --due 4h --by Schwester --courier Bote --specimens S-1 S-2 S-3 --pdf";
    let arguments: Vec<&str> = arguments.split(' ').chain([list]).collect();
    let screen = network.screen("specimen", &arguments).await;
    assert!(screen.contains("Shipment RABENSTEIN-000001"), "{screen}");
    told(laboratory, "S-3", "shipped").await;
    told(&network.hospital, "S-3", "shipped").await;

    let text = pdf_text(&std::fs::read(&pdf).expect("the list")).await;
    assert!(text.contains("Versandliste") && text.contains("Klinikum Chemnitz") && text.contains("Gewebe"), "{text}");
    assert!(!text.contains("Doe"), "no patient's name unless it is asked for: {text}");
    let codes = scanned(&pdf).await;
    for wanted in ["S-1", "S-2", "S-3", "RABENSTEIN-000001"] {
        assert!(codes.iter().any(|code| code == wanted), "{wanted}: {codes:?}");
    }
    let print = ["print", "RABENSTEIN-000001", "--with-names", "--pdf", list];
    network.screen("specimen", &print).await;
    assert!(pdf_text(&std::fs::read(&pdf).expect("the list")).await.contains("Doe J"));
}

/// What a barcode scanner reads from the printed page.
async fn scanned(pdf: &std::path::Path) -> Vec<String> {
    let (pdf, page) = (pdf.to_owned(), pdf.with_extension("page"));
    blocking(move || {
        let drawn = Command::new("pdftoppm").args(["-r", "200", "-png"]).arg(&pdf).arg(&page).status();
        assert!(drawn.expect("pdftoppm").success());
        let folder = pdf.parent().expect("a folder");
        let pages = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let pages = pages.filter(|file| file.extension().is_some_and(|extension| extension == "png"));
        let output =
            Command::new("zbarimg").args(["-q", "--raw", "-Sdisable", "-Scode128.enable"]).args(pages).output();
        String::from_utf8(output.expect("zbarimg").stdout).expect("ASCII").lines().map(str::to_owned).collect()
    })
    .await
}

async fn received_accepted_and_rejected(network: &Network, case: &CaseRow) {
    // Without issuers, as many laboratories write; one SPM with its time, one container alone.
    accepted(network, &ssu("KLCHEM", "L1", "SAC|||C-S-1|||||I\rSPM|1|S-1^E26-1||TISS\r")).await;
    let ssu_of = told(&network.hospital, "S-1", "received").await;
    assert_eq!(ssu_of.field("SPM", 2), "S-1&RABENSTEIN^E26-1&CHEMNITZ", "with the laboratory's own number");
    accepted(network, &ssu("KLCHEM", "L2", "SAC|||C-S-1|||||O\r")).await;
    told(&network.hospital, "S-1", "accepted").await;

    let rejected = "SAC|||C-S-2\rSPM|1|S-2||TISS||||||||||||||||N|RB^Gefaess gebrochen^HL70490\r";
    accepted(network, &ssu("KLCHEM", "L3", rejected)).await;
    let home = told(&network.hospital, "S-2", "rejected").await;
    assert_eq!(home.field("SPM", 21), "RB^Gefaess gebrochen^HL70490", "the reason as it was given");
    let (id, state) = one(network, "S-2").await;
    assert_eq!(state, SpecimenState::Rejected);
    let reason = format!("specimen {id}: rejected (broken container)");
    assert!(attention(network, case).await.contains(&reason), "{}", attention(network, case).await);
    alarms_are(network, &[AlarmKind::Rejected]).await;

    // What contradicts that is refused and changes nothing.
    let (code, answer) = answered(network, &ssu("KLCHEM", "L4", "SAC|||C-S-2|||||accepted\r")).await;
    assert!(code == "AE" && answer.contains("it has been rejected"), "{answer}");
    assert_eq!(one(network, "S-2").await.1, SpecimenState::Rejected);
    let again = network.command("specimen", &["accepted", "S-2", "--by", "Anna"]).await;
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("it has been rejected"));

    // Another is taken: nobody needs to look any more.
    network.screen("specimen", &["collected", "S-2", "--by", "Schwester"]).await;
    assert!(!attention(network, case).await.contains("rejected"), "{}", attention(network, case).await);
    alarms_are(network, &[]).await;
    let shown = network.screen("specimen", &["show", "S-2"]).await;
    assert!(shown.contains("collected since") && shown.contains("reason: RB") && shown.contains("(anew)"), "{shown}");
}

async fn one_does_not_arrive(network: &Network, case: &CaseRow) {
    network.clock.advance(Duration::from_secs(4 * 3600 + 60));
    let (id, _) = one(network, "S-3").await;
    let late = format!("specimen {id}: shipped and not received in time");
    eventually("a person is told", SOON, async || attention(network, case).await.contains(&late)).await;
    alarms_are(network, &[AlarmKind::NotReceived]).await;
    let screen = network.screen("specimen", &["list", "--late", "--partner", "rabenstein"]).await;
    assert!(screen.contains(&late) && screen.contains("S-3") && screen.contains(&case.id.to_string()), "{screen}");
    assert_eq!(network.story(case).await.matches(&late).count(), 1, "once");

    network.screen("specimen", &["received", "S-3", "--by", "Anna", "--shipment", "RABENSTEIN-000001"]).await;
    alarms_are(network, &[]).await;
    assert!(!attention(network, case).await.contains("in time"), "{}", attention(network, case).await);
    told(&network.hospital, "S-3", "received").await;
}

/// A laboratory that does not read the case knows nothing of it; a hospital does not speak for its laboratory.
async fn nobody_tells_of_what_is_not_theirs(network: &Network) {
    accepted(network, &ssu("UKL", "U1", "SAC|||C-S-1^RABENSTEIN|||||I\rSPM|1|S-1&RABENSTEIN\r")).await;
    assert_eq!(one(network, "S-1").await.1, SpecimenState::Accepted, "another's word changes nothing");
    let (code, answer) = answered(network, &ssu("DRKRAB", "H2", "SAC|||C-S-1|||||received\r")).await;
    assert!(code == "AE" && answer.contains("not its sender"), "{answer}");
    let (code, answer) = answered(network, &ssu("DRKRAB", "H3", "SAC|||C-S-1|||||Q9\r")).await;
    assert!(code == "AE" && answer.contains("ERR||SAC^1^8"), "{answer}");
}

async fn without_an_order(network: &Network, laboratory: &Hospital) {
    // leipzig-ukl reads nothing, so that what it says is a hospital's word: nothing waits.
    alarms_are(network, &[]).await;
    accepted(network, &ssu("KLCHEM", "L5", "SAC|||C-S-7^RABENSTEIN|||||I\rSPM|1|S-7&RABENSTEIN\r")).await;
    network.screen("specimen", &["received", "S-8", "--by", "Anna", "--partner", "chemnitz"]).await;
    alarms_are(network, &[AlarmKind::NotOrdered, AlarmKind::NotOrdered]).await;

    // The order of one comes after it.
    let before = laboratory.reports().len();
    let (case, _) = ordered(network, "P7", &["S-7"]).await;
    alarms_are(network, &[AlarmKind::NotOrdered]).await;
    assert_eq!(one(network, "S-7").await.1, SpecimenState::Received);
    told(&network.hospital, "S-7", "received").await;
    assert!(network.story(&case).await.contains("received, told by chemnitz"), "{}", network.story(&case).await);
    assert_eq!(laboratory.reports().len(), before, "the laboratory is not told its own words");
    network.screen("specimen", &["seen", "S-8", "--why", "asked the hospital"]).await;
    alarms_are(network, &[]).await;
    // So does that of the other, after somebody has looked.
    ordered(network, "P8", &["S-8"]).await;
    told(&network.hospital, "S-8", "received").await;
    assert_eq!(one(network, "S-8").await.1, SpecimenState::Received);
}

/// A result says what its specimen's own message may never have said.
async fn a_result_says_it_beside(network: &Network) {
    let (case, _) = ordered(network, "P12", &["S-12"]).await;
    let oru = "MSH|^~\\&|LIS|KLCHEM|NEISSE|NEISSE|20261124080000||ORU^R01|R12|P|2.5.1||||||8859/1\r\
        PID|||SYN-12^^^RABENSTEIN\rOBR|1|P12^RABENSTEIN||PATH\rOBX|1|FT|1||nicht beurteilbar||||||F\r\
        SPM|1|S-12^E26-12||TISS||||||||||||||20261124074500|||QS^^HL70490\r";
    let reason = format!("specimen {}: rejected (quantity not sufficient)", one(network, "S-12").await.0);
    accepted(network, oru).await;
    eventually("the rejection is seen", SOON, async || attention(network, &case).await.contains(&reason)).await;
    accepted(network, oru).await;
    let story = network.screen("specimen", &["show", "S-12"]).await;
    assert!(story.contains("2026-11-24 07:45  received") && story.contains("E26-12 (CHEMNITZ)"), "{story}");
    assert_eq!(story.matches("told by chemnitz").count(), 2, "received and rejected, each once: {story}");
    network.screen("specimen", &["seen", "S-12", "--why", "asked for another"]).await;
    alarms_are(network, &[]).await;
}

async fn an_order_without_specimen(network: &Network) {
    let (case, order) = ordered(network, "P9", &["S-9"]).await;
    let (_, taken_back) = ordered(network, "P10", &[]).await;
    network.clock.advance(Duration::from_secs(2 * 3600 + 60));
    alarms_are(network, &[AlarmKind::NoSpecimen, AlarmKind::NoSpecimen]).await;
    let reason = format!("order {order}: no specimen of it was collected or received in time");
    assert!(attention(network, &case).await.contains(&reason));
    accepted(network, &ssu("DRKRAB", "H9", "SPM|1|S-9||TISS|||||||||||||20261124073000\r")).await;
    alarms_are(network, &[AlarmKind::NoSpecimen]).await;
    assert!(!attention(network, &case).await.contains(&reason));

    let store = &network.node().store;
    let mut tx = store.begin(Durability::Synced).await.expect("a transaction");
    let number = IssuedId::new("P10", "RABENSTEIN");
    let found = tx.order_with_placer(&partner("rabenstein"), &number).await.expect("the store");
    let mut cancelled = found.expect("the order");
    assert_eq!(cancelled.id, taken_back);
    cancelled.state = OrderState::Cancelled;
    tx.save_order(&cancelled, false, &asked(network.clock.now())).await.expect("saved");
    tx.commit().await.expect("a commit");
    alarms_are(network, &[]).await;
}

/// The two houses number specimens apart, and their numbers are never compared with each other's; whoever comes to a specimen
/// later is told what has become of it; and a row that cannot be read holds up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn each_house_has_its_numbers_and_each_reader_its_news() {
    for footing in BOTH {
        let (network, laboratory) = network(footing).await;
        let raw = Raw::of(&network, footing).await;
        spoilt(&network, &raw).await;
        numbers_are_compared_by_house(&network).await;
        only_a_bare_number_may_be_the_other_house_s(&network).await;
        the_laboratory_s_number_is_kept(&network).await;
        many_that_cannot_be_read_hold_up_nobody(&network, &raw, &laboratory).await;
        a_later_reader_is_told(&network, &laboratory).await;
        a_result_says_it_beside(&network).await;
        raw.run("DELETE FROM specimen_news WHERE id = '0'").await;
        raw.run("DELETE FROM specimen_events WHERE id = '0'").await;
        network.at_rest().await;
    }
}

/// Before everything else in its turn, and never to be read.
async fn spoilt(network: &Network, raw: &Raw) {
    ordered(network, "P0", &["S-0"]).await;
    let (id, _) = one(network, "S-0").await;
    raw.run("INSERT INTO specimen_news (id, partner, said, told_us) VALUES ('0', 'chemnitz', '{nonsense', 0)").await;
    raw.run(&format!(
        "INSERT INTO specimen_events (id, specimen_id, event, state, note, told_us, teller, who, reason_code, reason, untold) \
         VALUES ('0', '{id}', 'collected', 'nonsense', '', 0, 'rabenstein', '', '', '', 1)"
    ))
    .await;
}

async fn numbers_are_compared_by_house(network: &Network) {
    ordered(network, "P20", &["S-20"]).await;
    // The laboratory's own number 20 is not the hospital's.
    accepted(network, &ssu("KLCHEM", "N1", "SAC||||||||I\rSPM|1|^S-20||TISS\r")).await;
    alarms_are(network, &[AlarmKind::NotOrdered]).await;
    assert_eq!(one(network, "S-20").await.1, SpecimenState::Expected);
    network.screen("specimen", &["seen", "S-20", "--partner", "chemnitz", "--why", "it is another"]).await;
    // What has one number there has no other.
    accepted(network, &ssu("KLCHEM", "N2", "SAC||||||||I\rSPM|1|S-20^E26-20||TISS\r")).await;
    told(&network.hospital, "S-20", "received").await;
    accepted(network, &ssu("KLCHEM", "N3", "SAC||||||||O\rSPM|1|S-20^E26-99||TISS\r")).await;
    alarms_are(network, &[AlarmKind::NotOrdered]).await;
    assert_eq!(one(network, "S-20").await.1, SpecimenState::Received);
    network.screen("specimen", &["seen", "E26-99", "--partner", "chemnitz", "--why", "mistyped"]).await;
    accepted(network, &ssu("KLCHEM", "N4", "SAC||||||||O\rSPM|1|^E26-20||TISS\r")).await;
    told(&network.hospital, "S-20", "accepted").await;
    // A reason in the laboratory's own code.
    let rejected = "SAC|||C-S-20\rSPM|1|S-20||TISS||||||||||||||||N|Q9^Etikett^99CHEM\r";
    ordered(network, "P21", &["S-21"]).await;
    accepted(network, &ssu("KLCHEM", "N5", &rejected.replace("S-20", "S-21"))).await;
    assert_eq!(told(&network.hospital, "S-21", "rejected").await.field("SPM", 21), "Q9^Etikett^99CHEM");
    network.screen("specimen", &["seen", "S-21", "--why", "asked for another"]).await;
    alarms_are(network, &[]).await;
}

/// Told before their orders came: with its issuer a number stays the laboratory's, without one the hospital's may be meant.
async fn only_a_bare_number_may_be_the_other_house_s(network: &Network) {
    for (control_id, told) in [
        ("B1", "SAC||||||||I\rSPM|1|S-30&CHEMNITZ||TISS\r"),
        ("B2", "SAC|||C-S-31^CHEMNITZ|||||I\r"),
        ("B3", "SAC||||||||I\rSPM|1|S-32||TISS\r"),
        ("B4", "SAC|||C-S-33|||||I\r"),
        // Without at first, with it later: it had one all along.
        ("B5", "SAC||||||||I\rSPM|1|S-34||TISS\r"),
        ("B6", "SAC||||||||O\rSPM|1|S-34&CHEMNITZ||TISS\r"),
    ] {
        accepted(network, &ssu("KLCHEM", control_id, told)).await;
    }
    alarms_are(network, &[AlarmKind::NotOrdered; 5]).await;
    for number in ["S-30", "S-31", "S-32", "S-33", "S-34"] {
        ordered(network, &format!("P-{number}"), &[number]).await;
    }
    alarms_are(network, &[AlarmKind::NotOrdered; 3]).await;
    for number in ["S-32", "S-33"] {
        told(&network.hospital, number, "received").await;
        assert_eq!(one(network, number).await.1, SpecimenState::Received, "{number}");
    }
    // Looked at again and again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for number in ["S-30", "S-31", "S-34"] {
        assert_eq!(one(network, number).await.1, SpecimenState::Expected, "{number}");
    }
    for number in ["S-30", "C-S-31", "S-34"] {
        network.screen("specimen", &["seen", number, "--partner", "chemnitz", "--why", "it is another"]).await;
    }
    alarms_are(network, &[]).await;
}

/// More rows than are looked up at a time, before all others in their turn.
async fn many_that_cannot_be_read_hold_up_nobody(network: &Network, raw: &Raw, laboratory: &Hospital) {
    const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1599)";
    let (id, _) = one(network, "S-0").await;
    ordered(network, "P35", &["S-35"]).await;
    let (late, _) = one(network, "S-35").await;
    raw.run(&format!(
        "{MANY} INSERT INTO specimen_events (id, specimen_id, event, state, note, told_us, teller, who, reason_code, \
         reason, untold) SELECT '0' || i, '{id}', 'collected', 'nonsense', '', 0, 'rabenstein', '', '', '', 1 FROM n"
    ))
    .await;
    raw.run(&format!(
        "{MANY} INSERT INTO specimen_news (id, partner, said, told_us) SELECT '0' || i, 'chemnitz', '{{nonsense', 0 FROM n"
    ))
    .await;
    raw.run(&format!(
        "{MANY} INSERT INTO specimens (id, origin, placer, placer_issuer, filler, filler_issuer, said, state, since_us, \
         ordered, due_us, created_us) SELECT 'x' || i, 'rabenstein', '', '', '', '', '{{}}', 'shipped', 0, 1, 1, 0 FROM n"
    ))
    .await;
    // Told, taken from a result, and seen to be late, all the same.
    accepted(network, &ssu("DRKRAB", "H35", "SAC|||C-S-35|||||L\rSPM|1|S-35||TISS\r")).await;
    told(laboratory, "S-35", "shipped").await;
    raw.run(&format!("UPDATE specimens SET due_us = 2 WHERE id = '{late}'")).await;
    alarms_are(network, &[AlarmKind::NotReceived]).await;
    let oru = "MSH|^~\\&|LIS|KLCHEM|NEISSE|NEISSE|20261124080000||ORU^R01|R35|P|2.5.1||||||8859/1\r\
        PID|||SYN-12^^^RABENSTEIN\rOBR|1|P35^RABENSTEIN||PATH\rOBX|1|FT|1||unauffaellig||||||F\r\
        SPM|1|S-35||TISS||||||||||||||20261124074500\r";
    accepted(network, oru).await;
    told(&network.hospital, "S-35", "received").await;
    alarms_are(network, &[]).await;
    raw.run("DELETE FROM specimen_news WHERE id LIKE '01%'").await;
    raw.run("DELETE FROM specimen_events WHERE id LIKE '01___'").await;
    raw.run("DELETE FROM specimens WHERE id LIKE 'x1%'").await;
}

async fn the_laboratory_s_number_is_kept(network: &Network) {
    accepted(network, &ssu("KLCHEM", "N6", "SAC|||C-S-22^RABENSTEIN|||||I\rSPM|1|^E26-22||TISS\r")).await;
    alarms_are(network, &[AlarmKind::NotOrdered]).await;
    ordered(network, "P22", &["S-22"]).await;
    let ssu = told(&network.hospital, "S-22", "received").await;
    assert_eq!(ssu.field("SPM", 2), "S-22&RABENSTEIN^E26-22&CHEMNITZ");
    alarms_are(network, &[]).await;
}

async fn a_later_reader_is_told(network: &Network, laboratory: &Hospital) {
    ordered_by(network, "P23", &["S-23"], Some("leipzig-ukl")).await;
    let (case, _) = ordered_by(network, "P24", &["S-23"], None).await;
    let collected = "SAC|||C-S-23^RABENSTEIN\rSPM|1|S-23&RABENSTEIN||TISS|||||||||||||20261124073000\r";
    let before = laboratory.reports().len();
    accepted(network, &ssu("DRKRAB", "N7", collected)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(laboratory.reports().len(), before, "it has no case of it yet");
    let mut tx = network.node().store.begin(Durability::Synced).await.expect("a transaction");
    let mut case = tx.case(case.id).await.expect("the case");
    case.reader = Some(partner("chemnitz"));
    tx.save_case(&case).await.expect("saved");
    tx.commit().await.expect("a commit");
    told(laboratory, "S-23", "collected").await;
    // A case that comes when everybody knew everything; and nobody is told twice.
    ordered(network, "P25", &["S-23"]).await;
    ordered(network, "P26", &["S-0"]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(laboratory.reports().len(), before + 1);
}
