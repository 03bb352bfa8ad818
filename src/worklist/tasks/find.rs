//! Searches for tasks (PS3.4 CC.2.8): by Pull, Watch and Query alike.
//!
//! In: keys. Out: tasks, the most urgent of those SCHEDULED first, read from the store while they are taken. The store narrows
//! (state, priority, label, time; a study, a patient, an accession number); `dicom::matching` decides.

use super::{Tasks, attributes, failed, gather::Input, role};
use crate::{
    dicom::{
        matching::{MatchOptions, Names, Prepared, check, returned, values},
        service::{Answers, Asker, DataSet, Find, Refusal},
        ups::SUPPORTED,
    },
    model::{CaseId, IdentifierKind, Moment, Priority, TaskState, Uid},
    store::{Meant, StoreError, TaskPage, TaskRow},
};
use chrono::{NaiveDate, NaiveTime};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use futures_util::stream::{self, Stream, StreamExt};
use std::{collections::VecDeque, time::Duration};

/// Tasks read at once: first, and when those were not enough.
const PAGE: i64 = 100;
const NEXT_PAGE: i64 = 500;
/// Tasks looked at for one query; and of them in a row without one that fits: beyond it the keys are too wide, or such as no index
/// serves.
const MAX_LOOKED_AT: usize = 2_000_000;
const MAX_IN_VAIN: usize = 200_000;
/// A700, PS3.4 Table CC.2.8-2.
const TOO_MANY: Refusal = Refusal::new(0xA700, "too many tasks for these keys");
/// Tasks named one by one, and cases that a key may mean, before the key narrows nothing.
const MAX_NAMED: usize = 500;
/// Of one answer to HTTP.
const MAX_LIMIT: u64 = 5_000;
/// Data sets that are kept until it is known whether there are more than wanted; further ones are made again while they
/// are taken.
const MAX_KEPT: usize = 100;
/// Further than any zone is from another: the store narrows by days, matching decides.
const DAY: Duration = Duration::from_secs(24 * 3600);

fn is_supported(tag: Tag) -> bool {
    SUPPORTED.contains(&tag) || tag == tags::SPECIFIC_CHARACTER_SET || tag == tags::TIMEZONE_OFFSET_FROM_UTC
}

/// What the store is asked for next.
enum Step {
    /// Everything of one state and priority.
    All(TaskState, Priority),
    /// These.
    These(Vec<TaskRow>),
}

/// A search under way.
struct Search {
    tasks: Tasks,
    asker: Asker,
    keys: DataSet,
    fitting: Prepared,
    label: Option<String>,
    from: Option<Moment>,
    to: Option<Moment>,
    input: Input,
    /// Tasks read at once: no more than are wanted.
    page: i64,
    steps: VecDeque<Step>,
    /// Within the first step.
    after: Option<(Moment, Uid)>,
    ready: VecDeque<(Uid, DataSet)>,
    looked: Looked,
}

/// How many tasks were looked at; and of them in a row without one that fits.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    at: usize,
    in_vain: usize,
}

impl Looked {
    fn at(&mut self, tasks: usize, fitting: usize) {
        self.at += tasks;
        self.in_vain = if fitting > 0 { 0 } else { self.in_vain + tasks };
    }

    fn is_enough(self) -> bool {
        self.at >= MAX_LOOKED_AT || self.in_vain >= MAX_IN_VAIN
    }
}

