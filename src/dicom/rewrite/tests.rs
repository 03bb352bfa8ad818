//! The rewriter against the house scanner, dicom-object and hostile bytes.

use super::{write, *};
use crate::dicom::charset::SenderCharset;
use crate::dicom::scan::{HeaderScanner, ITEM_DELIMITER, SEQUENCE_DELIMITER, Syntax, UNDEFINED};
use bytes::BytesMut;
use dicom_core::Tag;
use dicom_encoding::TransferSyntaxIndex;
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use flate2::{Compression, write::DeflateEncoder};
use proptest::prelude::*;
use std::io::Write;

const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const PLAIN: [(&str, Syntax); 3] =
    [(IMPLICIT_LE, Syntax::ImplicitLe), (EXPLICIT_LE, Syntax::ExplicitLe), (EXPLICIT_BE, Syntax::ExplicitBe)];

fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

fn text(syntax: Syntax, tag: u32, vr: &[u8; 2], text: &str) -> Vec<u8> {
    write::text(syntax, tag, vr, text).unwrap()
}

/// A sequence whose items and itself have lengths, or delimiters.
fn sequence(syntax: Syntax, tag: u32, open: bool, items: &[Vec<u8>]) -> Vec<u8> {
    if !open {
        let items: Vec<u8> = items.iter().flat_map(|item| write::item(syntax, item).unwrap()).collect();
        return write::element(syntax, tag, b"SQ", &items).unwrap();
    }
    let undefined = |bytes: Vec<u8>| {
        let at = bytes.len() - 4;
        [&bytes[..at], &UNDEFINED.to_le_bytes()].concat()
    };
    let delimiter = |tag| {
        let mut bytes = write::item(syntax, &[]).unwrap();
        let written = write::element(syntax, tag, b"UN", &[]).unwrap();
        bytes[..4].copy_from_slice(&written[..4]);
        bytes
    };
    let mut bytes = undefined(write::element(syntax, tag, b"SQ", &[]).unwrap());
    for item in items {
        bytes.extend(undefined(write::item(syntax, &[]).unwrap()));
        bytes.extend(item);
        bytes.extend(delimiter(ITEM_DELIMITER));
    }
    bytes.extend(delimiter(SEQUENCE_DELIMITER));
    bytes
}

/// A CT of patient 4711 with two requests, an issuer in a sequence, a history and pixel data.
fn sample(syntax: Syntax, open: bool) -> Vec<u8> {
    let t = |tag, vr, value| text(syntax, tag, vr, value);
    let request = |accession, placer| {
        [
            t(ACCESSION_NUMBER, b"SH", accession),
            t(tag(0x0040, 0x1001), b"SH", "RP1"),
            t(PLACER_ORDER_NUMBER, b"LO", placer),
        ]
        .concat()
    };
    let issuer = t(LOCAL_NAMESPACE, b"UT", "RIS");
    let earlier = [
        sequence(syntax, MODIFIED_ATTRIBUTES, open, &[t(PATIENT_ID, b"LO", "OLD")]),
        t(REASON_FOR_MODIFICATION, b"CS", "CORRECT"),
    ]
    .concat();
    [
        t(SPECIFIC_CHARACTER_SET, b"CS", "ISO_IR 100"),
        t(tag(0x0008, 0x0016), b"UI", "1.2.840.10008.5.1.4.1.1.2"),
        t(tag(0x0008, 0x0018), b"UI", "1.2.3.4"),
        t(ACCESSION_NUMBER, b"SH", "A1"),
        sequence(syntax, ISSUER_OF_ACCESSION_NUMBER, open, &[issuer]),
        t(tag(0x0010, 0x0010), b"PN", "Test^Anna"),
        t(PATIENT_ID, b"LO", "4711"),
        sequence(syntax, ISSUER_OF_PATIENT_ID_QUALIFIERS, open, &[t(UNIVERSAL_ENTITY_ID, b"UT", "1.2.3")]),
        t(tag(0x0010, 0x0030), b"DA", "19700101"),
        t(tag(0x0020, 0x000D), b"UI", "1.2.3"),
        t(tag(0x0020, 0x000E), b"UI", "1.2.3.1"),
        sequence(syntax, REQUEST_ATTRIBUTES, open, &[request("A1", "P1"), request("A2", "P2")]),
        t(FILLER_ORDER_NUMBER, b"LO", "F1"),
        sequence(syntax, ORIGINAL_ATTRIBUTES, open, &[earlier]),
        write::element(syntax, tag(0x7FE0, 0x0010), b"UN", &[7; 1001 * 2]).unwrap(),
    ]
    .concat()
}

