//! What a task's data set is made of, fetched from the store for whoever asks.

use super::{
    Tasks,
    attributes::{About, Identifiers, InputSeries, data_set},
};
use crate::{
    config::Config,
    dicom::service::{Asker, DataSet},
    model::{CaseId, IdentifierKind, IssuedId, Uid},
    store::{CaseRow, StoreError, TaskRow},
};
use std::collections::BTreeMap;

/// Instances named one by one; of a larger study the series are named.
const MAX_NAMED: i64 = 500;
/// Series named, at most.
const MAX_SERIES: usize = 200;

impl Tasks {
    /// Data sets of these tasks, in their order. A task whose case cannot be read is left out. `with_input`: what is to be
    /// read is asked for.
    pub(super) async fn data_sets(
        &self,
        asker: &Asker,
        tasks: &[TaskRow],
        with_input: bool,
    ) -> Result<Vec<(TaskRow, DataSet)>, StoreError> {
        let config = self.config.now();
        let ids: Vec<CaseId> = tasks.iter().map(|task| task.case).collect();
        let cases: BTreeMap<CaseId, CaseRow> =
            self.store.cases_by_id(&ids).await?.into_iter().map(|case| (case.id, case)).collect();
        let mut found = Vec::with_capacity(tasks.len());
        for task in tasks {
            let Some(case) = cases.get(&task.case) else { continue };
            let set = self.data_set(&config, asker, task, case, with_input).await?;
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
        with_input: bool,
    ) -> Result<DataSet, StoreError> {
        let reader = config.partners.get(&task.reader);
        let zone = config.partners.get(&asker.partner).map_or(chrono_tz::UTC, |partner| partner.time_zone);
        let input = if with_input && case.has_study { self.input(case.id).await? } else { Vec::new() };
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

    async fn input(&self, case: CaseId) -> Result<Vec<InputSeries>, StoreError> {
        let named = self.store.instances_named(case, MAX_NAMED + 1).await?;
        let is_large = i64::try_from(named.len()).unwrap_or(i64::MAX) > MAX_NAMED;
        let mut series: Vec<InputSeries> = Vec::new();
        for (uid, class, instance) in named {
            add(&mut series, uid, (!is_large).then_some((class, instance)));
        }
        if is_large {
            for uid in self.store.series_named(case, i64::try_from(MAX_SERIES).unwrap_or(i64::MAX)).await? {
                add(&mut series, uid, None);
            }
        }
        series.truncate(MAX_SERIES);
        Ok(series)
    }
}

fn add(series: &mut Vec<InputSeries>, uid: Uid, instance: Option<(Uid, Uid)>) {
    match series.iter_mut().find(|known| known.series == uid) {
        Some(known) => known.instances.extend(instance),
        None => series.push(InputSeries { series: uid, instances: instance.into_iter().collect() }),
    }
}
