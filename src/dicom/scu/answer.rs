//! What a C-STORE status means for the one who sent: status in, [`StoreAnswer`] out.
//!
//! Says whose fault a failure is, so that a full disk pauses the partner, and a malformed image does not. Does not
//! decide how often or when to try again.

/// What a partner's answer to a C-STORE asks of us. Each but `Stored` keeps the status, for the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAnswer {
    Stored,
    /// Stored, but changed or doubted by the partner.
    StoredWithWarning(u16),
    /// A failure that may pass: try a few times.
    TryAgain(u16),
    /// About the partner's resources, not about this instance: pause the partner.
    PartnerHasNoRoom(u16),
    /// The partner cannot take this one instance: mark it, send the rest.
    InstanceRefused(u16),
    /// The partner will not have what belongs to this case: stop it and tell a person.
    CaseRefused(u16),
}

/// Reads a C-STORE status (PS3.4 Table B.2-1, PS3.7 Annex C).
///
/// The standard gives all of A7xx to "out of resources". dcm4chee-arc answers A770 to A776 for objects its archive has
/// rejected, and A777 to A779 and A77B for conflicts of patient or study; pausing the partner for those would
/// stop every other case over one, so they are read as what they mean there.
pub fn read_answer(status: u16) -> StoreAnswer {
    match status {
        // 0111 duplicate SOP instance: the partner has it, as after an answer lost on the way.
        0x0000 | 0x0111 => StoreAnswer::Stored,
        // B000 coercion, B006 elements discarded, B007 does not match the SOP class; 0001, 0107 and 0116 are the
        // warnings of PS3.7 C.3 and C.4.
        0xB000..=0xBFFF | 0x0001 | 0x0107 | 0x0116 => StoreAnswer::StoredWithWarning(status),
        0xA777..=0xA779 | 0xA77B => StoreAnswer::CaseRefused(status),
        0xA770..=0xA776 => StoreAnswer::InstanceRefused(status),
        // 0213 resource limitation, PS3.7 C.5.19.
        0xA700..=0xA7FF | 0x0213 => StoreAnswer::PartnerHasNoRoom(status),
        // 0124 not authorized, 0211 unrecognized operation: true of every instance we could send.
        0x0124 | 0x0211 => StoreAnswer::CaseRefused(status),
        // A9xx does not match the SOP class, Cxxx cannot understand; 0112 to 0122 and 0210, 0212 likewise name a fault
        // in what was sent.
        0xA000..=0xAFFF | 0xC000..=0xCFFF | 0x0112..=0x0122 | 0x0210 | 0x0212 => StoreAnswer::InstanceRefused(status),
        // 0110 processing failure, and whatever no table names.
        _ => StoreAnswer::TryAgain(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StoreAnswer::*;

    #[test]
    fn each_status_of_the_tables_is_read_as_what_it_asks_for() {
        let table: [(u16, StoreAnswer); 26] = [
            (0x0000, Stored),
            (0x0111, Stored),
            (0xB000, StoredWithWarning(0xB000)),
            (0xB006, StoredWithWarning(0xB006)),
            (0xB007, StoredWithWarning(0xB007)),
            (0x0107, StoredWithWarning(0x0107)),
            (0x0116, StoredWithWarning(0x0116)),
            (0x0001, StoredWithWarning(0x0001)),
            (0x0110, TryAgain(0x0110)),
            (0xFE00, TryAgain(0xFE00)),
            (0xFF00, TryAgain(0xFF00)),
            (0xA700, PartnerHasNoRoom(0xA700)),
            (0xA701, PartnerHasNoRoom(0xA701)),
            (0xA7FF, PartnerHasNoRoom(0xA7FF)),
            (0x0213, PartnerHasNoRoom(0x0213)),
            (0xA775, InstanceRefused(0xA775)),
            (0xA778, CaseRefused(0xA778)),
            (0xA77B, CaseRefused(0xA77B)),
            (0xA900, InstanceRefused(0xA900)),
            (0xC000, InstanceRefused(0xC000)),
            (0xC123, InstanceRefused(0xC123)),
            (0x0117, InstanceRefused(0x0117)),
            (0x0122, InstanceRefused(0x0122)),
            (0x0212, InstanceRefused(0x0212)),
            (0x0124, CaseRefused(0x0124)),
            (0x0211, CaseRefused(0x0211)),
        ];
        for (status, answer) in table {
            assert_eq!(read_answer(status), answer, "{status:04X}");
        }
    }

    #[test]
    fn only_success_duplicates_and_warnings_count_as_stored() {
        for status in 0..=u16::MAX {
            let stored = matches!(read_answer(status), Stored | StoredWithWarning(_));
            let by_table = matches!(status, 0 | 0x0111 | 0x0001 | 0x0107 | 0x0116) || status >> 12 == 0xB;
            assert_eq!(stored, by_table, "{status:04X}");
        }
    }
}