fn becomes(said: &Said) -> Option<IssuedId> {
    let is_theirs = said.id.issuer == "KCHEMNITZ" || said.id.value.starts_with("RAB-");
    (!is_theirs).then(|| IssuedId::new(format!("RAB-{}", said.id.value), "KCHEMNITZ"))
}

fn noted() -> Option<Modification<'static>> {
    Some(Modification { at: Moment(1_700_000_000_000_000), system: "neisse-1", source: "rabenstein" })
}

fn parse(syntax: &str, data: &[u8]) -> InMemDicomObject {
    let syntax = TransferSyntaxRegistry.get(syntax).unwrap();
    InMemDicomObject::read_dataset_with_ts(data, syntax).expect("dicom-object reads it")
}

fn string(set: &InMemDicomObject, tag: u32) -> String {
    let tag = Tag((tag >> 16) as u16, (tag & 0xFFFF) as u16);
    set.element_opt(tag).unwrap().map(|e| e.to_str().unwrap().trim().to_owned()).unwrap_or_default()
}

fn items(set: &InMemDicomObject, tag: u32) -> &[InMemDicomObject] {
    let tag = Tag((tag >> 16) as u16, (tag & 0xFFFF) as u16);
    set.element_opt(tag).unwrap().and_then(|e| e.items()).unwrap_or_default()
}

fn identifiers(header: &RewritableHeader) -> Vec<(IdentifierKind, String, String)> {
    let said = header.identifiers(&SenderCharset::default()).unwrap();
    said.into_iter().map(|said| (said.kind, said.id.value, said.id.issuer)).collect()
}

fn read(syntax: &str, data: &[u8]) -> RewritableHeader {
    let mut reader = HeaderReader::new(&uid(syntax));
    reader.push(data).unwrap();
    reader.finish().unwrap()
}

#[test]
fn every_identifier_becomes_the_readers_and_the_previous_ones_are_kept() {
    for (name, syntax) in PLAIN {
        for open in [false, true] {
            let data = sample(syntax, open);
            let (out, changed) =
                rewrite_whole(&uid(name), &data, &SenderCharset::default(), &becomes, noted()).unwrap();
            assert_eq!(changed, 7, "patient, accession with and without issuer, filler, and three of the requests");
            let set = parse(name, &out);
            assert_eq!(string(&set, PATIENT_ID), "RAB-4711");
            assert_eq!(string(&set, ISSUER_OF_PATIENT_ID), "KCHEMNITZ");
            assert!(items(&set, ISSUER_OF_PATIENT_ID_QUALIFIERS).is_empty());
            assert_eq!(string(&set, ACCESSION_NUMBER), "RAB-A1");
            assert_eq!(string(&items(&set, ISSUER_OF_ACCESSION_NUMBER)[0], LOCAL_NAMESPACE), "KCHEMNITZ");
            assert_eq!(string(&set, FILLER_ORDER_NUMBER), "RAB-F1");
            let requests = items(&set, REQUEST_ATTRIBUTES);
            let numbers: Vec<_> =
                requests.iter().map(|r| (string(r, ACCESSION_NUMBER), string(r, PLACER_ORDER_NUMBER))).collect();
            assert_eq!(numbers, [("RAB-A1".into(), "RAB-P1".into()), ("RAB-A2".into(), "RAB-P2".into())]);
            assert_eq!(string(&requests[1], tag(0x0040, 0x1001)), "RP1");
            let history = items(&set, ORIGINAL_ATTRIBUTES);
            assert_eq!(history.len(), 2, "what was there stays");
            assert_eq!(string(&history[0], REASON_FOR_MODIFICATION), "CORRECT");
            assert_eq!(string(&history[1], REASON_FOR_MODIFICATION), "COERCE");
            assert_eq!(string(&history[1], MODIFYING_SYSTEM), "neisse-1");
            assert_eq!(string(&history[1], SOURCE_OF_PREVIOUS_VALUES), "rabenstein");
            assert_eq!(string(&history[1], MODIFICATION_DATE_TIME), "20231114221320.000000+0000");
            let previous = &items(&history[1], MODIFIED_ATTRIBUTES)[0];
            assert_eq!(string(previous, PATIENT_ID), "4711");
            assert_eq!(string(previous, ISSUER_OF_PATIENT_ID), "", "it was not there");
            assert_eq!(items(previous, ISSUER_OF_PATIENT_ID_QUALIFIERS).len(), 1);
            assert_eq!(string(&items(previous, ISSUER_OF_ACCESSION_NUMBER)[0], LOCAL_NAMESPACE), "RIS");
            assert_eq!(string(&items(previous, REQUEST_ATTRIBUTES)[1], ACCESSION_NUMBER), "A2", "the whole sequence");
            assert_eq!(out[out.len() - 2002..], data[data.len() - 2002..], "pixel data");
            assert!(items(previous, tag(0x0010, 0x0010)).is_empty(), "nothing that stays");
        }
    }
}

