//! What a task's data set is made of, fetched from the store for whoever asks.
//!
//! Who reads the case no longer is told what it was given: the instances that were made owed to it, and of patient and request what was
//! known when its task ended. Where that was not kept, nothing of them.

use super::{
    Tasks,
    attributes::{About, Identifiers, InputSeries, data_set},
};
use crate::{
    config::Config,
    dicom::service::{Asker, DataSet},
    model::{CaseId, CaseState, IdentifierKind, IssuedId, PartnerId, Uid},
    store::{CaseRow, StoreError, TaskRow},
};
use dicom_dictionary_std::tags;
use std::collections::BTreeMap;

/// What is said of what there is to read (Input Information Sequence).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing: nobody has asked for it.
    Left,
    /// Its series. In a list of tasks their instances would be most of it.
    Series,
    /// Its instances.
    Instances,
}

impl Input {
    /// As much of it as these keys ask for.
    pub(super) fn wanted(keys: &DataSet) -> Self {
        if keys.get(tags::INPUT_INFORMATION_SEQUENCE).is_some() { Self::Series } else { Self::Left }
    }
}

/// Instances named one by one; of a larger study the series are named.
const MAX_NAMED: i64 = 500;
/// Series named, at most.
const MAX_SERIES: usize = 200;

impl Tasks {
    /// Data sets of these tasks, in their order. A task whose case cannot be read is left out.
    pub(super) async fn data_sets(
        &self,
        asker: &Asker,
        tasks: &[TaskRow],
        input: Input,
    ) -> Result<Vec<(TaskRow, DataSet)>, StoreError> {
        let config = self.config.now();
        let ids: Vec<CaseId> = tasks.iter().map(|task| task.case).collect();
        let cases: BTreeMap<CaseId, CaseRow> =
            self.store.cases_by_id(&ids).await?.into_iter().map(|case| (case.id, case)).collect();
        let mut found = Vec::with_capacity(tasks.len());
        for task in tasks {
            let Some(case) = cases.get(&task.case) else { continue };
            let set = self.data_set(&config, asker, task, case, input).await?;
            found.push((task.clone(), set));
        }
        Ok(found)
    }

    pub(super) async fn data_set(
        &self,
        config: &Config,
        asker: &Asker,
        task: &TaskRow,
        case: &CaseRow,
        input: Input,
    ) -> Result<DataSet, StoreError> {
        let reader = config.partners.get(&task.reader);
        let zone = config.partners.get(&asker.partner).map_or(chrono_tz::UTC, |partner| partner.time_zone);
        let former = is_former(asker, case).then(|| as_it_was(task, case));
        let given_to = former.as_ref().map(|_| &asker.partner);
        let input = if case.has_study { self.input(case.id, given_to, input).await? } else { Vec::new() };
        let case = former.as_ref().unwrap_or(case);
        let output = match task.report {
            Some(report) => self.store.report_objects_made(report).await?,
            None => Vec::new(),
        };
        Ok(data_set(&About {
            task,
            case,
            identifiers: self.identifiers(config, asker, case).await?,
            reader_name: reader.map_or(task.reader.as_str(), |reader| reader.name.as_str()),
            time_zone: zone,
            ae_title: &config.dicom.ae_title,
            web_root: config.http.url.as_deref(),
            input,
            output,
        }))
    }

    /// As the asker knows them. Where it wants numbers of its own and none has been given yet, none is said.
    async fn identifiers(&self, config: &Config, asker: &Asker, case: &CaseRow) -> Result<Identifiers, StoreError> {
        let mapping = config.mapping(&asker.partner, &case.origin);
        let origin = config.partners.get(&case.origin).map_or("", |origin| origin.issuer.as_str());
        let mut ids = Identifiers::default();
        for (kind, id) in case.facts.identifiers() {
            let known = match &mapping {
                Some(mapping) => {
                    let known = self.store.known_mapped(mapping, &[(kind, id)]).await?;
                    known.into_iter().flatten().next().map(|mapped| mapped.id)
                }
                None if id.issuer.is_empty() => Some(IssuedId::new(id.value, origin)),
                None => Some(id),
            };
            let known = known.unwrap_or_default();
            match kind {
                IdentifierKind::Patient => ids.patient = known,
                IdentifierKind::Accession => ids.accession = known,
                IdentifierKind::Placer => ids.placer = known,
                IdentifierKind::Filler => ids.filler = known,
            }
        }
        Ok(ids)
    }

    /// Of the case; or what was `given_to` this partner of it, whether it has arrived or is on its way.
    async fn input(
        &self,
        case: CaseId,
        given_to: Option<&PartnerId>,
        input: Input,
    ) -> Result<Vec<InputSeries>, StoreError> {
        let named = match input {
            Input::Left => return Ok(Vec::new()),
            Input::Series => Vec::new(),
            Input::Instances => self.store.instances_named(case, given_to, MAX_NAMED + 1).await?,
        };
        let is_large = input == Input::Series || i64::try_from(named.len()).unwrap_or(i64::MAX) > MAX_NAMED;
        let mut series: Vec<InputSeries> = Vec::new();
        for (uid, class, instance) in named {
            add(&mut series, uid, (!is_large).then_some((class, instance)));
        }
        if is_large {
            let most = i64::try_from(MAX_SERIES).unwrap_or(i64::MAX);
            for uid in self.store.series_named(case, given_to, most).await? {
                add(&mut series, uid, None);
            }
        }
        series.truncate(MAX_SERIES);
        Ok(series)
    }
}

/// Whether somebody else reads it now, or nobody: as `store::search` has it for images.
fn is_former(asker: &Asker, case: &CaseRow) -> bool {
    let reads = case.reader.as_ref() == Some(&asker.partner) && case.state != CaseState::Held;
    asker.partner != case.origin && !reads
}

/// The case as it was known when its task ended; nothing of a patient where that was not kept.
fn as_it_was(task: &TaskRow, case: &CaseRow) -> CaseRow {
    CaseRow { facts: task.ended_facts.clone().unwrap_or_default(), report_due: None, ..case.clone() }
}

fn add(series: &mut Vec<InputSeries>, uid: Uid, instance: Option<(Uid, Uid)>) {
    match series.iter_mut().find(|known| known.series == uid) {
        Some(known) => known.instances.extend(instance),
        None => series.push(InputSeries { series: uid, instances: instance.into_iter().collect() }),
    }
}
