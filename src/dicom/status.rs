//! Statuses of C-STORE and C-ECHO responses: a name in, the code of Status (0000,0900) out.
//!
//! Only what this node answers as an SCP. How a peer's status is judged when we are the SCU is not decided here.

/// PS3.4 Table B.2-1 (storage), PS3.7 9.1.1.1.9 and Annex C (any service).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreStatus {
    /// 0000, PS3.4 Table B.2-1. The instance would survive a power cut.
    Success,
    /// B000, PS3.4 Table B.2-1. Stored, with elements changed.
    CoercionOfDataElements,
    /// B006, PS3.4 Table B.2-1. Stored, with elements left out.
    ElementsDiscarded,
    /// B007, PS3.4 Table B.2-1. Stored, though it does not look like its SOP class.
    StoredButDoesNotMatchSopClass,
    /// A700, PS3.4 Table B.2-1. The sender may try again: the spool is full.
    OutOfResources,
    /// A900, PS3.4 Table B.2-1. The data set is not what the command set announced.
    DataSetDoesNotMatchSopClass,
    /// C000, PS3.4 Table B.2-1. The data set cannot be parsed.
    CannotUnderstand,
    /// 0110, PS3.7 Annex C. A fault of ours; the sender may try again.
    ProcessingFailure,
    /// 0111, PS3.7 Annex C. The instance is stored already.
    DuplicateSopInstance,
    /// 0117, PS3.7 Annex C. Affected SOP Instance UID breaks the rules for UIDs.
    InvalidObjectInstance,
    /// 0118, PS3.7 Annex C. Affected SOP Class UID is not one.
    NoSuchSopClass,
    /// 0119, PS3.7 Annex C. The instance is known under another SOP class.
    ClassInstanceConflict,
    /// 0122, PS3.7 Annex C. Not a storage SOP class, or not the one its presentation context was accepted for.
    SopClassNotSupported,
    /// 0124, PS3.7 Annex C. This sender may not store this.
    NotAuthorized,
    /// 0210, PS3.7 Annex C. The message id is in use.
    DuplicateInvocation,
    /// 0211, PS3.7 Annex C. A service we do not speak.
    UnrecognizedOperation,
    /// 0212, PS3.7 Annex C. An element of the command set has a value it may not have.
    MistypedArgument,
    /// 0213, PS3.7 Annex C. A limit of ours; the sender may try again.
    ResourceLimitation,
}

impl StoreStatus {
    pub const ALL: [StoreStatus; 18] = [
        StoreStatus::Success,
        StoreStatus::CoercionOfDataElements,
        StoreStatus::ElementsDiscarded,
        StoreStatus::StoredButDoesNotMatchSopClass,
        StoreStatus::OutOfResources,
        StoreStatus::DataSetDoesNotMatchSopClass,
        StoreStatus::CannotUnderstand,
        StoreStatus::ProcessingFailure,
        StoreStatus::DuplicateSopInstance,
        StoreStatus::InvalidObjectInstance,
        StoreStatus::NoSuchSopClass,
        StoreStatus::ClassInstanceConflict,
        StoreStatus::SopClassNotSupported,
        StoreStatus::NotAuthorized,
        StoreStatus::DuplicateInvocation,
        StoreStatus::UnrecognizedOperation,
        StoreStatus::MistypedArgument,
        StoreStatus::ResourceLimitation,
    ];

    /// The value of Status (0000,0900).
    pub fn code(self) -> u16 {
        match self {
            StoreStatus::Success => 0x0000,
            StoreStatus::CoercionOfDataElements => 0xB000,
            StoreStatus::ElementsDiscarded => 0xB006,
            StoreStatus::StoredButDoesNotMatchSopClass => 0xB007,
            StoreStatus::OutOfResources => 0xA700,
            StoreStatus::DataSetDoesNotMatchSopClass => 0xA900,
            StoreStatus::CannotUnderstand => 0xC000,
            StoreStatus::ProcessingFailure => 0x0110,
            StoreStatus::DuplicateSopInstance => 0x0111,
            StoreStatus::InvalidObjectInstance => 0x0117,
            StoreStatus::NoSuchSopClass => 0x0118,
            StoreStatus::ClassInstanceConflict => 0x0119,
            StoreStatus::SopClassNotSupported => 0x0122,
            StoreStatus::NotAuthorized => 0x0124,
            StoreStatus::DuplicateInvocation => 0x0210,
            StoreStatus::UnrecognizedOperation => 0x0211,
            StoreStatus::MistypedArgument => 0x0212,
            StoreStatus::ResourceLimitation => 0x0213,
        }
    }

    /// Success or warning: the sender may forget the instance (PS3.4 B.2.3).
    pub fn is_stored(self) -> bool {
        let code = self.code();
        code == 0 || code & 0xF000 == 0xB000
    }

    /// For a metric's label.
    pub fn class(self) -> &'static str {
        match self.code() {
            0 => "success",
            code if code & 0xF000 == 0xB000 => "warning",
            _ => "failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_statuses_share_a_code_and_only_success_and_warnings_count_as_stored() {
        let codes: HashSet<u16> = StoreStatus::ALL.into_iter().map(StoreStatus::code).collect();
        assert_eq!(codes.len(), StoreStatus::ALL.len());
        let stored: Vec<u16> =
            StoreStatus::ALL.into_iter().filter(|status| status.is_stored()).map(StoreStatus::code).collect();
        assert_eq!(stored, [0x0000, 0xB000, 0xB006, 0xB007]);
    }
}
