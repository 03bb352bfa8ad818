//! Made objects in every character set they may be written in, as DCMTK reads them and as we do.

use super::*;
use crate::model::Charset;

/// A name in each single-byte set, and in UTF-8.
const SETS: [(&str, &str); 12] = [
    ("ISO_IR 6", "Beispiel^Ruth"),
    ("ISO_IR 100", "Müßig^Jörg=Þórður^Ólafur"),
    ("ISO_IR 101", "Świątek^Łucja"),
    ("ISO_IR 109", "Ħabib^Ġorġ"),
    ("ISO_IR 110", "Bērziņš^Jānis"),
    ("ISO_IR 144", "Щукин^Дмитрий"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 126", "Παπαδοπούλου^Ελένη"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 148", "Çavuşoğlu^Işık"),
    ("ISO_IR 203", "Šárka^Œuvre"),
    ("ISO_IR 192", "Świątek^Łucja=中^文"),
];

fn to(term: &str, utf8: bool) -> Outgoing {
    Outgoing { utf8, ..Outgoing::new(Charset::of_dicom(term).unwrap()) }
}

/// Ours, of one patient, with no other letters beyond ASCII.
fn plain(name: &str) -> StudyFacts {
    StudyFacts { patient_name: name.to_owned(), description: "CT".to_owned(), ..facts() }
}

fn about_in(facts: &StudyFacts, outgoing: Outgoing) -> DocumentAbout<'_> {
    DocumentAbout { title: "CT".to_owned(), outgoing, ..about(facts) }
}

fn read(made: &MadeInstance) -> ReadReport {
    let report = read_report(&made.sop_class, &made.transfer_syntax, &made.data_set).unwrap();
    assert!(!report.lossy);
    report
}

/// What DCMTK says, in UTF-8.
fn dump(made: &MadeInstance) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.dcm");
    write_file(made, &path);
    run("dcmdump", &["+U8", path.to_str().unwrap()])
}

#[test]
fn every_set_is_written_as_dcmtk_reads_it() {
    for (term, name) in SETS {
        let facts = plain(name);
        let about = about_in(&facts, to(term, false));
        for made in [basic_text_sr(&about, name).unwrap(), encapsulated_pdf(&about, PDF).unwrap()] {
            assert!(made.warnings.is_empty(), "{term}: {:?}", made.warnings);
            if term == "ISO_IR 203" {
                // DCMTK 3.6.7 does not know it.
                let bytes = b"\xA6\xE1rka^\xBCuvre";
                assert!(made.data_set.windows(bytes.len()).any(|part| part == bytes), "{term}");
            } else {
                let dump = dump(&made);
                assert!(dump.contains(&format!("PN [{name}]")), "{term}: {name} is not in\n{dump}");
            }
            assert_eq!(read(&made).patient_name, name, "{term}");
            let names = made.data_set.windows(term.len()).any(|bytes| bytes == term.as_bytes());
            assert_eq!(names, term != "ISO_IR 6", "{term}: the default repertoire has no term");
        }
        let text = ReportContent::Text(format!("Findings:\n{name}"));
        let made = basic_text_sr(&about, name).unwrap();
        assert!(read(&made).content == text, "{term}");
    }
}

#[test]
fn what_a_set_lacks_goes_as_utf_8_or_is_spelled() {
    let facts = plain("Świątek^Łucja=中^文");
    let made = basic_text_sr(&about_in(&facts, to("ISO_IR 100", true)), TEXT).unwrap();
    assert_eq!(read(&made).patient_name, facts.patient_name);
    assert!(dump(&made).contains("PN [Świątek^Łucja=中^文]"));
    assert_eq!(made.warnings.len(), 1);
    assert!(made.warnings[0].starts_with("sent as UTF-8: 8859/1 does not hold ą (U+0105), Ł (U+0141)"));

    let own = Outgoing { table: [('Ł', "W".to_owned())].into(), ..to("ISO_IR 100", false) };
    let made = basic_text_sr(&about_in(&facts, own), TEXT).unwrap();
    let report = read(&made);
    assert_eq!(report.patient_name, "Swiatek^Wucja=U+4E2D^U+6587", "groups and components stay");
    assert!(dump(&made).contains("PN [Swiatek^Wucja=U+4E2D^U+6587]"));
    let ReportContent::Text(text) = report.content else { panic!("text") };
    assert!(text.contains("Keine Blutung, Wódz >= 4 mm.") && text.contains("o. B. \\ unauffällig"), "{text}");
    assert!(made.warnings[0].starts_with("letters replaced: 8859/1 does not hold ą (U+0105) as a"));
}

#[test]
fn an_identifier_is_never_spelled_as_another_one_and_a_phrase_keeps_its_length() {
    let mut facts = plain("X^Y");
    facts.patient_id = IssuedId::new("Ł4711", "ŁÓDŹ");
    facts.description = "ß".repeat(64);
    let made = basic_text_sr(&about_in(&facts, to("ISO_IR 6", false)), "x").unwrap();
    assert_eq!(read(&made).patient_id, IssuedId::new("U+0141 4711", "U+0141 U+00D3 D U+0179"));
    assert!(made.warnings[1].starts_with("an identifier has letters"));
    let dump = dump(&made);
    assert!(dump.contains(&format!("LO [{}...]", "s".repeat(61))), "{dump}");
}

proptest! {
    #[test]
    fn any_text_that_fits_comes_back(text in "[ -~äöüßÞð·±µ\n]{1,200}") {
        let facts = plain("Müßig^Jörg");
        let made = basic_text_sr(&about_in(&facts, to("ISO_IR 100", false)), &text).unwrap();
        prop_assert!(made.warnings.is_empty());
        let utf8 = basic_text_sr(&about_in(&facts, Outgoing::default()), &text).unwrap();
        prop_assert!(read(&made).content == read(&utf8).content);
    }
}
