//! The segments of HL7 v2 by name, from v2.1 to v2.9, and the local ones, which begin with Z (v2.5.1 2.10.4).
//!
//! In: a segment's name; out: whether anybody writes such a segment. What is not here is a word of somebody's text, or the
//! name of a segment that was damaged on its way.

use std::cmp::Ordering;

/// In the order of their letters.
const NAMES: &str = "ABS ACC ADD ADJ AFF AIG AIL AIP AIS AL1 APR ARQ ARV AUT BHS BLC BLG BPO BPX BTS BTX BUI CDM CDO CER \
    CM0 CM1 CM2 CNS CON CSP CSR CSS CTD CTI CTR DB1 DEV DG1 DMI DON DPS DRG DSC DSP DST ECD ECR EDU EQL \
    EQP EQU ERQ ERR EVN FAC FHS FT1 FTS GOL GP1 GP2 GT1 IAM IAR IIM ILT IN1 IN2 IN3 INV IPC IPR ISD ITM \
    IVC IVT LAN LCC LCH LDP LOC LRL MCP MFA MFE MFI MRG MSA MSH NCK NDS NK1 NPU NSC NST NTE OBR OBX ODS \
    ODT OH1 OH2 OH3 OH4 OM1 OM2 OM3 OM4 OM5 OM6 OM7 OMC ORC ORG OVR PAC PCE PCR PD1 PDA PDC PEO PES PID \
    PKG PM1 PMT PR1 PRA PRB PRC PRD PRT PSG PSH PSL PSS PTH PV1 PV2 PYE QAK QID QPD QRD QRF QRI RCP RDF \
    RDT REL RF1 RFI RGS RMI ROL RQ1 RQD RXA RXC RXD RXE RXG RXO RXR RXV SAC SCD SCH SCP SDD SFT SGH SGT \
    SHP SID SLT SPM STF STZ TCC TCD TQ1 TQ2 TXA UAC UB1 UB2 URD URS VAR VND VTQ";

/// Of a name and the space behind it.
const STEP: usize = 4;

/// Its name as the standard writes it; none of a local segment. Asked for every segment of every message: by halves.
pub(super) fn of_the_standard(name: &str) -> Option<&'static str> {
    let name: [u8; 3] = name.as_bytes().try_into().ok()?;
    let name = name.map(|letter| letter.to_ascii_uppercase());
    let (mut from, mut to) = (0, NAMES.len().div_ceil(STEP));
    while from < to {
        let middle = usize::midpoint(from, to);
        let known = NAMES.get(middle * STEP..middle * STEP + 3)?;
        match known.as_bytes().cmp(&name) {
            Ordering::Less => from = middle + 1,
            Ordering::Equal => return Some(known),
            Ordering::Greater => to = middle,
        }
    }
    None
}

pub(super) fn is_known(name: &str) -> bool {
    name.starts_with(['Z', 'z']) || of_the_standard(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        let names: Vec<&str> = NAMES.split(' ').collect();
        assert!(names.is_sorted() && names.iter().all(|name| name.len() == 3));
        for name in names {
            assert_eq!(of_the_standard(name), Some(name));
            assert_eq!(of_the_standard(&name.to_ascii_lowercase()), Some(name));
        }
    }

    #[test]
    fn a_word_is_no_segment() {
        for known in ["MSH", "obx", "IPC", "Z1", "ZBEFUND", "VTQ"] {
            assert!(is_known(known), "{known}");
        }
        for word in ["", "CT", "OQX", "OB", "MRT", "ABS ACC", "BS "] {
            assert!(!is_known(word), "{word}");
        }
    }
}
