//! What is held here: patients, studies, series and instances searched (PS3.4 C) and retrieved.
//!
//! In: the identifier of a C-FIND, C-GET or C-MOVE, or what `web` made of QIDO-RS and WADO-RS. Out: answers while they are
//! read from the store, in the words and identifiers of whoever asks ([`Naming`]); or the instances meant. `look` chooses the
//! index, `items` says what is known as a data set, and `dicom::matching` decides what the index did not.
//!
//! A partner sees what it sent and what it is to read, and of what it was given before the instances it was given; everything else
//! is for it as if it were not there.
//! Queries over several levels are answered without having been negotiated (PS3.4 C.4.1.2.2): QIDO-RS asks so.

pub mod commitment;
pub mod fetched;
mod items;
mod judging;
mod look;
mod naming;
mod retrieve;
mod room;

use crate::{
    config::Live,
    dicom::{
        matching::{self, MatchOptions, Names, Prepared},
        service::{Answers, Asker, DataSet, Find, FindModel, Refusal},
    },
    model::{Clock, chain},
    store::{FoundInstance, FoundSeries, FoundStudy, Searched, Store, StoreError, StudyPlace, StudySearch},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
pub use fetched::Looks;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use look::Keys;
use naming::Naming;
pub use room::Rooms;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// The first page is short, so that its answers come at once, and no longer than who asks for so many needs; the next are longer.
const FIRST_PAGE: i64 = 50;
const PAGE: i64 = 500;
/// Studies looked at for one query: beyond it the keys are too wide.
const MAX_LOOKED_AT: i64 = 2_000_000;
/// Candidates that are matched without a pause.
const YIELD_EVERY: usize = 50;
/// Patients told apart in one query.
const MAX_PATIENTS: usize = 200_000;
/// Instances that one query may name.
const MAX_NAMED: usize = 2_000;
/// Series of a study kept at hand while its instances are told.
const MAX_SERIES_AT_HAND: usize = 1_000;

/// A700, A900: PS3.4 Table C.4-1.
const CANNOT_BE_READ: Refusal = Refusal::new(0xA700, "what is held cannot be read now");
const TOO_MANY: Refusal = Refusal::new(0xA700, "too many studies for these keys");

const fn unfit(comment: &'static str, element: Tag) -> Refusal {
    Refusal { element: Some(element), ..Refusal::new(0xA900, comment) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Patient,
    Study,
    Series,
    Image,
}

impl Level {
    /// PS3.4 C.6.1.1, C.6.2.1.
    fn of(keys: &DataSet, model: FindModel) -> Result<Self, Refusal> {
        match (matching::value(keys, tags::QUERY_RETRIEVE_LEVEL).as_str(), model) {
            ("PATIENT", FindModel::PatientRoot) => Ok(Self::Patient),
            ("STUDY", _) => Ok(Self::Study),
            ("SERIES", _) => Ok(Self::Series),
            ("IMAGE", _) => Ok(Self::Image),
            _ => Err(unfit("Query/Retrieve Level is not one of the model's", tags::QUERY_RETRIEVE_LEVEL)),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "PATIENT",
            Self::Study => "STUDY",
            Self::Series => "SERIES",
            Self::Image => "IMAGE",
        }
    }
}

/// Where everything held is searched.
#[derive(Clone)]
pub struct Shelves {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Of retrievals.
    pub rooms: Rooms,
    /// Who looks at which case just now.
    pub looks: Looks,
}

type Found<T> = BoxStream<'static, Result<T, Refusal>>;

/// A query under way, shared by what it reads.
struct Question {
    store: Store,
    naming: Naming,
    keys: DataSet,
    fits: Prepared,
    /// Without those that tell identifiers, which are compared once they have been named.
    may_fit: Prepared,
    level: Level,
    first_page: i64,
    /// Of this node: Retrieve AE Title (0008,0054).
    ae_title: String,
    /// UIDs named by the keys.
    series: Vec<String>,
    instances: Vec<String>,
}

impl Shelves {
    pub async fn find(self, asker: &Asker, find: Find) -> Result<Answers, Refusal> {
        let level = Level::of(&find.identifier, find.model)?;
        if let Err(tag) = matching::check(&find.identifier) {
            return Err(unfit("a key that cannot be matched on", tag));
        }
        if find.identifier.get(tags::SOP_INSTANCE_UID).map_or(0, |uids| matching::values(uids).len()) > MAX_NAMED {
            return Err(unfit("more than 2000 instances are named", tags::SOP_INSTANCE_UID));
        }
        let names = if find.is_fuzzy { Names::Fuzzy } else { Names::Folded };
        let naming = Naming::toward(asker, &self);
        let keys = Keys { set: &find.identifier, names, is_of_series: level >= Level::Series };
        let by = keys.look(&naming).await.map_err(|error| failed(&error))?;
        let (from, to) = keys.days();
        let search = StudySearch { partner: asker.partner.clone(), by, from, to };
        let options = MatchOptions { names, unknown_matches: false, combined_datetime: false, time_zone: None };
        let question = Question {
            store: self.store.clone(),
            naming,
            fits: Prepared::new(&find.identifier, options),
            may_fit: Prepared::new(&items::without_identifiers(&find.identifier), options),
            level,
            first_page: first_page(level, &find),
            ae_title: self.config.now().dicom.ae_title.clone(),
            series: keys.uids(tags::SERIES_INSTANCE_UID),
            instances: keys.uids(tags::SOP_INSTANCE_UID),
            keys: find.identifier,
        };
        metrics::counter!("neisse_searches_total", "partner" => asker.partner.to_string()).increment(1);
        let has_unsupported_keys = !matching::supports_all(&question.keys, &items::empty(level));
        let skip = usize::try_from(find.skip).unwrap_or(usize::MAX);
        // One more tells that there are more.
        let limit = find.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let matches = answers(Arc::new(question), search).skip(skip).take(limit.saturating_add(1)).boxed();
        Ok(Answers { matches, has_unsupported_keys, is_partial: false })
    }
}

/// With the one study more that tells that there are more.
fn first_page(level: Level, find: &Find) -> i64 {
    let wanted =
        find.limit.filter(|_| level == Level::Study).map(|limit| find.skip.saturating_add(limit).saturating_add(1));
    wanted.map_or(FIRST_PAGE, |wanted| i64::try_from(wanted).unwrap_or(PAGE).clamp(FIRST_PAGE, PAGE))
}

fn answers(question: Arc<Question>, search: StudySearch) -> Found<DataSet> {
    let studies = studies(question.clone(), search);
    let asked = question.clone();
    let items: Found<DataSet> = match question.level {
        Level::Patient => patients(studies),
        Level::Study => studies.map_ok(|(_, item)| item).boxed(),
        Level::Series => studies.map_ok(move |(study, item)| series(asked.clone(), study, item)).try_flatten().boxed(),
        Level::Image => studies.map_ok(move |(study, item)| images(asked.clone(), study, item)).try_flatten().boxed(),
    };
    items.map_ok(move |item| matching::returned(&question.keys, &item)).boxed()
}

/// Studies that fit all keys about studies, each as a data set.
fn studies(question: Arc<Question>, search: StudySearch) -> Found<(FoundStudy, DataSet)> {
    let reading = Reading { question, search, page: VecDeque::new(), after: None, looked_at: 0, is_last: false };
    stream::try_unfold(reading, |mut reading| async move { Ok(reading.next().await?.map(|found| (found, reading))) })
        .boxed()
}

struct Reading {
    question: Arc<Question>,
    search: StudySearch,
    page: VecDeque<FoundStudy>,
    after: Option<StudyPlace>,
    looked_at: i64,
    is_last: bool,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<(FoundStudy, DataSet)>, Refusal> {
        loop {
            while let Some(mut study) = self.page.pop_front() {
                self.after = Some(study.place.clone());
                let question = &self.question;
                // Names are looked up for those that fit otherwise.
                if !question.may_fit.fits(&items::study(&study, question)) {
                    // Many that do not fit are looked at beside what else the node does.
                    if self.page.len().is_multiple_of(YIELD_EVERY) {
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
                question.naming.name(&mut study).await.map_err(|error| failed(&error))?;
                let item = items::study(&study, question);
                if question.fits.fits(&item) {
                    return Ok(Some((study, item)));
                }
            }
            if self.is_last {
                return Ok(None);
            }
            self.turn().await?;
        }
    }

    async fn turn(&mut self) -> Result<(), Refusal> {
        if self.looked_at >= MAX_LOOKED_AT {
            return Err(TOO_MANY);
        }
        let limit = if self.looked_at == 0 { self.question.first_page } else { PAGE };
        let store = &self.question.store;
        let page = store.search_studies(&self.search, self.after.as_ref(), limit).await;
        let page = page.map_err(|error| failed(&error))?;
        let read = i64::try_from(page.len()).unwrap_or(i64::MAX);
        self.is_last = read < limit;
        self.looked_at = self.looked_at.saturating_add(read);
        self.page = page.into();
        Ok(())
    }
}

/// Each patient once, as its newest study knows it.
fn patients(studies: Found<(FoundStudy, DataSet)>) -> Found<DataSet> {
    let told: HashSet<(String, String)> = HashSet::new();
    let each_once = studies.scan(told, |told, found| {
        let next = match found {
            Err(refusal) => Some(Err(refusal)),
            Ok(_) if told.len() >= MAX_PATIENTS => Some(Err(TOO_MANY)),
            Ok((study, item)) => {
                let id = study.facts.patient_id;
                told.insert((id.issuer, id.value)).then_some(Ok(item))
            }
        };
        std::future::ready(Some(next))
    });
    each_once.filter_map(std::future::ready).boxed()
}

fn series(question: Arc<Question>, study: FoundStudy, item: DataSet) -> Found<DataSet> {
    let (study, named) = (Arc::new(study), question.series.clone());
    let pages = stream::try_unfold(Some(String::new()), move |after| {
        let (question, study, named) = (question.clone(), study.clone(), named.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = question.store.series_of(&study, &after, PAGE).await.map_err(|error| failed(&error))?;
            let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            let next = page.last().filter(|_| !is_last).map(|series| series.series_uid.clone());
            let wanted = |series: &FoundSeries| named.is_empty() || named.contains(&series.series_uid);
            let page: Vec<FoundSeries> = page.into_iter().filter(wanted).collect();
            Ok::<_, Refusal>(Some(((question, page), next)))
        }
    });
    let items = pages.map_ok(move |(question, page)| {
        let of_page = page.into_iter().map(|series| items::series(&item, &series));
        let fits = |item: &DataSet| question.fits.fits(item);
        stream::iter(of_page.filter(fits).map(Ok).collect::<Vec<_>>())
    });
    items.try_flatten().boxed()
}

/// Instances of one study being told.
struct Telling {
    question: Arc<Question>,
    study: FoundStudy,
    item: DataSet,
    /// Number of the last one read; `None`: there are no more.
    after: Option<i64>,
    series: HashMap<String, DataSet>,
}

fn images(question: Arc<Question>, study: FoundStudy, item: DataSet) -> Found<DataSet> {
    let telling = Telling { question, study, item, after: Some(0), series: HashMap::new() };
    let pages = stream::try_unfold(telling, |mut telling| async move {
        Ok::<_, Refusal>(telling.page().await?.map(|page| (page, telling)))
    });
    pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten().boxed()
}

impl Telling {
    async fn page(&mut self) -> Result<Option<Vec<DataSet>>, Refusal> {
        let Some(after) = self.after else { return Ok(None) };
        let question = self.question.clone();
        let which = Searched { series: question.series.clone(), instances: question.instances.clone() };
        let page = question.store.instances_of(&self.study, &which, after, PAGE).await;
        let page = page.map_err(|error| failed(&error))?;
        self.after = page.next;
        let mut items = Vec::new();
        for instance in &page.instances {
            let item = self.item_of(instance).await?;
            if question.fits.fits(&item) {
                items.push(item);
            }
        }
        Ok(Some(items))
    }

    async fn item_of(&mut self, instance: &FoundInstance) -> Result<DataSet, Refusal> {
        let uid = instance.series.as_str();
        if !self.series.contains_key(uid) {
            let found = self.question.store.one_series(&self.study, &instance.series).await;
            let found = found.map_err(|error| failed(&error))?;
            let item = found.map_or_else(|| self.item.clone(), |series| items::series(&self.item, &series));
            if self.series.len() >= MAX_SERIES_AT_HAND {
                self.series.clear();
            }
            self.series.insert(uid.to_owned(), item);
        }
        Ok(items::instance(self.series.get(uid).unwrap_or(&self.item), instance))
    }
}

fn failed(error: &StoreError) -> Refusal {
    tracing::error!(error = %chain(error), "What is held cannot be searched");
    CANNOT_BE_READ
}
