//! What somebody says whom we asked to keep images (N-EVENT-REPORT of Storage Commitment Push, PS3.4 J.3.3, with us as SCU).
//!
//! In: who says it, by whichever association it came, and the event's information. Out: the question answered, the case's story
//! and, where images are missing, a person told, all in one synced transaction before 0000 is answered. Said again, it changes
//! nothing and is answered 0000 again.
//!
//! Only who was asked may answer, and only about what it was asked. What it leaves out it does not keep. Nothing is sent again by
//! itself: why an archive has not kept an image is for a person to find out, who then sends it again.

use super::{INSTANCE, MODEL, not_kept, silent, unsettled};
use crate::{
    dicom::{
        matching,
        service::{DataSet, Refusal},
    },
    model::{Clock, PartnerId, Uid, chain},
    store::{AskedCommitment, AskedState, CaseRow, Durability, Store, StoreError, Tx},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use std::collections::{BTreeMap, HashMap};

/// PS3.7 C.5.19, with the attribute it is about.
fn invalid(comment: &'static str, element: Tag) -> Refusal {
    Refusal { element: Some(element), ..Refusal::new(0x0115, comment) }
}

fn cannot_be_kept(error: &StoreError) -> Refusal {
    tracing::error!(error = %chain(error), "What was said of a storage commitment cannot be written down");
    Refusal::new(0x0110, "not written down, try again")
}

/// The SOP class and instance that an event is about.
pub(super) fn check_named(class: &str, instance: &str) -> Result<(), Refusal> {
    match (class, instance) {
        (MODEL, INSTANCE) => Ok(()),
        (MODEL, _) => Err(Refusal::new(0x0112, "no such instance")),
        _ => Err(Refusal::new(0x0118, "no events of this class are awaited")),
    }
}

/// An event of the well-known instance.
pub(super) async fn take(
    store: &Store,
    clock: &Clock,
    partner: &PartnerId,
    event_type: u16,
    information: &DataSet,
) -> Result<(), Refusal> {
    if !matches!(event_type, 1 | 2) {
        return Err(Refusal::new(0x0113, "no such event"));
    }
    let unknown = || invalid("no such transaction was asked of this caller", tags::TRANSACTION_UID);
    let transaction = matching::value(information, tags::TRANSACTION_UID);
    let (id, attempt) = AskedCommitment::of_transaction(&transaction).ok_or_else(unknown)?;
    let row = store.asked_commitment(id).await.map_err(|error| cannot_be_kept(&error))?;
    let asked_of_it = |row: &AskedCommitment| row.partner == *partner && (1..=row.attempts).contains(&attempt);
    let row = row.filter(asked_of_it).ok_or_else(unknown)?;
    if !row.state.is_open() {
        return Ok(());
    }
    let asked = store.instances_asked_for(&row).await.map_err(|error| cannot_be_kept(&error))?;
    let failures = read(event_type, information, &asked)?;
    let settled = async {
        let mut tx = store.begin(Durability::Synced).await?;
        settle(&mut tx, clock, &row, &failures).await?;
        tx.commit().await
    };
    settled.await.map_err(|error| cannot_be_kept(&error))
}

/// How many were not kept, by Failure Reason (0008,1197); `None`: it does not say why.
type Failures = BTreeMap<Option<u16>, usize>;

/// Pure. PS3.4 Table J.3-3.
fn read(event_type: u16, information: &DataSet, asked: &[(Uid, Uid)]) -> Result<Failures, Refusal> {
    let (referenced, failed) = (tags::REFERENCED_SOP_SEQUENCE, tags::FAILED_SOP_SEQUENCE);
    let items =
        |sequence| information.get(sequence).and_then(|sequence| sequence.items()).map(<[DataSet]>::len).unwrap_or(0);
    if items(referenced) + items(failed) > asked.len() {
        return Err(invalid("more instances than were asked for", referenced));
    }
    if event_type == 1 && items(failed) > 0 {
        return Err(invalid("success with failures", failed));
    }
    let classes: HashMap<&str, &str> =
        asked.iter().map(|(class, instance)| (instance.as_str(), class.as_str())).collect();
    let mut said: HashMap<&str, Option<u16>> = HashMap::new();
    for sequence in [referenced, failed] {
        for item in information.get(sequence).and_then(|sequence| sequence.items()).unwrap_or_default() {
            let foreign = || invalid("an instance that was not asked for", sequence);
            let named = matching::value(item, tags::REFERENCED_SOP_INSTANCE_UID);
            let (instance, class) = classes.get_key_value(named.as_str()).ok_or_else(foreign)?;
            let is_kept = sequence == referenced;
            if is_kept && matching::value(item, tags::REFERENCED_SOP_CLASS_UID) != *class {
                return Err(invalid("an instance of another class", sequence));
            }
            let reason = item.get(tags::FAILURE_REASON).and_then(|reason| reason.to_int::<u16>().ok());
            // 0 stands for what is kept: it is no reason for a failure.
            let saying = if is_kept { Some(0) } else { reason.filter(|reason| *reason != 0) };
            if said.insert(instance, saying).is_some_and(|before| before != saying) {
                return Err(invalid("two answers for one instance", sequence));
            }
        }
    }
    let mut failures = Failures::new();
    for instance in classes.keys() {
        match said.get(instance) {
            Some(Some(0)) => {}
            other => *failures.entry(other.copied().flatten()).or_default() += 1,
        }
    }
    Ok(failures)
}

async fn settle(tx: &mut Tx, clock: &Clock, row: &AskedCommitment, failures: &Failures) -> Result<(), StoreError> {
    let (now, partner) = (clock.now(), &row.partner);
    let mut case = tx.case(row.case).await?;
    let state = if failures.is_empty() { AskedState::Committed } else { AskedState::Failed };
    if !tx.end_asking(row.id, state, now).await? {
        return Ok(());
    }
    let missing: usize = failures.values().sum();
    if missing > 0 {
        let what = format!("{partner} has not committed {missing} of {} images ({})", row.items, words(failures));
        tracing::error!(case.id = %row.case, site = %partner, "Case {}: {what}", row.case);
        tx.tell(row.case, now, "worklist", &what).await?;
        needs_a_person(&mut case, row, &not_kept(partner, row.case));
    }
    let stands = tx.committed(row.case, partner).await?;
    if stands.open == 0 {
        case.needs_nobody_for(&unsettled(partner));
    }
    if stands.open == 0 && stands.bad == 0 {
        let what = format!("{} images: {partner} has committed them", stands.kept);
        tracing::info!(case.id = %row.case, site = %partner, "Case {}: {what}", row.case);
        tx.tell(row.case, now, "worklist", &what).await?;
        case.needs_nobody_for(&not_kept(partner, row.case));
        case.needs_nobody_for(&silent(partner));
    }
    super::count(partner, if missing > 0 { "failed" } else { "committed" });
    tx.save_case(&case).await
}

/// Nobody waits for what one has that is not to read the case any more.
pub(super) fn needs_a_person(case: &mut CaseRow, row: &AskedCommitment, reason: &str) {
    if case.receivers().contains(&row.partner) {
        case.needs_a_person(reason);
    }
}

/// `2 no such object instance (0112), 1 without a reason`. PS3.3 C.14.1.1.
fn words(failures: &Failures) -> String {
    let of = |(reason, count): (&Option<u16>, &usize)| match reason {
        None => format!("{count} without a reason"),
        Some(reason) => {
            let word = match reason {
                0x0110 => "processing failure",
                0x0112 => "no such object instance",
                0x0119 => "class and instance in conflict",
                0x0122 => "SOP class not supported",
                0x0131 => "duplicate transaction",
                0x0213 => "resource limitation",
                _ => "reason",
            };
            format!("{count} {word} ({reason:04X})")
        }
    };
    failures.iter().map(of).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::{DataElement, PrimitiveValue, VR, value::DataSetSequence};

    const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

    fn asked() -> Vec<(Uid, Uid)> {
        let uid = |text: &str| Uid::new(text).expect("a UID");
        ["1.1", "1.2", "1.3"].into_iter().map(|instance| (uid(CT), uid(instance))).collect()
    }

    fn item(class: &str, instance: &str, reason: Option<u16>) -> DataSet {
        let mut item = DataSet::new_empty();
        item.put(DataElement::new(tags::REFERENCED_SOP_CLASS_UID, VR::UI, PrimitiveValue::from(class)));
        item.put(DataElement::new(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, PrimitiveValue::from(instance)));
        if let Some(reason) = reason {
            item.put(DataElement::new(tags::FAILURE_REASON, VR::US, PrimitiveValue::from(reason)));
        }
        item
    }

    fn said(kept: &[(&str, &str)], failed: &[(&str, Option<u16>)]) -> DataSet {
        let mut set = DataSet::new_empty();
        let kept: Vec<DataSet> = kept.iter().map(|(class, instance)| item(class, instance, None)).collect();
        let failed: Vec<DataSet> = failed.iter().map(|(instance, reason)| item(CT, instance, *reason)).collect();
        for (tag, items) in [(tags::REFERENCED_SOP_SEQUENCE, kept), (tags::FAILED_SOP_SEQUENCE, failed)] {
            if !items.is_empty() {
                set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
            }
        }
        set
    }

    fn of(event_type: u16, set: &DataSet) -> Result<Vec<(Option<u16>, usize)>, u16> {
        read(event_type, set, &asked()).map(|found| found.into_iter().collect()).map_err(|refusal| refusal.status)
    }

    #[test]
    fn each_answer_is_read_for_what_is_kept() {
        let all = [(CT, "1.1"), (CT, "1.2"), (CT, "1.3")];
        assert_eq!(of(1, &said(&all, &[])), Ok(vec![]));
        assert_eq!(of(2, &said(&all, &[])), Ok(vec![]), "whatever its type says");
        assert_eq!(of(2, &said(&all[1..], &[("1.1", Some(0x0112))])), Ok(vec![(Some(0x0112), 1)]));
        assert_eq!(of(2, &said(&all[1..], &[("1.1", None)])), Ok(vec![(None, 1)]));
        assert_eq!(of(2, &said(&all[1..], &[("1.1", Some(0))])), Ok(vec![(None, 1)]));
        assert_eq!(of(1, &said(&all[..2], &[])), Ok(vec![(None, 1)]), "what is left out is not kept");
        assert_eq!(of(1, &said(&[all[0], all[0]], &[])), Ok(vec![(None, 2)]));
        assert_eq!(of(1, &DataSet::new_empty()), Ok(vec![(None, 3)]));
    }

    #[test]
    fn what_contradicts_itself_or_was_not_asked_for_is_refused() {
        let all = [(CT, "1.1"), (CT, "1.2"), (CT, "1.3")];
        for (event_type, set) in [
            (1, said(&[(CT, "1.1"), (CT, "1.9")], &[])),
            (2, said(&[], &[("1.9", Some(0x0112))])),
            (1, said(&[("1.2.3", "1.1")], &[])),
            (1, said(&all[1..], &[("1.1", Some(0x0112))])),
            (2, said(&all[..2], &[("1.1", Some(0x0112))])),
            (2, said(&all, &[("1.1", Some(0x0112))])),
            (1, said(&vec![all[0]; 20_000], &[])),
        ] {
            assert_eq!(of(event_type, &set), Err(0x0115));
        }
    }

    #[test]
    fn only_the_well_known_instance_reports() {
        let status = |class, instance| check_named(class, instance).map_err(|refusal| refusal.status);
        assert_eq!(status(MODEL, INSTANCE), Ok(()));
        assert_eq!(status(MODEL, "1.2.3"), Err(0x0112));
        assert_eq!(status("1.2.840.10008.5.1.4.34.6.1", INSTANCE), Err(0x0118));
    }

    #[test]
    fn failures_are_told_in_words() {
        let failures = Failures::from([(None, 1), (Some(0x0112), 2), (Some(0xC123), 3)]);
        assert_eq!(words(&failures), "1 without a reason, 2 no such object instance (0112), 3 reason (C123)");
    }
}
