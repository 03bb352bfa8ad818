//! Good orders and reports, damaged in every segment and every field: each is answered at once, refused with its place or
//! taken as it stands; what is refused leaves nothing, and nothing reaches a reader or a hospital under other numbers than
//! those that were sent.

use crate::support::{
    center::Center,
    damage::{self, Damage, From, Kind, Names, TEMPLATES, Template, Whole},
    eventually,
    hospital::{Hospital, Scanner},
    ledger::Raw,
    network::{Footing, Network, SOON, wall},
    plain_hl7::{Answer, Id, Said, SaidOrder},
};
use neisse::{
    cli::sample::{self, SampleCase},
    hl7,
    model::{CaseState, Digest, PartnerId},
    store::CaseRow,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CASES: usize = 24;

/// From a good message to the next one.
const GOOD_EVERY: usize = 50;

const ROUTES: &str = "[[route]]\nname = \"Always\"\nfrom = [\"rabenstein\", \"lichtenstein\"]\nto = [\"chemnitz\"]\n";

/// HL7 table 0357.
const CODES: [&str; 12] = ["100", "101", "102", "103", "200", "201", "202", "203", "204", "205", "206", "207"];

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_damaged_messages_are_refused_with_their_place() {
    let messages = messages();
    assert!(messages.len() >= 1000, "{} messages", messages.len());
    all_are_answered(Footing::Embedded, messages).await;
}

/// What one database takes the other may not: a NUL, a letter that is none.
#[tokio::test(flavor = "multi_thread")]
async fn every_seventh_of_them_is_refused_with_its_place_on_postgresql_too() {
    let some = messages().into_iter().enumerate().filter(|(at, message)| at % 7 == 0 || message.has_odd_bytes());
    all_are_answered(Footing::Services, some.map(|(_, message)| message).collect()).await;
}

struct Message {
    template: &'static Template,
    damage: Damage,
    names: Names,
    bytes: Vec<u8>,
}

impl Message {
    fn new(template: &'static Template, damage: Damage, number: usize) -> Self {
        let case = SampleCase::numbered((number % CASES) as u64);
        let names = Names {
            number,
            patient: case.patient_id.clone(),
            accession: case.accession.clone(),
            study: case.study().to_string(),
        };
        let bytes = damage::apply(damage, &template.good(&names));
        Self { template, damage, names, bytes }
    }

    fn has_odd_bytes(&self) -> bool {
        use damage::Value;
        matches!(self.damage, Damage::Field(_, _, Value::Letters | Value::Byte(0)))
    }

    /// Of a report, as it came.
    fn sha256(&self) -> String {
        Digest(Sha256::digest(&self.bytes).into()).to_string()
    }

    /// What it is known by, and a repetition that is written at another time. Of an order, too.
    fn sha256_of_any_time(&self) -> String {
        let read = hl7::message::Message::parse(&self.bytes);
        let digest = read.map_or_else(
            |_| Sha256::digest(&self.bytes),
            |read| {
                read.without_its_time().iter().fold(Sha256::new(), |digest, part| digest.chain_update(part)).finalize()
            },
        );
        Digest(digest.into()).to_string()
    }

    fn said(&self) -> Said {
        Said::read(&self.bytes, self.template.from == From::Reader)
    }
}

fn messages() -> Vec<Message> {
    let mut messages = Vec::new();
    for (seed, template) in TEMPLATES.iter().enumerate() {
        for damage in template.damages(seed as u64) {
            if messages.len() % GOOD_EVERY == 0 {
                messages.push(Message::new(template, Damage::Nothing, messages.len()));
            }
            messages.push(Message::new(template, damage, messages.len()));
        }
    }
    messages
}

/// A message and what was answered.
struct Sent {
    message: Message,
    said: Said,
    answer: Answer,
}

impl Sent {
    fn is_taken(&self) -> bool {
        self.answer.code == "AA"
    }

    fn what(&self) -> String {
        let Message { template, damage, names, .. } = &self.message;
        let Answer { code, place, error, .. } = &self.answer;
        format!("{} {:?} ({}): {code} {place} {error}", template.name, damage, names.number)
    }
}

/// What is wrong, all of it, so that one run says everything.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn note(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.0.push(what());
        }
    }

    fn none(self) {
        let number = self.0.len();
        let first: Vec<String> = self.0.into_iter().take(100).collect();
        assert_eq!(number, 0, "{number} findings:\n{}", first.join("\n"));
    }
}