pub(super) async fn find(tasks: &Tasks, asker: &Asker, find: Find) -> Result<Answers, Refusal> {
    check(&find.identifier)
        .map_err(|tag| Refusal { element: Some(tag), ..Refusal::new(0xA900, "A key cannot be matched on") })?;
    let has_unsupported_keys = find.identifier.iter().any(|element| !is_supported(element.header().tag));
    let mut search = Search::new(tasks, asker, &find).await.map_err(|error| failed(&error))?;
    let Some(limit) = find.limit.map(|limit| limit.min(MAX_LIMIT)) else {
        let matches = stream::unfold(search, |mut search| async move {
            match search.next().await {
                Ok(found) => found.map(|(_, set)| (Ok(set), search)),
                Err(refusal) => {
                    search.steps.clear();
                    Some((Err(refusal), search))
                }
            }
        });
        return Ok(Answers { matches: matches.boxed(), has_unsupported_keys, is_partial: false });
    };
    let (mut found, mut later) = (Vec::new(), VecDeque::new());
    let mut is_partial = false;
    for nth in 0.. {
        let Some((uid, set)) = search.next().await? else { break };
        if nth >= find.skip.saturating_add(limit) {
            is_partial = true;
            break;
        }
        if nth >= find.skip && found.len() < MAX_KEPT {
            found.push(Ok(set));
        } else if nth >= find.skip {
            later.push_back(uid);
        }
    }
    let matches = stream::iter(found).chain(again(search, later)).boxed();
    Ok(Answers { matches, has_unsupported_keys, is_partial })
}

/// These, made one after the other while they are taken; without those that match no more.
fn again(search: Search, uids: VecDeque<Uid>) -> impl Stream<Item = Result<DataSet, Refusal>> + Send {
    stream::unfold((search, uids), |(search, mut uids)| async move {
        loop {
            let uid = uids.pop_front()?;
            match search.one(&uid).await {
                Ok(Some(set)) => return Some((Ok(set), (search, uids))),
                Ok(None) => {}
                Err(error) => {
                    uids.clear();
                    return Some((Err(failed(&error)), (search, uids)));
                }
            }
        }
    })
}

impl Search {
    async fn new(tasks: &Tasks, asker: &Asker, find: &Find) -> Result<Self, StoreError> {
        let keys = &find.identifier;
        let zone = tasks.config.now().partners.get(&asker.partner).map_or(chrono_tz::UTC, |partner| partner.time_zone);
        let (from, to) = days(&one(keys, tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME));
        let options = MatchOptions {
            names: if find.is_fuzzy { Names::Fuzzy } else { Names::Folded },
            unknown_matches: false,
            combined_datetime: true,
            time_zone: Some(zone),
        };
        Ok(Self {
            steps: steps(tasks, asker, keys).await?,
            tasks: tasks.clone(),
            asker: asker.clone(),
            fitting: Prepared::new(keys, options),
            label: Some(one(keys, tags::WORKLIST_LABEL)).filter(|label| is_whole(label)),
            from,
            to,
            input: Input::wanted(keys),
            page: find.limit.map_or(PAGE, |limit| page(find.skip.saturating_add(limit))),
            keys: keys.clone(),
            after: None,
            ready: VecDeque::new(),
            looked: Looked::default(),
        })
    }

    async fn next(&mut self) -> Result<Option<(Uid, DataSet)>, Refusal> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Ok(Some(found));
            }
            if self.looked.is_enough() {
                self.steps.clear();
                return Err(TOO_MANY);
            }
            if !self.turn().await.map_err(|error| failed(&error))? {
                return Ok(None);
            }
        }
    }

    /// Looks at the next tasks that may match. False: there are no more.
    async fn turn(&mut self) -> Result<bool, StoreError> {
        let Some(rows) = self.more().await? else { return Ok(false) };
        self.page = NEXT_PAGE;
        for (task, set) in self.tasks.data_sets(&self.asker, &rows, self.input).await? {
            if self.fitting.fits(&set) {
                self.ready.push_back((task.uid, returned(&self.keys, &set)));
            }
        }
        self.looked.at(rows.len(), self.ready.len());
        Ok(true)
    }

    /// One of the tasks that were found, as it is now.
    async fn one(&self, uid: &Uid) -> Result<Option<DataSet>, StoreError> {
        let Some(task) = self.tasks.store.find_task(uid).await? else { return Ok(None) };
        let sets = self.tasks.data_sets(&self.asker, &[task], self.input).await?;
        let mut fitting = sets.into_iter().filter(|(_, set)| self.fitting.fits(set));
        Ok(fitting.next().map(|(_, set)| returned(&self.keys, &set)))
    }

    /// The next tasks that may match. `None`: there are no more.
    async fn more(&mut self) -> Result<Option<Vec<TaskRow>>, StoreError> {
        let (state, priority) = match self.steps.pop_front() {
            None => return Ok(None),
            Some(Step::These(rows)) => return Ok(Some(rows)),
            Some(Step::All(state, priority)) => (state, priority),
        };
        let page = TaskPage {
            partner: &self.asker.partner,
            is_origin: false,
            state,
            priority,
            label: self.label.as_deref(),
            from: self.from,
            to: self.to,
            after: self.after.take(),
            limit: self.page,
        };
        let rows = self.tasks.store.task_page(&page).await?;
        if let Some(last) = rows.last().filter(|_| rows.len() >= usize::try_from(self.page).unwrap_or(usize::MAX)) {
            self.after = Some((last.scheduled, last.uid.clone()));
            self.steps.push_front(Step::All(state, priority));
        }
        Ok(Some(rows))
    }
}

