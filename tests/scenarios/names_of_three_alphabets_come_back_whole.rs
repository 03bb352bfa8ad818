//! Łucja Świątek, Jiří Dvořák and Jörg Müßig in every report: to a hospital that reads ISO 8859-2, and to one that reads
//! ISO 8859-1, which has no ł: there the message goes as UTF-8 and the case says which letters made it so. A third takes no
//! UTF-8: it gets ISO 8859-1 by HL7 and by DICOM, spelled by its own table where that has the letter; the case names each.
//! And an old scanner says ISO_IR 100 while it writes Windows-1250: its partner file knows.

use crate::support::{
    center::{About, oru},
    data_set::{encapsulated, text},
    dcmtk::StoreScp,
    eventually,
    hospital::{Hospital, Scanner},
    network::{BOTH, Network, SOON, wall},
    reports::{Oru, pdf_text},
};
use dicom_dictionary_std::tags;
use neisse::{
    cli::sample::{SampleCase, head_ct},
    model::CaseState,
};
use std::time::Duration;

const NAMES: [&str; 3] = ["Łucja Świątek", "Jiří Dvořák", "Jörg Müßig"];

struct Origin {
    partner: &'static str,
    scanner: &'static str,
    issuer: &'static str,
    /// In the images, and of the patient's name there.
    charset: &'static str,
    name: &'static str,
    reader: &'static str,
    reads: &'static str,
    /// It takes UTF-8 as well.
    utf8: bool,
    /// What the message is in, and what the case says about it.
    sent_in: &'static str,
    warning: &'static str,
    /// Its scanner names a set that it does not write.
    says: &'static str,
    /// Letters as they arrive.
    spelled: &'static [(&'static str, &'static str)],
}

impl Origin {
    /// A text as it arrives here.
    fn arrives(&self, text: &str) -> String {
        self.spelled.iter().fold(text.to_owned(), |text, (letter, spelling)| text.replace(letter, spelling))
    }

    /// Its part of the configuration: what it reads, and how it wants the rest.
    fn configure(&self, partner: &mut toml::Table) {
        let table = || toml::Table::from_iter([("Ł".to_owned(), "W".into()), ("ą".to_owned(), "om".into())]);
        let hl7 = partner["hl7"].as_table_mut().expect("[hl7]");
        hl7.insert("charset".into(), self.reads.into());
        if !self.utf8 {
            hl7.insert("transliterate".into(), table().into());
            hl7["deliver"].as_table_mut().expect("[hl7.deliver]").insert("utf8".into(), false.into());
        }
        let dicom = partner["dicom"].as_table_mut().expect("[dicom]");
        if !self.says.is_empty() {
            dicom.insert("charset".into(), self.charset.into());
            dicom.insert("charset_instead_of".into(), vec![self.says].into());
        }
        if !self.utf8 {
            dicom.insert("transliterate".into(), table().into());
            let target = dicom["deliver"].as_table_mut().expect("[dicom.deliver]");
            target.insert("charset".into(), "ISO_IR 100".into());
            target.insert("utf8".into(), false.into());
        }
    }
}

