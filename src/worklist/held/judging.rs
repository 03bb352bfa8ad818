//! What is said of each instance of a storage commitment: kept, or why not (PS3.4 J.3.3).
//!
//! In: the transaction, what is known of its instances, what was promised, and whether more may still come. Out: nothing yet, or
//! the verdict and the data set that tells it. Pure.

use crate::{
    config::Commit,
    dicom::service::DataSet,
    store::{CommitmentRow, KeptInstance},
};
use dicom_core::{DataElement, PrimitiveValue, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;
use std::collections::HashMap;

/// Failure Reason (0008,1197), PS3.3 C.14.1.1.
const PROCESSING_FAILURE: u16 = 0x0110;
const NO_SUCH_INSTANCE: u16 = 0x0112;
const CLASS_CONFLICT: u16 = 0x0119;

/// What is to be said of each instance.
#[derive(Default)]
pub struct Verdict {
    pub kept: Vec<(String, String)>,
    pub failed: Vec<(String, String, u16)>,
}

pub enum Judged {
    /// Something may still come.
    NotYet,
    Now(Verdict),
}

/// What is not here: may it still come?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Everything is known that was received up to a while after the question.
    pub is_settled: bool,
    pub is_over: bool,
}

/// Pure. `known` by SOP instance.
pub fn judge(row: &CommitmentRow, known: &HashMap<&str, Vec<&KeptInstance>>, commit: Commit, wait: Wait) -> Judged {
    let mut verdict = Verdict::default();
    for (class, instance) in &row.instances {
        let found = known.get(instance.as_str()).map(Vec::as_slice).unwrap_or_default();
        // Sent under several studies, one that is kept is enough.
        let of_class = found
            .iter()
            .filter(|kept| kept.sop_class == *class && !kept.is_conflict)
            .max_by_key(|kept| (kept.on_disk, kept.is_with_reader));
        let reason = match of_class {
            // Which of the two its sender would delete, nobody knows.
            _ if found.iter().any(|kept| kept.is_conflict) => Some(PROCESSING_FAILURE),
            Some(kept) if !kept.on_disk => Some(NO_SUCH_INSTANCE),
            Some(kept) if commit == Commit::Reader && !kept.is_with_reader => {
                if !wait.is_over {
                    return Judged::NotYet;
                }
                Some(PROCESSING_FAILURE)
            }
            Some(_) => None,
            None if !found.is_empty() => Some(CLASS_CONFLICT),
            None if wait.is_settled => Some(NO_SUCH_INSTANCE),
            None if !wait.is_over => return Judged::NotYet,
            // It may be here: this node has not been able to look.
            None => Some(PROCESSING_FAILURE),
        };
        match reason {
            None => verdict.kept.push((class.clone(), instance.clone())),
            Some(reason) => verdict.failed.push((class.clone(), instance.clone(), reason)),
        }
    }
    Judged::Now(verdict)
}

impl Verdict {
    /// PS3.4 Table J.3-3: 1 all kept, 2 failures exist.
    pub fn event_type(&self) -> u16 {
        if self.failed.is_empty() { 1 } else { 2 }
    }

