//! Two hospitals send a study at the same second, with the same patient ID, accession and order numbers and UIDs.
//! Chemnitz wants identifiers of its own domain: it gets two patients it can tell apart, pixel data as they were, and what
//! was there before in Original Attributes Sequence. Its reports, in its own identifiers, come home to the right hospital
//! in that hospital's. Leipzig, which wants none of this, gets a copy byte for byte.

use crate::support::{
    center::{About, Arrived, Center, oru},
    data_set::Part10,
    eventually,
    hospital::{Hospital, Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    reports::{Oru, dcmdump, dsrdump, folder},
};
use bytes::Bytes;
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    dicom::{
        documents::{DocumentAbout, basic_text_sr},
        scan::HeaderScanner,
    },
    model::{
        CaseState, Digest, IdentifierKind, Identifiers, IssuedId, Mapping, Moment, PartnerId, ReportStatus, StudyFacts,
        Uid,
    },
    store::{CaseRow, Durability},
};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, time::Duration};

const ROUTES: &str = r#"
[[route]]
name = "Always"
from = ["rabenstein", "lichtenstein"]
to = ["chemnitz"]
also_to = ["leipzig-ukl"]
"#;

struct Scene {
    network: Network,
    lichtenstein: Hospital,
    rabenstein_pacs: Center,
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_are_the_readers_toward_it_and_the_origins_on_the_way_back() {
    for footing in BOTH {
        Box::pin(both_hospitals_are_told_apart_and_get_their_reports(footing, "prefix")).await;
    }
    Box::pin(both_hospitals_are_told_apart_and_get_their_reports(Footing::Embedded, "assigned")).await;
}

async fn both_hospitals_are_told_apart_and_get_their_reports(footing: Footing, identifiers: &str) {
    let scene = Scene::start(footing, identifiers).await;
    let network = &scene.network;
    let (patient, slices) = head_ct(7, 3);
    tokio::join!(send(network, "RAB_CT1", &slices), send(network, "LIC_CT1", &slices));
    let cases =
        [network_case(network, "rabenstein", &patient).await, network_case(network, "lichtenstein", &patient).await];
    network.chemnitz.arrivals_of(6).await;
    network.leipzig.arrivals_of(6).await;
    for copy in network.leipzig.arrivals() {
        let sent = slices.iter().find(|slice| slice.sop_instance == copy.offer.sop_instance).expect("one of them");
        assert_eq!(copy.data_set, sent.data_set, "who wants no identifiers of its own gets what was sent");
    }
    let theirs = by_hospital(network, &cases, &slices).await;
    assert_ne!(theirs[0].patient_id, theirs[1].patient_id, "two patients");
    assert_ne!(theirs[0].accession, theirs[1].accession);
    assert_ne!(theirs[0].placer_order_number, theirs[1].placer_order_number);
    let expected = match identifiers {
        "prefix" => ["RAB-SYN-000007", "LICHTENSTEIN-SYN-000007"].map(str::to_owned),
        _ => theirs.each_ref().map(|facts| numbered(&facts.patient_id.value)),
    };
    assert_eq!(theirs.each_ref().map(|facts| facts.patient_id.value.clone()), expected);
    // LICHTENSTEIN- and an accession number are longer than 16 letters.
    numbered(&theirs[1].accession.value);

    lichtenstein_gets_its_report_by_hl7(&scene, &patient, &theirs[1]).await;
    rabenstein_gets_its_report_as_sr(&scene, &patient, &theirs[0]).await;
    assert_eq!(scene.lichtenstein.reports().len(), 1, "and nobody gets the other's");
    for case in &cases {
        let shown = network.cases_screen(&["show", &case.id.to_string()]).await;
        assert!(shown.contains("3 images sent to chemnitz with 4 identifiers of its own domain"), "{shown}");
        assert!(!shown.contains("leipzig-ukl with"), "{shown}");
    }
    scene.network.at_rest().await;
}

/// `N` and 15 digits.
fn numbered(value: &str) -> String {
    let digits = value.strip_prefix('N').unwrap_or_default();
    assert!(digits.len() == 15 && digits.bytes().all(|digit| digit.is_ascii_digit()), "{value}");
    value.to_owned()
}

impl Scene {
    async fn start(footing: Footing, identifiers: &str) -> Self {
        let (lichtenstein, rabenstein_pacs) = (Hospital::start().await, Center::start("RAB_PACS").await);
        let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        let (hl7, pacs) = (lichtenstein.port, rabenstein_pacs.port);
        let network = Network::with_centers(footing, ROUTES, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
            let text = |files: &BTreeMap<String, String>, name: &str| files[&format!("partners/{name}.toml")].clone();
            let rabenstein = text(files, "rabenstein");
            let lichtenstein = rabenstein
                .replace("RABENSTEIN", "LICHTENSTEIN")
                .replace("RAB_", "LIC_")
                .replace("DRKRAB", "DRKLIC")
                .replace(&format!("port = {}", port_of(&rabenstein)), &format!("port = {hl7}"));
            let rabenstein = rabenstein
                .replace("forms = [\"oru\"]", "forms = [\"oru\", \"sr\"]\n[identity]\nprefix = \"RAB-\"")
                .replace(
                    "[hl7]\n",
                    &format!("deliver = {{ ae_title = \"RAB_PACS\", host = \"127.0.0.1\", port = {pacs} }}\n[hl7]\n"),
                );
            let chemnitz = text(files, "chemnitz") + &format!("[identity]\nidentifiers = \"{identifiers}\"\n");
            files.insert("partners/rabenstein.toml".into(), rabenstein);
            files.insert("partners/lichtenstein.toml".into(), lichtenstein);
            files.insert("partners/chemnitz.toml".into(), chemnitz);
        })
        .await;
        Self { network, lichtenstein, rabenstein_pacs }
    }
}

