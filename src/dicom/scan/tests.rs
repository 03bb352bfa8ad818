//! The scanner against data sets of an own small writer, of dicom-object, and against hostile bytes.

use super::{wanted::Place, *};
use crate::model::{IssuedId, Priority};
use dicom_core::{
    DataElement, PrimitiveValue, VR, dictionary::DataDictionary, dictionary::DataDictionaryEntry,
    value::DataSetSequence,
};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::{Compression, write::DeflateEncoder, write::ZlibEncoder};
use proptest::prelude::*;
use std::io::Write;

const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
const PRIVATE: &str = "1.2.3.4";

fn uid(text: &str) -> Uid {
    Uid::new(text).expect("a UID")
}

/// A data element as the tests write it.
#[derive(Clone, Debug)]
enum Node {
    Value { tag: u32, vr: [u8; 2], value: Vec<u8> },
    Sequence { tag: u32, items: Vec<Vec<Node>>, defined: bool },
    Fragments { tag: u32, fragments: Vec<Vec<u8>> },
}

fn value(group: u16, element: u16, vr: &[u8; 2], text: &str) -> Node {
    let mut value = text.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    Node::Value { tag: wanted::tag(group, element), vr: *vr, value }
}

fn sequence(group: u16, element: u16, defined: bool, items: Vec<Vec<Node>>) -> Node {
    Node::Sequence { tag: wanted::tag(group, element), items, defined }
}

/// Writes in the transfer syntax given; the deflated ones by their inflated form.
struct Writer {
    implicit: bool,
    big: bool,
}

impl Writer {
    fn of(syntax: &str) -> Self {
        Self { implicit: syntax == IMPLICIT_LE, big: syntax == EXPLICIT_BE }
    }

    fn two(&self, number: u16) -> [u8; 2] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn four(&self, number: u32) -> [u8; 4] {
        if self.big { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn tag(&self, out: &mut Vec<u8>, tag: u32) {
        out.extend(self.two((tag >> 16) as u16));
        out.extend(self.two((tag & 0xFFFF) as u16));
    }

    fn delimiter(&self, out: &mut Vec<u8>, element: u16, length: u32) {
        self.tag(out, wanted::tag(0xFFFE, element));
        out.extend(self.four(length));
    }

    fn start(&self, out: &mut Vec<u8>, tag: u32, vr: [u8; 2], length: u32) {
        self.tag(out, tag);
        if self.implicit {
            out.extend(self.four(length));
            return;
        }
        out.extend(vr);
        let long = matches!(&vr, b"OB" | b"OW" | b"UN" | b"SQ" | b"UT" | b"UC" | b"QQ");
        if long {
            out.extend([0, 0]);
            out.extend(self.four(length));
        } else {
            out.extend(self.two(u16::try_from(length).expect("a short value")));
        }
    }

    fn write(&self, out: &mut Vec<u8>, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Value { tag, vr, value } => {
                    self.start(out, *tag, *vr, value.len() as u32);
                    out.extend(value);
                }
                Node::Sequence { tag, items, defined } => self.sequence(out, *tag, items, *defined),
                Node::Fragments { tag, fragments } => {
                    self.start(out, *tag, *b"OB", u32::MAX);
                    for fragment in fragments {
                        self.delimiter(out, 0xE000, fragment.len() as u32);
                        out.extend(fragment);
                    }
                    self.delimiter(out, 0xE0DD, 0);
                }
            }
        }
    }

    fn sequence(&self, out: &mut Vec<u8>, tag: u32, items: &[Vec<Node>], defined: bool) {
        let mut inside = Vec::new();
        for item in items {
            let mut content = Vec::new();
            self.write(&mut content, item);
            self.delimiter(&mut inside, 0xE000, if defined { content.len() as u32 } else { u32::MAX });
            inside.extend(content);
            if !defined {
                self.delimiter(&mut inside, 0xE00D, 0);
            }
        }
        self.start(out, tag, *b"SQ", if defined { inside.len() as u32 } else { u32::MAX });
        out.extend(inside);
        if !defined {
            self.delimiter(out, 0xE0DD, 0);
        }
    }
}

