//! Made objects as others read them: through DCMTK, without which these tests fail; and as we read them back.

mod letters;

use super::*;
use chrono::{TimeZone, Utc};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_transfer_syntax_registry::entries::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};
use proptest::prelude::*;
use std::{io::Write, path::Path, process::Command};

const PDF: &[u8] = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n";
const TEXT: &str = "Befund:\nKeine Blutung, Łódź ≥ 4 mm.\n\nBeurteilung: o. B. \\ unauffällig";

fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

fn facts() -> StudyFacts {
    StudyFacts {
        patient_id: IssuedId::new("4711", "RABENSTEIN"),
        patient_name: "Świątek^Łucja".to_owned(),
        birth_date: "19510203".to_owned(),
        sex: "F".to_owned(),
        accession: IssuedId::new("A-2026-0815", "RABENSTEIN"),
        placer_order_number: "P77".to_owned(),
        filler_order_number: "F88".to_owned(),
        modality: "CT".to_owned(),
        description: "CT Schädel nativ".to_owned(),
        study_date: "20261224".to_owned(),
        study_time: "231005".to_owned(),
        ..StudyFacts::default()
    }
}

fn reference(last: &str) -> ReferencedInstance {
    ReferencedInstance {
        sop_class: uid(uids::CT_IMAGE_STORAGE),
        sop_instance: uid(&format!("1.2.3.4.{last}")),
        series: uid("1.2.3.4"),
    }
}

fn about(facts: &StudyFacts) -> DocumentAbout<'_> {
    DocumentAbout {
        orders: &[],
        study: uid("1.2.3"),
        series: uid("2.25.11"),
        sop_instance: uid("2.25.12"),
        facts,
        status: ReportStatus::Final,
        title: "Befund CT Schädel".to_owned(),
        language: "de".to_owned(),
        content: Moment::from_utc(Utc.with_ymd_and_hms(2026, 12, 24, 22, 41, 7).unwrap()),
        time_zone: chrono_tz::Europe::Berlin,
        institution: "Klinikum Chemnitz".to_owned(),
        author: Some("Beispiel^Ruth^^Dr. med.".to_owned()),
        evidence: vec![reference("1"), reference("2")],
        version: 2,
        predecessor: Some(ReferencedInstance {
            sop_class: uid(uids::BASIC_TEXT_SR_STORAGE),
            sop_instance: uid("2.25.9"),
            series: uid("2.25.11"),
        }),
        outgoing: Outgoing::default(),
    }
}