async fn all_are_answered(footing: Footing, messages: Vec<Message>) {
    let (ris, other) = (Hospital::start().await, Hospital::start().await);
    let network = network(footing, &ris, &other).await;
    let cases = cases(&network).await;
    let started = Instant::now();
    let (orders, reports): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|message| message.template.from == From::Hospital);
    let router = network.node().hl7;
    let (orders, reports) = tokio::join!(ask_all(router, orders), ask_all(router, reports));
    let sent: Vec<Sent> = orders.into_iter().chain(reports).collect();
    println!("{footing:?}: {} messages answered in {:?}", sent.len(), started.elapsed());
    summary(&sent);
    let mut findings = Findings::default();
    sent.iter().for_each(|sent| judge(sent, &mut findings));
    eventually("everything has arrived", SOON, async || {
        network.node().store.count_deliveries().await.expect("the store").is_empty()
            && network.node().store.cases_to_route(10).await.expect("the store").is_empty()
    })
    .await;
    println!("{footing:?}: all of it delivered {:?} after the first", started.elapsed());
    let raw = Raw::of(&network, footing).await;
    let as_it_came: HashMap<String, &Sent> = sent.iter().map(|sent| (sent.message.sha256(), sent)).collect();
    let of_any_time: HashMap<String, &Sent> =
        sent.iter().map(|sent| (sent.message.sha256_of_any_time(), sent)).collect();
    kept_as_answered(&raw, (&as_it_came, &of_any_time), &mut findings).await;
    orders_as_they_said(&raw, &of_any_time, &mut findings).await;
    reports_are_their_cases(&raw, &as_it_came, &cases, &network.hospital, &mut findings).await;
    readers_got_what_was_sent(&ris, &sent, &mut findings);
    findings.note(other.reports().is_empty(), || "the other hospital got a report".into());
    nothing_of_the_other_hospital(&raw, &mut findings).await;
    findings.none();
    network.at_rest().await;
}

/// rabenstein and lichtenstein have everything alike; chemnitz reads both, and takes orders.
async fn network(footing: Footing, ris: &Hospital, other: &Hospital) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ROUTES, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        let port = rabenstein.split("port = ").nth(1).and_then(|rest| rest.split(',').next()).expect("its port");
        let port = format!("port = {port},");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        let lichtenstein = rabenstein
            .replace("Rabenstein", "Lichtenstein")
            .replace("\"RABENSTEIN\"", "\"LICHTENSTEIN\"")
            .replace("RAB_", "LIC_")
            .replace("DRKRAB", "DRKLIC")
            .replace(&port, &format!("port = {},", other.port));
        files.insert("partners/lichtenstein.toml".into(), lichtenstein);
        let reader = files.get_mut("partners/chemnitz.toml").expect("the reader");
        reader.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"RIS\", facility = \"KLCHEM\" }}\n\
             [orders]\ndeliver = true\n",
            ris.port
        ));
    })
    .await
}

/// One image a case, from both hospitals; the cases of rabenstein, by id.
async fn cases(network: &Network) -> BTreeMap<String, CaseRow> {
    let patients: Vec<SampleCase> = (0..CASES as u64).map(SampleCase::numbered).collect();
    let mut cases = BTreeMap::new();
    for (hospital, ae_title) in [("rabenstein", "RAB_CT1"), ("lichtenstein", "LIC_CT1")] {
        for patient in &patients {
            let slice = sample::head_ct(1, 64, patient).next().expect("a slice");
            let mut scanner = Scanner::connect_as(ae_title, network.node().dicom, &slice).await;
            assert_eq!(scanner.send(&slice).await, 0x0000);
            scanner.release().await;
        }
        for patient in &patients {
            let case = network.case_of(hospital, &patient.study(), CaseState::Delivered).await;
            if hospital == "rabenstein" {
                cases.insert(case.id.to_string(), case);
            }
        }
    }
    assert_eq!(cases.len(), CASES);
    cases
}