fn written(syntax: &str, nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::of(syntax).write(&mut out, nodes);
    if syntax != DEFLATED {
        return out;
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&out).expect("deflated");
    encoder.finish().expect("deflated")
}

fn scan_in(syntax: &str, bytes: &[u8], piece: usize) -> Result<Header, ScanError> {
    let mut scanner = HeaderScanner::new(&uid(syntax));
    for piece in bytes.chunks(piece.max(1)) {
        scanner.push(piece)?;
    }
    scanner.finish()
}

fn scan(syntax: &str, bytes: &[u8]) -> Result<Header, ScanError> {
    scan_in(syntax, bytes, bytes.len())
}

fn head_ct() -> Vec<Node> {
    let issuer = |name: &str| vec![vec![value(0x0040, 0x0031, b"UT", name)]];
    vec![
        value(0x0008, 0x0005, b"CS", "ISO_IR 192"),
        value(0x0008, 0x0016, b"UI", "1.2.840.10008.5.1.4.1.1.2"),
        value(0x0008, 0x0018, b"UI", "1.2.3.4"),
        value(0x0008, 0x0020, b"DA", "2026.02.03"),
        value(0x0008, 0x0030, b"TM", "231005.250000"),
        value(0x0008, 0x0050, b"SH", "A-77"),
        sequence(0x0008, 0x0051, true, issuer("LICHT_RIS")),
        value(0x0008, 0x0060, b"CS", "CT"),
        value(0x0008, 0x0090, b"PN", "Dvořák^Jiří"),
        value(0x0008, 0x1030, b"LO", "Schädel nativ"),
        value(0x0010, 0x0010, b"PN", "Świątek^Łucja"),
        value(0x0010, 0x0020, b"LO", "4711"),
        value(0x0010, 0x0030, b"DA", "19700101"),
        value(0x0010, 0x0040, b"CS", "F"),
        value(0x0018, 0x0015, b"CS", "HEAD"),
        value(0x0020, 0x000D, b"UI", "1.2.3"),
        value(0x0020, 0x000E, b"UI", "1.2.3.1"),
        value(0x0020, 0x1208, b"IS", "24"),
        sequence(
            0x0040,
            0x0275,
            false,
            vec![
                vec![
                    value(0x0040, 0x1003, b"SH", "STAT"),
                    value(0x0040, 0x2016, b"LO", "P-1"),
                    value(0x0040, 0x2017, b"LO", "F-1"),
                ],
                vec![value(0x0040, 0x2016, b"LO", "P-2")],
            ],
        ),
        value(0x7FE0, 0x0010, b"OW", &"x".repeat(70_000)),
    ]
}

#[test]
fn facts_of_a_head_ct_are_read_in_every_transfer_syntax() {
    for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, JPEG_2000, PRIVATE] {
        let header = scan(syntax, &written(syntax, &head_ct())).expect("scanned");
        assert!(header.is_sound(), "{syntax}");
        assert_eq!(header.study(), Some(uid("1.2.3")), "{syntax}");
        assert_eq!(header.series(), Some(uid("1.2.3.1")));
        assert_eq!(header.sop_instance(), Some(uid("1.2.3.4")));
        assert_eq!(header.sop_class(), Some(uid("1.2.840.10008.5.1.4.1.1.2")));
        let facts = header.facts(Some("ISO_IR 100"), "LICHTENSTEIN");
        assert_eq!(facts.patient_id, IssuedId::new("4711", "LICHTENSTEIN"));
        assert_eq!(facts.accession, IssuedId::new("A-77", "LICHT_RIS"));
        assert_eq!(facts.patient_name, "Świątek^Łucja");
        assert_eq!(facts.referring_physician, "Dvořák^Jiří");
        assert_eq!((facts.study_date.as_str(), facts.study_time.as_str()), ("20260203", "231005"));
        assert_eq!((facts.modality.as_str(), facts.body_part.as_str()), ("CT", "HEAD"));
        assert_eq!((facts.placer_order_number.as_str(), facts.filler_order_number.as_str()), ("P-1", "F-1"));
        assert_eq!((facts.priority, facts.expected_instances), (Priority::Stat, Some(24)));
        assert_eq!((facts.birth_date.as_str(), facts.sex.as_str()), ("19700101", "F"));
        assert_eq!(facts.description, "Schädel nativ");
    }
}