#[test]
fn the_way_back_restores_what_the_hospital_wrote() {
    for (name, syntax) in PLAIN {
        let data = sample(syntax, true);
        let there = rewrite_whole(&uid(name), &data, &SenderCharset::default(), &becomes, None).unwrap().0;
        let back = |said: &Said| {
            let value = said.id.value.strip_prefix("RAB-")?;
            Some(IssuedId::new(value, "RABENSTEIN"))
        };
        let (out, changed) = rewrite_whole(&uid(name), &there, &SenderCharset::default(), &back, None).unwrap();
        assert_eq!(changed, 6, "its accession number has one issuer now");
        let said = identifiers(&read(name, &out));
        assert!(said.contains(&(IdentifierKind::Patient, "4711".into(), "RABENSTEIN".into())));
        assert!(said.contains(&(IdentifierKind::Accession, "A2".into(), "RABENSTEIN".into())));
        assert!(said.contains(&(IdentifierKind::Placer, "P1".into(), String::new())));
        assert_eq!(items(&parse(name, &out), ORIGINAL_ATTRIBUTES).len(), 1, "nothing of the reader's is left behind");
    }
}

#[test]
fn a_deflated_data_set_is_rewritten_too() {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&sample(Syntax::ExplicitLe, true)).unwrap();
    let data = encoder.finish().unwrap();
    let (out, changed) = rewrite_whole(&uid(DEFLATED), &data, &SenderCharset::default(), &becomes, noted()).unwrap();
    assert_eq!((changed, out.len() % 2), (7, 0));
    let mut scanner = HeaderScanner::whole(&uid(DEFLATED));
    scanner.push(&out).unwrap();
    let facts = scanner.finish().unwrap().facts(None, "");
    assert_eq!(facts.patient_id, IssuedId::new("RAB-4711", "KCHEMNITZ"));
    assert_eq!(
        rewrite_whole(&uid(DEFLATED), &data[..data.len() / 2], &SenderCharset::default(), &becomes, None),
        Err(RewriteError::Deflated)
    );
}

#[test]
fn group_lengths_of_touched_groups_go_and_others_stay() {
    let syntax = Syntax::ExplicitLe;
    let length = |group| write::element(syntax, tag(group, 0), b"FD", &[0; 4]).unwrap();
    let data = [
        length(0x0008),
        text(syntax, tag(0x0008, 0x0060), b"CS", "CT"),
        length(0x0010),
        text(syntax, PATIENT_ID, b"LO", "4711"),
    ]
    .concat();
    let (out, _) = rewrite_whole(&uid(EXPLICIT_LE), &data, &SenderCharset::default(), &becomes, None).unwrap();
    assert!(out.starts_with(&length(0x0008)));
    assert!(!out.windows(4).any(|window| window == &length(0x0010)[..4]));
}