const ORIGINS: [Origin; 5] = [
    Origin {
        partner: "zgorzelec",
        scanner: "ZGO_CT1",
        issuer: "ZGORZELEC",
        charset: "ISO_IR 101",
        name: "Świątek^Łucja",
        reader: "SKGOERLITZ",
        reads: "8859/2",
        utf8: true,
        sent_in: "8859/2",
        warning: "",
        says: "",
        spelled: &[],
    },
    Origin {
        partner: "liberec",
        scanner: "LBC_CT1",
        issuer: "LIBEREC",
        charset: "ISO_IR 192",
        name: "Dvořák^Jiří",
        reader: "SKGOERLITZ",
        reads: "8859/2",
        utf8: true,
        sent_in: "8859/2",
        warning: "",
        says: "",
        spelled: &[],
    },
    Origin {
        partner: "rabenstein",
        scanner: "RAB_CT1",
        issuer: "RABENSTEIN",
        charset: "ISO_IR 100",
        name: "Müßig^Jörg",
        reader: "KCHEMNITZ",
        reads: "8859/1",
        utf8: true,
        sent_in: "UNICODE UTF-8",
        warning: "sent as UTF-8: 8859/1 does not hold ą (U+0105), Ł (U+0141), ř (U+0159), Ś (U+015A)",
        says: "",
        spelled: &[],
    },
    Origin {
        partner: "lichtenstein",
        scanner: "LIC_CT1",
        issuer: "LICHTENSTEIN",
        charset: "ISO_IR 101",
        name: "Świątek^Łucja",
        reader: "KCHEMNITZ",
        reads: "8859/1",
        utf8: false,
        sent_in: "8859/1",
        warning: "letters replaced: 8859/1 does not hold ą (U+0105) as om, Ł (U+0141) as W, ř (U+0159) as r, \
                  Ś (U+015A) as S; in the PDF, letters replaced: 8859/1 does not hold ą (U+0105) as om, \
                  Ł (U+0141) as W, Ś (U+015A) as S",
        says: "",
        spelled: &[("ą", "om"), ("Ł", "W"), ("ř", "r"), ("Ś", "S")],
    },
    Origin {
        partner: "zgorzelec",
        scanner: "ZGO_CT1",
        issuer: "ZGORZELEC",
        charset: "Windows-1250",
        name: "Świątek^Łucja",
        reader: "SKGOERLITZ",
        reads: "Windows-1250",
        utf8: false,
        sent_in: "Windows-1250",
        warning: "in the PDF, letters replaced: 8859/1 does not hold ą (U+0105) as om, Ł (U+0141) as W, Ś (U+015A) as S",
        says: "ISO_IR 100",
        spelled: &[],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn names_of_three_alphabets_come_back_whole() {
    for footing in BOTH {
        let goerlitz = StoreScp::start_with("GR_PACS", crate::support::free_port(), &["--fork"]).await;
        for (number, origin) in (1..).zip(&ORIGINS) {
            let (pacs, system) = (StoreScp::start("PACS").await, Hospital::start().await);
            let network = Network::example(footing, wall("2026-11-25T01:20:00"), |example| {
                example.takes_images_at("goerlitz", goerlitz.port);
                example.takes_images_at(origin.partner, pacs.port);
                example.takes_messages_at(origin.partner, system.port);
                example.wants(origin.partner, &["oru", "pdf"]);
                example.edit_partner(origin.partner, |partner| origin.configure(partner));
            })
            .await;
            play(&network, number, origin, &pacs, &system).await;
            network.at_rest().await;
        }
    }
}

/// Another name in (0008,0005), padded to the same length.
fn relabel(data_set: &mut [u8], from: &str, to: &str) {
    let at = data_set.windows(from.len()).position(|bytes| bytes == from.as_bytes()).expect("its own name");
    data_set[at..at + from.len()].copy_from_slice(format!("{to:from$}", from = from.len()).as_bytes());
}

async fn play(network: &Network, number: u64, origin: &Origin, pacs: &StoreScp, system: &Hospital) {
    let patient = SampleCase {
        patient_name: origin.name.into(),
        charset: origin.charset.into(),
        description: String::new(),
        ..SampleCase::numbered(number)
    };
    let mut slice = head_ct(1, 64, &patient).next().expect("a slice");
    if !origin.says.is_empty() {
        relabel(&mut slice.data_set, origin.charset, origin.says);
    }
    let mut scanner = Scanner::connect_as(origin.scanner, network.node().dicom, &slice).await;
    assert_eq!(scanner.send(&slice).await, 0x0000);
    scanner.release().await;
    network.decided(origin.partner, &patient.study()).await;
    network.clock.advance(Duration::from_secs(31));
    network.case_of(origin.partner, &patient.study(), CaseState::Delivered).await;

    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: origin.issuer, accession: &patient.accession, study: &study };
    let message = oru(origin.reader, "A1", &about, "F", &format!("Genannt: {}.", NAMES.join(", ")));
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, "A1").await.code.as_str(), "AA");
    eventually("the report is back in both forms", SOON, async || {
        system.reports().len() == 1 && pacs.received().len() == 1
    })
    .await;
    let case = network.case_of(origin.partner, &patient.study(), CaseState::Reported).await;

    let message = Oru::read(&system.reports()[0]);
    assert_eq!(message.charset, origin.sent_in, "{}", origin.partner);
    // XPN-7 L: the legal name.
    assert_eq!(message.field("PID", 5), format!("{}^^^^^L", origin.arrives(origin.name)));
    assert_eq!(message.values("FT"), [origin.arrives(&format!("Genannt: {}.", NAMES.join(", ")))]);
    eventually("the PDF is settled", SOON, async || {
        network.ledger(&case).await.iter().all(|delivery| delivery.finished.is_some())
    })
    .await;
    let document = &pacs.received()[0];
    let spelled = if origin.utf8 { origin.name.to_owned() } else { "Swiomtek^Wucja".to_owned() };
    assert_eq!(text(document, tags::PATIENT_NAME), spelled, "in the made object");
    assert_eq!(text(document, tags::SPECIFIC_CHARACTER_SET), if origin.utf8 { "ISO_IR 192" } else { "ISO_IR 100" });
    let page = pdf_text(&encapsulated(document)).await;
    let (family, given) = origin.name.split_once('^').expect("a name");
    for words in NAMES.into_iter().chain([family, given]) {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert_eq!(case.attention, origin.warning, "{}: {}", origin.partner, network.story(&case).await);
    if !origin.warning.is_empty() {
        let listed = network.cases_screen(&["list", "--attention"]).await;
        assert!(listed.contains(origin.warning), "{listed}");
    }
}