/// One more than wanted says whether there are more.
fn page(wanted: u64) -> i64 {
    i64::try_from(wanted.saturating_add(1)).unwrap_or(PAGE).min(PAGE)
}

async fn steps(tasks: &Tasks, asker: &Asker, keys: &DataSet) -> Result<VecDeque<Step>, StoreError> {
    if let Some(rows) = named(tasks, asker, keys).await? {
        return Ok(VecDeque::from([Step::These(rows)]));
    }
    let states = wanted(keys, tags::PROCEDURE_STEP_STATE);
    let priorities = wanted(keys, tags::SCHEDULED_PROCEDURE_STEP_PRIORITY);
    let mut steps = VecDeque::new();
    for state in TaskState::ALL.into_iter().filter(|state| is_wanted(&states, state.as_str())) {
        for priority in Priority::ALL.into_iter().rev() {
            if is_wanted(&priorities, attributes::priority(priority)) {
                steps.push_back(Step::All(state, priority));
            }
        }
    }
    Ok(steps)
}

/// The tasks that the query names one by one. `None`: it names none, or so many that it says nothing.
async fn named(tasks: &Tasks, asker: &Asker, keys: &DataSet) -> Result<Option<Vec<TaskRow>>, StoreError> {
    let uids = wanted(keys, tags::SOP_INSTANCE_UID);
    if !uids.is_empty() && uids.len() <= MAX_NAMED {
        let mut rows = Vec::new();
        for uid in uids.iter().filter_map(|uid| Uid::new(uid).ok()) {
            rows.extend(tasks.store.find_task(&uid).await?.filter(|task| role(asker, task).is_some()));
        }
        return Ok(Some(rows));
    }
    let Some(cases) = cases(tasks, asker, keys).await? else { return Ok(None) };
    tasks.store.tasks_of_cases(&cases, &asker.partner).await.map(Some)
}

async fn cases(tasks: &Tasks, asker: &Asker, keys: &DataSet) -> Result<Option<Vec<CaseId>>, StoreError> {
    let limit = i64::try_from(MAX_NAMED).unwrap_or(i64::MAX);
    let in_sequence = |sequence, tag| wanted(&attributes::first_item(keys, sequence), tag);
    let mut studies = wanted(keys, tags::STUDY_INSTANCE_UID);
    if studies.is_empty() {
        studies = in_sequence(tags::INPUT_INFORMATION_SEQUENCE, tags::STUDY_INSTANCE_UID);
    }
    let refs = |values: &'_ [String]| values.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
    if !studies.is_empty() && studies.len() <= MAX_NAMED {
        let studies = refs(&studies);
        let studies: Vec<&str> = studies.iter().map(String::as_str).collect();
        return tasks.store.cases_meant(&Meant::Study(&studies), limit).await;
    }
    let patient = one(keys, tags::PATIENT_ID);
    if is_whole(&patient) {
        let ids = as_given(tasks, asker, IdentifierKind::Patient, &patient).await?;
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let config = tasks.config.now();
        let origins: Vec<&str> = config.partners.keys().map(|id| id.as_str()).collect();
        return tasks.store.cases_meant(&Meant::Patient(&ids, &origins), limit).await;
    }
    let accession = in_sequence(tags::REFERENCED_REQUEST_SEQUENCE, tags::ACCESSION_NUMBER);
    match accession.as_slice() {
        [number] if is_whole(number) => {
            let ids = as_given(tasks, asker, IdentifierKind::Accession, number).await?;
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            tasks.store.cases_meant(&Meant::Accession(&ids), limit).await
        }
        _ => Ok(None),
    }
}