    pub fn information(&self, transaction: &str) -> DataSet {
        let item = |class: &str, instance: &str| {
            let mut item = DataSet::new_empty();
            let uid = |tag, text: &str| DataElement::new(tag, VR::UI, PrimitiveValue::from(text));
            item.put(uid(tags::REFERENCED_SOP_CLASS_UID, class));
            item.put(uid(tags::REFERENCED_SOP_INSTANCE_UID, instance));
            item
        };
        let mut set = DataSet::new_empty();
        set.put(DataElement::new(tags::TRANSACTION_UID, VR::UI, PrimitiveValue::from(transaction)));
        let kept: Vec<DataSet> = self.kept.iter().map(|(class, instance)| item(class, instance)).collect();
        if !kept.is_empty() {
            set.put(DataElement::new(tags::REFERENCED_SOP_SEQUENCE, VR::SQ, DataSetSequence::from(kept)));
        }
        let with_reason = |(class, instance, reason): &(String, String, u16)| {
            let mut item = item(class, instance);
            item.put(DataElement::new(tags::FAILURE_REASON, VR::US, PrimitiveValue::from(*reason)));
            item
        };
        let failed: Vec<DataSet> = self.failed.iter().map(with_reason).collect();
        if !failed.is_empty() {
            set.put(DataElement::new(tags::FAILED_SOP_SEQUENCE, VR::SQ, DataSetSequence::from(failed)));
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Moment, PartnerId};

    const ASKED: Moment = Moment(1_000_000_000);

    fn row() -> CommitmentRow {
        CommitmentRow {
            partner: PartnerId::new("rabenstein").expect("an id"),
            ae_title: "RAB_PACS".into(),
            transaction: "1.2".into(),
            instances: vec![("CT".into(), "1".into()), ("CT".into(), "2".into())],
            asked: ASKED,
            next: ASKED,
            attempts: 0,
        }
    }

    fn kept(sop_class: &str, sop_instance: &str, on_disk: bool, is_with_reader: bool) -> KeptInstance {
        KeptInstance {
            sop_class: sop_class.into(),
            sop_instance: sop_instance.into(),
            on_disk,
            is_conflict: false,
            is_with_reader,
            case: None,
        }
    }

    const SOON: Wait = Wait { is_settled: false, is_over: false };
    const SETTLED: Wait = Wait { is_settled: true, is_over: false };
    const OVER: Wait = Wait { is_settled: true, is_over: true };

    /// The failures; `None`: it is waited for.
    fn failures(known: &[KeptInstance], commit: Commit, wait: Wait) -> Option<Vec<(String, u16)>> {
        let mut by_uid: HashMap<&str, Vec<&KeptInstance>> = HashMap::new();
        known.iter().for_each(|kept| by_uid.entry(kept.sop_instance.as_str()).or_default().push(kept));
        match judge(&row(), &by_uid, commit, wait) {
            Judged::NotYet => None,
            Judged::Now(verdict) => {
                assert_eq!(verdict.event_type(), if verdict.failed.is_empty() { 1 } else { 2 });
                Some(verdict.failed.into_iter().map(|(_, uid, reason)| (uid, reason)).collect())
            }
        }
    }

    #[test]
    fn what_is_on_the_disk_is_kept() {
        let both = [kept("CT", "1", true, false), kept("CT", "2", true, false)];
        assert_eq!(failures(&both, Commit::Held, SOON), Some(vec![]));
        let purged = [kept("CT", "1", true, false), kept("CT", "2", false, true)];
        assert_eq!(failures(&purged, Commit::Held, SOON), Some(vec![("2".into(), NO_SUCH_INSTANCE)]));
        let other = [kept("CT", "1", true, false), kept("MR", "2", true, false)];
        assert_eq!(failures(&other, Commit::Held, SOON), Some(vec![("2".into(), CLASS_CONFLICT)]));
    }

    #[test]
    fn one_that_is_kept_is_enough_and_two_that_differ_are_not() {
        let twice = [
            kept("CT", "1", true, true),
            kept("CT", "2", false, false),
            kept("CT", "2", true, false),
            kept("CT", "2", true, true),
            kept("CT", "2", false, true),
        ];
        assert_eq!(failures(&twice, Commit::Reader, SOON), Some(vec![]));
        let conflict = KeptInstance { is_conflict: true, ..kept("CT", "2", true, true) };
        let both = [kept("CT", "1", true, true), kept("CT", "2", true, true), conflict];
        assert_eq!(failures(&both, Commit::Held, SOON), Some(vec![("2".into(), PROCESSING_FAILURE)]));
    }

    #[test]
    fn what_is_not_known_may_still_come() {
        let one = [kept("CT", "1", true, false)];
        assert_eq!(failures(&one, Commit::Held, SOON), None);
        assert_eq!(failures(&one, Commit::Held, SETTLED), Some(vec![("2".into(), NO_SUCH_INSTANCE)]));
        let blind = Wait { is_settled: false, is_over: true };
        assert_eq!(failures(&one, Commit::Held, blind), Some(vec![("2".into(), PROCESSING_FAILURE)]));
    }

    #[test]
    fn the_reader_is_waited_for_until_the_time_is_up() {
        let both = [kept("CT", "1", true, true), kept("CT", "2", true, false)];
        assert_eq!(failures(&both, Commit::Reader, SETTLED), None);
        assert_eq!(failures(&both, Commit::Reader, OVER), Some(vec![("2".into(), PROCESSING_FAILURE)]));
        let both = [kept("CT", "1", true, true), kept("CT", "2", true, true)];
        assert_eq!(failures(&both, Commit::Reader, SOON), Some(vec![]));
    }
}