#[test]
fn a_slide_names_its_glass_and_every_specimen_on_it() {
    let issuer = |name: &str| vec![vec![value(0x0040, 0x0031, b"UT", name)]];
    let specimen = |id: &str, by: Option<&str>| {
        let by = by.map(issuer).unwrap_or_default();
        vec![value(0x0040, 0x0551, b"LO", id), sequence(0x0040, 0x0562, false, by)]
    };
    let mut items = vec![specimen("S26-1-A", Some("LAB")), specimen("S26-1-B", None), specimen("S26-1-A", Some("LAB"))];
    items.extend((0..20).map(|more| specimen(&format!("M{more}"), None)));
    for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, PRIVATE] {
        let mut nodes = head_ct();
        let at = nodes.len() - 1;
        let slide = [
            value(0x0040, 0x0512, b"LO", "G-7"),
            sequence(0x0040, 0x0513, true, issuer("SCANNER")),
            sequence(0x0040, 0x0560, syntax != EXPLICIT_LE, items.clone()),
        ];
        nodes.splice(at..at, slide);
        let facts = scan(syntax, &written(syntax, &nodes)).expect("scanned").facts(None, "RABENSTEIN");
        let named: Vec<_> = facts.specimens.iter().map(|id| format!("{} {}", id.value, id.issuer)).collect();
        assert_eq!(named[..3], ["G-7 SCANNER", "S26-1-A LAB", "S26-1-B RABENSTEIN"], "{syntax}");
        assert_eq!((named.len(), facts.container_id.as_str()), (16, "G-7"), "the first sixteen, each once");
    }
}

#[test]
fn after_pixel_data_pushes_cost_nothing_and_change_nothing() {
    let mut scanner = HeaderScanner::new(&uid(EXPLICIT_LE));
    assert_eq!(scanner.push(&written(EXPLICIT_LE, &head_ct())), Ok(Progress::Done));
    assert_eq!(scanner.push(&[0xFF; 64]), Ok(Progress::Done));
    assert!(scanner.finish().is_ok());
}

#[test]
fn an_item_may_name_its_own_character_set_and_the_fallback_serves_where_none_is_named() {
    let mut nodes = vec![value(0x0010, 0x0010, b"PN", "")];
    if let Node::Value { value, .. } = &mut nodes[0] {
        *value = b"M\xFCller".to_vec();
    }
    let mut order = value(0x0040, 0x2016, b"LO", "");
    if let Node::Value { value, .. } = &mut order {
        *value = b"\xA6-77".to_vec();
    }
    nodes.push(sequence(0x0040, 0x0275, true, vec![vec![value(0x0008, 0x0005, b"CS", "ISO_IR 101"), order]]));
    let header = scan(EXPLICIT_LE, &written(EXPLICIT_LE, &nodes)).expect("scanned");
    let facts = header.facts(Some("ISO_IR 100"), "X");
    assert_eq!((facts.patient_name.as_str(), facts.placer_order_number.as_str()), ("Müller", "Ś-77"));
    assert_eq!(facts.patient_id, IssuedId::default());
    assert!(!header.text_is_lossy(Some("ISO_IR 100")));
    assert!(header.text_is_lossy(None));
}

