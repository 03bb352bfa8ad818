//! Numbers of a sender's own domain that have no name in another's: toward a receiver with numbers of its own they are left
//! out.
//!
//! In: a message being changed. Out: the same, these fields empty (HL7 v2.5.1; of v2.7 and v2.8 what they add). Not here: patient
//! and order numbers that have a name in the receiver's domain; labels of specimens and containers (SPM-2, SPM-3, SAC-3, SAC-4),
//! which stand on the tube; study UIDs, which are the same everywhere; and local segments, which only their sender can read.

use super::message::{Edit, Message};

/// By segment. Visit and account numbers, further numbers of a person, of who is insured, pays or is next of kin, group and
/// parent numbers of orders, and those of procedures and their steps.
const NUMBERS: [(&str, &[usize]); 17] = [
    ("PID", &[2, 4, 18, 19, 20, 21]),
    ("PV1", &[5, 19, 50]),
    ("NK1", &[12, 33, 37]),
    ("GT1", &[2, 12, 19]),
    ("IN1", &[10, 36, 49]),
    ("IN2", &[1, 2, 6, 8, 10, 26, 61]),
    ("IN3", &[2]),
    ("MRG", &[2, 3, 4, 5, 6]),
    ("ORC", &[4, 8, 33]),
    ("TQ2", &[3, 4, 5]),
    // 19 and 20: procedure and step, as IHE Radiology (RAD-4) has them.
    ("OBR", &[19, 20, 29, 51, 52, 53]),
    ("IPC", &[2, 4]),
    ("SPM", &[30]),
    // Which order the container was for; what it is called is in SAC-3.
    ("SAC", &[1, 2]),
    ("BLG", &[3]),
    ("FT1", &[2, 23, 30]),
    ("ZDS", &[]),
];

/// Empties them in every segment of the message that is still there.
pub(super) fn leave_out(edit: &mut Edit<'_, '_>, message: &Message<'_>) {
    for (line, segment) in message.segments().enumerate() {
        let Some((id, fields)) = NUMBERS.iter().find(|(id, _)| segment.is(id)) else { continue };
        for field in *fields {
            if !edit.field(line, *field).is_empty() {
                edit.set_field(line, *field, b"");
            }
        }
        // ZDS-1 is a UID with who gave it (RP: pointer, application).
        if *id == "ZDS" && segment.field(1).component(2).is_valued() && !edit.field(line, 1).is_empty() {
            edit.set_component(line, 1, 2, b"");
        }
    }
}
