//! Which cases wait for something: to be routed, to become whole, to be seen by a person.
//!
//! In: since when, behind which one, how many. Out: their ids, or a line for each; none is held, and who works on one reads
//! it again. Each list is read by an index of its own, whose conditions its statement repeats.
//!
//! Does not change anything.

use super::{CaseRow, Raw, from_json, partner};
use crate::{
    model::{CaseId, CaseState, Decision, Moment, PartnerId, StudyFacts, Uid},
    store::{Store, StoreError, on_read},
};

/// What waits to become whole.
#[derive(Clone, Debug)]
pub struct IncompleteCase {
    pub id: CaseId,
    pub origin: PartnerId,
    pub study: Uid,
    pub last: Moment,
}

/// One line of `neisse cases list`.
#[derive(Clone, Debug)]
pub struct CaseSummary {
    pub case: CaseRow,
    /// Deliveries not finished, and those that ended in front of a person.
    pub open: i64,
    pub stopped: i64,
    pub reports: i64,
}

#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    pub state: Option<CaseState>,
    pub partner: Option<PartnerId>,
    pub attention: bool,
    pub limit: i64,
}

macro_rules! list_cases {
    ($where:literal) => {
        concat!(
            "SELECT id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, instances, bytes, \
             routed_to, first_us, last_us, whole_us, decision, reader, attention, has_study, report_due_us, \
             waits_until_us, \
             (SELECT COUNT(*) FROM deliveries d WHERE d.case_id = cases.id AND d.state IN ('owed', 'queued', 'attempting')) AS open, \
             (SELECT COUNT(*) FROM deliveries d WHERE d.case_id = cases.id AND d.state = 'stopped') AS stopped, \
             (SELECT COUNT(*) FROM reports r WHERE r.case_id = cases.id) AS reports \
             FROM cases WHERE ",
            $where,
            " AND ($1 = '' OR state = $1) AND ($2 = '' OR origin = $2 OR reader = $2) ORDER BY last_us DESC LIMIT $3"
        )
    };
}
const LIST: &str = list_cases!("1 = 1");
const LIST_WAITING: &str = list_cases!("(attention <> '' OR state = 'held')");

impl Raw {
    /// For lists: a case whose texts cannot be read is shown without them, and says so. It is what is looked for.
    fn read_for_list(mut self) -> Result<CaseRow, StoreError> {
        let facts = from_json::<StudyFacts>(&self.facts, "study header").is_ok();
        let decided = |text: &String| from_json::<Decision>(text, "decision").is_ok();
        let decision = self.decision.as_ref().is_none_or(decided);
        if !facts {
            self.facts = "{}".into();
        }
        self.decision = self.decision.filter(|_| decision);
        let mut case = self.read()?;
        if !(facts && decision) {
            case.needs_a_person("its row in the database cannot be read");
        }
        Ok(case)
    }
}

fn incomplete((id, origin, study, last): (String, String, String, i64)) -> Result<IncompleteCase, StoreError> {
    let unreadable = |what| StoreError::Unreadable { what };
    Ok(IncompleteCase {
        id: id.parse().map_err(|_| unreadable("case id"))?,
        origin: partner(&origin)?,
        study: Uid::new(&study).map_err(|_| unreadable("study UID"))?,
        last: Moment(last),
    })
}

