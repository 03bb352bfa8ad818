//! Other identifiers in a data set's header, everything else byte for byte as it was.
//!
//! In: a data set in pieces, in any transfer syntax, and what its identifiers are to be. Out: [`Patches`], a few bytes to
//! drop and to insert, which [`Patcher`] merges into the stream; or, for a deflated data set, all of it anew
//! ([`rewrite_whole`]). Rewritten are Patient ID, Accession Number and the placer and filler order numbers with their
//! issuers, at top level and in the items of Request Attributes and Referenced Request Sequence; what was there before is
//! added to Original Attributes Sequence (PS3.3 C.12.1.1.9), whose items are kept. Group lengths of touched groups go,
//! because they would be wrong. Memory follows the rewritten elements, never the pixel data.
//!
//! What stands behind the header is looked through as it passes ([`Rest`]): an identifier there stops it.
//!
//! Decides no identifier: its caller says what each becomes. Changes no UID, no text and no content item; digital
//! signatures over what is rewritten are void afterwards. A header whose identifiers cannot be read for certain is an
//! error: it is not guessed at.

mod deflated;
mod edit;
mod level;
mod patch;
mod rest;
#[cfg(test)]
mod tests;
mod write;

pub use deflated::{MAX_INFLATED_BYTES, check_order, identifiers_of, rewrite_whole};
pub use patch::{Patcher, Patches};
pub use rest::Rest;

use super::scan::{ScanError, Survey, Surveyed};
use crate::dicom::charset::SenderCharset;
use crate::model::{IdentifierKind, IssuedId, Moment, Uid};

const fn tag(group: u16, element: u16) -> u32 {
    (group as u32) << 16 | element as u32
}

const SPECIFIC_CHARACTER_SET: u32 = tag(0x0008, 0x0005);
const ACCESSION_NUMBER: u32 = tag(0x0008, 0x0050);
const ISSUER_OF_ACCESSION_NUMBER: u32 = tag(0x0008, 0x0051);
const PATIENT_ID: u32 = tag(0x0010, 0x0020);
const ISSUER_OF_PATIENT_ID: u32 = tag(0x0010, 0x0021);
const ISSUER_OF_PATIENT_ID_QUALIFIERS: u32 = tag(0x0010, 0x0024);
const ORDER_PLACER: u32 = tag(0x0040, 0x0026);
const ORDER_FILLER: u32 = tag(0x0040, 0x0027);
const LOCAL_NAMESPACE: u32 = tag(0x0040, 0x0031);
const UNIVERSAL_ENTITY_ID: u32 = tag(0x0040, 0x0032);
const REQUEST_ATTRIBUTES: u32 = tag(0x0040, 0x0275);
const PLACER_ORDER_NUMBER: u32 = tag(0x0040, 0x2016);
const FILLER_ORDER_NUMBER: u32 = tag(0x0040, 0x2017);
const REFERENCED_REQUEST: u32 = tag(0x0040, 0xA370);
const MODIFIED_ATTRIBUTES: u32 = tag(0x0400, 0x0550);
const ORIGINAL_ATTRIBUTES: u32 = tag(0x0400, 0x0561);
const MODIFICATION_DATE_TIME: u32 = tag(0x0400, 0x0562);
const MODIFYING_SYSTEM: u32 = tag(0x0400, 0x0563);
const SOURCE_OF_PREVIOUS_VALUES: u32 = tag(0x0400, 0x0564);
const REASON_FOR_MODIFICATION: u32 = tag(0x0400, 0x0565);

/// What is kept of a data set's top level and of each request, in rising order. (gggg,0000) are group lengths.
const WANTED: [u32; 17] = [
    tag(0x0008, 0x0000),
    SPECIFIC_CHARACTER_SET,
    ACCESSION_NUMBER,
    ISSUER_OF_ACCESSION_NUMBER,
    tag(0x0010, 0x0000),
    PATIENT_ID,
    ISSUER_OF_PATIENT_ID,
    ISSUER_OF_PATIENT_ID_QUALIFIERS,
    tag(0x0040, 0x0000),
    ORDER_PLACER,
    ORDER_FILLER,
    REQUEST_ATTRIBUTES,
    PLACER_ORDER_NUMBER,
    FILLER_ORDER_NUMBER,
    REFERENCED_REQUEST,
    tag(0x0400, 0x0000),
    ORIGINAL_ATTRIBUTES,
];