#[test]
fn of_a_text_without_end_the_beginning_is_kept() {
    let long = "Łódź ".repeat(300);
    let nodes = [
        value(0x0008, 0x0005, b"CS", "ISO_IR 192"),
        value(0x0008, 0x1030, b"LO", &long),
        value(0x0010, 0x0020, b"LO", &"9".repeat(256)),
        value(0x0020, 0x000D, b"UI", "1.2.3"),
    ];
    let header = scan(EXPLICIT_LE, &written(EXPLICIT_LE, &nodes)).expect("scanned");
    let facts = header.facts(None, "X");
    assert_eq!(facts.description, long.chars().take(256).collect::<String>());
    assert_eq!(facts.patient_id.value, "9".repeat(256), "whole");
}

#[test]
fn control_characters_do_not_get_into_facts() {
    let nodes = [value(0x0010, 0x0020, b"LO", "47\0\rPID|11")];
    let header = scan(EXPLICIT_LE, &written(EXPLICIT_LE, &nodes)).expect("scanned");
    assert_eq!(header.facts(None, "X").patient_id.value, "47\u{FFFD}\u{FFFD}PID|11");
    assert!(header.text_is_lossy(None));
}

#[test]
fn a_wanted_value_beyond_its_cap_is_named_and_not_kept() {
    let nodes = [value(0x0010, 0x0020, b"LO", &"9".repeat(5000)), value(0x0020, 0x000D, b"UI", "1.2.3")];
    let header = scan(EXPLICIT_LE, &written(EXPLICIT_LE, &nodes)).expect("scanned");
    assert_eq!(header.too_long(), [(0x0010, 0x0020)]);
    assert_eq!((header.raw(0x0010, 0x0020), header.study()), (None, Some(uid("1.2.3"))));
}

#[test]
fn two_patients_in_one_data_set_are_refused() {
    let twice = |second| [value(0x0010, 0x0020, b"LO", "4711"), value(0x0010, 0x0020, b"LO", second)];
    let error = ScanError::GivenTwice { group: 0x0010, element: 0x0020 };
    assert_eq!(scan(IMPLICIT_LE, &written(IMPLICIT_LE, &twice("4712"))), Err(error));
    assert!(scan(IMPLICIT_LE, &written(IMPLICIT_LE, &twice("4711"))).is_ok());
}

#[test]
fn tags_out_of_order_are_found_before_pixel_data() {
    let mut nodes = head_ct();
    nodes.insert(0, value(0x0042, 0x0010, b"ST", "early"));
    nodes.swap(5, 10);
    let header = scan(EXPLICIT_LE, &written(EXPLICIT_LE, &nodes)).expect("scanned");
    assert_eq!(header.facts(None, "X").placer_order_number, "P-1");
}

#[test]
fn un_of_undefined_length_is_an_implicit_sequence() {
    // PS3.5 6.2.2 note 2: also where the data set is big endian.
    for syntax in [EXPLICIT_LE, EXPLICIT_BE] {
        let writer = Writer::of(syntax);
        let mut bytes = Vec::new();
        writer.start(&mut bytes, wanted::REQUEST_ATTRIBUTES, *b"UN", u32::MAX);
        let implicit = Writer::of(IMPLICIT_LE);
        implicit.delimiter(&mut bytes, 0xE000, u32::MAX);
        implicit.write(&mut bytes, &[value(0x0040, 0x2016, b"LO", "P-1")]);
        implicit.delimiter(&mut bytes, 0xE00D, 0);
        implicit.delimiter(&mut bytes, 0xE0DD, 0);
        writer.write(&mut bytes, &[value(0x0040, 0x2017, b"LO", "F-1")]);
        let facts = scan(syntax, &bytes).expect("scanned").facts(None, "X");
        assert_eq!((facts.placer_order_number.as_str(), facts.filler_order_number.as_str()), ("P-1", "F-1"));
    }
}

