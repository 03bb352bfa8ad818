//! Takes a small data set from the network apart, safely.
//!
//! In: the bytes of a whole data set, Implicit or Explicit VR Little Endian. Out: its elements with borrowed, undecoded
//! values, so that our own character set decoding sees the bytes as they came. Depth, count and every length are
//! checked before anything is reserved for them; nothing here allocates more than the elements it has seen.
//!
//! Not for images: fragments (PS3.5 A.4) are refused, because neither a report nor a message has any.

use dicom_core::Tag;

/// Sequences within sequences. A deep report has ten.
pub const MAX_DEPTH: usize = 32;
const UNDEFINED: u32 = 0xFFFF_FFFF;
/// PS3.5 7.5.
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_DELIMITATION: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_DELIMITATION: Tag = Tag(0xFFFE, 0xE0DD);

#[derive(Debug, Default)]
pub struct DataSet<'a> {
    elements: Vec<Element<'a>>,
}

#[derive(Debug)]
pub struct Element<'a> {
    pub tag: Tag,
    /// As written; none in Implicit VR.
    pub vr: Option<[u8; 2]>,
    pub value: Value<'a>,
}

#[derive(Debug)]
pub enum Value<'a> {
    Bytes(&'a [u8]),
    Items(Vec<DataSet<'a>>),
}

impl<'a> DataSet<'a> {
    /// The value of `tag` without trailing padding; empty where it is absent.
    pub fn bytes(&self, tag: Tag) -> &'a [u8] {
        match self.find(tag) {
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    pub fn items(&self, tag: Tag) -> &[DataSet<'a>] {
        match self.find(tag) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    pub fn has(&self, tag: Tag) -> bool {
        self.find(tag).is_some()
    }

    /// In the order they came.
    pub fn elements(&self) -> &[Element<'a>] {
        &self.elements
    }

    fn find(&self, tag: Tag) -> Option<&Value<'a>> {
        self.elements.iter().find(|found| found.tag == tag).map(|found| &found.value)
    }
}

/// How a data set is read, and how much of it at most.
#[derive(Clone, Copy)]
pub struct Reading {
    pub explicit: bool,
    /// Elements and items together.
    pub max_elements: usize,
    /// In Implicit VR a sequence of defined length looks like any value: which elements are sequences.
    pub is_sequence: fn(Tag) -> bool,
}

/// Says offsets, never values.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the data set is malformed at byte {at}: {what}")]
pub struct Malformed {
    pub at: usize,
    pub what: &'static str,
}

/// # Errors
/// [`Malformed`]
pub fn parse(bytes: &[u8], reading: Reading) -> Result<DataSet<'_>, Malformed> {
    let mut reader = Reader { bytes, at: 0, elements: 0, reading };
    reader.data_set(bytes.len(), false, reading.explicit, 0)
}

type Vr = Option<[u8; 2]>;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    elements: usize,
    reading: Reading,
}

enum Form {
    Bytes,
    Items { explicit: bool },
}