async fn ask_all(router: SocketAddr, messages: Vec<Message>) -> Vec<Sent> {
    let mut line = TcpStream::connect(router).await.expect("connected");
    let mut all = Vec::with_capacity(messages.len());
    for message in messages {
        let mut took = Duration::MAX;
        let mut answer = Vec::new();
        // A machine may be busy with something else; the same message again is answered alike.
        for _ in 0..3 {
            let since = Instant::now();
            answer = ask(&mut line, &message).await;
            took = since.elapsed();
            if Damage::breaks_framing(&message.bytes) {
                line = TcpStream::connect(router).await.expect("connected");
            }
            if took < Duration::from_secs(1) {
                break;
            }
        }
        assert!(took < Duration::from_secs(1), "answered after {took:?}: {:?}", message.damage);
        let said = message.said();
        all.push(Sent { said, answer: Answer::read(&answer), message });
    }
    all
}

async fn ask(line: &mut TcpStream, message: &Message) -> Vec<u8> {
    let what = || format!("{} {:?}", message.template.name, message.damage);
    line.write_all(&[b"\x0b", &message.bytes[..], b"\x1c\r"].concat()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1c\r") {
        let read = tokio::time::timeout(SOON, line.read_buf(&mut answer)).await;
        let read = read.unwrap_or_else(|_| panic!("no answer: {}", what())).expect("an answer");
        assert!(read > 0, "closed without an answer: {}", what());
    }
    assert!(answer.starts_with(b"\x0bMSH"), "{}", what());
    answer[1..answer.len() - 2].to_vec()
}

fn summary(sent: &[Sent]) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for sent in sent {
        *counts.entry((sent.message.template.name, sent.answer.code.as_str())).or_default() += 1;
    }
    println!("{counts:?}");
    let of = |code: &str| sent.iter().filter(|sent| sent.answer.code == code).count();
    assert!(of("AA") > sent.len() / 5 && of("AE") > sent.len() / 5 && of("AR") > 0, "{counts:?}");
}

/// The answer by itself.
fn judge(sent: &Sent, findings: &mut Findings) {
    let Sent { message, said, answer } = sent;
    let mut wrong = |is_right: bool, why: &str| findings.note(is_right, || format!("{why}: {}", sent.what()));
    wrong(matches!(answer.code.as_str(), "AA" | "AE" | "AR"), "no answer of the original mode");
    let control_id = said.control_id.clone().unwrap_or_default();
    let can_be_echoed = control_id.len() <= 199 && control_id.iter().all(|byte| *byte >= 0x20);
    if can_be_echoed {
        wrong(answer.control_id == control_id, "MSA-2 is not MSH-10");
    }
    if sent.is_taken() {
        wrong(answer.place.is_empty() && answer.error.is_empty(), "taken with an error");
        wrong(can_be_echoed && !control_id.is_empty(), "taken, but its sender cannot know that");
        wrong(!must_be_refused(message, said), "must be refused");
        return;
    }
    wrong(message.damage != Damage::Nothing, "a good message");
    wrong(CODES.contains(&answer.error.as_str()), "ERR-3 is not of table 0357");
    wrong(is_a_place(&answer.place, said), "ERR-2 is no place in the message");
    if let Some((segment, field)) = message.damage.emptied(&message.bytes) {
        let place: Vec<&str> = answer.place.split('^').collect();
        wrong(
            place[0] == segment && place.get(2).is_some_and(|n| *n == field.to_string()),
            "another place was emptied",
        );
    }
}

