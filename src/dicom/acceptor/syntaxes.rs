//! Which abstract and transfer syntaxes are accepted: UIDs in, yes or no out.
//!
//! Every storage SOP class, known or private, in any transfer syntax that carries the whole instance: it is stored and
//! sent on as received. Decides nothing about who may send what.

use crate::model::Uid;
use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::{StandardSopClassDictionary, uids};

/// Everything that the standard registers is below it; what is not is private.
const DICOM_ROOT: &str = "1.2.840.10008.";
const STORAGE_ROOT: &str = "1.2.840.10008.5.1.4.1.1.";
const TRANSFER_SYNTAX_ROOT: &str = "1.2.840.10008.1.2.";
/// Retired before its root became one: Papyrus 3.
const PAPYRUS: &str = "1.2.840.10008.1.20";

/// Storage SOP classes outside [`STORAGE_ROOT`]: radiotherapy instructions, the non-patient objects (PS3.4 GG.3) and
/// what printing used to store.
const STORAGE_ELSEWHERE: [&str; 11] = [
    "1.2.840.10008.5.1.4.34.1",
    uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE,
    uids::RT_BRACHY_APPLICATION_SETUP_DELIVERY_INSTRUCTION_STORAGE,
    uids::HANGING_PROTOCOL_STORAGE,
    uids::COLOR_PALETTE_STORAGE,
    uids::GENERIC_IMPLANT_TEMPLATE_STORAGE,
    uids::IMPLANT_ASSEMBLY_TEMPLATE_STORAGE,
    uids::IMPLANT_TEMPLATE_GROUP_STORAGE,
    "1.2.840.10008.5.1.1.27",
    "1.2.840.10008.5.1.1.29",
    "1.2.840.10008.5.1.1.30",
];

/// Transfer syntaxes that do not carry the instance: the pixels stay with the sender (JPIP referenced, PS3.5 A.6), or
/// it is no data set at all (MIME, XML, and real-time video, PS3.22).
const NOT_WHOLE: [&str; 9] = [
    "1.2.840.10008.1.2.4.94",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.204",
    "1.2.840.10008.1.2.4.205",
    "1.2.840.10008.1.2.6.1",
    "1.2.840.10008.1.2.6.2",
    "1.2.840.10008.1.2.7.1",
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",
];

pub fn is_abstract_syntax_supported(uid: &str) -> bool {
    uid == uids::VERIFICATION || is_storage_class(uid)
}

/// A storage SOP class, known, too new for our dictionary, or private.
pub fn is_storage_class(uid: &str) -> bool {
    if Uid::new(uid).is_err() {
        return false;
    }
    if !uid.starts_with(DICOM_ROOT) {
        return true;
    }
    if uid.starts_with(STORAGE_ROOT) {
        // A few query and inventory services stand among the storage classes (PS3.6 Table A-1).
        return StandardSopClassDictionary.by_uid(uid).is_none_or(|known| known.name.contains("Storage"));
    }
    STORAGE_ELSEWHERE.contains(&uid)
}

/// Whether an instance of `abstract_syntax` can be taken in `uid`.
pub fn is_transfer_syntax_usable(abstract_syntax: &str, uid: &str) -> bool {
    if abstract_syntax == uids::VERIFICATION {
        return uid == uids::IMPLICIT_VR_LITTLE_ENDIAN || uid == uids::EXPLICIT_VR_LITTLE_ENDIAN;
    }
    if Uid::new(uid).is_err() || NOT_WHOLE.contains(&uid) {
        return false;
    }
    !uid.starts_with(DICOM_ROOT)
        || uid == uids::IMPLICIT_VR_LITTLE_ENDIAN
        || uid.starts_with(TRANSFER_SYNTAX_ROOT)
        || uid == PAPYRUS
}