/// A Part 10 file of the made instance, for the tools.
fn write_file(made: &MadeInstance, path: &Path) {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(made.transfer_syntax.as_str())
        .media_storage_sop_class_uid(made.sop_class.as_str())
        .media_storage_sop_instance_uid(made.sop_instance.as_str())
        .build()
        .unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&[0; 128]).unwrap();
    file.write_all(b"DICM").unwrap();
    meta.write(&mut file).unwrap();
    file.write_all(&made.data_set).unwrap();
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (DCMTK) must be installed: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    // Of the checker itself, which skips values in UTF-8.
    let errors = errors.replace("W: The VR checker does not support this Specific Character Set: ISO_IR 192", "");
    assert!(output.status.success(), "{program}: {errors}");
    assert!(!errors.contains("W:") && !errors.contains("E:"), "{program}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn in_implicit(made: &MadeInstance) -> Vec<u8> {
    let explicit = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let set = InMemDicomObject::read_dataset_with_ts(made.data_set.as_slice(), &explicit).unwrap();
    let mut bytes = Vec::new();
    set.write_dataset_with_ts(&mut bytes, &IMPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
    bytes
}

#[test]
fn dcmtk_reads_the_structured_report_without_a_complaint() {
    let facts = facts();
    let made = basic_text_sr(&about(&facts), TEXT).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sr.dcm");
    write_file(&made, &path);
    let path = path.to_str().unwrap();
    let dump = run("dsrdump", &["+Pl", path]);
    for expected in
        ["COMPLETE", ": VERIFIED", "Keine Blutung, Łódź ≥ 4 mm.", "Predecessor Docs", "CONTAINER:(,,\"Findings\")"]
    {
        assert!(dump.contains(expected), "{expected:?} is not in\n{dump}");
    }
    let html = run("dsr2html", &[path]);
    assert!(html.contains("Łucja") && html.contains("unauffällig"), "{html}");
}

#[test]
fn dcmtk_takes_the_same_pdf_out_again() {
    let facts = facts();
    for length in [PDF.len(), PDF.len() - 1] {
        let made = encapsulated_pdf(&about(&facts), &PDF[..length]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (object, pdf) = (folder.path().join("doc.dcm"), folder.path().join("doc.pdf"));
        write_file(&made, &object);
        run("dcm2pdf", &[object.to_str().unwrap(), pdf.to_str().unwrap()]);
        assert_eq!(&std::fs::read(&pdf).unwrap()[..length], &PDF[..length]);
        let dump = run("dcmdump", &["+U8", object.to_str().unwrap()]);
        for expected in
            ["[Świątek^Łucja]", "[WSD]", "[application/pdf]", "[+0100]", "[RABENSTEIN]", "[20261224]", "[YES]"]
        {
            assert!(dump.contains(expected), "{expected:?} is not in\n{dump}");
        }
    }
}

#[test]
fn what_we_make_we_read_in_each_transfer_syntax() {
    let facts = facts();
    let made = basic_text_sr(&about(&facts), TEXT).unwrap();
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    deflater.write_all(&made.data_set).unwrap();
    for (syntax, bytes) in [
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, made.data_set.clone()),
        (uids::IMPLICIT_VR_LITTLE_ENDIAN, in_implicit(&made)),
        (uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, deflater.finish().unwrap()),
    ] {
        let report = read_report(&made.sop_class, &uid(syntax), &bytes).unwrap();
        assert!(report.content == ReportContent::Text(format!("Findings:\n{TEXT}")), "{syntax}");
        assert_eq!(report.study, uid("1.2.3"));
        assert_eq!(report.sop_instance, uid("2.25.12"));
        assert_eq!(report.patient_id, facts.patient_id);
        assert_eq!(report.patient_name, facts.patient_name);
        assert_eq!(report.accession, facts.accession);
        assert_eq!(report.requests[0].placer_order_number, "P77");
        assert_eq!(report.requests[0].accession, facts.accession);
        assert_eq!(report.status, Some(ReportStatus::Final));
        assert_eq!(report.predecessors, vec![uid("2.25.9")]);
        assert_eq!(report.author.as_deref(), Some("Beispiel^Ruth^^Dr. med."));
        assert!(!report.lossy);
    }
    let refused = read_report(&made.sop_class, &uid("1.2.840.10008.1.2.2"), &made.data_set);
    assert_eq!(refused.err(), Some(ReadError::TransferSyntax));
}

#[test]
fn the_pdf_comes_back_byte_for_byte_with_its_title() {
    let facts = facts();
    for length in [PDF.len(), PDF.len() - 1] {
        let made = encapsulated_pdf(&about(&facts), &PDF[..length]).unwrap();
        for (syntax, bytes) in [
            (uids::EXPLICIT_VR_LITTLE_ENDIAN, made.data_set.clone()),
            (uids::IMPLICIT_VR_LITTLE_ENDIAN, in_implicit(&made)),
        ] {
            let report = read_report(&made.sop_class, &uid(syntax), &bytes).unwrap();
            assert!(report.content == ReportContent::Pdf(PDF[..length].to_vec()));
            assert_eq!(report.title, "Befund CT Schädel");
            assert_eq!(report.status, Some(ReportStatus::Final));
        }
    }
}

#[test]
fn a_report_is_no_more_final_than_it_says() {
    let facts = facts();
    let mut about = about(&facts);
    let read = |made: MadeInstance| read_report(&made.sop_class, &made.transfer_syntax, &made.data_set).unwrap();
    about.status = ReportStatus::Preliminary;
    assert_eq!(read(basic_text_sr(&about, TEXT).unwrap()).status, Some(ReportStatus::Preliminary));
    assert_eq!(read(encapsulated_pdf(&about, PDF).unwrap()).status, Some(ReportStatus::Preliminary));
    about.status = ReportStatus::Corrected;
    about.author = None;
    assert_eq!(read(basic_text_sr(&about, TEXT).unwrap()).status, Some(ReportStatus::Final));

    // Another maker's: no Preliminary Flag, not verified.
    let made = basic_text_sr(&about, TEXT).unwrap();
    let explicit = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let mut set = InMemDicomObject::read_dataset_with_ts(made.data_set.as_slice(), &explicit).unwrap();
    set.remove_element(dicom_dictionary_std::tags::PRELIMINARY_FLAG);
    let mut bytes = Vec::new();
    set.write_dataset_with_ts(&mut bytes, &explicit).unwrap();
    let report = read_report(&made.sop_class, &made.transfer_syntax, &bytes).unwrap();
    assert_eq!(report.status, Some(ReportStatus::Preliminary));
}

/// An Enhanced SR as measuring software makes it: nested sections, a number, a modifier, an image.
#[test]
fn an_enhanced_report_reads_as_text_and_says_what_it_cannot_show() {
    use super::common::{code, put, put_items};
    use dicom_core::VR;
    use dicom_dictionary_std::tags;
    let item = |relationship: &str, value_type: &str, concept: InMemDicomObject| {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::RELATIONSHIP_TYPE, VR::CS, relationship);
        put(&mut item, tags::VALUE_TYPE, VR::CS, value_type);
        put_items(&mut item, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![concept]);
        item
    };
    let mut side = item("HAS CONCEPT MOD", "CODE", code("272741003", "SCT", "Laterality"));
    put_items(&mut side, tags::CONCEPT_CODE_SEQUENCE, vec![code("7771000", "SCT", "Left")]);
    let mut measured = InMemDicomObject::new_empty();
    put(&mut measured, tags::NUMERIC_VALUE, VR::DS, "4.5");
    put_items(&mut measured, tags::MEASUREMENT_UNITS_CODE_SEQUENCE, vec![code("mm", "UCUM", "millimeter")]);
    let mut number = item("CONTAINS", "NUM", code("81827009", "SCT", "Diameter"));
    put_items(&mut number, tags::MEASURED_VALUE_SEQUENCE, vec![measured]);
    put_items(&mut number, tags::CONTENT_SEQUENCE, vec![side]);
    let image = item("CONTAINS", "IMAGE", code("121080", "DCM", "Best illustration of finding"));
    let strange = item("CONTAINS", "TABLE", code("1", "99X", "Values"));
    let mut text = item("CONTAINS", "TEXT", code("121073", "DCM", "Impression"));
    put(&mut text, tags::TEXT_VALUE, VR::UT, "Unverändert.");
    let mut section = item("CONTAINS", "CONTAINER", code("121072", "DCM", "Impressions"));
    put_items(&mut section, tags::CONTENT_SEQUENCE, vec![text]);

    let facts = facts();
    let about = about(&facts);
    let mut set = super::common::begin(&about, uids::ENHANCED_SR_STORAGE, "SR").unwrap();
    put_items(&mut set, tags::CONTENT_SEQUENCE, vec![number, image, strange, section]);
    let made = super::common::finish(&about, uids::ENHANCED_SR_STORAGE, set).unwrap();
    let expected = "Diameter: 4.5 mm\n  Laterality: Left\nBest illustration of finding: [image]\n\
        Values: [content that cannot be shown as text]\n\nImpressions:\nUnverändert.";
    for (syntax, bytes) in [
        (uids::EXPLICIT_VR_LITTLE_ENDIAN, made.data_set.clone()),
        (uids::IMPLICIT_VR_LITTLE_ENDIAN, in_implicit(&made)),
    ] {
        let report = read_report(&made.sop_class, &uid(syntax), &bytes).unwrap();
        let ReportContent::Text(found) = report.content else { panic!("no text") };
        assert_eq!(found, expected, "{syntax}");
        assert_eq!(report.status, Some(ReportStatus::Preliminary));
    }
}

