//! Writing OUL^R22: `MSH PID { SPM {SAC} { OBR ORC {OBX} } }`.
//!
//! SPM is required, so a report that names no specimen has one without a number. A second specimen of one examination has
//! its OBR again, without results, for the grammar knows no results of two specimens.

use crate::hl7::message::{MessageBuilder, SegmentBuilder, escape};
use crate::hl7::oru::{ObservationToSend, OruToSend, Part, Specimen, coded_parts, entity_parts};
use crate::model::IssuedId;

pub(in crate::hl7) fn build(report: &OruToSend<'_>) -> MessageBuilder {
    let mut message = MessageBuilder::new();
    message.push(report.msh(["OUL", "R22", "OUL_R22"]));
    message.push(report.pid());
    let mut numbers = Numbers::default();
    let mut current = report.whole();
    let leads = matches!(report.observations.first(), Some(ObservationToSend::Section { .. }));
    if !leads {
        begin(&mut message, report, &[], &current, &mut numbers);
    }
    for (index, observation) in report.observations.iter().enumerate() {
        match observation {
            ObservationToSend::Section { part, specimens } => {
                current = *part;
                begin(&mut message, report, specimens, part, &mut numbers);
            }
            _ => report.result(&mut message, index + 1, observation, current.status),
        }
    }
    report.study(&mut message);
    message
}

/// Set ids of the message.
#[derive(Default)]
struct Numbers {
    spm: usize,
    obr: usize,
}

/// The specimens of an examination and its OBR; where it names none of its own, that of the specimen before.
fn begin(
    message: &mut MessageBuilder,
    report: &OruToSend<'_>,
    specimens: &[Specimen],
    part: &Part<'_>,
    numbers: &mut Numbers,
) {
    let nameless = [Specimen::default()];
    let specimens = match specimens {
        [] if numbers.spm == 0 => &nameless[..],
        specimens => specimens,
    };
    let order = |message: &mut MessageBuilder, obr: &mut usize| {
        *obr += 1;
        message.push(report.obr(*obr, part));
        message.push(report.orc(part.order));
    };
    // The one with the results last: they follow.
    for specimen in specimens {
        numbers.spm += 1;
        spm(message, specimen, numbers.spm);
        order(message, &mut numbers.obr);
    }
    if specimens.is_empty() {
        order(message, &mut numbers.obr);
    }
}

/// The specimens of the results before them, as an ORU has them.
pub(in crate::hl7) fn specimens(message: &mut MessageBuilder, specimens: &[Specimen]) {
    for (index, specimen) in specimens.iter().enumerate() {
        spm(message, specimen, index + 1);
    }
}

fn spm(message: &mut MessageBuilder, specimen: &Specimen, set_id: usize) {
    let eip = [&specimen.placer, &specimen.filler].map(subcomponents);
    let eip = format!("{}^{}", eip[0], eip[1]);
    let segment = SegmentBuilder::new("SPM").field(1, &set_id.to_string()).raw(2, eip.trim_end_matches('^').to_owned());
    // SPM-4 is required; the standard's null value for what is not known (2.A.13, CWE-1).
    let is_known = !(specimen.kind.code.is_empty() && specimen.kind.text.is_empty());
    message.push(if is_known {
        segment.components(4, &coded_parts(&specimen.kind))
    } else {
        segment.raw(4, "\"\"".into())
    });
    for container in &specimen.containers {
        message.push(SegmentBuilder::new("SAC").components(3, &entity_parts(container)));
    }
}

/// An EI in a component.
fn subcomponents(id: &IssuedId) -> String {
    match (id.value.is_empty(), id.issuer.is_empty()) {
        (true, _) => String::new(),
        (false, true) => escape(&id.value).into_owned(),
        (false, false) => format!("{}&{}", escape(&id.value), escape(&id.issuer)),
    }
}