/// A segment that is there, or the one that is missing; by its number among those of its name.
fn is_a_place(place: &str, said: &Said) -> bool {
    let mut parts = place.split('^');
    let name = parts.next().unwrap_or_default();
    let sequence: usize = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let is_field = parts.next().is_none_or(|field| field.parse::<usize>().is_ok_and(|field| field > 0));
    name.len() == 3 && is_field && (1..=said.count(name) + 1).contains(&sequence)
}

/// What cannot be understood as far as it must be.
fn must_be_refused(message: &Message, said: &Said) -> bool {
    let kind = message.template.kind();
    let is_order = kind == Kind::Order;
    let has = |name: &str| said.count(name) > 0;
    let last = message.bytes.rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
    let ends_inside =
        last.starts_with(b"OBX|") && last.split(|byte| *byte == b'|').nth(11).is_none_or(<[u8]>::is_empty);
    let emptied = message.damage.emptied(&message.bytes);
    let is_required = emptied.is_some_and(|(segment, field)| match (segment.as_str(), field) {
        ("MSH", 4 | 9 | 10) => true,
        ("ORC", 1) | ("OBR", 4) => is_order,
        ("PID", 3) => kind != Kind::Report,
        ("MRG", 1) => true,
        _ => false,
    });
    // Who has a specimen is not asked of its courier.
    let several = said.count("PID") > 1 && message.damage == Damage::Whole(Whole::SecondPatient);
    let needed: &[&str] = match message.template.name {
        "ADT A08" => &["MSH", "PID"],
        "ADT A40" => &["MSH", "PID", "MRG"],
        "MDM" => &["MSH", "PID", "TXA"],
        "SSU" => &["MSH"],
        _ if is_order => &["MSH", "PID", "ORC", "OBR"],
        _ => &["MSH", "PID", "OBR"],
    };
    let lacks = needed.iter().any(|name| !has(name));
    lacks || is_required || several || (ends_inside && kind == Kind::Report) || said.count("MSH") > 1
}

/// What was refused left nothing; what was taken is there.
async fn kept_as_answered(
    raw: &Raw,
    (as_it_came, of_any_time): (&HashMap<String, &Sent>, &HashMap<String, &Sent>),
    findings: &mut Findings,
) {
    let column = async |sql: &str| -> Vec<String> { raw.rows(sql).await.into_iter().flatten().collect() };
    let answered = column("SELECT sha256 FROM messages").await;
    for (digest, sent) in of_any_time {
        findings.note(answered.contains(digest) == sent.is_taken(), || format!("kept, or not: {}", sent.what()));
    }
    let reports = column("SELECT sha256 FROM reports").await;
    let orders = column("SELECT sha256 FROM order_contents UNION ALL SELECT sha256 FROM order_messages").await;
    for (kept, by) in [(&reports, as_it_came), (&orders, of_any_time)] {
        for digest in kept {
            let found = by.get(digest).is_some_and(|sent| sent.is_taken());
            findings.note(found, || format!("refused and kept: {:?}", by.get(digest).map(|sent| sent.what())));
        }
    }
    let is_report = |sent: &Sent| sent.is_taken() && sent.message.template.from == From::Reader;
    for (digest, sent) in as_it_came.iter().filter(|(_, sent)| is_report(sent)) {
        let times = reports.iter().filter(|found| *found == digest).count();
        findings.note(times == 1, || format!("there {times} times: {}", sent.what()));
    }
}

fn with_issuer(id: &Id) -> Id {
    let issuer = if id.1.is_empty() && !id.0.is_empty() { "RABENSTEIN" } else { &id.1 };
    (id.0.clone(), issuer.to_owned())
}