#[test]
fn what_cannot_be_read_for_certain_is_not_guessed() {
    let syntax = Syntax::ExplicitLe;
    let patient = |value: &[u8]| write::element(syntax, PATIENT_ID, b"LO", value).unwrap();
    let whole =
        |data: &[u8]| rewrite_whole(&uid(EXPLICIT_LE), data, &SenderCharset::default(), &becomes, noted()).map(|_| ());
    assert_eq!(whole(&patient(b"47\xFC1")), Err(RewriteError::Undecodable { tag: PATIENT_ID }));
    assert_eq!(whole(&patient(b"47\x0011")), Err(RewriteError::Undecodable { tag: PATIENT_ID }));
    assert_eq!(whole(&patient(&[b'7'; 600])), Err(RewriteError::Undecodable { tag: PATIENT_ID }));
    let twice = [patient(b"4711"), patient(b"4711")].concat();
    assert!(matches!(whole(&twice), Err(RewriteError::Scan(ScanError::GivenTwice { .. }))));
    assert!(matches!(whole(&patient(b"4711")[..10]), Err(RewriteError::Scan(ScanError::Truncated { .. }))));
    let broken = write::element(syntax, REQUEST_ATTRIBUTES, b"SQ", &[1; 24]).unwrap();
    assert!(matches!(whole(&broken), Err(RewriteError::Malformed { .. } | RewriteError::Scan(_))));
    let history = write::element(syntax, ORIGINAL_ATTRIBUTES, b"UN", &[]).unwrap();
    let as_unknown = [patient(b"4711"), history].concat();
    assert!(matches!(whole(&as_unknown), Err(RewriteError::Malformed { tag: ORIGINAL_ATTRIBUTES, .. })));
}

/// OB: written with a long length where there are VRs.
fn binary(syntax: Syntax, tag: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = write::element(syntax, tag, b"UN", value).unwrap();
    if syntax != Syntax::ImplicitLe {
        bytes[4..6].copy_from_slice(b"OB");
    }
    bytes
}

/// In every syntax, with plain and with encapsulated Pixel Data, in pieces of one byte and in one piece.
#[test]
fn an_identifier_behind_the_header_stops_the_data_set() {
    const PIXELS: u32 = tag(0x7FE0, 0x0010);
    for (name, syntax) in PLAIN {
        let padding = binary(syntax, tag(0xFFFC, 0xFFFC), &[0; 6]);
        let signatures =
            sequence(syntax, tag(0xFFFA, 0xFFFA), true, &[text(syntax, tag(0x0400, 0x0100), b"UI", "1.2")]);
        let late = |tag, vr| text(syntax, tag, vr, "4711");
        let mut encapsulated = binary(syntax, PIXELS, &[]);
        let at = encapsulated.len() - 4;
        encapsulated[at..].copy_from_slice(&UNDEFINED.to_le_bytes());
        for _ in 0..2 {
            encapsulated.extend(write::item(syntax, &[0x10; 6]).unwrap());
        }
        let open = sequence(syntax, PIXELS, true, &[]);
        encapsulated.extend(&open[open.len() - 8..]);
        let plain = binary(syntax, PIXELS, &[0x10; 40]);
        let mut pixels = vec![plain];
        if syntax != Syntax::ExplicitBe {
            pixels.push(encapsulated);
        }
        let legal = [vec![], padding.clone(), signatures.clone(), [signatures, padding].concat(), vec![0; 13]];
        let illegal = [late(PATIENT_ID, b"LO"), late(ACCESSION_NUMBER, b"SH"), late(REFERENCED_REQUEST, b"SQ")];
        for pixels in pixels {
            let head = [late(PATIENT_ID, b"LO"), pixels].concat();
            let is_fit = |behind: &[u8], size: usize| {
                let data = [&head, behind].concat();
                let mut rest = read(name, &data).rest();
                data.chunks(size).try_for_each(|piece| rest.push(piece)).is_ok()
            };
            for size in [1, 7, 1000] {
                for behind in &legal {
                    assert!(is_fit(behind, size), "{name}: {behind:?}");
                    for late in &illegal {
                        assert!(
                            !is_fit(&[behind.as_slice(), late].concat(), size),
                            "{name}: {late:?} behind {behind:?}"
                        );
                    }
                }
                // What cannot be read is not sent either.
                assert!(!is_fit(&write::item(syntax, &[1, 2]).unwrap(), size), "{name}");
            }
            let data = [head.as_slice(), &illegal[0]].concat();
            assert!(rewrite_whole(&uid(name), &data, &SenderCharset::default(), &becomes, noted()).is_err());
        }
        // Behind everything that is rewritten, and before Pixel Data.
        let disordered =
            [late(PATIENT_ID, b"LO"), text(syntax, tag(0x2010, 0x0010), b"ST", "x"), late(PATIENT_ID, b"LO")];
        let data = disordered.concat();
        assert!(read(name, &data).rest().push(&data).is_err(), "{name}");
    }
}