#[test]
fn vrs_nobody_knows_are_read_past() {
    // PS3.5 6.2: a VR yet to come has a 32-bit length; "??" and blanks of faulty writers have 16 bits.
    let mut bytes = written(EXPLICIT_LE, &[Node::Value { tag: 0x0009_1001, vr: *b"QQ", value: vec![7; 66_000] }]);
    bytes.extend(written(EXPLICIT_LE, &[Node::Value { tag: 0x0009_1002, vr: *b"??", value: vec![7; 6] }]));
    bytes.extend(written(EXPLICIT_LE, &[value(0x0020, 0x000D, b"UI", "1.2.3")]));
    let header = scan(EXPLICIT_LE, &bytes).expect("scanned");
    assert_eq!((header.study(), header.is_sound()), (Some(uid("1.2.3")), false));
}

#[test]
fn a_private_syntax_without_vrs_is_read_as_implicit() {
    let bytes = written(IMPLICIT_LE, &head_ct());
    assert_eq!(scan(PRIVATE, &bytes).expect("scanned"), scan(IMPLICIT_LE, &bytes).expect("scanned"));
}

#[test]
fn an_encapsulated_icon_is_walked_past() {
    let icon = Node::Fragments { tag: 0x7FE0_0010, fragments: vec![vec![], vec![0xFE; 40]] };
    let mut nodes = head_ct();
    let last = nodes.len() - 1;
    nodes.insert(last, sequence(0x0088, 0x0200, false, vec![vec![icon]]));
    nodes.insert(0, value(0x0000_0008, 0x0001, b"UL", "0000"));
    let mut scanner = HeaderScanner::whole(&uid(JPEG_2000));
    assert_eq!(scanner.push(&written(JPEG_2000, &nodes)), Ok(Progress::More));
    assert!(scanner.finish().expect("scanned").is_sound());
}

#[test]
fn a_faulty_sequence_of_defined_length_is_passed_over() {
    let mut inner = Vec::new();
    let writer = Writer::of(EXPLICIT_LE);
    writer.delimiter(&mut inner, 0xE000, 0x7FFF_0000);
    inner.extend([1; 31]);
    let mut bytes = Vec::new();
    writer.start(&mut bytes, 0x0009_1010, *b"SQ", inner.len() as u32);
    bytes.extend(inner);
    writer.write(&mut bytes, &[value(0x0020, 0x000D, b"UI", "1.2.3")]);
    for piece in [1, 3, 1000] {
        let header = scan_in(EXPLICIT_LE, &bytes, piece).expect("scanned");
        assert_eq!((header.study(), header.is_sound()), (Some(uid("1.2.3")), false));
    }
}

#[test]
fn a_missing_item_delimiter_does_not_swallow_the_data_set() {
    let writer = Writer::of(EXPLICIT_LE);
    let mut bytes = Vec::new();
    writer.start(&mut bytes, 0x0008_1140, *b"SQ", u32::MAX);
    writer.delimiter(&mut bytes, 0xE000, u32::MAX);
    writer.write(&mut bytes, &[value(0x0008, 0x1155, b"UI", "1.2")]);
    writer.delimiter(&mut bytes, 0xE0DD, 0);
    writer.write(&mut bytes, &[value(0x0020, 0x000D, b"UI", "1.2.3")]);
    let header = scan(EXPLICIT_LE, &bytes).expect("scanned");
    assert_eq!((header.study(), header.is_sound()), (Some(uid("1.2.3")), false));
}

#[test]
fn a_hundred_thousand_nested_sequences_are_refused_at_the_cap() {
    for syntax in [EXPLICIT_LE, IMPLICIT_LE] {
        let writer = Writer::of(syntax);
        let mut bytes = Vec::new();
        for _ in 0..100_000 {
            writer.start(&mut bytes, 0x0008_1140, *b"SQ", u32::MAX);
            writer.delimiter(&mut bytes, 0xE000, u32::MAX);
        }
        assert!(matches!(scan(syntax, &bytes), Err(ScanError::TooDeep { offset: 0..2000 })));
    }
}

