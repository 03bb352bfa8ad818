//! `[hl7.transliterate]` and `[dicom.transliterate]`: how a partner wants letters spelled that its set does not hold; and
//! what results of a partner's configuration for what is sent to it.
//!
//! A spelling is bounded, holds nothing that means something in a message, and is in the partner's own set.

use super::table::{Found, Table};
use super::values::shorten;
use super::{Partner, PartnerHl7};
use crate::model::{Charset, Outgoing};
use std::collections::BTreeMap;

/// More letters than three alphabets have.
const MOST: usize = 500;
const LONGEST: usize = 16;
/// Where neither the target nor `[hl7]` names a set.
const HL7_DEFAULT: &str = "8859/1";

impl Partner {
    /// How HL7 messages to it are written.
    pub fn hl7_outgoing(&self) -> Outgoing {
        let hl7 = self.hl7.as_ref();
        let target = hl7.and_then(|hl7| hl7.deliver.as_ref());
        let named = target.and_then(|target| target.charset.as_deref());
        let fallback = hl7.and_then(|hl7: &PartnerHl7| hl7.charset.as_deref());
        Outgoing {
            charset: hl7_set(named.or(fallback)),
            utf8: target.is_none_or(|target| target.utf8),
            table: hl7.map(|hl7| hl7.transliterate.clone()).unwrap_or_default(),
        }
    }

    /// How report objects made for it are written.
    pub fn dicom_outgoing(&self) -> Outgoing {
        let dicom = self.dicom.as_ref();
        let target = dicom.and_then(|dicom| dicom.deliver.as_ref());
        Outgoing {
            charset: target.map_or(Charset::UTF_8, |target| target.charset),
            utf8: target.is_none_or(|target| target.utf8),
            table: dicom.map(|dicom| dicom.transliterate.clone()).unwrap_or_default(),
        }
    }

    /// How answers to its questions are written: as it is sent objects, or else in the set it writes itself.
    pub fn dicom_answers(&self) -> Outgoing {
        let outgoing = self.dicom_outgoing();
        let own = self.dicom.as_ref().filter(|dicom| dicom.deliver.is_none());
        let own = own.and_then(|dicom| Charset::of_dicom(dicom.charset.as_deref()?));
        Outgoing { charset: own.unwrap_or(outgoing.charset), ..outgoing }
    }
}

/// A name that has been checked; the default where there is none.
pub(super) fn hl7_set(name: Option<&str>) -> Charset {
    Charset::named(name.unwrap_or(HL7_DEFAULT)).unwrap_or(Charset::UTF_8)
}

/// The table inside this one, if it has one.
pub(super) fn read(table: &mut Table<'_>) -> Vec<(char, Found<String>)> {
    let Some(mut letters) = table.table("transliterate") else { return Vec::new() };
    let entries = letters.texts();
    if entries.len() > MOST {
        letters.problem(&letters.spot(), format!("found {} letters, expected at most {MOST}", entries.len()));
    }
    let mut read = Vec::new();
    for (key, text) in entries.into_iter().take(MOST) {
        match entry(&key.value, &text) {
            Ok(letter) => read.push((letter, Found { value: text, spot: key.spot })),
            Err(problem) => letters.problem(&key.spot, problem),
        }
    }
    read
}

fn entry(key: &str, text: &str) -> Result<char, String> {
    let mut letters = key.chars();
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        return Err(format!("found \"{}\", expected one letter", shorten(key)));
    };
    if letter.is_ascii() {
        return Err("every set holds it; expected a letter beyond ASCII".into());
    }
    // Delimiters of HL7 (v2.5.1 2.5.4) and of DICOM (PS3.5 6.2), so that a spelling never ends a value.
    let fits = |c: char| !c.is_control() && !r"|^~\&=".contains(c);
    if text.chars().count() > LONGEST || !text.chars().all(fits) {
        let text = shorten(text);
        return Err(format!(r"found {text:?}, expected at most {LONGEST} characters without | ^ ~ \ & ="));
    }
    Ok(letter)
}

/// Complains of spellings that the set they are for does not hold.
pub(super) fn check(target: &Table<'_>, letters: &[(char, Found<String>)], charset: Charset) {
    for (_, found) in letters {
        if let Some(missing) = found.value.chars().find(|c| !charset.holds(*c)) {
            let text =
                format!("found {missing:?}, which {} does not hold; expected letters of that set", charset.name());
            target.problem(&found.spot, text);
        }
    }
}

pub(super) fn values(letters: Vec<(char, Found<String>)>) -> BTreeMap<char, String> {
    letters.into_iter().map(|(letter, found)| (letter, found.value)).collect()
}
