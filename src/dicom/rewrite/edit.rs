//! From what a header says and what it is to say, to patches.
//!
//! Each level is edited alike: the changed elements as they are to be, by tag. A request sequence in which an item
//! changes is written anew as a whole, its unchanged elements byte for byte; and so it stands, as it was, among the
//! previous values (PS3.3 C.12.1.1.9: an attribute in a sequence is kept with the whole sequence).

use super::{
    ISSUER_OF_PATIENT_ID_QUALIFIERS, LOCAL_NAMESPACE, MODIFICATION_DATE_TIME, MODIFIED_ATTRIBUTES, MODIFYING_SYSTEM,
    Modification, ORIGINAL_ATTRIBUTES, Patches, REASON_FOR_MODIFICATION, RewriteError, SOURCE_OF_PREVIOUS_VALUES, Said,
    level::{
        REQUESTS, charset_of, charset_of_top, inner_syntax, issuer_tag_of, levels, malformed, said, sequence_content,
        tag_of,
    },
    patch::Patch,
    write,
};
use crate::dicom::charset::SenderCharset;
use crate::{
    dicom::scan::{Survey, Surveyed, Syntax},
    model::{IdentifierKind, IssuedId},
};
use std::collections::BTreeMap;

type Becomes<'a> = &'a dyn Fn(&Said) -> Option<IssuedId>;
/// An element written anew, and the identifiers that are others in it.
type Edited = (Vec<u8>, Vec<Said>);

/// The elements of one level that change: as they are to be written, or gone.
#[derive(Default)]
struct Changes {
    by_tag: BTreeMap<u32, Option<Vec<u8>>>,
    /// Those that become others, each once.
    identifiers: Vec<Said>,
}

fn add_each_once(known: &mut Vec<Said>, more: Vec<Said>) {
    for said in more {
        if !known.contains(&said) {
            known.push(said);
        }
    }
}

pub(super) fn patches(
    top: &Surveyed,
    sender: &SenderCharset,
    becomes: Becomes<'_>,
    noted: Option<Modification<'_>>,
) -> Result<Patches, RewriteError> {
    let charset = charset_of_top(top, sender)?;
    let mut changes = of_level(top, &charset, becomes)?;
    for tag in REQUESTS {
        if let Some((sequence, identifiers)) = requests(top, tag, &charset, becomes)? {
            changes.by_tag.insert(tag, Some(sequence));
            add_each_once(&mut changes.identifiers, identifiers);
        }
    }
    if changes.by_tag.is_empty() {
        return Ok(Patches::default());
    }
    if let Some(noted) = noted {
        let history = history(top, &changes, noted)?;
        changes.by_tag.insert(ORIGINAL_ATTRIBUTES, Some(history));
    }
    drop_group_lengths(top, &mut changes);
    let identifiers = u32::try_from(changes.identifiers.len()).unwrap_or(u32::MAX);
    Ok(Patches::new(placed(top, &changes), identifiers))
}

/// The identifiers of one level and their issuers.
fn of_level(level: &Surveyed, charset: &str, becomes: Becomes<'_>) -> Result<Changes, RewriteError> {
    let mut changes = Changes::default();
    for said in said(level, charset)? {
        let Some(id) = becomes(&said) else { continue };
        // An order number says no issuer, unless a sequence beside it does.
        let says_issuer = matches!(said.kind, IdentifierKind::Patient | IdentifierKind::Accession);
        let issuer_stays = id.issuer == said.id.issuer || (said.id.issuer.is_empty() && !says_issuer);
        if id.value == said.id.value && issuer_stays {
            continue;
        }
        // What is written is the same in every character set; what is not, a document made anew holds.
        if !(id.value.is_ascii() && id.issuer.is_ascii()) || id.value.len() > said.kind.max_letters() {
            return Err(RewriteError::TooLong { tag: tag_of(said.kind) });
        }
        let vr = if said.kind == IdentifierKind::Accession { write::TEXT_SH } else { write::TEXT_LO };
        let value = write::text(level.syntax, tag_of(said.kind), vr, &id.value)?;
        changes.by_tag.insert(tag_of(said.kind), Some(value));
        let tag = issuer_tag_of(said.kind);
        let is_there = level.kept.contains_key(&tag);
        if is_there || (says_issuer && !id.issuer.is_empty()) {
            changes.by_tag.insert(tag, issuer(level.syntax, said.kind, &id.issuer)?);
        }
        if said.kind == IdentifierKind::Patient && level.kept.contains_key(&ISSUER_OF_PATIENT_ID_QUALIFIERS) {
            // They describe the issuer that was.
            changes.by_tag.insert(ISSUER_OF_PATIENT_ID_QUALIFIERS, None);
        }
        changes.identifiers.push(said);
    }
    Ok(changes)
}

/// The element that names the issuer; none where there is none to name.
fn issuer(syntax: Syntax, kind: IdentifierKind, issuer: &str) -> Result<Option<Vec<u8>>, RewriteError> {
    let tag = issuer_tag_of(kind);
    if issuer.is_empty() {
        return Ok(None);
    }
    if kind == IdentifierKind::Patient {
        return write::text(syntax, tag, write::TEXT_LO, issuer).map(Some);
    }
    let name = write::text(syntax, LOCAL_NAMESPACE, write::TEXT_UT, issuer)?;
    write::element(syntax, tag, write::SEQUENCE, &write::item(syntax, &name)?).map(Some)
}

