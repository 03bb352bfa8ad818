//! A message's data set: bytes in a transfer syntax in, a [`DataSet`] whose text is UTF-8 out; and back.
//!
//! In: what a peer sent with a command, whole. The header scanner walks it first; then it is taken apart within [`Bounds`],
//! so that no length, count or depth a peer writes takes more than it sent. Text is decoded by Specific Character Set
//! (0008,0005), all its values, of each item its own; the element itself is left out, and so are group lengths. Out again,
//! a data set is spelled in the receiver's letters.
//!
//! dicom-object reads nothing here, it only holds and writes: of the character sets it takes the first, and a length that is
//! no multiple of its VR's shifts what follows. Knows no service and no SOP class.

mod convert;

pub use super::service::DataSet;

use super::{
    charset::SenderCharset,
    documents,
    scan::{HeaderScanner, ScanError},
    tree::{self, Malformed, Reading},
};
use crate::model::{Outgoing, Uid};
use dicom_core::{DataElement, PrimitiveValue, VR, value::Value};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

/// What a message's data set may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub bytes: usize,
    /// Elements, items and values together.
    pub elements: usize,
}

impl Bounds {
    /// What is searched for: a list of some ten thousand UIDs fits.
    pub const IDENTIFIER: Self = Self { bytes: 1024 * 1024, elements: 20_000 };
    /// What an N-service is given: a commitment asked for 10,000 instances, the most there may be, fits.
    pub const OPERATION: Self = Self { bytes: 4 * 1024 * 1024, elements: 100_000 };
}

/// Says tags and offsets, never values.
#[derive(Debug, thiserror::Error)]
pub enum DataSetError {
    #[error("data set of {found} bytes: at most {most} are read")]
    TooLong { found: usize, most: usize },
    #[error("transfer syntax that is not read: expected Implicit or Explicit VR Little Endian")]
    TransferSyntax,
    #[error("data set cannot be scanned")]
    Scan(#[from] ScanError),
    #[error("lengths or delimiters of the data set contradict each other")]
    Unsound,
    #[error("data set cannot be taken apart")]
    Malformed(#[from] Malformed),
    #[error("({group:04X},{element:04X}): {what}")]
    Element { group: u16, element: u16, what: &'static str },
    #[error("the data set could not be written")]
    Write(#[source] Box<dicom_object::WriteError>),
}

/// Reads an identifier, its text as the standard says.
///
/// # Errors
/// [`DataSetError`]
pub fn read(bytes: &[u8], transfer_syntax: &Uid) -> Result<DataSet, DataSetError> {
    read_within(Bounds::IDENTIFIER, bytes, transfer_syntax, &SenderCharset::default())
}

/// The same within other bounds, with what the sender means by Specific Character Set.
///
/// # Errors
/// [`DataSetError`]
pub fn read_within(
    bounds: Bounds,
    bytes: &[u8],
    transfer_syntax: &Uid,
    sender: &SenderCharset,
) -> Result<DataSet, DataSetError> {
    if bytes.len() > bounds.bytes {
        return Err(DataSetError::TooLong { found: bytes.len(), most: bounds.bytes });
    }
    let explicit = is_explicit(transfer_syntax)?;
    let mut scanner = HeaderScanner::whole(transfer_syntax);
    scanner.push(bytes)?;
    if !scanner.finish()?.is_sound() {
        return Err(DataSetError::Unsound);
    }
    let reading = Reading { explicit, max_elements: bounds.elements, is_sequence: convert::is_sequence };
    let root = tree::parse(bytes, reading)?;
    convert::data_set(&root, sender, bounds.elements)
}

/// Writes `set` in the letters of its receiver. Without a letter beyond ASCII no character set is named.
///
/// # Errors
/// [`DataSetError::TransferSyntax`], [`DataSetError::Write`]
pub fn write(set: &DataSet, transfer_syntax: &Uid, receiver: &Outgoing) -> Result<Vec<u8>, DataSetError> {
    is_explicit(transfer_syntax)?;
    let syntax = TransferSyntaxRegistry.get(transfer_syntax.as_str()).ok_or(DataSetError::TransferSyntax)?;
    let mut written = set.clone();
    if !is_ascii(set) {
        written.put(DataElement::new(tags::SPECIFIC_CHARACTER_SET, VR::CS, PrimitiveValue::from("ISO_IR 192")));
        written = documents::written(written, receiver).0;
    }
    let mut bytes = Vec::with_capacity(1024);
    let done = written.write_dataset_with_ts(&mut bytes, syntax);
    done.map_err(|error| DataSetError::Write(Box::new(error)))?;
    Ok(bytes)
}

fn is_explicit(transfer_syntax: &Uid) -> Result<bool, DataSetError> {
    match transfer_syntax.as_str() {
        uids::EXPLICIT_VR_LITTLE_ENDIAN => Ok(true),
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Ok(false),
        _ => Err(DataSetError::TransferSyntax),
    }
}

fn is_ascii(set: &DataSet) -> bool {
    set.iter().all(|element| match element.value() {
        Value::Sequence(sequence) => sequence.items().iter().all(is_ascii),
        Value::Primitive(PrimitiveValue::Str(text)) => text.is_ascii(),
        Value::Primitive(PrimitiveValue::Strs(texts)) => texts.iter().all(|text| text.is_ascii()),
        _ => true,
    })
}

/// For fuzzing: whatever the bytes, they are a data set or an error, and what was read can be written and read again. The
/// first byte chooses the transfer syntax.
pub fn fuzz_data_set(data: &[u8]) {
    const SYNTAXES: [&str; 2] = [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN];
    let [choice, data @ ..] = data else { return };
    let Ok(syntax) = Uid::new(SYNTAXES[usize::from(*choice) % 2]) else { return };
    let Ok(set) = read_within(Bounds::OPERATION, data, &syntax, &"ISO_IR 100".into()) else { return };
    // A value of more than 64 KiB in a short VR is what Explicit VR cannot carry.
    let Ok(bytes) = write(&set, &syntax, &Outgoing::default()) else { return };
    let all = Bounds { bytes: usize::MAX, elements: usize::MAX };
    let again = read_within(all, &bytes, &syntax, &SenderCharset::default());
    let again = again.ok().and_then(|again| write(&again, &syntax, &Outgoing::default()).ok());
    assert!(again.is_some_and(|again| again == bytes), "what was read and written is read otherwise");
}

#[cfg(test)]
mod tests;