#[test]
fn as_many_identifiers_as_one_examination_has_are_read_and_no_more() {
    for (name, syntax) in PLAIN {
        let with = |numbers: u32| {
            let request = |number| text(syntax, PLACER_ORDER_NUMBER, b"LO", &format!("P{number}"));
            // Each twice: that is no further one.
            let items: Vec<Vec<u8>> = (0..numbers).chain(0..numbers).map(request).collect();
            read(name, &sequence(syntax, REQUEST_ATTRIBUTES, false, &items)).identifiers(&SenderCharset::default())
        };
        assert_eq!(with(64).map(|all| all.len()).unwrap(), 64, "{name}");
        assert_eq!(with(65).err(), Some(RewriteError::TooMany), "{name}");
    }
}

#[test]
fn what_would_nest_too_deeply_among_the_previous_values_is_refused() {
    let syntax = Syntax::ExplicitLe;
    let nested = |depth| {
        let content = (0..depth).fold(Vec::new(), |inner, _| sequence(syntax, tag(0x0040, 0x0555), true, &[inner]));
        let item = [text(syntax, ACCESSION_NUMBER, b"SH", "A1"), content].concat();
        sequence(syntax, REQUEST_ATTRIBUTES, true, &[item])
    };
    assert!(rewrite_whole(&uid(EXPLICIT_LE), &nested(29), &SenderCharset::default(), &becomes, noted()).is_ok());
    let too_deep = rewrite_whole(&uid(EXPLICIT_LE), &nested(31), &SenderCharset::default(), &becomes, noted());
    assert!(matches!(too_deep, Err(RewriteError::Scan(ScanError::TooDeep { .. }))));
}

#[test]
fn an_identifier_in_the_data_set_s_own_letters_is_read_by_them() {
    let syntax = Syntax::ExplicitLe;
    let data = [
        text(syntax, SPECIFIC_CHARACTER_SET, b"CS", "ISO_IR 101"),
        write::element(syntax, PATIENT_ID, b"LO", b"\xA3-1 ").unwrap(),
    ]
    .concat();
    assert_eq!(identifiers(&read(EXPLICIT_LE, &data)), [(IdentifierKind::Patient, "Ł-1".into(), String::new())]);
    let previous = |out: &[u8]| out.windows(4).any(|window| window == b"\xA3-1 ");
    let given = |_: &Said| Some(IssuedId::new("N000000000000001", "KCHEMNITZ"));
    let rewritten = |to: &dyn Fn(&Said) -> Option<IssuedId>| {
        rewrite_whole(&uid(EXPLICIT_LE), &data, &SenderCharset::default(), to, noted())
    };
    assert!(previous(&rewritten(&given).unwrap().0), "as it was written");
    // What is not the same in every character set is not written into one.
    assert_eq!(rewritten(&becomes).unwrap_err(), RewriteError::TooLong { tag: PATIENT_ID });
}