/// Why a header cannot be rewritten. Says tags and offsets, never values.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RewriteError {
    #[error("the header cannot be read")]
    Scan(#[from] ScanError),
    #[error("({:04X},{:04X}) is malformed: {what}", .tag >> 16, .tag & 0xFFFF)]
    Malformed { tag: u32, what: &'static str },
    #[error("({:04X},{:04X}) cannot be read for certain in the data set's character set", .tag >> 16, .tag & 0xFFFF)]
    Undecodable { tag: u32 },
    #[error("it names more requests than one examination answers")]
    TooMany,
    #[error("it is deflated and too large to be rewritten, or damaged")]
    Deflated,
    #[error("({:04X},{:04X}) becomes too long, or holds letters beyond ASCII", .tag >> 16, .tag & 0xFFFF)]
    TooLong { tag: u32 },
}

/// An identifier as a header says it. Holds patient data.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Said {
    pub kind: IdentifierKind,
    /// The issuer empty where the data set names none.
    pub id: IssuedId,
}

/// A data set under another partner's identifiers, as it can be read in parts.
pub enum Renamed {
    /// The same bytes but for these.
    Patched(Patches),
    /// All of one that was deflated, deflated again.
    Whole(Vec<u8>),
}

/// What is noted in Original Attributes Sequence beside the values that were there before.
#[derive(Clone, Copy, Debug)]
pub struct Modification<'a> {
    /// Attribute Modification DateTime (0400,0562).
    pub at: Moment,
    /// Modifying System (0400,0563).
    pub system: &'a str,
    /// Source of Previous Values (0400,0564).
    pub source: &'a str,
}

/// Takes the beginning of a data set that is not deflated.
pub struct HeaderReader(Survey);

impl HeaderReader {
    pub fn new(transfer_syntax: &Uid) -> Self {
        Self(Survey::new(transfer_syntax, &WANTED))
    }

    /// False: it has seen enough.
    ///
    /// # Errors
    /// The data set cannot be read.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, RewriteError> {
        Ok(self.0.push(bytes)?)
    }

    /// # Errors
    /// The data set ended inside an element, or holds an identifier twice.
    pub fn finish(self) -> Result<RewritableHeader, RewriteError> {
        Ok(RewritableHeader(self.0.finish()?))
    }
}

/// The part of a header that can be rewritten.
pub struct RewritableHeader(Surveyed);

impl RewritableHeader {
    /// Every identifier it says, each once. `sender` where it names no Specific Character Set.
    ///
    /// # Errors
    /// One of them cannot be read for certain, or they are more than one examination has.
    pub fn identifiers(&self, sender: &SenderCharset) -> Result<Vec<Said>, RewriteError> {
        level::identifiers(&self.0, sender)
    }

    /// Looks through what follows the header; is to be given the data set from its first byte.
    pub fn rest(&self) -> Rest {
        Rest::behind(self.0.syntax, self.0.rest)
    }

    /// What is to be dropped and inserted so that each identifier is what `becomes` says (`None`: it stays). Without
    /// `noted`, Original Attributes Sequence is left alone. A header in which nothing changes has no patches.
    ///
    /// # Errors
    /// It cannot be read for certain, or becomes longer than its elements can be.
    pub fn patches(
        &self,
        sender: &SenderCharset,
        becomes: &dyn Fn(&Said) -> Option<IssuedId>,
        noted: Option<Modification<'_>>,
    ) -> Result<Patches, RewriteError> {
        edit::patches(&self.0, sender, becomes, noted)
    }
}

/// Rewrites `data` in every way there is; what a fuzzer calls. The first byte chooses the transfer syntax.
pub fn fuzz_rewrite(data: &[u8]) {
    const SYNTAXES: [&str; 5] =
        ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.3.4"];
    let [choice, data @ ..] = data else { return };
    let Ok(syntax) = Uid::new(SYNTAXES[usize::from(*choice) % SYNTAXES.len()]) else { return };
    let becomes =
        |said: &Said| (said.id.issuer != "R").then(|| IssuedId::new(format!("R-{}", said.id.value.len()), "R"));
    let noted = Modification { at: Moment(0), system: "fuzz", source: "fuzz" };
    let Ok((rewritten, _)) = rewrite_whole(&syntax, data, &SenderCharset::default(), &becomes, Some(noted)) else {
        return;
    };
    // What was rewritten can be read, and rewritten again.
    let again = rewrite_whole(&syntax, &rewritten, &SenderCharset::default(), &becomes, Some(noted));
    assert!(again.is_ok(), "{:?}", again.err());
}
