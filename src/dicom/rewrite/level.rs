//! One level of elements: the data set's top, or an item of a request sequence. What it says of identifiers, and the
//! items of the sequences in it.
//!
//! The bytes have passed the scanner's walk; here nothing is read past: what does not fit its length is an error.

use super::{
    ACCESSION_NUMBER, FILLER_ORDER_NUMBER, ISSUER_OF_ACCESSION_NUMBER, ISSUER_OF_PATIENT_ID, LOCAL_NAMESPACE,
    ORDER_FILLER, ORDER_PLACER, PATIENT_ID, PLACER_ORDER_NUMBER, REFERENCED_REQUEST, REQUEST_ATTRIBUTES, RewriteError,
    SPECIFIC_CHARACTER_SET, Said, UNIVERSAL_ENTITY_ID, WANTED,
};
use crate::dicom::charset::SenderCharset;
use crate::{
    dicom::{
        charset,
        scan::{
            Element, ITEM, ITEM_DELIMITER, Kept, MAX_DEPTH, MAX_VALUE_BYTES, SEQUENCE_DELIMITER, Surveyed, Syntax,
            UNDEFINED, has_long_header,
        },
    },
    model::{IdentifierKind, IssuedId},
};
use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

/// Of a longer value the index keeps the beginning only, so it could not be told from another.
const MAX_LETTERS: usize = 256;
/// Requests of one data set. A study answers a few.
const MAX_ITEMS: usize = 1024;

/// Different identifiers of one data set: each is looked up, and may have to be made. More belong to no examination.
const MAX_IDENTIFIERS: usize = 64;

/// The sequences whose items name requests.
pub(super) const REQUESTS: [u32; 2] = [REQUEST_ATTRIBUTES, REFERENCED_REQUEST];

/// Every identifier of a data set, each once.
pub(super) fn identifiers(top: &Surveyed, sender: &SenderCharset) -> Result<Vec<Said>, RewriteError> {
    let charset = charset_of_top(top, sender)?;
    let (mut seen, mut all): (HashSet<Said>, Vec<Said>) = Default::default();
    let mut add = |found: Vec<Said>| {
        for said in found {
            if seen.insert(said.clone()) {
                all.push(said);
            }
        }
        if all.len() > MAX_IDENTIFIERS { Err(RewriteError::TooMany) } else { Ok(()) }
    };
    add(said(top, &charset)?)?;
    for sequence in REQUESTS {
        for (item, _) in levels(top, sequence)? {
            let charset = charset_of(&item, &charset)?;
            add(said(&item, &charset)?)?;
        }
    }
    Ok(all)
}

/// The identifiers of one level.
pub(super) fn said(level: &Surveyed, charset: &str) -> Result<Vec<Said>, RewriteError> {
    let mut found = Vec::new();
    for kind in IdentifierKind::ALL {
        let value = text(level, tag_of(kind), charset)?;
        if !value.is_empty() {
            let id = IssuedId::new(value, issuer(level, kind, charset)?);
            found.push(Said { kind, id });
        }
    }
    Ok(found)
}

pub(super) fn tag_of(kind: IdentifierKind) -> u32 {
    match kind {
        IdentifierKind::Patient => PATIENT_ID,
        IdentifierKind::Accession => ACCESSION_NUMBER,
        IdentifierKind::Placer => PLACER_ORDER_NUMBER,
        IdentifierKind::Filler => FILLER_ORDER_NUMBER,
    }
}

/// Where the issuer of an identifier stands.
pub(super) fn issuer_tag_of(kind: IdentifierKind) -> u32 {
    match kind {
        IdentifierKind::Patient => ISSUER_OF_PATIENT_ID,
        IdentifierKind::Accession => ISSUER_OF_ACCESSION_NUMBER,
        IdentifierKind::Placer => ORDER_PLACER,
        IdentifierKind::Filler => ORDER_FILLER,
    }
}

fn issuer(level: &Surveyed, kind: IdentifierKind, charset: &str) -> Result<String, RewriteError> {
    let tag = issuer_tag_of(kind);
    if kind == IdentifierKind::Patient {
        return text(level, tag, charset);
    }
    // HL7v2 Hierarchic Designator Macro (PS3.3 Table 10-17): universal where there is no local name.
    let Some(item) = items(level, tag)?.into_iter().next() else { return Ok(String::new()) };
    let local = text_in(&item, LOCAL_NAMESPACE, charset)?;
    if local.is_empty() { text_in(&item, UNIVERSAL_ENTITY_ID, charset) } else { Ok(local) }
}

/// What is in force in a data set: what it names, as its sender means that.
pub(super) fn charset_of_top(top: &Surveyed, sender: &SenderCharset) -> Result<String, RewriteError> {
    Ok(sender.meant(&charset_of(top, "")?).to_owned())
}