/// Each order is what the message that began it said; each that was answered OK is there.
async fn orders_as_they_said(raw: &Raw, sent: &HashMap<String, &Sent>, findings: &mut Findings) {
    let rows = raw
        .rows(
            "SELECT m.sha256, CAST(m.sequence AS TEXT), CAST(m.number AS TEXT), m.answer, o.origin, o.placer, \
             o.placer_issuer, o.filler, o.filler_issuer, o.accession, o.accession_issuer, o.patient_id, o.patient_issuer \
             FROM order_messages m JOIN orders o ON o.id = m.order_id",
        )
        .await;
    let merges: &[&Said] = &sent.values().filter(|sent| sent.is_taken()).map(|sent| &sent.said).collect::<Vec<_>>();
    for row in &rows {
        let Some(sent) = sent.get(&row[0]) else { continue };
        let sequence: usize = row[1].parse().expect("a number");
        let code = sent.answer.orders.get(sequence - 1);
        findings.note(code == Some(&row[3]), || format!("answered {code:?}, kept {}: {}", row[3], sent.what()));
        if row[2] != "1" {
            continue;
        }
        let Some(said) = sent.said.orders.get(sequence - 1) else {
            findings.note(false, || format!("an order it does not name: {}", sent.what()));
            continue;
        };
        let id = |at: usize| (row[at].clone(), row[at + 1].clone());
        let SaidOrder { placer, filler, accession } = said;
        let same = [(placer, id(5)), (filler, id(7)), (accession, id(9))].iter().all(|(a, b)| with_issuer(a) == *b);
        let patients: Vec<Id> = sent.said.patients.iter().map(with_issuer).collect();
        findings.note(row[4] == "rabenstein" && same, || format!("{said:?} kept as {row:?}: {}", sent.what()));
        let is_theirs =
            patients.contains(&id(11)) || patients.iter().any(|patient| is_merged(merges, patient, &id(11)));
        findings.note(is_theirs, || format!("{patients:?} kept as {row:?}: {}", sent.what()));
        let is_sound = row[5..].iter().all(|text| !text.contains(|c: char| c.is_control() || c == '\u{FFFD}'));
        findings.note(is_sound, || format!("a number that is none: {}", sent.what()));
    }
    let of_nobody = "SELECT id FROM cases WHERE has_study = 0 AND id NOT IN (SELECT case_id FROM order_cases)";
    let number = raw.rows(of_nobody).await.len();
    findings.note(number == 0, || format!("{number} cases that began with no order"));
    for (digest, sent) in sent.iter().filter(|(_, sent)| sent.is_taken()) {
        let kept = rows.iter().filter(|row| row[0] == **digest && row[3] == "OK").count();
        let said = sent.answer.orders.iter().filter(|code| *code == "OK").count();
        findings.note(kept == said, || format!("{said} orders taken, {kept} there: {}", sent.what()));
    }
}

/// A message that was taken has made the one patient the other.
fn is_merged(merges: &[&Said], former: &Id, now: &Id) -> bool {
    let has = |ids: &[Id], id: &Id| ids.iter().map(with_issuer).any(|said| said == *id);
    merges.iter().any(|said| has(&said.merged, former) && has(&said.patients, now))
}

