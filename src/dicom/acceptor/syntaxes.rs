//! Which abstract and transfer syntaxes are accepted: UIDs in, yes or no out.
//!
//! Every storage SOP class, known or private, in any transfer syntax that carries the whole instance: it is stored and
//! sent on as received. The other services we provide, whose data sets are messages, in Implicit and Explicit VR Little
//! Endian. Decides nothing about who may send what.

use crate::dicom::{dimse::Service, service::FindModel};
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

/// A SOP class besides storage, and what may be asked for on its presentation context.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceClass {
    pub uid: &'static str,
    /// Of its C-FIND.
    pub model: Option<FindModel>,
    pub services: &'static [Service],
}

/// UPS Push: the class every workitem is of, whichever of the five a context was accepted for (PS3.4 CC.2).
const UPS_PUSH: &str = "1.2.840.10008.5.1.4.34.6.1";
const UPS_ROOT: &str = "1.2.840.10008.5.1.4.34.6.";
const UPS_EVENT: &str = "1.2.840.10008.5.1.4.34.6.4";
const STORAGE_COMMITMENT: &str = "1.2.840.10008.1.20.1";

/// PS3.4 C.4, F.7, J.3, K.4, CC.2. A workitem may be read through each of the UPS classes that look at it.
const SERVICE_CLASSES: [ServiceClass; 15] = {
    use FindModel::{ModalityWorklist, PatientRoot, StudyRoot, Workitems};
    use Service::{Action, Create, EventReport, Find, Get, Move, NGet, Set};
    const fn class(uid: &'static str, model: Option<FindModel>, services: &'static [Service]) -> ServiceClass {
        ServiceClass { uid, model, services }
    }
    [
        class("1.2.840.10008.5.1.4.31", Some(ModalityWorklist), &[Find]),
        class("1.2.840.10008.5.1.4.1.2.2.1", Some(StudyRoot), &[Find]),
        class("1.2.840.10008.5.1.4.1.2.2.2", None, &[Move]),
        class("1.2.840.10008.5.1.4.1.2.2.3", None, &[Get]),
        class("1.2.840.10008.5.1.4.1.2.1.1", Some(PatientRoot), &[Find]),
        class("1.2.840.10008.5.1.4.1.2.1.2", None, &[Move]),
        class("1.2.840.10008.5.1.4.1.2.1.3", None, &[Get]),
        class(UPS_PUSH, None, &[Create, Action, NGet]),
        class("1.2.840.10008.5.1.4.34.6.2", Some(Workitems), &[Find, NGet, Action]),
        class("1.2.840.10008.5.1.4.34.6.3", Some(Workitems), &[Find, NGet, Set, Action]),
        class(UPS_EVENT, None, &[EventReport]),
        class("1.2.840.10008.5.1.4.34.6.5", Some(Workitems), &[Find, NGet]),
        class("1.2.840.10008.3.1.2.3.3", None, &[Create, Set]),
        class("1.2.840.10008.3.1.2.3.4", None, &[NGet]),
        class(STORAGE_COMMITMENT, None, &[Action, EventReport]),
    ]
};

pub fn is_abstract_syntax_supported(uid: &str) -> bool {
    uid == uids::VERIFICATION || service_class(uid).is_some() || is_storage_class(uid)
}

pub fn service_class(uid: &str) -> Option<&'static ServiceClass> {
    SERVICE_CLASSES.iter().find(|class| class.uid == uid)
}

/// Whether a message may name `class` on a context of `abstract_syntax`.
pub fn may_be_named(class: &str, abstract_syntax: &str) -> bool {
    class == abstract_syntax || (abstract_syntax.starts_with(UPS_ROOT) && class == UPS_PUSH)
}

/// C-GET: the acceptor then sends instances on the association (PS3.4 C.4.3).
pub fn is_retrieval(abstract_syntax: &str) -> bool {
    service_class(abstract_syntax).is_some_and(|class| class.services == [Service::Get])
}

/// Whose events the requestor may have come to report (PS3.7 10.1.1): it is then the SCP.
pub fn is_reporting(abstract_syntax: &str) -> bool {
    matches!(abstract_syntax, STORAGE_COMMITMENT | UPS_EVENT)
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
    if abstract_syntax == uids::VERIFICATION || service_class(abstract_syntax).is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_taken_in_two_transfer_syntaxes_and_are_no_storage() {
        for class in &SERVICE_CLASSES {
            assert!(is_abstract_syntax_supported(class.uid) && !is_storage_class(class.uid), "{}", class.uid);
            assert_eq!(class.model.is_some(), class.services.contains(&Service::Find), "{}", class.uid);
            assert!(is_transfer_syntax_usable(class.uid, uids::EXPLICIT_VR_LITTLE_ENDIAN));
            assert!(!is_transfer_syntax_usable(class.uid, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN));
        }
        assert!(!is_abstract_syntax_supported("1.2.840.10008.3.1.2.3.5"), "no MPPS notification");
    }

    #[test]
    fn a_workitem_is_named_by_its_own_class_on_every_ups_context() {
        assert!(may_be_named(UPS_PUSH, "1.2.840.10008.5.1.4.34.6.3"));
        assert!(!may_be_named("1.2.840.10008.5.1.4.34.6.3", UPS_PUSH));
        assert!(!may_be_named(UPS_PUSH, STORAGE_COMMITMENT));
    }
}