/// An identifier, and what it stands for where it is one of the asker's own domain.
async fn as_given(tasks: &Tasks, asker: &Asker, kind: IdentifierKind, value: &str) -> Result<Vec<String>, StoreError> {
    let known = tasks.store.unmapped(&asker.partner, kind, value).await?;
    Ok(std::iter::once(value.to_owned()).chain(known.map(|given| given.id.value)).collect())
}

/// The values of a key; empty where it is not there, or matches everything.
fn wanted(keys: &DataSet, tag: Tag) -> Vec<String> {
    let found = keys.get(tag).map(values).unwrap_or_default();
    found.into_iter().filter(|value| !value.is_empty()).collect()
}

fn one(keys: &DataSet, tag: Tag) -> String {
    wanted(keys, tag).into_iter().next().unwrap_or_default()
}

fn is_whole(value: &str) -> bool {
    !value.is_empty() && !value.contains(['*', '?', '\\'])
}

/// A wild card may mean any: matching decides.
fn is_wanted(keys: &[String], word: &str) -> bool {
    keys.is_empty() || keys.iter().any(|key| !is_whole(key) || key == word)
}

/// The days that a range of DT lies in, with a day to spare on each side. What cannot be read narrows nothing.
fn days(key: &str) -> (Option<Moment>, Option<Moment>) {
    let day = |text: &str| -> Option<Moment> {
        let text = text.trim();
        let date = NaiveDate::parse_from_str(text.get(..8)?, "%Y%m%d").ok()?;
        Some(Moment::from_utc(date.and_time(NaiveTime::MIN).and_utc()))
    };
    let (from, to) = match key.split_once('-') {
        // The hyphen of an offset is followed by four digits, that of a range by a date or nothing.
        Some((_, to)) if to.len() == 4 || to.contains('-') => return (None, None),
        Some((from, to)) => (day(from), day(to)),
        None => (day(key), day(key)),
    };
    (from.map(|at| at - DAY), to.map(|at| at + DAY + DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_narrowed_by_days_and_never_too_much() {
        let at = |text: &str| {
            let date = NaiveDate::parse_from_str(text, "%Y%m%d").expect("a date");
            Some(Moment::from_utc(date.and_time(NaiveTime::MIN).and_utc()))
        };
        assert_eq!(days("20260524-20260525"), (at("20260523"), at("20260527")));
        assert_eq!(days("20260524120000-"), (at("20260523"), None));
        assert_eq!(days("-20260524120000+0200"), (None, at("20260526")));
        assert_eq!(days("202605241200"), (at("20260523"), at("20260526")));
        for open in ["", "2026", "20260524120000-0500", "20260524-0500-20260525-0500", "ümlautXX"] {
            assert_eq!(days(open), (None, None), "{open}");
        }
    }

    #[test]
    fn a_search_ends_where_nothing_fits_for_too_long_or_too_much_does() {
        let after = |pages: usize, fitting: usize| {
            let mut looked = Looked::default();
            (0..pages).for_each(|_| looked.at(500, fitting));
            looked.is_enough()
        };
        assert_eq!([after(399, 0), after(400, 0)], [false, true]);
        assert_eq!([after(3_999, 1), after(4_000, 1)], [false, true]);
        let mut looked = Looked { at: 0, in_vain: MAX_IN_VAIN - 1 };
        looked.at(500, 1);
        assert!(!looked.is_enough(), "one has fitted");
    }

    #[test]
    fn a_word_is_wanted_where_nothing_or_a_wild_card_says_so() {
        assert!(is_wanted(&[], "SCHEDULED"));
        assert!(is_wanted(&["SCHED*".to_owned()], "COMPLETED"));
        assert!(is_wanted(&["IN PROGRESS".to_owned(), "SCHEDULED".to_owned()], "SCHEDULED"));
        assert!(!is_wanted(&["IN PROGRESS".to_owned()], "SCHEDULED"));
    }
}