#[test]
fn a_request_written_as_unknown_stays_so() {
    let inner = text(Syntax::ImplicitLe, ACCESSION_NUMBER, b"SH", "A1");
    let item = write::item(Syntax::ImplicitLe, &inner).unwrap();
    let data = write::element(Syntax::ExplicitLe, REQUEST_ATTRIBUTES, b"UN", &item).unwrap();
    let (out, changed) = rewrite_whole(&uid(EXPLICIT_LE), &data, &SenderCharset::default(), &becomes, noted()).unwrap();
    assert_eq!((changed, &out[..6]), (1, &[0x40, 0, 0x75, 2, b'U', b'N'][..]));
    let said = identifiers(&read(EXPLICIT_LE, &out));
    assert_eq!(said, [(IdentifierKind::Accession, "RAB-A1".into(), "KCHEMNITZ".into())]);
}

/// One element of a random data set: a private or public one that nobody touches, or one of ours.
fn arbitrary_sample() -> impl Strategy<Value = (usize, Vec<u8>, Vec<u8>)> {
    let values = prop::collection::vec(prop::option::of("[A-Z0-9]{1,12}"), 6);
    let noise = prop::collection::btree_map(
        prop::sample::select(vec![
            tag(0x0008, 0x0060),
            tag(0x0009, 0x0010),
            tag(0x0009, 0x1010),
            tag(0x0010, 0x0010),
            tag(0x0010, 0x0040),
            tag(0x0018, 0x0050),
            tag(0x0029, 0x1010),
            tag(0x0040, 0x0244),
            tag(0x0040, 0x0555),
            tag(0x0400, 0x0500),
            tag(0x5200, 0x9229),
        ]),
        prop::collection::vec(any::<u8>(), 0..40),
        0..8,
    );
    (0..PLAIN.len(), any::<bool>(), values, noise, prop::collection::vec(any::<u8>(), 0..300)).prop_map(
        |(which, open, values, noise, pixels)| {
            let syntax = PLAIN[which].1;
            let mut elements: std::collections::BTreeMap<u32, Vec<u8>> = noise
                .into_iter()
                .map(|(tag, value)| (tag, write::element(syntax, tag, b"UN", &value).unwrap()))
                .collect();
            // Sequences need an item or nothing; what the noise holds there is no sequence.
            elements.retain(|tag, _| !matches!(*tag, 0x0040_0555 | 0x0400_0500 | 0x5200_9229));
            let mut put = |tag, vr: &[u8; 2], value: &Option<String>| {
                if let Some(value) = value {
                    elements.insert(tag, text(syntax, tag, vr, value));
                }
            };
            put(ACCESSION_NUMBER, b"SH", &values[0]);
            put(PATIENT_ID, b"LO", &values[1]);
            put(ISSUER_OF_PATIENT_ID, b"LO", &values[2]);
            put(PLACER_ORDER_NUMBER, b"LO", &values[3]);
            if let Some(number) = &values[4] {
                let item = text(syntax, ACCESSION_NUMBER, b"SH", number);
                elements.insert(REQUEST_ATTRIBUTES, sequence(syntax, REQUEST_ATTRIBUTES, open, &[item]));
            }
            if let Some(number) = &values[5] {
                let item = text(syntax, FILLER_ORDER_NUMBER, b"LO", number);
                elements.insert(REFERENCED_REQUEST, sequence(syntax, REFERENCED_REQUEST, open, &[vec![], item]));
            }
            let pixels = write::element(syntax, tag(0x7FE0, 0x0010), b"UN", &pixels).unwrap();
            let untouched = elements.iter().filter(|(tag, _)| !WANTED.contains(tag));
            let untouched: Vec<u8> = untouched.flat_map(|(_, bytes)| bytes.clone()).chain(pixels.clone()).collect();
            let data: Vec<u8> = elements.into_values().flatten().chain(pixels).collect();
            (which, data, untouched)
        },
    )
}

