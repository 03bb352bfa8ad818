//! Elements as they were written in, values by their VR out.
//!
//! Text without padding and control characters; numbers of the length their VR has. An element the dictionary knows is read
//! by its VR there, where the sender has written UN or none at all (PS3.5 6.2.2, A.1).

use super::{DataSet, DataSetError};
use crate::dicom::{
    charset::{self, Kind, SenderCharset},
    tree::{self, Element},
};
use dicom_core::{
    DataDictionary, DataElement, PrimitiveValue, Tag, VR, dictionary::DataDictionaryEntry, value::DataSetSequence,
};
use dicom_dictionary_std::{StandardDataDictionary, tags};

/// By the dictionary: what Implicit VR does not say.
pub(super) fn is_sequence(tag: Tag) -> bool {
    known(tag) == Some(VR::SQ)
}

fn known(tag: Tag) -> Option<VR> {
    StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed())
}

pub(super) fn data_set(
    root: &tree::DataSet<'_>,
    sender: &SenderCharset,
    max_values: usize,
) -> Result<DataSet, DataSetError> {
    Converter { sender, values_left: max_values }.set(root, "")
}

struct Converter<'a> {
    sender: &'a SenderCharset,
    values_left: usize,
}

impl Converter<'_> {
    /// The depth has been bounded by the reader of the tree.
    fn set(&mut self, set: &tree::DataSet<'_>, outer: &str) -> Result<DataSet, DataSetError> {
        let charset = self.charset_of(set, outer);
        let mut read = DataSet::new_empty();
        for element in set.elements() {
            let tag = element.tag;
            if tag.element() == 0 || tag == tags::SPECIFIC_CHARACTER_SET {
                continue;
            }
            let new = match &element.value {
                tree::Value::Items(items) => {
                    let items: Result<Vec<_>, _> = items.iter().map(|item| self.set(item, &charset)).collect();
                    DataElement::new(tag, VR::SQ, DataSetSequence::from(items?))
                }
                tree::Value::Bytes(bytes) => {
                    let vr = vr_of(element);
                    DataElement::new(tag, vr, self.value(tag, vr, bytes, &charset)?)
                }
            };
            // Two readers would take different ones.
            if read.put(new).is_some() {
                return Err(wrong(tag, "is there twice"));
            }
        }
        Ok(read)
    }

    /// An item may name its own set; otherwise the one around it is in force (PS3.3 C.12.1.1.2).
    fn charset_of(&self, set: &tree::DataSet<'_>, outer: &str) -> String {
        let named = String::from_utf8_lossy(set.bytes(tags::SPECIFIC_CHARACTER_SET));
        let named = named.trim_matches([' ', '\0']);
        if named.is_empty() && !outer.is_empty() { outer.to_owned() } else { self.sender.meant(named).to_owned() }
    }

    fn value(&mut self, tag: Tag, vr: VR, bytes: &[u8], charset: &str) -> Result<PrimitiveValue, DataSetError> {
        if bytes.is_empty() {
            return Ok(PrimitiveValue::Empty);
        }
        let number = |size: usize| {
            if bytes.len().is_multiple_of(size) { Ok(()) } else { Err(wrong(tag, "has a length its VR cannot have")) }
        };
        Ok(match vr {
            VR::US => PrimitiveValue::U16(numbers(number(2), bytes, u16::from_le_bytes)?),
            VR::OW => PrimitiveValue::U16(numbers(number(2), bytes, u16::from_le_bytes)?),
            VR::SS => PrimitiveValue::I16(numbers(number(2), bytes, i16::from_le_bytes)?),
            VR::UL | VR::OL => PrimitiveValue::U32(numbers(number(4), bytes, u32::from_le_bytes)?),
            VR::SL => PrimitiveValue::I32(numbers(number(4), bytes, i32::from_le_bytes)?),
            VR::FL | VR::OF => PrimitiveValue::F32(numbers(number(4), bytes, f32::from_le_bytes)?),
            VR::FD | VR::OD => PrimitiveValue::F64(numbers(number(8), bytes, f64::from_le_bytes)?),
            VR::UV | VR::OV => PrimitiveValue::U64(numbers(number(8), bytes, u64::from_le_bytes)?),
            VR::SV => PrimitiveValue::I64(numbers(number(8), bytes, i64::from_le_bytes)?),
            VR::AT => {
                let tag_of = |b: [u8; 4]| Tag(u16::from_le_bytes([b[0], b[1]]), u16::from_le_bytes([b[2], b[3]]));
                PrimitiveValue::Tags(numbers(number(4), bytes, tag_of)?)
            }
            // An odd length is none that can be sent on (PS3.5 7.1.1).
            VR::OB | VR::UN => {
                let padding = [0].into_iter().take(bytes.len() % 2);
                PrimitiveValue::U8(bytes.iter().copied().chain(padding).collect())
            }
            // Never met: the tree has made items of it.
            VR::SQ => PrimitiveValue::Empty,
            VR::ST | VR::LT | VR::UT | VR::UR => {
                one(plain(&charset::decode_as(Kind::Text, bytes, charset).0).trim_end_matches(' ').to_owned())
            }
            VR::PN => self.texts(tag, &charset::decode_as(Kind::Name, bytes, charset).0)?,
            VR::LO | VR::SH | VR::UC => self.texts(tag, &charset::decode_as(Kind::Values, bytes, charset).0)?,
            // ASCII by definition (PS3.5 6.2).
            _ => self.texts(tag, &charset::decode(bytes, "").0)?,
        })
    }

    fn texts(&mut self, tag: Tag, text: &str) -> Result<PrimitiveValue, DataSetError> {
        let text = plain(text);
        let values = text.split('\\').count();
        self.values_left =
            self.values_left.checked_sub(values).ok_or(wrong(tag, "has more values than it may have"))?;
        let mut each = text.split('\\').map(|value| value.trim_matches(' ').to_owned());
        Ok(if values == 1 { one(each.next().unwrap_or_default()) } else { PrimitiveValue::Strs(each.collect()) })
    }
}

fn one(text: String) -> PrimitiveValue {
    if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::Str(text) }
}

/// Padding NULs and stray control characters mean nothing; lines and their ends do (PS3.5 6.1.3).
fn plain(text: &str) -> String {
    let text = text.trim_end_matches(['\0', ' ']);
    text.chars().map(|c| if c.is_control() && !matches!(c, '\r' | '\n' | '\t' | '\x0C') { ' ' } else { c }).collect()
}

fn vr_of(element: &Element<'_>) -> VR {
    let written = element.vr.and_then(VR::from_binary).filter(|vr| !matches!(vr, VR::UN | VR::SQ));
    written.or_else(|| known(element.tag).filter(|vr| *vr != VR::SQ)).unwrap_or(VR::UN)
}

fn numbers<T, C: FromIterator<T>, const N: usize>(
    fits: Result<(), DataSetError>,
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
) -> Result<C, DataSetError> {
    fits?;
    Ok(bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect())
}

fn wrong(tag: Tag, what: &'static str) -> DataSetError {
    DataSetError::Element { group: tag.group(), element: tag.element(), what }
}