#[test]
fn what_cannot_be_written_exactly_is_refused() {
    let mut facts = facts();
    facts.patient_id.value = "47\\11".to_owned();
    assert!(matches!(basic_text_sr(&about(&facts), TEXT), Err(MakeError::NotEncodable("the patient ID"))));
    facts.patient_id.value = "4711".to_owned();
    assert!(matches!(encapsulated_pdf(&about(&facts), b"<html>"), Err(MakeError::NotPdf)));
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    assert!(matches!(basic_text_sr(&about(&facts), &long), Err(MakeError::TooLarge { .. })));
}

/// A Polish PACS that names no character set: its letters are known from the configuration, or their loss is told.
#[test]
fn the_sender_s_character_set_serves_where_the_object_names_none() {
    use dicom_core::{DataElement, PrimitiveValue, VR};
    use dicom_dictionary_std::tags;
    let facts = facts();
    let made = encapsulated_pdf(&about(&facts), PDF).unwrap();
    let explicit = EXPLICIT_VR_LITTLE_ENDIAN.erased();
    let mut set = InMemDicomObject::read_dataset_with_ts(made.data_set.as_slice(), &explicit).unwrap();
    set.remove_element(tags::SPECIFIC_CHARACTER_SET);
    for (tag, vr) in [(tags::PATIENT_NAME, VR::PN), (tags::DOCUMENT_TITLE, VR::ST)] {
        set.put(DataElement::new(tag, vr, PrimitiveValue::from("?wi?tek")));
    }
    let mut bytes = Vec::new();
    set.write_dataset_with_ts(&mut bytes, &explicit).unwrap();
    // ISO 8859-2, which the library does not write without naming it.
    while let Some(at) = bytes.windows(7).position(|window| window == b"?wi?tek") {
        bytes[at] = 0xA6;
        bytes[at + 3] = 0xB1;
    }
    let read = |charset| read_report_from(&made.sop_class, &made.transfer_syntax, &bytes, charset).unwrap();
    let report = read("ISO_IR 101");
    assert_eq!((report.patient_name.as_str(), report.lossy), ("Świątek", false));
    assert!(read("").lossy);
}