/// A report that was joined names its case and nobody else's; what goes home is all of it, under the case's patient.
async fn reports_are_their_cases(
    raw: &Raw,
    sent: &HashMap<String, &Sent>,
    cases: &BTreeMap<String, CaseRow>,
    hospital: &Hospital,
    findings: &mut Findings,
) {
    let sql = format!(
        "SELECT r.sha256, r.case_id, {} FROM reports r JOIN report_forms f ON f.report_id = r.id",
        raw.hex("f.content")
    );
    let rows = raw.rows(&sql).await;
    for row in &rows {
        let (Some(sent), Some(case)) = (sent.get(&row[0]), cases.get(&row[1])) else {
            findings.note(false, || format!("a report of nobody, or to another hospital: {:?}", row[0]));
            continue;
        };
        let facts = &case.facts;
        let is_theirs =
            |(value, issuer): &Id| *value == facts.patient_id.value && matches!(issuer.as_str(), "" | "RABENSTEIN");
        let patients = &sent.said.patients;
        let fits = patients.is_empty() || patients.iter().any(is_theirs);
        findings.note(fits, || format!("another patient's: {patients:?} {}", sent.what()));
        let named = sent.said.numbers.iter().any(|(value, _)| *value == facts.accession.value);
        let studied = sent.said.studies.iter().any(|study| study == case.study.as_str());
        findings.note(named || studied, || format!("it names neither study nor number: {}", sent.what()));
        let bytes = unhex(&row[2]);
        let home = String::from_utf8_lossy(&bytes).into_owned();
        let pid = home.split('\r').find(|segment| segment.starts_with("PID")).unwrap_or_default();
        let patient = format!("|{}^^^RABENSTEIN", facts.patient_id.value);
        findings.note(pid.contains(&patient), || format!("goes home as {pid}: {}", sent.what()));
        let mark = sent.message.names.mark();
        let has = |bytes: &[u8]| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
        findings.note(has(&bytes) || !has(&sent.message.bytes), || format!("without its text: {}", sent.what()));
    }
    let home: Vec<Vec<u8>> = hospital.reports().iter().map(|message| message.to_vec()).collect();
    let made: Vec<Vec<u8>> = rows.iter().map(|row| unhex(&row[2])).collect();
    let each_once = home.len() == made.len() && made.iter().all(|message| home.contains(message));
    findings.note(each_once, || format!("{} reports made, {} at home", made.len(), home.len()));
    assert!(made.len() > 50, "{} reports came home", made.len());
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// What the reader's system was told of an order is what was sent.
fn readers_got_what_was_sent(ris: &Hospital, sent: &[Sent], findings: &mut Findings) {
    let got = ris.reports();
    assert!(got.len() > 50, "{} orders reached the reader", got.len());
    for message in &got {
        let got = Said::read(message, true);
        let patients = |said: &Said| said.patients.iter().chain(&said.merged).map(with_issuer).collect::<Vec<Id>>();
        let Some(order) = got.orders.first() else {
            let is_told = |sent: &Sent| sent.is_taken() && patients(&sent.said) == patients(&got);
            let news = got.patients.is_empty() || !sent.iter().any(is_told);
            findings.note(!news, || format!("nobody sent this of a patient: {:?} {:?}", got.patients, got.merged));
            continue;
        };
        let is_it = |sent: &&Sent| {
            let placers = sent.said.orders.iter().map(|order| with_issuer(&order.placer));
            sent.is_taken() && placers.into_iter().any(|placer| placer == with_issuer(&order.placer))
        };
        let same = |sent: &Sent| {
            let said = &sent.said.orders[0];
            let patients: Vec<Id> = sent.said.patients.iter().map(with_issuer).collect();
            got.patients.iter().map(with_issuer).collect::<Vec<_>>() == patients
                && with_issuer(&said.accession) == with_issuer(&order.accession)
        };
        let theirs: Vec<&Sent> = sent.iter().filter(is_it).collect();
        let found = theirs.iter().any(|sent| same(sent));
        findings.note(found, || {
            format!("the reader got {order:?} of {:?}: {:?}", got.patients, theirs.first().map(|sent| sent.what()))
        });
    }
}

async fn nothing_of_the_other_hospital(raw: &Raw, findings: &mut Findings) {
    let origin = PartnerId::new("lichtenstein").expect("an id");
    for (what, sql) in [
        ("a report", "SELECT r.sha256 FROM reports r JOIN cases c ON c.id = r.case_id WHERE c.origin = "),
        ("an order", "SELECT o.order_id FROM order_cases o JOIN cases c ON c.id = o.case_id WHERE c.origin = "),
        ("an order", "SELECT id FROM orders WHERE origin = "),
        (
            "a message",
            "SELECT d.id FROM deliveries d JOIN cases c ON c.id = d.case_id WHERE kind <> 'images' AND c.origin = ",
        ),
    ] {
        let rows = raw.rows(&format!("{sql}'{origin}'")).await;
        findings.note(rows.is_empty(), || format!("{what} of the other hospital: {}", rows.len()));
    }
}