#[test]
fn a_claim_of_four_gigabytes_only_waits() {
    for tag in [0x0009_1001, wanted::PATIENT_ID] {
        let mut bytes = Vec::new();
        Writer::of(EXPLICIT_LE).start(&mut bytes, tag, *b"OB", 0xFFFF_FFF0);
        let mut scanner = HeaderScanner::new(&uid(EXPLICIT_LE));
        assert_eq!(scanner.push(&bytes), Ok(Progress::More));
        assert_eq!(scanner.finish(), Err(ScanError::Truncated { offset: 12 }));
    }
}

#[test]
fn the_walk_ends_at_its_cap() {
    let pump = |start: &[u8]| {
        let mut scanner = HeaderScanner::new(&uid(EXPLICIT_LE));
        scanner.push(start).expect("started");
        let piece = vec![0; 1024 * 1024];
        let last = (0..65).map(|_| scanner.push(&piece)).find(|progress| *progress != Ok(Progress::More));
        (last, scanner.finish())
    };
    let mut nameless = Vec::new();
    Writer::of(EXPLICIT_LE).start(&mut nameless, 0x0009_1001, *b"OB", 0xFFFF_FFF0);
    assert_eq!(pump(&nameless), (Some(Err(ScanError::TooLong)), Err(ScanError::TooLong)));
    // A study that has named itself is carried, whatever a vendor keeps in its private elements.
    let nodes = head_ct();
    let mut named = written(EXPLICIT_LE, &nodes[..nodes.len() - 2]);
    Writer::of(EXPLICIT_LE).start(&mut named, 0x0029_1001, *b"OB", 0xFFFF_FFF0);
    let (last, header) = pump(&named);
    assert_eq!((last, header.expect("scanned").is_sound()), (Some(Ok(Progress::Done)), false));
}

#[test]
fn a_deflate_bomb_ends_at_the_cap_and_a_cut_stream_is_truncated() {
    let mut bomb = DeflateEncoder::new(Vec::new(), Compression::fast());
    let mut start = Vec::new();
    Writer::of(EXPLICIT_LE).start(&mut start, 0x0009_1001, *b"OB", 0xFFFF_FFF0);
    bomb.write_all(&start).expect("deflated");
    for _ in 0..80 {
        bomb.write_all(&vec![0; 1024 * 1024]).expect("deflated");
    }
    assert_eq!(scan(DEFLATED, &bomb.finish().expect("deflated")), Err(ScanError::TooLong));
    let header_only = written(DEFLATED, &head_ct()[..10]);
    assert!(scan(DEFLATED, &header_only).is_ok());
    assert!(matches!(scan(DEFLATED, &header_only[..header_only.len() - 3]), Err(ScanError::Truncated { .. })));
    assert_eq!(scan(DEFLATED, &[0xFF; 20]), Err(ScanError::Deflate));
}

#[test]
fn a_zlib_wrapped_data_set_is_read_too() {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&written(EXPLICIT_LE, &head_ct())).expect("deflated");
    let header = scan_in(DEFLATED, &encoder.finish().expect("deflated"), 1).expect("scanned");
    assert_eq!(header.study(), Some(uid("1.2.3")));
}