#[test]
fn a_document_shorter_than_it_says_is_refused() {
    let facts = facts();
    let made = encapsulated_pdf(&about(&facts), PDF).unwrap();
    let mut bytes = made.data_set.clone();
    let length = bytes.windows(6).position(|window| window == [0x42, 0x00, 0x15, 0x00, b'U', b'L']).unwrap();
    bytes[length + 8] = bytes[length + 8].wrapping_add(2);
    let refused = read_report(&made.sop_class, &made.transfer_syntax, &bytes);
    assert!(matches!(refused.err(), Some(ReadError::Malformed { .. })));
}

#[test]
fn equal_facts_make_equal_bytes() {
    let facts = facts();
    assert_eq!(basic_text_sr(&about(&facts), TEXT).unwrap(), basic_text_sr(&about(&facts), TEXT).unwrap());
    assert_eq!(encapsulated_pdf(&about(&facts), PDF).unwrap(), encapsulated_pdf(&about(&facts), PDF).unwrap());
}

#[test]
fn only_report_classes_are_reports() {
    for class in [
        "1.2.840.10008.5.1.4.1.1.88.11",
        "1.2.840.10008.5.1.4.1.1.88.22",
        "1.2.840.10008.5.1.4.1.1.88.33",
        "1.2.840.10008.5.1.4.1.1.104.1",
    ] {
        assert!(is_report(&uid(class)));
    }
    // X-Ray Radiation Dose SR and CT.
    for class in ["1.2.840.10008.5.1.4.1.1.88.67", uids::CT_IMAGE_STORAGE] {
        assert!(!is_report(&uid(class)));
        let refused = read_report(&uid(class), &uid(uids::EXPLICIT_VR_LITTLE_ENDIAN), &[]);
        assert_eq!(refused.err(), Some(ReadError::NotAReport));
    }
}

#[test]
fn an_empty_or_cut_object_is_refused() {
    let facts = facts();
    let made = basic_text_sr(&about(&facts), TEXT).unwrap();
    let read = |bytes: &[u8]| read_report(&made.sop_class, &made.transfer_syntax, bytes).err();
    assert_eq!(read(&[]), Some(ReadError::Missing("Study Instance UID (0020,000D)")));
    assert!(matches!(read(&made.data_set[..made.data_set.len() - 3]), Some(ReadError::Malformed { .. })));
}

#[test]
fn a_deflated_bomb_is_refused() {
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..=64 {
        deflater.write_all(&vec![0; 1024 * 1024]).unwrap();
    }
    let bytes = deflater.finish().unwrap();
    let syntax = uid(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
    let refused = read_report(&uid(uids::BASIC_TEXT_SR_STORAGE), &syntax, &bytes);
    assert_eq!(refused.err(), Some(ReadError::TooLarge(MAX_DATA_SET_BYTES + 1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text a report may hold comes back, but for line ends, which UT writes as CR LF, and blanks at the ends.
    #[test]
    fn any_text_comes_back(text in "[ -~äöüßĄŁřů≥\n]{1,300}") {
        prop_assume!(!text.trim().is_empty());
        let facts = facts();
        let made = basic_text_sr(&about(&facts), &text).unwrap();
        let report = read_report(&made.sop_class, &made.transfer_syntax, &made.data_set).unwrap();
        let ReportContent::Text(found) = report.content else { panic!("no text") };
        let lines = |text: &str| text.trim().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        let found = found.strip_prefix("Findings:\n").unwrap();
        prop_assert_eq!(lines(found), lines(&text));
    }

    #[test]
    fn a_damaged_object_never_makes_the_reader_panic(at in 0_usize..4000, to: u8) {
        let facts = facts();
        let made = basic_text_sr(&about(&facts), TEXT).unwrap();
        let mut bytes = made.data_set.clone();
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = read_report(&made.sop_class, &made.transfer_syntax, &bytes);
    }

    #[test]
    fn any_bytes_are_a_report_or_an_error(choice: u8, bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_report(&[&[choice], &bytes[..]].concat());
    }
}