/// A data set without the elements that may be rewritten.
fn without_wanted(syntax: &str, data: &[u8]) -> Vec<u8> {
    let header = read(syntax, data).0;
    let gone = header.kept.values().map(|kept| patch::Patch {
        at: kept.start,
        drop: kept.bytes.len() as u64,
        insert: Vec::new(),
    });
    Patches::new(gone.collect(), 0).apply(data)
}

proptest! {
    #[test]
    fn a_part_of_what_is_patched_is_that_part_of_the_whole(
        data in prop::collection::vec(any::<u8>(), 0..60),
        places in prop::collection::btree_map(0u64..60, (0u64..5, prop::collection::vec(any::<u8>(), 0..6)), 0..6),
        from in 0u64..70,
        length in 1usize..70,
    ) {
        let (mut list, mut free) = (Vec::new(), 0);
        for (at, (drop, insert)) in places {
            let at = at.max(free).min(data.len() as u64);
            let drop = drop.min(data.len() as u64 - at);
            free = at + drop;
            list.push(patch::Patch { at, drop, insert });
        }
        let patches = Patches::new(list, 0);
        let whole = patches.apply(&data);
        prop_assert_eq!(patches.length(data.len() as u64), whole.len() as u64);
        let mut part = vec![0; length];
        let read = patches.read_exact_at(&mut part, from, |into, at| {
            let from = usize::try_from(at).unwrap();
            let found = data.get(from..from + into.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(found);
            Ok(())
        });
        let from = usize::try_from(from).unwrap();
        match whole.get(from..from + length) {
            Some(expected) => {
                prop_assert!(read.is_ok());
                prop_assert_eq!(&part[..], expected);
            }
            None => prop_assert!(read.is_err()),
        }
    }

    #[test]
    fn everything_else_stays_to_the_byte_and_a_second_time_changes_nothing(
        (which, data, untouched) in arbitrary_sample(),
        cut in 1usize..64,
    ) {
        let name = PLAIN[which].0;
        let (out, _) = rewrite_whole(&uid(name), &data, &SenderCharset::default(), &becomes, noted()).unwrap();
        prop_assert_eq!(without_wanted(name, &out), untouched);
        let said = identifiers(&read(name, &out));
        prop_assert!(said.iter().all(|(_, value, _)| value.starts_with("RAB-")));
        prop_assert_eq!(said.len(), identifiers(&read(name, &data)).len());
        parse(name, &out);
        let mut scanner = HeaderScanner::whole(&uid(name));
        scanner.push(&out).unwrap();
        prop_assert!(scanner.finish().unwrap().is_sound());
        // Tags rise at the top level.
        let header = read(name, &out).0;
        let starts: Vec<u64> = header.kept.values().map(|kept| kept.start).collect();
        prop_assert!(starts.is_sorted());
        prop_assert_eq!(&rewrite_whole(&uid(name), &out, &SenderCharset::default(), &becomes, noted()).unwrap(), &(out.clone(), 0));
        // Piece by piece as all at once.
        let mut reader = HeaderReader::new(&uid(name));
        for piece in data.chunks(cut) {
            reader.push(piece).unwrap();
        }
        let patches = reader.finish().unwrap().patches(&SenderCharset::default(), &becomes, noted()).unwrap();
        prop_assert_eq!(patches.length(data.len() as u64), out.len() as u64);
        let (mut patcher, mut streamed) = (Patcher::new(patches), BytesMut::new());
        for piece in data.chunks(cut) {
            patcher.push(piece, &mut streamed);
        }
        patcher.finish(&mut streamed);
        prop_assert_eq!(&streamed[..], &out[..]);
    }

    #[test]
    fn hostile_bytes_are_refused_or_rewritten_without_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_rewrite(&data);
    }

    #[test]
    fn a_damaged_data_set_is_refused_or_rewritten_without_panic(
        which in 0..PLAIN.len(),
        open in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut data = sample(PLAIN[which].1, open);
        for (at, byte) in damage {
            let at = at.index(data.len() - 2010);
            data[at] = byte;
        }
        data.truncate(cut.index(data.len()) + 1);
        fuzz_rewrite(&[&[which as u8][..], &data].concat());
    }
}
