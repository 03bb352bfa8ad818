//! Whether a report has arrived with its end.
//!
//! In: a message. Out: nothing, or the place where it breaks off. A sender whose buffer was too small cuts its message in the
//! middle of a result and sends it in a good frame: half a sentence, or half a PDF, would be delivered as the whole.

use super::{ErrorCode, Rejected};
use crate::hl7::message::Message;

/// Many senders leave the CR behind the last segment out, and some OBX-11; who leaves out both has been cut off.
///
/// # Errors
/// With the OBX that has neither.
pub(super) fn is_whole(message: &Message<'_>) -> Result<(), Rejected> {
    let is_blank = |line: &usize| message.segment(*line).is_none_or(|segment| segment.is_blank());
    let Some(last) = (0..message.len()).rev().find(|line| !is_blank(line)) else { return Ok(()) };
    if !message.terminator(last).is_empty() {
        return Ok(());
    }
    // Lines of its text that were not escaped go with it.
    let is_segment = |line: &usize| message.segment(*line).is_some_and(|segment| segment.is_known());
    let Some(begun) = (0..=last).rev().find(is_segment) else { return Ok(()) };
    let Some(obx) = message.between(begun, last).filter(|segment| segment.is("OBX")) else { return Ok(()) };
    if obx.field(11).is_valued() {
        return Ok(());
    }
    let sequence = message.segments().take(begun + 1).filter(|segment| segment.is("OBX")).count();
    let text = "the message ends inside of an OBX: neither OBX-11 nor the end of the segment is there";
    Err(Rejected::new("OBX", sequence, 11, ErrorCode::RequiredFieldMissing, text))
}