impl Store {
    /// Cases with instances or order messages that are not owed to anybody yet, or not decided.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_route(&self, limit: i64) -> Result<Vec<CaseId>, StoreError> {
        self.cases_to_route_after(None, limit).await
    }

    /// The same, those whose ids follow `after`: what cannot be routed now does not keep the rest from it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_route_after(&self, after: Option<CaseId>, limit: i64) -> Result<Vec<CaseId>, StoreError> {
        // The conditions are those of the partial indexes `cases_to_route`, `cases_of_orders_to_route` and
        // `cases_with_news`, word for word.
        const SQL: &str = "SELECT id FROM (SELECT id FROM cases WHERE state IN ('new', 'routed', 'delivered', 'preliminary', 'reported') \
             AND routed_to < instances AND id > $1 ORDER BY id LIMIT $2) with_images \
             UNION SELECT id FROM (SELECT id FROM cases WHERE state = 'new' AND has_study = 0 AND id > $1 \
             ORDER BY id LIMIT $2) of_orders \
             UNION SELECT id FROM (SELECT id FROM cases WHERE order_news = 1 AND id > $1 ORDER BY id LIMIT $2) with_news \
             ORDER BY id LIMIT $2";
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let ids: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).bind(after).bind(limit).fetch_all(p).await)?;
        ids.into_iter().map(|(id,)| id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })).collect()
    }

    /// Cases that are not whole and got nothing since `quiet_since`, longest quiet first, those behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_to_complete(
        &self,
        quiet_since: Moment,
        after: Option<(Moment, CaseId)>,
        limit: i64,
    ) -> Result<Vec<IncompleteCase>, StoreError> {
        const SQL: &str = "SELECT id, origin, study_uid, last_us FROM cases WHERE whole_us IS NULL AND last_us <= $1 \
             AND (last_us, id) > ($2, $3) ORDER BY last_us, id LIMIT $4";
        let (last, id) = after.map_or((i64::MIN, String::new()), |(last, id)| (last.0, id.to_string()));
        let rows: Vec<(String, String, String, i64)> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(quiet_since.0)
            .bind(last)
            .bind(&id)
            .bind(limit)
            .fetch_all(p)
            .await)?;
        rows.into_iter().map(incomplete).collect()
    }

    /// Cases that were whole, are read, and to which something has come since that nobody has seen the end of; quiet since
    /// `quiet_since`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_complete_again(
        &self,
        quiet_since: Moment,
        limit: i64,
    ) -> Result<Vec<IncompleteCase>, StoreError> {
        // With the condition of the partial index `tasks_not_ready`, word for word.
        const SQL: &str = "SELECT c.id, c.origin, c.study_uid, c.last_us FROM tasks t CROSS JOIN cases c \
             WHERE c.id = t.case_id AND t.ready = 0 AND t.state IN ('SCHEDULED', 'IN PROGRESS') \
             AND c.whole_us IS NOT NULL AND c.last_us <= $1 LIMIT $2";
        let rows: Vec<(String, String, String, i64)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(quiet_since.0).bind(limit).fetch_all(p).await)?;
        rows.into_iter().map(incomplete).collect()
    }

    /// When the first of the cases that are not whole, and not quiet since `quiet_since`, got its last instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest_incomplete(&self, quiet_since: Moment) -> Result<Option<Moment>, StoreError> {
        const SQL: &str = "SELECT MIN(last_us) FROM cases WHERE whole_us IS NULL AND last_us > $1";
        let (oldest,): (Option<i64>,) = on_read!(self, |p| sqlx::query_as(SQL).bind(quiet_since.0).fetch_one(p).await)?;
        Ok(oldest.map(Moment))
    }

    /// The newest cases that pass the filter.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_cases(&self, filter: &ListFilter) -> Result<Vec<CaseSummary>, StoreError> {
        // For those who wait, with the conditions of the partial index `cases_waiting`, word for word.
        let sql = if filter.attention { LIST_WAITING } else { LIST };
        #[derive(sqlx::FromRow)]
        struct Line {
            #[sqlx(flatten)]
            case: Raw,
            open: i64,
            stopped: i64,
            reports: i64,
        }
        let state = filter.state.map_or("", CaseState::as_str);
        let partner = filter.partner.as_ref().map_or("", PartnerId::as_str);
        let lines: Vec<Line> =
            on_read!(self, |p| sqlx::query_as(sql).bind(state).bind(partner).bind(filter.limit).fetch_all(p).await)?;
        lines
            .into_iter()
            .map(|line| {
                Ok(CaseSummary {
                    case: line.case.read_for_list()?,
                    open: line.open,
                    stopped: line.stopped,
                    reports: line.reports,
                })
            })
            .collect()
    }

    /// How many cases are in each state, and how many wait for a person.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_cases(&self) -> Result<(Vec<(CaseState, i64)>, i64), StoreError> {
        const SQL: &str = "SELECT state, COUNT(*) FROM cases GROUP BY state";
        const WAITING: &str = "SELECT COUNT(*) FROM cases WHERE attention <> '' OR state = 'held'";
        let rows: Vec<(String, i64)> = on_read!(self, |p| sqlx::query_as(SQL).fetch_all(p).await)?;
        let (waiting,): (i64,) = on_read!(self, |p| sqlx::query_as(WAITING).fetch_one(p).await)?;
        let counted = rows.into_iter().filter_map(|(state, count)| Some((CaseState::parse(&state)?, count))).collect();
        Ok((counted, waiting))
    }
}
