//! What has left for a partner, oldest first: what it was sent, offered, and fetched by itself.
//!
//! In: a partner, from when and until when, and after which one. Out: a page of lines without patient data. Each source is
//! asked for a page by an index of its own, so that a page costs the same wherever it is.
//!
//! What was sent and not acknowledged may have arrived: it is among them, as what it is.

use super::{
    RefusedInstance, Sql, Store, StoreError,
    cases::{from_json, partner},
    on_read,
};
use crate::model::{CaseId, DeliveryKind, Moment, PartnerId};

/// What is looked for.
#[derive(Clone, Debug)]
pub struct DisclosureSearch {
    pub partner: PartnerId,
    pub from: Moment,
    /// Not any more.
    pub until: Moment,
}

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisclosurePlace {
    at: Moment,
    key: String,
}

/// What left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disclosed {
    Images {
        images: i64,
        of: i64,
    },
    /// `ORM^O01`, `ADT^A08`.
    Message(String),
    Report {
        kind: DeliveryKind,
        version: String,
    },
    /// Offered on the worklist.
    Task,
    Retrieved {
        by: String,
        images: i64,
    },
}

#[derive(Clone, Debug)]
pub struct Disclosure {
    pub at: Moment,
    pub what: Disclosed,
    /// False: it was sent, and no answer says that it has arrived.
    pub arrived: bool,
    pub case: CaseId,
    pub origin: PartnerId,
    /// The rule by which the partner has the case, or why without one; empty: it has none.
    pub rule: String,
    key: String,
}

impl Disclosure {
    pub fn place(&self) -> DisclosurePlace {
        DisclosurePlace { at: self.at, key: self.key.clone() }
    }
}

pub const DISCLOSURES_PAGE: usize = 500;

#[derive(sqlx::FromRow)]
struct Row {
    at_us: i64,
    key: String,
    case_id: String,
    kind: String,
    state: String,
    detail: String,
    items: i64,
    arrived: i64,
    refused: String,
    origin: String,
    rule: String,
}

/// Columns of the ledger, at the time `$at`, in the state `$state`.
macro_rules! sent {
    ($at:literal, $key:literal, $state:literal) => {
        concat!(
            "SELECT ",
            $at,
            " AS at_us, ",
            $key,
            " AS key, d.case_id, d.kind, ",
            $state,
            " AS state, COALESCE(m.what, CAST(d.version AS TEXT)) AS detail, d.items, \
             d.done_to - d.first_seq + 1 AS arrived, d.refused \
             FROM deliveries d LEFT JOIN case_messages m ON m.delivery_id = d.id "
        )
    };
}
/// `$1` partner, `$2` and `$3` the last line before, `$4` until when.
macro_rules! page {
    ($at:literal, $key:literal) => {
        concat!($at, " >= $2 AND ", $at, " < $4 AND (", $at, " > $2 OR ", $key, " > $3) ORDER BY 1, 2 LIMIT 500")
    };
}
macro_rules! disclosures {
    ($rule:literal) => {
        concat!(
            "SELECT u.at_us, u.key, u.case_id, u.kind, u.state, u.detail, u.items, u.arrived, u.refused, c.origin, \
             CASE c.origin WHEN $1 THEN '' ELSE COALESCE((SELECT t.label FROM tasks t WHERE t.case_id = u.case_id \
             AND t.reader = $1 ORDER BY t.round DESC LIMIT 1), ",
            $rule,
            ", '') END AS rule FROM (SELECT * FROM (",
            // Ended: acknowledged, or not.
            sent!("d.finished_us", "d.id", "d.state"),
            "WHERE d.partner = $1 AND d.finished_us IS NOT NULL AND d.attempts > 0 AND ",
            page!("d.finished_us", "d.id"),
            ") AS ended UNION ALL SELECT * FROM (SELECT * FROM (",
            // On its way: some of it has left. The first condition is that of the index `deliveries_open`, word for word.
            sent!("(SELECT MAX(a.started_us) FROM attempts a WHERE a.delivery_id = d.id)", "d.id", "d.state"),
            "WHERE d.state IN ('owed', 'queued', 'attempting', 'stopped') AND d.partner = $1 AND d.finished_us IS NULL \
             AND d.attempts > 0) AS w WHERE ",
            page!("at_us", "key"),
            ") AS under_way UNION ALL SELECT * FROM (",
            // Arrived before a person had it sent again.
            sent!("a.ended_us", "d.id || '/' || CAST(a.attempt AS TEXT)", "'delivered'"),
            "JOIN attempts a ON a.delivery_id = d.id WHERE d.partner = $1 AND d.attempts_before > 0 \
             AND a.attempt <= d.attempts_before AND a.outcome LIKE '{\"outcome\":\"delivered\"%' AND ",
            page!("a.ended_us", "d.id || '/' || CAST(a.attempt AS TEXT)"),
            ") AS before UNION ALL SELECT * FROM (\
             SELECT t.created_us, t.uid, t.case_id, 'task', 'delivered', '', 1, 1, '[]' FROM tasks t \
             WHERE t.reader = $1 AND ",
            page!("t.created_us", "t.uid"),
            ") AS offered UNION ALL SELECT * FROM (\
             SELECT r.at_us, r.case_id || ' ' || r.way, r.case_id, 'retrieved', 'delivered', r.way, r.images, r.images, '[]' \
             FROM retrievals r WHERE r.partner = $1 AND ",
            page!("r.at_us", "r.case_id || ' ' || r.way"),
            ") AS fetched) AS u JOIN cases c ON c.id = u.case_id ORDER BY u.at_us, u.key LIMIT 500"
        )
    };
}
const DISCLOSURES: Sql = Sql {
    sqlite: disclosures!("c.decision ->> '$.disposition.read.rule'"),
    postgres: disclosures!("c.decision::jsonb #>> '{disposition,read,rule}'"),
};