/// The calls go at most [`MAX_DEPTH`] deep; the frames of that depth take a few kilobytes.
impl<'a> Reader<'a> {
    fn malformed<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, what })
    }

    fn take(&mut self, count: usize, end: usize) -> Result<&'a [u8], Malformed> {
        let to = self.at.checked_add(count).filter(|to| *to <= end);
        let Some(part) = to.and_then(|to| self.bytes.get(self.at..to)) else {
            return self.malformed("a length reaches past the end");
        };
        self.at += count;
        Ok(part)
    }

    fn u16(&mut self, end: usize) -> Result<u16, Malformed> {
        let part = self.take(2, end)?;
        Ok(u16::from_le_bytes([part[0], part[1]]))
    }

    fn u32(&mut self, end: usize) -> Result<u32, Malformed> {
        let part = self.take(4, end)?;
        Ok(u32::from_le_bytes([part[0], part[1], part[2], part[3]]))
    }

    fn tag(&mut self, end: usize) -> Result<Tag, Malformed> {
        Ok(Tag(self.u16(end)?, self.u16(end)?))
    }

    fn count(&mut self) -> Result<(), Malformed> {
        self.elements += 1;
        if self.elements > self.reading.max_elements {
            self.malformed("more elements than it may have")
        } else {
            Ok(())
        }
    }

    /// Elements up to `end`, or up to an Item Delimitation Item where `delimited`.
    fn data_set(
        &mut self,
        end: usize,
        delimited: bool,
        explicit: bool,
        depth: usize,
    ) -> Result<DataSet<'a>, Malformed> {
        let mut set = DataSet::default();
        while self.at < end {
            self.count()?;
            let tag = self.tag(end)?;
            if delimited && tag == ITEM_DELIMITATION {
                self.u32(end)?;
                return Ok(set);
            }
            if tag.group() == 0xFFFE {
                return self.malformed("an item or a delimiter outside a sequence");
            }
            let (vr, form, length) = self.form_and_length(tag, explicit, end)?;
            let value = match form {
                Form::Items { explicit } => Value::Items(self.sequence(length, end, explicit, depth)?),
                Form::Bytes if length == UNDEFINED => return self.malformed("a value of undefined length"),
                Form::Bytes => Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX), end)?),
            };
            set.elements.push(Element { tag, vr, value });
        }
        if delimited { self.malformed("an item that does not end") } else { Ok(set) }
    }

    /// PS3.5 7.1.2 and 7.1.3.
    fn form_and_length(&mut self, tag: Tag, explicit: bool, end: usize) -> Result<(Vr, Form, u32), Malformed> {
        if !explicit {
            let length = self.u32(end)?;
            let sequence = length == UNDEFINED || (self.reading.is_sequence)(tag);
            return Ok((None, if sequence { Form::Items { explicit } } else { Form::Bytes }, length));
        }
        let vr = self.take(2, end)?;
        let written = vr.first_chunk().copied();
        if !vr.iter().all(u8::is_ascii_uppercase) {
            return self.malformed("no value representation where one is due");
        }
        let short = matches!(
            vr,
            b"AE"
                | b"AS"
                | b"AT"
                | b"CS"
                | b"DA"
                | b"DS"
                | b"DT"
                | b"FD"
                | b"FL"
                | b"IS"
                | b"LO"
                | b"LT"
                | b"PN"
                | b"SH"
                | b"SL"
                | b"SS"
                | b"ST"
                | b"TM"
                | b"UI"
                | b"UL"
                | b"US"
        );
        if short {
            return Ok((written, Form::Bytes, u32::from(self.u16(end)?)));
        }
        self.take(2, end)?;
        let length = self.u32(end)?;
        let form = match vr {
            b"SQ" => Form::Items { explicit: true },
            // PS3.5 6.2.2: the content of UN is Implicit VR.
            b"UN" if length == UNDEFINED || (self.reading.is_sequence)(tag) => Form::Items { explicit: false },
            _ => Form::Bytes,
        };
        Ok((written, form, length))
    }

    fn sequence(
        &mut self,
        length: u32,
        end: usize,
        explicit: bool,
        depth: usize,
    ) -> Result<Vec<DataSet<'a>>, Malformed> {
        if depth >= MAX_DEPTH {
            return self.malformed("sequences nested deeper than they may be");
        }
        let (delimited, end) = self.extent(length, end)?;
        let mut items = Vec::new();
        while self.at < end {
            self.count()?;
            let tag = self.tag(end)?;
            let length = self.u32(end)?;
            match tag {
                ITEM => {
                    let (item_delimited, item_end) = self.extent(length, end)?;
                    items.push(self.data_set(item_end, item_delimited, explicit, depth + 1)?);
                }
                SEQUENCE_DELIMITATION if delimited => return Ok(items),
                _ => return self.malformed("something else than an item in a sequence"),
            }
        }
        if delimited { self.malformed("a sequence that does not end") } else { Ok(items) }
    }

    /// Whether a delimiter ends it, and where it ends at the latest.
    fn extent(&self, length: u32, end: usize) -> Result<(bool, usize), Malformed> {
        if length == UNDEFINED {
            return Ok((true, end));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match self.at.checked_add(length).filter(|to| *to <= end) {
            Some(to) => Ok((false, to)),
            None => self.malformed("a length reaches past the end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_dictionary_std::tags;
    use proptest::prelude::*;

    fn parse(bytes: &[u8], explicit: bool) -> Result<DataSet<'_>, Malformed> {
        let is_sequence = |tag| tag == tags::CONCEPT_NAME_CODE_SEQUENCE;
        super::parse(bytes, Reading { explicit, max_elements: 200_000, is_sequence })
    }

    fn nested(levels: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..levels {
            bytes.extend([0x40, 0x00, 0x30, 0xA7, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
            bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        for _ in 0..levels {
            bytes.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
            bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        }
        bytes
    }

    #[test]
    fn nesting_is_read_to_the_limit_and_refused_beyond() {
        assert!(parse(&nested(MAX_DEPTH), true).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1), true).is_err());
        assert!(parse(&nested(100_000), true).is_err());
    }

    #[test]
    fn a_length_beyond_the_data_is_refused_before_anything_is_reserved() {
        let huge = [0x42, 0x00, 0x11, 0x00, b'O', b'B', 0, 0, 0xF0, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
        assert!(matches!(parse(&huge, true), Err(Malformed { .. })));
        let undefined = [0x42, 0x00, 0x11, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
        assert!(matches!(parse(&undefined, true), Err(Malformed { .. })));
        assert!(parse(&undefined[..7], true).is_err());
    }

    #[test]
    fn a_sequence_of_defined_length_is_seen_in_implicit_too() {
        let item = [0x08, 0x00, 0x04, 0x01, 2, 0, 0, 0, b'A', b'B'];
        let mut bytes = vec![0x40, 0x00, 0x43, 0xA0, 18, 0, 0, 0, 0xFE, 0xFF, 0x00, 0xE0, 10, 0, 0, 0];
        bytes.extend(item);
        let set = parse(&bytes, false).unwrap();
        assert_eq!(set.items(tags::CONCEPT_NAME_CODE_SEQUENCE)[0].bytes(tags::CODE_MEANING), b"AB");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), explicit: bool) {
            let _ = parse(&bytes, explicit);
        }

        #[test]
        fn no_change_to_a_good_data_set_makes_it_panic(at in 0_usize..2000, to: u8) {
            let mut bytes = nested(20);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = parse(&bytes, true);
        }
    }
}