/// A request sequence anew, with the identifiers that changed in it; `None`: none did.
fn requests(top: &Surveyed, tag: u32, charset: &str, becomes: Becomes<'_>) -> Result<Option<Edited>, RewriteError> {
    let Some(kept) = top.kept.get(&tag) else { return Ok(None) };
    let (mut content, mut identifiers) = (Vec::new(), Vec::new());
    for (level, item) in levels(top, tag)? {
        let charset = charset_of(&level, charset)?;
        let mut changes = of_level(&level, &charset, becomes)?;
        add_each_once(&mut identifiers, std::mem::take(&mut changes.identifiers));
        drop_group_lengths(&level, &mut changes);
        let edited = Patches::new(placed(&level, &changes), 0).apply(item.content);
        content.extend(write::item(level.syntax, &edited)?);
    }
    if identifiers.is_empty() {
        return Ok(None);
    }
    let vr = kept.vr.unwrap_or(*write::SEQUENCE);
    Ok(Some((write::element(top.syntax, tag, &vr, &content)?, identifiers)))
}

/// Original Attributes Sequence with one more item: what the changed elements were, as they were written.
fn history(top: &Surveyed, changes: &Changes, noted: Modification<'_>) -> Result<Vec<u8>, RewriteError> {
    let (syntax, before) = (top.syntax, top.kept.get(&ORIGINAL_ATTRIBUTES));
    let mut items = match before {
        // As UN its items are written in another way than the values that are to go in.
        Some(kept) if inner_syntax(kept, syntax) != syntax => {
            return Err(malformed(ORIGINAL_ATTRIBUTES, "it is written with VR UN"));
        }
        Some(kept) => sequence_content(ORIGINAL_ATTRIBUTES, kept)?.to_vec(),
        None => Vec::new(),
    };
    let mut previous = Vec::new();
    for (tag, becomes) in &changes.by_tag {
        match (top.kept.get(tag), becomes) {
            (Some(kept), _) => previous.extend_from_slice(&kept.bytes),
            // An attribute that was absent stands there without a value.
            (None, Some(_)) if *tag == super::ISSUER_OF_PATIENT_ID => {
                previous.extend(write::text(syntax, *tag, write::TEXT_LO, "")?);
            }
            (None, Some(_)) => previous.extend(write::element(syntax, *tag, write::SEQUENCE, &[])?),
            (None, None) => {}
        }
    }
    let at = noted.at.utc().format("%Y%m%d%H%M%S%.6f+0000").to_string();
    let mut item = write::element(syntax, MODIFIED_ATTRIBUTES, write::SEQUENCE, &write::item(syntax, &previous)?)?;
    item.extend(write::text(syntax, MODIFICATION_DATE_TIME, write::TEXT_DT, &at)?);
    item.extend(write::text(syntax, MODIFYING_SYSTEM, write::TEXT_LO, &plain(noted.system))?);
    item.extend(write::text(syntax, SOURCE_OF_PREVIOUS_VALUES, write::TEXT_LO, &plain(noted.source))?);
    item.extend(write::text(syntax, REASON_FOR_MODIFICATION, write::TEXT_CS, "COERCE")?);
    items.extend(write::item(syntax, &item)?);
    let history = write::element(syntax, ORIGINAL_ATTRIBUTES, write::SEQUENCE, &items)?;
    // A sequence stands two levels deeper there than it stood before: too deep for us is too deep for others.
    let mut survey = Survey::of(syntax, &[ORIGINAL_ATTRIBUTES]);
    survey.push(&history)?;
    survey.finish()?;
    Ok(history)
}

/// What an LO takes in every character set.
fn plain(text: &str) -> String {
    text.chars().map(|c| if (c.is_ascii_graphic() || c == ' ') && c != '\\' { c } else { '?' }).take(64).collect()
}

/// Group lengths are retired (PS3.5 7.2); those of groups that change would be wrong.
fn drop_group_lengths(level: &Surveyed, changes: &mut Changes) {
    let groups: Vec<u32> = changes.by_tag.keys().map(|tag| tag & 0xFFFF_0000).collect();
    for length in groups.into_iter().filter(|length| level.kept.contains_key(length)) {
        changes.by_tag.insert(length, None);
    }
}

/// Where the changed elements go: in the place of those that are there, the others before the first with a higher tag.
fn placed(level: &Surveyed, changes: &Changes) -> Vec<Patch> {
    let mut list: Vec<Patch> = Vec::new();
    for (tag, becomes) in &changes.by_tag {
        let insert = becomes.clone().unwrap_or_default();
        let patch = match level.kept.get(tag) {
            Some(kept) => Patch { at: kept.start, drop: kept.bytes.len() as u64, insert },
            None => Patch { at: level.before.get(tag).copied().unwrap_or(level.end), drop: 0, insert },
        };
        list.push(patch);
    }
    list
}