impl Store {
    /// The next [`DISCLOSURES_PAGE`] things that left for a partner. What is on its way may come twice, when it moves on between
    /// two pages; what has ended comes once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn disclosures(
        &self,
        search: &DisclosureSearch,
        after: Option<&DisclosurePlace>,
    ) -> Result<Vec<Disclosure>, StoreError> {
        let sql = self.pick(DISCLOSURES);
        let (from, key) = after.map_or((search.from, ""), |place| (place.at, place.key.as_str()));
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(sql)
            .bind(search.partner.as_str())
            .bind(from.0)
            .bind(key)
            .bind(search.until.0)
            .fetch_all(p)
            .await)?;
        rows.into_iter().map(read).collect()
    }
}

fn read(row: Row) -> Result<Disclosure, StoreError> {
    let what = match row.kind.as_str() {
        "task" => Disclosed::Task,
        "retrieved" => Disclosed::Retrieved { by: row.detail, images: row.items },
        kind => match DeliveryKind::parse(kind).ok_or(StoreError::Unreadable { what: "delivery kind" })? {
            DeliveryKind::Images => {
                let refused: Vec<RefusedInstance> = from_json(&row.refused, "refused instances")?;
                let refused = i64::try_from(refused.len()).unwrap_or(i64::MAX);
                // What contradicts another one is in the run and not sent.
                let passed = row.arrived.clamp(0, row.items);
                let passed = if row.state == "delivered" { row.items } else { passed };
                Disclosed::Images { images: passed.saturating_sub(refused).max(0), of: row.items }
            }
            DeliveryKind::Message => Disclosed::Message(row.detail),
            kind => Disclosed::Report { kind, version: row.detail },
        },
    };
    Ok(Disclosure {
        at: Moment(row.at_us),
        what,
        arrived: row.state == "delivered",
        case: row.case_id.parse().map_err(|_| StoreError::Unreadable { what: "case id" })?,
        origin: partner(&row.origin)?,
        rule: row.rule,
        key: row.key,
    })
}