#[test]
fn what_no_data_set_begins_with_is_refused() {
    assert!(matches!(scan(IMPLICIT_LE, &[0; 32]), Err(ScanError::Unexpected { group: 0, .. })));
    assert!(matches!(scan(EXPLICIT_LE, b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF"), Err(ScanError::Unexpected { .. })));
    assert_eq!(scan(EXPLICIT_LE, b"\x08\x00\x16"), Err(ScanError::Truncated { offset: 3 }));
    assert_eq!(scan(EXPLICIT_LE, b"").expect("an empty data set").study(), None);
}

#[test]
fn debug_and_errors_show_no_patient() {
    let header = scan(EXPLICIT_LE, &written(EXPLICIT_LE, &head_ct())).expect("scanned");
    let shown = format!("{header:?}");
    assert!(!shown.contains("4711") && !shown.contains("52, 55"), "{shown}");
}

/// Elements anywhere below the wanted ones, with sequences inside.
fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
    let leaf = (0x0009_1000u32..0x0030_FFFF, prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(tag, value)| Node::Value { tag: tag | 0x0001_0000, vr: *b"UN", value })
        .boxed();
    let node = leaf.prop_recursive(4, 40, 4, |inner| {
        let items = prop::collection::vec(prop::collection::vec(inner, 0..4), 0..4);
        // Below (0008,1140), in the dictionary as a sequence, also implicit lengths are known to be sequences.
        (items, any::<bool>()).prop_map(|(items, defined)| Node::Sequence { tag: 0x0008_1140, items, defined })
    });
    prop::collection::vec(node, 0..6)
}

fn any_syntax() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, JPEG_2000])
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_header(
        noise in any_nodes(), at in 0usize..20, syntax in any_syntax(), piece in 1usize..64,
    ) {
        let mut nodes = head_ct();
        nodes.splice(at.min(nodes.len() - 1)..at.min(nodes.len() - 1), noise.into_iter().filter(|node| match node {
            Node::Value { tag, .. } => !Place::Top.wants(*tag) && wanted_sequence(*tag).is_none(),
            _ => true,
        }));
        let plain = scan(EXPLICIT_LE, &written(EXPLICIT_LE, &head_ct())).expect("scanned");
        let bytes = written(syntax, &nodes);
        prop_assert_eq!(&scan(syntax, &bytes).expect("scanned"), &plain);
        prop_assert_eq!(&scan_in(syntax, &bytes, piece).expect("scanned"), &plain);
    }

    #[test]
    fn dicom_object_and_the_scanner_read_the_same(
        name in "[A-Z][a-z]{1,20}\\^[A-Z][a-z]{1,9}", id in "[0-9A-Z-]{1,30}", order in "[0-9]{1,16}",
        syntax in prop::sample::select(vec![IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE]), piece in 1usize..40,
    ) {
        let item = InMemDicomObject::from_element_iter([text_element(0x0040, 0x2016, &order)]);
        let set = InMemDicomObject::from_element_iter([
            text_element(0x0010, 0x0010, &name),
            text_element(0x0010, 0x0020, &id),
            text_element(0x0020, 0x000D, "1.2.3"),
            DataElement::new(dicom_core::Tag(0x0040, 0x0275), VR::SQ, DataSetSequence::from(vec![item])),
        ]);
        let mut bytes = Vec::new();
        set.write_dataset_with_ts(&mut bytes, TransferSyntaxRegistry.get(syntax).expect("known")).expect("written");
        let header = scan_in(syntax, &bytes, piece).expect("scanned");
        let facts = header.facts(None, "X");
        prop_assert_eq!((facts.patient_name, facts.patient_id), (name, IssuedId::new(id, "X")));
        prop_assert_eq!(facts.placer_order_number, order);
        prop_assert!(header.is_sound());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_scan(&bytes);
    }

    #[test]
    fn a_broken_data_set_is_read_or_refused_alike_in_every_cut(
        syntax in any_syntax(), piece in 1usize..50,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let nodes = head_ct();
        let mut bytes = written(syntax, &nodes[..nodes.len() - 1]);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert_eq!(scan_in(syntax, &bytes, piece), scan(syntax, &bytes));
    }
}

fn wanted_sequence(tag: u32) -> Option<Place> {
    Place::Top.inside(tag, 1)
}

fn text_element(group: u16, element: u16, text: &str) -> DataElement<InMemDicomObject> {
    let tag = dicom_core::Tag(group, element);
    let vr = StandardDataDictionary.by_tag(tag).expect("in the dictionary").vr().relaxed();
    DataElement::new(tag, vr, PrimitiveValue::from(text))
}
