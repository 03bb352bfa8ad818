//! The finished object in the receiver's character set.
//!
//! In: a data set as text. Out: the same with every text value encoded, Specific Character Set (0008,0005) saying how, and
//! what was done about letters the set lacks. An object is wholly in one set, without escape sequences. Names keep their
//! `^` and `=`; identifiers are never spelled otherwise than by code point ([`crate::model::letters`]).

use crate::model::{Charset, Outgoing, letters::Speller};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence, value::Value};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use dicom_object::mem::InMemElement;
use std::borrow::Cow;

/// Delimiter of values, and in a name of its groups and components (PS3.5 6.2): no spelling brings one in.
const RESERVED: &[u8] = b"\\";
const RESERVED_IN_NAMES: &[u8] = b"\\=^";

/// What somebody or something is known by.
const IDENTIFIERS: [Tag; 6] = [
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::ACCESSION_NUMBER,
    tags::LOCAL_NAMESPACE_ENTITY_ID,
    tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
    tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST,
];

/// Characters that LO may have (PS3.5 Table 6.2-1).
const LONGEST_LO: usize = 64;

/// The data set as it is to be written, and warnings for the case. `set` says UTF-8 of itself.
pub fn written(set: InMemDicomObject, outgoing: &Outgoing) -> (InMemDicomObject, Vec<String>) {
    let Some(term) = outgoing.charset.dicom().filter(|_| outgoing.charset != Charset::UTF_8) else {
        return (set, Vec::new());
    };
    let mut speller = Speller::new(outgoing, RESERVED);
    let mut encoded = in_set(&set, &mut speller, outgoing.charset);
    let warnings = speller.changes.warnings(outgoing);
    if outgoing.set_for(&speller.changes) == Charset::UTF_8 {
        return (set, warnings);
    }
    if outgoing.charset == Charset::ASCII {
        // The default repertoire has no defined term (PS3.3 Table C.12-2): absent means it.
        encoded.remove_element(tags::SPECIFIC_CHARACTER_SET);
    } else {
        encoded.put(bytes(tags::SPECIFIC_CHARACTER_SET, VR::CS, term.as_bytes().to_vec()));
    }
    (encoded, warnings)
}

fn in_set(set: &InMemDicomObject, speller: &mut Speller<'_>, charset: Charset) -> InMemDicomObject {
    let mut encoded = InMemDicomObject::new_empty();
    for element in set {
        encoded.put(match element.value() {
            Value::Sequence(sequence) => {
                let items: Vec<_> = sequence.items().iter().map(|item| in_set(item, speller, charset)).collect();
                DataElement::new(element.header().tag, VR::SQ, DataSetSequence::from(items))
            }
            Value::Primitive(PrimitiveValue::Str(text)) if !text.is_ascii() => value(element, text, speller, charset),
            Value::Primitive(PrimitiveValue::Strs(texts)) if !texts.iter().all(|text| text.is_ascii()) => {
                values(element, texts, speller, charset)
            }
            _ => element.clone(),
        });
    }
    encoded
}

/// A text with letters beyond ASCII. Bytes, because dicom-object knows only some of the sets and writes `?`.
fn value(element: &InMemElement, text: &str, speller: &mut Speller<'_>, charset: Charset) -> InMemElement {
    bytes(element.header().tag, element.header().vr, spelled(element, text, speller, charset))
}

/// Several texts, with the delimiter between them (PS3.5 6.2).
fn values(element: &InMemElement, texts: &[String], speller: &mut Speller<'_>, charset: Charset) -> InMemElement {
    let texts: Vec<_> = texts.iter().map(|text| spelled(element, text, speller, charset)).collect();
    bytes(element.header().tag, element.header().vr, texts.join(&b'\\'))
}

fn spelled(element: &InMemElement, text: &str, speller: &mut Speller<'_>, charset: Charset) -> Vec<u8> {
    let (tag, vr) = (element.header().tag, element.header().vr);
    if IDENTIFIERS.contains(&tag) {
        return encode(speller.identifier(text), charset);
    }
    speller.reserved = if vr == VR::PN { RESERVED_IN_NAMES } else { RESERVED };
    let spelled = speller.text(text);
    let is_longer = vr == VR::LO && spelled.chars().count() > LONGEST_LO && text.chars().count() <= LONGEST_LO;
    let spelled =
        if is_longer { Cow::Owned(spelled.chars().take(LONGEST_LO - 3).chain(['.'; 3]).collect()) } else { spelled };
    encode(spelled, charset)
}

/// What the speller has written is in the set; were it not, UTF-8 would lose less than nothing at all.
fn encode(text: Cow<'_, str>, charset: Charset) -> Vec<u8> {
    charset.encode(text.to_string()).unwrap_or_else(|_| text.into_owned().into_bytes())
}

fn bytes(tag: Tag, vr: VR, mut value: Vec<u8>) -> InMemElement {
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}