/// A level may name its own character set; otherwise the one around it is in force (PS3.3 C.12.1.1.2).
pub(super) fn charset_of(level: &Surveyed, around: &str) -> Result<String, RewriteError> {
    let Some(kept) = level.kept.get(&SPECIFIC_CHARACTER_SET) else { return Ok(around.to_owned()) };
    let named = String::from_utf8_lossy(value(SPECIFIC_CHARACTER_SET, kept)?).trim_matches([' ', '\0']).to_owned();
    Ok(if named.is_empty() { around.to_owned() } else { named })
}

fn text(level: &Surveyed, tag: u32, charset: &str) -> Result<String, RewriteError> {
    level.kept.get(&tag).map_or(Ok(String::new()), |kept| decoded(tag, value(tag, kept)?, charset))
}

/// Padding removed as the scanner removes it, so that both say the same of one data set.
fn decoded(tag: u32, bytes: &[u8], charset: &str) -> Result<String, RewriteError> {
    if bytes.len() as u64 > MAX_VALUE_BYTES {
        return Err(RewriteError::Undecodable { tag });
    }
    let (text, lossy) = charset::decode(bytes, charset);
    let text = text.trim_matches([' ', '\0']);
    if lossy || text.contains(char::is_control) || text.chars().count() > MAX_LETTERS {
        return Err(RewriteError::Undecodable { tag });
    }
    Ok(text.to_owned())
}

fn value(tag: u32, kept: &Kept) -> Result<&[u8], RewriteError> {
    let is_plain = kept.length != UNDEFINED && kept.vr != Some(*b"SQ");
    kept.bytes.get(kept.header..).filter(|_| is_plain).ok_or(malformed(tag, "a value of defined length is expected"))
}

/// The content of one item, and how it is written.
pub(super) struct Item<'a> {
    pub content: &'a [u8],
    pub syntax: Syntax,
}

/// How the items of a sequence are written: one with VR UN holds Implicit VR Little Endian (PS3.5 6.2.2 note 2).
pub(super) fn inner_syntax(kept: &Kept, around: Syntax) -> Syntax {
    if kept.vr == Some(*b"UN") { Syntax::ImplicitLe } else { around }
}

/// The bytes between a sequence's header and its delimiter, if it has one.
pub(super) fn sequence_content(tag: u32, kept: &Kept) -> Result<&[u8], RewriteError> {
    if !matches!(kept.vr, None | Some([b'S', b'Q'] | [b'U', b'N'])) {
        return Err(malformed(tag, "a sequence is expected"));
    }
    let delimiter = if kept.length == UNDEFINED { 8 } else { 0 };
    let end = kept.bytes.len().checked_sub(delimiter).filter(|end| *end >= kept.header);
    end.and_then(|end| kept.bytes.get(kept.header..end)).ok_or(malformed(tag, "it ends early"))
}

/// The items of a sequence of this level; none where it is absent.
pub(super) fn items(level: &Surveyed, tag: u32) -> Result<Vec<Item<'_>>, RewriteError> {
    let Some(kept) = level.kept.get(&tag) else { return Ok(Vec::new()) };
    let syntax = inner_syntax(kept, level.syntax);
    let bytes = sequence_content(tag, kept)?;
    let (mut at, mut items) = (0, Vec::new());
    while at < bytes.len() {
        let (element, begin) = read(bytes, at, syntax).ok_or(malformed(tag, "an item is expected"))?;
        if element.tag != ITEM || items.len() == MAX_ITEMS {
            return Err(malformed(tag, "an item is expected, and not thousands"));
        }
        let end = if element.length == UNDEFINED {
            let ((), end) = each_element(bytes, begin, syntax, true, |_, _| ()).ok_or(malformed(tag, "an item"))?;
            // Without the delimiter.
            (end - 8, end)
        } else {
            let end = end_of(bytes, begin, element.length).ok_or(malformed(tag, "an item ends early"))?;
            (end, end)
        };
        items.push(Item { content: &bytes[begin..end.0], syntax });
        at = end.1;
    }
    Ok(items)
}

/// The items as levels of their own, each with its content.
pub(super) fn levels(level: &Surveyed, tag: u32) -> Result<Vec<(Surveyed, Item<'_>)>, RewriteError> {
    items(level, tag)?.into_iter().map(|item| Ok((survey(tag, &item)?, item))).collect()
}

