//! Reading and writing of messages' data sets.

use super::*;
use crate::model::Charset;
use dicom_core::{Tag, dicom_value, header::HasLength, value::DataSetSequence};
use proptest::prelude::*;

fn syntax(uid: &str) -> Uid {
    Uid::new(uid).expect("a UID")
}

fn implicit() -> Uid {
    syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN)
}

fn explicit() -> Uid {
    syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

fn short(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short").to_le_bytes();
    [&tag.group().to_le_bytes()[..], &tag.element().to_le_bytes(), vr, &length, value].concat()
}

fn sequence(tag: Tag, items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [&tag.group().to_le_bytes()[..], &tag.element().to_le_bytes(), b"SQ\0\0\xFF\xFF\xFF\xFF"].concat();
    for item in items {
        bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
        bytes.extend(u32::try_from(item.len()).expect("short").to_le_bytes());
        bytes.extend(item);
    }
    bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    bytes
}

fn text(set: &DataSet, tag: Tag) -> String {
    set.element(tag).expect("is there").to_str().expect("text").into_owned()
}

#[test]
fn text_is_utf8_whatever_it_was_and_of_each_item_its_own() {
    let latin2 = [
        short(tags::SPECIFIC_CHARACTER_SET, b"CS", b"ISO_IR 101"),
        short(tags::PATIENT_NAME, b"PN", b"\xA6wi\xB1tek^\xA3ucja"),
    ]
    .concat();
    let inherited = short(tags::PATIENT_COMMENTS, b"LT", b"\xA3a ");
    let bytes = [
        short(tags::SPECIFIC_CHARACTER_SET, b"CS", b"ISO_IR 100"),
        sequence(tags::REFERENCED_PATIENT_SEQUENCE, &[latin2, inherited]),
        short(tags::PATIENT_NAME, b"PN", b"M\xFCller^J\xF6rg "),
        short(tags::OTHER_PATIENT_NAMES, b"PN", b"A^B \\ C^D"),
    ]
    .concat();
    let set = read(&bytes, &explicit()).expect("read");
    assert!(set.get(tags::SPECIFIC_CHARACTER_SET).is_none());
    assert_eq!(text(&set, tags::PATIENT_NAME), "Müller^Jörg");
    let names = set.element(tags::OTHER_PATIENT_NAMES).expect("is there").to_multi_str().expect("texts");
    assert_eq!(*names, ["A^B", "C^D"]);
    let items = set.element(tags::REFERENCED_PATIENT_SEQUENCE).expect("is there").items().expect("items");
    assert_eq!(text(&items[0], tags::PATIENT_NAME), "Świątek^Łucja");
    assert_eq!(text(&items[1], tags::PATIENT_COMMENTS), "£a");
}

#[test]
fn what_a_sender_means_by_its_sets_counts() {
    let bytes = short(tags::PATIENT_NAME, b"PN", b"\xA6wi\xB1tek");
    let sender = SenderCharset::from("ISO_IR 101");
    let set = read_within(Bounds::IDENTIFIER, &bytes, &explicit(), &sender).expect("read");
    assert_eq!(text(&set, tags::PATIENT_NAME), "Świątek");
}

#[test]
fn a_receiver_gets_its_own_letters() {
    let mut set = DataSet::new_empty();
    set.put(DataElement::new(tags::PATIENT_NAME, VR::PN, "Świątek^Łucja"));
    set.put(DataElement::new(tags::OTHER_PATIENT_NAMES, VR::PN, dicom_value!(Strs, ["Łoś", "B"])));
    let latin2 = Outgoing { charset: Charset::of_dicom("ISO_IR 101").expect("known"), ..Outgoing::default() };
    let bytes = write(&set, &implicit(), &latin2).expect("written");
    assert!(bytes.windows(3).any(|at| at == b"\xA3o\xB6"), "in Latin-2");
    assert_eq!(read(&bytes, &implicit()).expect("read"), set);
    let plain =
        write(&read(&short(tags::PATIENT_ID, b"LO", b"4711"), &explicit()).expect("read"), &implicit(), &latin2);
    assert_eq!(plain.expect("written")[..4], [0x10, 0, 0x20, 0], "no set is named where none is needed");
}

#[test]
fn keys_without_values_and_numbers_keep_their_kind() {
    let bytes = [
        short(Tag(0x0008, 0), b"UL", &[1, 0, 0, 0]),
        short(tags::SPECIFIC_CHARACTER_SET, b"CS", b""),
        sequence(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, &[short(tags::MODALITY, b"CS", b"")]),
        sequence(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, &[]),
        short(tags::INSTANCE_NUMBER, b"IS", b" 7"),
        short(tags::FRAME_INCREMENT_POINTER, b"AT", &[0x18, 0, 0x63, 0x10]),
    ]
    .concat();
    let set = read(&bytes, &explicit()).expect("read");
    assert!(set.get(Tag(0x0008, 0)).is_none(), "group lengths are left out");
    let items = set.element(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE).expect("is there").items().expect("items");
    assert!(items[0].element(tags::MODALITY).expect("is there").value().is_empty());
    assert_eq!(
        set.element(tags::REQUESTED_PROCEDURE_CODE_SEQUENCE).expect("is there").items().map(<[_]>::len),
        Some(0)
    );
    assert_eq!(text(&set, tags::INSTANCE_NUMBER), "7");
    let pointed = set.element(tags::FRAME_INCREMENT_POINTER).expect("is there").value().to_tag();
    assert_eq!(pointed.expect("a tag"), Tag(0x0018, 0x1063));
}

#[test]
fn what_is_too_much_or_contradicts_itself_is_refused() {
    let bounds = Bounds { bytes: 400, elements: 20 };
    let read = |bytes: &[u8]| read_within(bounds, bytes, &explicit(), &SenderCharset::default());
    assert!(matches!(read(&[0; 401]), Err(DataSetError::TooLong { found: 401, most: 400 })));
    let element = |number| short(Tag(0x0009, number), b"LO", b"");
    let many: Vec<u8> = (0x1000..0x1015).flat_map(element).collect();
    assert!(matches!(read(&many), Err(DataSetError::Malformed(_))));
    let values = short(tags::STUDY_INSTANCE_UID, b"UI", &b"1\\".repeat(25));
    assert!(matches!(read(&values), Err(DataSetError::Element { what: "has more values than it may have", .. })));
    let twice = short(tags::PATIENT_ID, b"LO", b"47").repeat(2);
    assert!(read(&twice).is_err());
    assert!(matches!(read(&short(tags::ROWS, b"US", b"abc\0x")), Err(DataSetError::Element { .. })));
    assert!(matches!(read(&short(tags::PATIENT_ID, b"LO", b"4711")[..9]), Err(DataSetError::Scan(_))));
    let deep = (0..40).fold(Vec::new(), |inner, _| sequence(tags::CONTENT_SEQUENCE, &[inner]));
    assert!(super::read(&deep, &explicit()).is_err());
    let big_endian = super::read(&[], &syntax("1.2.840.10008.1.2.2"));
    assert!(matches!(big_endian, Err(DataSetError::TransferSyntax)));
}

#[test]
fn an_element_written_as_unknown_is_read_as_what_it_is() {
    let mut bytes = [0x10, 0, 0x10, 0].to_vec();
    bytes.extend(b"UN\0\0\x04\0\0\0A^B ");
    let set = read(&bytes, &explicit()).expect("read");
    assert_eq!(set.element(tags::PATIENT_NAME).expect("is there").vr(), VR::PN);
    assert_eq!(text(&set, tags::PATIENT_NAME), "A^B");
}

/// Any data set as one comes from [`read`]: values trimmed, in the VRs of the dictionary.
fn any_set() -> impl Strategy<Value = DataSet> {
    let word = "[A-ZŁŚäöü中][A-Za-zęß0-9.^-]{0,12}";
    let names = prop::collection::vec(word, 1..4).prop_map(|texts| match &texts[..] {
        [one] => PrimitiveValue::Str(one.clone()),
        _ => PrimitiveValue::Strs(texts.into()),
    });
    let leaf = (names, word, any::<u16>(), "[0-9.]{1,20}", any::<bool>()).prop_map(|(names, id, rows, uid, empty)| {
        let mut set = DataSet::new_empty();
        set.put(DataElement::new(tags::OTHER_PATIENT_NAMES, VR::PN, names));
        set.put(DataElement::new(tags::PATIENT_ID, VR::LO, id));
        set.put(DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(rows)));
        set.put(DataElement::new(tags::STUDY_INSTANCE_UID, VR::UI, uid));
        if empty {
            set.put(DataElement::new(tags::ACCESSION_NUMBER, VR::SH, PrimitiveValue::Empty));
        }
        set
    });
    leaf.prop_recursive(4, 16, 3, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..3)).prop_map(|(mut set, items)| {
            let items = DataSetSequence::from(items);
            set.put(DataElement::new(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, VR::SQ, items));
            set
        })
    })
}

/// Sequences of undefined length are not equal to themselves.
fn is_same(one: &DataSet, other: &DataSet) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

proptest! {
    #[test]
    fn what_is_written_is_read(set in any_set(), latin in any::<bool>()) {
        let charset = if latin { Charset::of_dicom("ISO_IR 100") } else { None };
        let receiver = Outgoing::new(charset.unwrap_or(Charset::UTF_8));
        for syntax in [implicit(), explicit()] {
            let bytes = write(&set, &syntax, &receiver).expect("written");
            prop_assert!(is_same(&read(&bytes, &syntax).expect("read"), &set));
        }
    }

    #[test]
    fn a_damaged_data_set_is_read_or_refused(
        set in any_set(), at in any::<prop::sample::Index>(), to in any::<u8>(), choice in 0_u8..2, noise in any::<Vec<u8>>(),
    ) {
        let syntax = if choice == 0 { implicit() } else { explicit() };
        let mut bytes = write(&set, &syntax, &Outgoing::default()).expect("written");
        let at = at.index(bytes.len());
        bytes[at] = to;
        fuzz_data_set(&[&[choice][..], &bytes].concat());
        fuzz_data_set(&[&[choice][..], &noise].concat());
    }
}
