//! Messages as P-DATA-TF, no longer than the peer takes (PS3.8 9.3.5, Annex E). Bytes only.

use crate::dicom::pdv::pdu_type;

const IS_COMMAND: u8 = 0b01;
const IS_LAST: u8 = 0b10;
const PDV_HEADER: usize = 6;
/// Where the peer names no limit.
const LARGEST_FRAGMENT: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Command,
    /// Some of a data set; `last`: its end.
    DataSet {
        last: bool,
    },
}

/// The bytes of a fragment that a peer with this limit takes; 0 is no limit.
pub fn fragment_bytes(peer_max_pdu_bytes: u32) -> usize {
    match peer_max_pdu_bytes as usize {
        0 => LARGEST_FRAGMENT,
        // A peer that leaves no room for a PDV gets its message two bytes at a time. Even: PS3.8 9.3.5.1 of a fragment.
        limit => (limit.saturating_sub(PDV_HEADER) & !1).clamp(2, LARGEST_FRAGMENT),
    }
}

/// Appends `bytes` in as few PDUs as the peer allows; an empty end of a data set is one too.
pub fn push(pdus: &mut Vec<u8>, context: u8, part: Part, bytes: &[u8], peer_max_pdu_bytes: u32) {
    let room = fragment_bytes(peer_max_pdu_bytes);
    let count = bytes.len().div_ceil(room).max(1);
    pdus.reserve(bytes.len() + count * 12);
    for index in 0..count {
        let fragment = &bytes[index * room..bytes.len().min((index + 1) * room)];
        let ends = index + 1 == count;
        let control = match part {
            Part::Command => IS_COMMAND | if ends { IS_LAST } else { 0 },
            Part::DataSet { last } if last && ends => IS_LAST,
            Part::DataSet { .. } => 0,
        };
        // At most `LARGEST_FRAGMENT`.
        let length = u32::try_from(fragment.len()).unwrap_or(u32::MAX);
        pdus.extend_from_slice(&[pdu_type::P_DATA_TF, 0]);
        pdus.extend_from_slice(&(length + 6).to_be_bytes());
        pdus.extend_from_slice(&(length + 2).to_be_bytes());
        pdus.extend_from_slice(&[context, control]);
        pdus.extend_from_slice(fragment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::pdv::{ContextIds, Event, drive};

    #[test]
    fn a_message_keeps_to_the_pdu_length_the_peer_takes() {
        let (command, data_set) = (vec![7; 301], vec![9; 70_001]);
        for limit in [0, 1, 8, 20, 32, 16_384] {
            let mut pdus = Vec::new();
            push(&mut pdus, 1, Part::Command, &command, limit);
            push(&mut pdus, 1, Part::DataSet { last: false }, &data_set, limit);
            push(&mut pdus, 1, Part::DataSet { last: true }, &[], limit);
            let allowed = if limit == 0 { u32::MAX } else { limit.max(8) };
            let contexts: ContextIds = [1].into_iter().collect();
            let events = drive([&pdus[..]], allowed, contexts).expect("no PDU is longer than allowed");
            let fragments: Vec<_> = events
                .into_iter()
                .map(|event| match event {
                    Event::Fragment(fragment) => fragment,
                    other => panic!("{other:?}"),
                })
                .collect();
            let lasts = fragments.iter().filter(|fragment| fragment.last).count();
            assert_eq!((lasts, fragments.last().map(|fragment| fragment.last)), (2, Some(true)));
            let whole: Vec<u8> = fragments.into_iter().flat_map(|fragment| fragment.data).collect();
            assert_eq!(whole, [&command[..], &data_set].concat());
        }
    }
}