/// The same of an item as the scanner keeps of a data set.
fn survey(tag: u32, item: &Item<'_>) -> Result<Surveyed, RewriteError> {
    let (mut kept, mut before): (BTreeMap<u32, Kept>, BTreeMap<u32, u64>) = Default::default();
    let mut twice = None;
    let keep = |element: &Element, at: (usize, Range<usize>)| {
        let (start, range) = (at.0, at.1);
        for wanted in WANTED.iter().take_while(|wanted| **wanted < element.tag) {
            before.entry(*wanted).or_insert(start as u64);
        }
        if !WANTED.contains(&element.tag) {
            return;
        }
        let bytes = item.content.get(start..range.end).unwrap_or_default().to_vec();
        let (vr, length, header) = (element.vr, element.length, range.start - start);
        if kept.insert(element.tag, Kept { start: start as u64, vr, length, header, bytes }).is_some() {
            twice = Some(element.tag);
        }
    };
    each_element(item.content, 0, item.syntax, false, keep).ok_or(malformed(tag, "an item cannot be read"))?;
    match twice {
        Some(tag) => Err(malformed(tag, "it is there twice")),
        None => Ok(Surveyed {
            syntax: item.syntax,
            kept,
            before,
            end: item.content.len() as u64,
            rest: item.content.len() as u64,
        }),
    }
}

/// The text of one element of an item.
fn text_in(item: &Item<'_>, wanted: u32, charset: &str) -> Result<String, RewriteError> {
    let mut found = None;
    let look = |element: &Element, (_, value): (usize, Range<usize>)| {
        if element.tag == wanted && element.length != UNDEFINED {
            found = item.content.get(value);
        }
    };
    each_element(item.content, 0, item.syntax, false, look).ok_or(malformed(wanted, "an item cannot be read"))?;
    found.map_or(Ok(String::new()), |bytes| decoded(wanted, bytes, charset))
}

/// Calls `meet` for each element of one level, with where it begins and where its value lies (its delimiter included).
/// `delimited`: until an item delimiter, otherwise until the end of `bytes`. Returns the end; `None`: malformed.
fn each_element(
    bytes: &[u8],
    mut at: usize,
    syntax: Syntax,
    delimited: bool,
    mut meet: impl FnMut(&Element, (usize, Range<usize>)),
) -> Option<((), usize)> {
    loop {
        if !delimited && at == bytes.len() {
            return Some(((), at));
        }
        let (element, value) = read(bytes, at, syntax)?;
        if element.is_delimiter() {
            return (delimited && element.tag == ITEM_DELIMITER).then_some(((), value));
        }
        let end = match element.length {
            UNDEFINED => behind_undefined(bytes, value, &element, syntax)?,
            length => end_of(bytes, value, length)?,
        };
        meet(&element, (at, value..end));
        at = end;
    }
}

/// What is open while the end of an element of undefined length is looked for.
enum Open {
    Items(Syntax),
    Elements(Syntax),
}

/// The byte behind an element of undefined length. What has a length is not looked into.
fn behind_undefined(bytes: &[u8], mut at: usize, element: &Element, syntax: Syntax) -> Option<usize> {
    let inside = |vr: Option<[u8; 2]>, syntax| if vr == Some(*b"UN") { Syntax::ImplicitLe } else { syntax };
    let mut open = vec![Open::Items(inside(element.vr, syntax))];
    while let Some(level) = open.last() {
        if open.len() > 2 * MAX_DEPTH {
            return None;
        }
        let (Open::Items(syntax) | Open::Elements(syntax)) = *level;
        let (element, value) = read(bytes, at, syntax)?;
        at = value;
        match (level, element.tag) {
            (Open::Items(_), SEQUENCE_DELIMITER) | (Open::Elements(_), ITEM_DELIMITER) => {
                open.pop();
            }
            (Open::Items(_), ITEM) if element.length == UNDEFINED => open.push(Open::Elements(syntax)),
            (Open::Items(_), tag) if tag != ITEM => return None,
            (Open::Elements(_), ITEM | SEQUENCE_DELIMITER) => return None,
            _ if element.length == UNDEFINED => open.push(Open::Items(inside(element.vr, syntax))),
            _ => at = end_of(bytes, value, element.length)?,
        }
    }
    Some(at)
}

fn end_of(bytes: &[u8], at: usize, length: u32) -> Option<usize> {
    at.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= bytes.len())
}

/// The element header at `at`, and where its value begins.
fn read(bytes: &[u8], at: usize, syntax: Syntax) -> Option<(Element, usize)> {
    let rest = bytes.get(at..)?;
    let mut header = [0; 12];
    header[..8].copy_from_slice(rest.get(..8)?);
    let long = has_long_header(&header, syntax);
    if long {
        header.copy_from_slice(rest.get(..12)?);
    }
    Some((Element::read(&header, syntax), at + if long { 12 } else { 8 }))
}

pub(super) fn malformed(tag: u32, what: &'static str) -> RewriteError {
    RewriteError::Malformed { tag, what }
}
