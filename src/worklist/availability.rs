//! Tells partners' own systems that a study is whole and with whoever gets it (Instance Availability Notification as SCU, PS3.4 R),
//! `[dicom.availability_to]`.
//!
//! In: cases of which the store says so. Out: one N-CREATE for the origin and for each of its receivers that want to know, owed in the
//! same transaction; `performed_sending` sends it as it sends performed steps: again with pauses, given up before a person. It names
//! every instance as ONLINE, to be retrieved from this node. Images that come later make the study available anew, as one when nothing
//! has come for `[dicom] quiet`; so does a receiver that it did not have.

use crate::{
    config::{Config, Live},
    dicom::service::DataSet,
    model::{Aside, CaseId, Clock, Moment, PartnerId, Uid, chain},
    store::{Available, CaseRow, Durability, FoundInstance, Store, StoreError, Telling},
};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const BATCH: i64 = 500;
/// Instances that one notification names; a study of more is told in several (PS3.4 R.3.2: some or all of a study's).
const MOST: i64 = 5_000;

pub struct AvailabilityTeller {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
}

impl AvailabilityTeller {
    pub async fn run(self, stop: CancellationToken) {
        let mut aside = Aside::default();
        loop {
            if let Err(error) = self.look(&mut aside).await {
                tracing::error!(error = %chain(&error), "What is available cannot be told now; it waits");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// All there is, page by page: those that are put aside keep no other from being told.
    async fn look(&self, aside: &mut Aside<String>) -> Result<(), StoreError> {
        let quiet_since = self.clock.now() - self.config.now().dicom.quiet;
        let mut after = None;
        loop {
            let page = self.store.available_studies(quiet_since, after.as_ref(), BATCH).await?;
            let is_last = page.len() < usize::try_from(BATCH).unwrap_or(usize::MAX);
            for available in page {
                after = Some(available.0.clone());
                self.look_at(available, aside).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn look_at(&self, ((noted, row), case): Available, aside: &mut Aside<String>) -> Result<(), StoreError> {
        if aside.waits(&row) {
            return Ok(());
        }
        let owed = match case {
            Ok(case) => self.owe(case, noted).await,
            Err(unreadable) => Err(unreadable.into()),
        };
        match owed {
            Err(error) if error.is_about_one() => {
                tracing::error!(case.id = row, error = %chain(&error), "That case {row} is available cannot be told now; the others go on");
                aside.failed(row);
                return Ok(());
            }
            owed => owed?,
        }
        aside.done(&row);
        Ok(())
    }

    /// For each that wants to know, and done with.
    async fn owe(&self, id: CaseId, noted: Moment) -> Result<(), StoreError> {
        let (config, case) = (self.config.now(), self.store.case(id).await?);
        let told = who(&config, &case);
        let mut notices: Vec<(Uid, String)> = Vec::new();
        let mut behind = (!told.is_empty()).then_some(0);
        while let Some(after) = behind {
            let page = self.store.instances_of_case(id, after, MOST).await?;
            behind = page.next;
            let uid = Uid::derived(&["availability", &id.to_string(), &noted.0.to_string(), &after.to_string()]);
            let here: Vec<&FoundInstance> = page.instances.iter().filter(|instance| instance.on_disk).collect();
            if !here.is_empty() {
                let set = notification(&case.study, &here, &config.dicom.ae_title);
                let unwritten = |_| StoreError::Unreadable { what: "notification" };
                notices.push((uid, dicom_json::to_string(&set).map_err(unwritten)?));
            }
        }
        let now = self.clock.now();
        let mut tx = self.store.begin(Durability::Process).await?;
        if !tx.take_available(id, noted).await? {
            return Ok(());
        }
        for partner in told {
            for (uid, attributes) in &notices {
                tx.owe_telling(Telling::Availability, &partner, uid, true, attributes, now).await?;
            }
        }
        tx.commit().await
    }
}

/// The origin and its receivers, as far as they want to know.
fn who(config: &Config, case: &CaseRow) -> Vec<PartnerId> {
    let wants = |partner: &PartnerId| {
        let dicom = config.partners.get(partner).and_then(|partner| partner.dicom.as_ref());
        dicom.is_some_and(|dicom| dicom.availability_to.is_some())
    };
    [case.origin.clone()].into_iter().chain(case.receivers()).filter(|partner| wants(partner)).collect()
}

/// PS3.4 Table R.3.2-1. Which performed steps they are of is not said.
fn notification(study: &Uid, instances: &[&FoundInstance], ae_title: &str) -> DataSet {
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let sequence = |tag: Tag, items: Vec<DataSet>| DataElement::new(tag, VR::SQ, DataSetSequence::from(items));
    let mut series: Vec<(&Uid, Vec<DataSet>)> = Vec::new();
    for instance in instances {
        let mut item = DataSet::new_empty();
        item.put(text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, instance.sop_class.as_str()));
        item.put(text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, instance.sop_instance.as_str()));
        item.put(text(tags::INSTANCE_AVAILABILITY, VR::CS, "ONLINE"));
        item.put(text(tags::RETRIEVE_AE_TITLE, VR::AE, ae_title));
        // Those of a series mostly come together.
        match series.iter_mut().rev().find(|(uid, _)| **uid == instance.series) {
            Some((_, items)) => items.push(item),
            None => series.push((&instance.series, vec![item])),
        }
    }
    let of_series = |(uid, items): (&Uid, Vec<DataSet>)| {
        let mut item = DataSet::new_empty();
        item.put(text(tags::SERIES_INSTANCE_UID, VR::UI, uid.as_str()));
        item.put(sequence(tags::REFERENCED_SOP_SEQUENCE, items));
        item
    };
    let mut set = DataSet::new_empty();
    set.put(sequence(tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new()));
    set.put(text(tags::STUDY_INSTANCE_UID, VR::UI, study.as_str()));
    set.put(sequence(tags::REFERENCED_SERIES_SEQUENCE, series.into_iter().map(of_series).collect()));
    set
}