/// Of its information system.
fn port_of(partner: &str) -> &str {
    let rest = partner.split("port = ").nth(1).expect("a port");
    rest.split(',').next().expect("a number")
}

async fn send(network: &Network, calling_ae: &str, slices: &[SampleInstance]) {
    let mut scanner = Scanner::connect_as(calling_ae, network.node().dicom, &slices[0]).await;
    for slice in slices {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    scanner.release().await;
}

async fn network_case(network: &Network, origin: &str, patient: &SampleCase) -> CaseRow {
    network.decided(origin, &patient.study()).await;
    network.clock.advance(Duration::from_secs(2));
    network.case_of(origin, &patient.study(), CaseState::Delivered).await
}

/// What Chemnitz knows of each hospital's study; each of its images is what was sent but for the identifiers, and has
/// the digest that was kept.
async fn by_hospital(network: &Network, cases: &[CaseRow; 2], slices: &[SampleInstance]) -> [StudyFacts; 2] {
    let chemnitz = PartnerId::new("chemnitz").expect("an id");
    let arrivals = network.chemnitz.arrivals();
    let mut found = Vec::new();
    for case in cases {
        let sent = network.node().store.sent_instances(case.id, &chemnitz).await.expect("the store");
        assert_eq!(sent.len(), slices.len());
        for sent in sent {
            let of_digest = |arrived: &&Arrived| Digest(Sha256::digest(&arrived.data_set).into()) == sent.sha256;
            let arrived = arrivals.iter().find(of_digest).expect("it arrived as it left");
            let slice = slices.iter().find(|slice| slice.sop_instance == arrived.offer.sop_instance).expect("of it");
            found.push(image(case.origin.as_str(), slice, &arrived.data_set).await);
        }
    }
    let of_case = |at: usize| {
        let all = &found[at * slices.len()..][..slices.len()];
        assert!(all.iter().all(|facts| *facts == all[0]), "one study, one patient");
        all[0].clone()
    };
    [of_case(0), of_case(1)]
}

/// One image at Chemnitz, beside the one that was sent.
async fn image(origin: &str, sent: &SampleInstance, data_set: &Bytes) -> StudyFacts {
    let arrived = SampleInstance { data_set: data_set.to_vec(), ..sent.clone() };
    let (before, after) = (Part10::read(&sent.part10()).elements(), Part10::read(&arrived.part10()).elements());
    const MAPPED: [&str; 5] = ["PatientID", "AccessionNumber", "IssuerOf", "RequestAttributes", "OriginalAttributes"];
    let others = |elements: &BTreeMap<String, (String, Vec<u8>)>| {
        let others = elements.iter().filter(|(path, _)| !MAPPED.iter().any(|mapped| path.starts_with(mapped)));
        others.map(|(path, value)| (path.clone(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(others(&after), others(&before), "everything else is as it was");
    assert_eq!(after["PixelData"], before["PixelData"]);
    let previous = |path: &str| &after[&format!("OriginalAttributesSequence[0].ModifiedAttributesSequence[0].{path}")];
    for path in ["PatientID", "AccessionNumber", "RequestAttributesSequence[0].PlacerOrderNumberImagingServiceRequest"]
    {
        assert_eq!(*previous(path), before[path], "{path}");
    }
    let files = folder();
    let file = files.path().join("image.dcm");
    std::fs::write(&file, arrived.part10()).expect("a file");
    let dump = dcmdump(&file).await;
    for said in ["COERCE", "(0400,0561) SQ", origin] {
        assert!(dump.contains(said), "{said}: {dump}");
    }
    let facts = facts(&sent.transfer_syntax, data_set);
    assert_eq!([&facts.patient_id.issuer, &facts.accession.issuer], ["CHEMNITZ", "CHEMNITZ"]);
    facts
}

fn facts(transfer_syntax: &Uid, data_set: &[u8]) -> StudyFacts {
    let mut scanner = HeaderScanner::new(transfer_syntax);
    scanner.push(data_set).expect("a data set");
    scanner.finish().expect("a header").facts(None, "")
}

async fn lichtenstein_gets_its_report_by_hl7(scene: &Scene, patient: &SampleCase, theirs: &StudyFacts) {
    let (network, study) = (&scene.network, patient.study());
    let about = About {
        patient_id: &theirs.patient_id.value,
        issuer: "CHEMNITZ",
        accession: &theirs.accession.value,
        study: study.as_str(),
    };
    let message = oru("KLCHEM", "R1", &about, "F", "Keine Blutung");
    let answer = network.chemnitz.send_hl7(network.node().hl7, &message, "R1").await;
    assert_eq!(answer.code.as_str(), "AA");
    eventually("the report is in Lichtenstein", SOON, async || scene.lichtenstein.reports().len() == 1).await;
    is_in_own_identifiers(&scene.lichtenstein.reports()[0], patient, "LICHTENSTEIN");
    assert!(network.hospital.reports().is_empty(), "Rabenstein has no report of it");
}

fn is_in_own_identifiers(report: &[u8], patient: &SampleCase, issuer: &str) {
    let read = Oru::read(report);
    assert!(read.values("FT").join(" ").contains("Keine Blutung"));
    assert_eq!(read.field("PID", 3).split('^').next(), Some(patient.patient_id.as_str()));
    assert!(read.field("PID", 3).contains(issuer));
    assert_eq!(read.field("OBR", 2).split('^').next(), Some(patient.placer_order.as_str()));
    assert_eq!(read.field("OBR", 18), patient.accession);
    let text = String::from_utf8_lossy(report);
    assert!(!text.contains("CHEMNITZ-") && !text.contains("RAB-") && !text.contains("LICHTENSTEIN-"), "{text}");
}

async fn rabenstein_gets_its_report_as_sr(scene: &Scene, patient: &SampleCase, theirs: &StudyFacts) {
    let network = &scene.network;
    // As its images said, but for the issuers, which its system does not write.
    let facts = StudyFacts {
        patient_id: IssuedId::new(theirs.patient_id.value.as_str(), ""),
        accession: IssuedId::new(theirs.accession.value.as_str(), ""),
        placer_order_number: theirs.placer_order_number.clone(),
        filler_order_number: theirs.filler_order_number.clone(),
        ..StudyFacts::default()
    };
    let about = DocumentAbout {
        orders: &[],
        outgoing: Default::default(),
        study: patient.study(),
        series: Uid::generate(),
        sop_instance: Uid::generate(),
        facts: &facts,
        status: ReportStatus::Final,
        title: "CT".into(),
        language: "de".into(),
        content: Moment(0),
        time_zone: chrono_tz::Europe::Berlin,
        institution: "Chemnitz".into(),
        author: Some("Beispiel^Ruth".into()),
        evidence: Vec::new(),
        version: 1,
        predecessor: None,
    };
    let made = basic_text_sr(&about, "Keine Blutung").expect("an SR");
    let sr = SampleInstance {
        sop_class: made.sop_class,
        sop_instance: made.sop_instance,
        transfer_syntax: made.transfer_syntax,
        data_set: made.data_set,
    };
    send(network, "CHEMNITZ", std::slice::from_ref(&sr)).await;
    eventually("the report is in Rabenstein", SOON, async || network.hospital.reports().len() == 1).await;
    is_in_own_identifiers(&network.hospital.reports()[0], patient, "RABENSTEIN");
    scene.rabenstein_pacs.arrivals_of(1).await;
    let arrived = scene.rabenstein_pacs.arrivals().remove(0);
    assert_eq!(arrived.offer.sop_instance, sr.sop_instance, "the very object, with its codes and references");
    let own = self::facts(&sr.transfer_syntax, &arrived.data_set);
    assert_eq!(own.patient_id, IssuedId::new(patient.patient_id.as_str(), "RABENSTEIN"));
    assert_eq!(own.accession, IssuedId::new(patient.accession.as_str(), "RABENSTEIN"));
    for foreign in [&theirs.patient_id.value, &theirs.accession.value, &theirs.placer_order_number] {
        let found = arrived.data_set.windows(foreign.len()).any(|window| window == foreign.as_bytes());
        assert!(!found, "no identifier of Chemnitz is left in it: {foreign}");
    }
    let files = folder();
    let file = files.path().join("sr.dcm");
    std::fs::write(&file, SampleInstance { data_set: arrived.data_set.to_vec(), ..sr }.part10()).expect("a file");
    assert!(dsrdump(&file).await.contains("Keine Blutung"));
}

/// Several nodes on one database may ask for the same identifier at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn asked_for_at_once_an_identifier_is_one_on_both_databases() {
    for footing in BOTH {
        let scene = Scene::start(footing, "prefix").await;
        let store = &scene.network.node().store;
        let mapping = |origin: &str| Mapping {
            reader: PartnerId::new("chemnitz").expect("an id"),
            reader_issuer: "CHEMNITZ".into(),
            identifiers: Identifiers::Prefix,
            origin: PartnerId::new(origin).expect("an id"),
            origin_issuer: "DRK".into(),
            prefix: "DRK-".into(),
        };
        // Both would be DRK-1, DRK-2, ...: one of each pair has to take another form.
        let ask = |origin: &'static str| {
            let (store, mapping) = (store.clone(), mapping(origin));
            tokio::spawn(async move {
                let mut tx = store.begin(Durability::Process).await.expect("a transaction");
                let mut given = Vec::new();
                for kind in IdentifierKind::ALL {
                    for number in 1..=5 {
                        let id = IssuedId::new(number.to_string(), "");
                        given.push(tx.mapped(&mapping, kind, &id, Moment(1)).await.expect("an identifier").id.value);
                    }
                }
                tx.commit().await.expect("committed");
                given
            })
        };
        let asked: Vec<_> = (0..4).flat_map(|_| [ask("rabenstein"), ask("lichtenstein")]).collect();
        let mut given = Vec::new();
        for asked in asked {
            given.push(asked.await.expect("it ended well"));
        }
        for later in &given {
            let first = given.iter().filter(|first| *first == later).count();
            assert_eq!(first, 4, "the same for all who asked for one hospital");
        }
        for (origin, given) in ["rabenstein", "lichtenstein"].into_iter().zip(&given) {
            for (kind, values) in IdentifierKind::ALL.into_iter().zip(given.chunks(5)) {
                for (number, value) in (1..).zip(values) {
                    let back = store.unmapped(&mapping(origin).reader, kind, value).await.expect("the store");
                    let back = back.expect("given out");
                    assert_eq!((back.origin.as_str(), back.id), (origin, IssuedId::new(number.to_string(), "DRK")));
                }
            }
        }
        for (one, other) in given[0].iter().zip(&given[1]) {
            assert_ne!(one, other, "of two hospitals");
        }
        scene.network.at_rest().await;
    }
}

/// A patient ID that is no text in its own character set could be anybody's: it is not given a number, and does not
/// reach the reader as it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_identifiers_cannot_be_read_waits_for_a_person() {
    let network = Network::with_centers(
        Footing::Embedded,
        ALWAYS_CHEMNITZ,
        wall("2026-11-24T23:10"),
        Center::start("CHEMNITZ").await,
        Center::start("UKL").await,
        |files| {
            let chemnitz = files.get_mut("partners/chemnitz.toml").expect("Chemnitz");
            chemnitz.push_str("[identity]\nidentifiers = \"assigned\"\n");
        },
    )
    .await;
    let (patient, mut slices) = head_ct(8, 3);
    let at = slices[1].data_set.windows(10).position(|window| window == b"SYN-000008").expect("its patient ID");
    // Never a byte of UTF-8, which these files are in.
    slices[1].data_set[at + 4] = 0xFF;
    send(&network, "RAB_CT1", &slices).await;
    let refused = |case: &CaseRow| case.attention.contains("identifiers cannot be rewritten");
    network.case(&patient.study(), "a person is told", refused).await;
    network.chemnitz.arrivals_of(2).await;
    assert!(!network.chemnitz.holds(std::slice::from_ref(&slices[1].sop_instance)));
    network.at_rest().await;
}

/// Behind Pixel Data stand padding and signatures; a number there has been passed by, and would reach the reader.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_a_number_behind_its_pixels_is_broken_off_and_the_rest_arrives() {
    let network = Network::with_centers(
        Footing::Embedded,
        ALWAYS_CHEMNITZ,
        wall("2026-11-24T23:10"),
        Center::start("CHEMNITZ").await,
        Center::start("UKL").await,
        |files| {
            let chemnitz = files.get_mut("partners/chemnitz.toml").expect("Chemnitz");
            chemnitz.push_str("[identity]\nidentifiers = \"assigned\"\n");
        },
    )
    .await;
    let (patient, mut slices) = head_ct(8, 3);
    // (0008,0050) SH, in Explicit VR Little Endian.
    slices[1].data_set.extend(b"\x08\x00\x50\x00SH\x06\x00BEHIND");
    send(&network, "RAB_CT1", &slices).await;
    let refused = |case: &CaseRow| case.attention.contains("identifiers cannot be rewritten");
    network.case(&patient.study(), "a person is told", refused).await;
    network.chemnitz.arrivals_of(2).await;
    assert!(!network.chemnitz.holds(std::slice::from_ref(&slices[1].sop_instance)));
    network.at_rest().await;
}
