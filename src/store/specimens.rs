//! Specimens: what orders and messages say of them, whose they are, and where each stands.
//!
//! A specimen is known by its origin and an id with its issuer: the placer's, else the laboratory's, else that of its
//! container. What is said of it later adds to what is known; an empty value means unchanged (HL7 v2.5.1 2.5.3).
//!
//! Does not move a specimen: the table in `model::specimen_event` does, asked by `intake`.

use super::{
    Sql, Store, StoreError, Tx,
    cases::{MAX_ALIKE, from_json, partner, to_json},
    on_read, on_tx,
};
use crate::model::{CaseId, IssuedId, Moment, OrderId, PartnerId, SpecimenId, SpecimenSaid, SpecimenState};

/// A specimen as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecimenRow {
    pub id: SpecimenId,
    /// Whose it is; of one without order, who spoke of it.
    pub origin: PartnerId,
    /// As known by now. Never into a log.
    pub said: SpecimenSaid,
    pub state: SpecimenState,
    /// When what made the state happened.
    pub since: Moment,
    /// An order speaks of it.
    pub ordered: bool,
    /// Shipped only: when it should have been received.
    pub due: Option<Moment>,
}

#[derive(sqlx::FromRow)]
pub(super) struct Raw {
    pub(super) id: String,
    origin: String,
    said: String,
    state: String,
    since_us: i64,
    ordered: i64,
    due_us: Option<i64>,
}

impl Raw {
    pub(super) fn read(self) -> Result<SpecimenRow, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(SpecimenRow {
            id: self.id.parse().map_err(|_| unreadable("specimen id"))?,
            origin: partner(&self.origin)?,
            said: from_json(&self.said, "specimen")?,
            state: SpecimenState::parse(&self.state).ok_or(unreadable("specimen state"))?,
            since: Moment(self.since_us),
            ordered: self.ordered != 0,
            due: self.due_us.map(Moment),
        })
    }
}

macro_rules! select_specimens {
    ($rest:literal) => {
        concat!("SELECT s.id, s.origin, s.said, s.state, s.since_us, s.ordered, s.due_us FROM specimens s ", $rest)
    };
}

const BY_ID: &str = select_specimens!("WHERE s.id = $1");
/// PostgreSQL locks the row; SQLite has the only writer already.
const BY_ID_LOCKED: Sql =
    Sql { sqlite: select_specimens!("WHERE s.id = $1"), postgres: select_specimens!("WHERE s.id = $1 FOR UPDATE") };
const BY_PLACER: &str =
    select_specimens!("WHERE s.origin = $1 AND s.placer = $2 AND s.placer_issuer = $3 AND s.placer <> ''");
const BY_FILLER: &str = select_specimens!(
    "WHERE s.origin = $1 AND s.filler = $2 AND s.filler_issuer = $3 AND s.filler <> '' ORDER BY s.id LIMIT 2"
);
const BY_CONTAINER: &str = select_specimens!(
    "JOIN specimen_containers c ON c.specimen_id = s.id WHERE s.origin = $1 AND c.value = $2 AND c.issuer = $3 \
     ORDER BY s.id LIMIT 2"
);
/// One more than [`MAX_ALIKE`].
const WITH_VALUE: &str = select_specimens!(
    "WHERE s.id IN (SELECT id FROM specimens WHERE placer = $1 AND placer <> '' \
     UNION SELECT id FROM specimens WHERE filler = $1 AND filler <> '' \
     UNION SELECT specimen_id FROM specimen_containers WHERE value = $1) ORDER BY s.id LIMIT 65"
);
const OF_CASE: &str = select_specimens!(
    "WHERE s.id IN (SELECT so.specimen_id FROM specimen_orders so JOIN order_cases oc ON oc.order_id = so.order_id \
     WHERE oc.case_id = $1) ORDER BY s.id LIMIT 1000"
);
const OF_ORDER: &str = select_specimens!(
    "JOIN specimen_orders so ON so.specimen_id = s.id WHERE so.order_id = $1 ORDER BY so.joined_us, s.id LIMIT 1000"
);
const CHILDREN: &str = select_specimens!(
    "WHERE s.origin = $1 AND s.id IN (SELECT specimen_id FROM specimen_parents WHERE value = $2 AND issuer = $3) \
     ORDER BY s.id LIMIT 1000"
);
const NEWEST: &str = select_specimens!("WHERE ($1 = '' OR s.origin = $1) ORDER BY s.since_us DESC, s.id DESC LIMIT $2");

fn read_all(raws: Vec<Raw>) -> Result<Vec<SpecimenRow>, StoreError> {
    raws.into_iter().map(Raw::read).collect()
}

/// What is said later fills in and adds; it never takes away.
fn add(known: &mut SpecimenSaid, said: &SpecimenSaid) {
    known.learn_issuers(said);
    let id = |(known, is_bare): (&mut IssuedId, &mut bool), (said, said_bare): (&IssuedId, bool)| {
        if known.is_empty() {
            known.clone_from(said);
            *is_bare = said_bare;
        }
    };
    id((&mut known.placer, &mut known.bare.placer), (&said.placer, said.bare.placer));
    id((&mut known.filler, &mut known.bare.filler), (&said.filler, said.bare.filler));
    let new = |id: &&IssuedId| !known.containers.contains(id);
    let bare: Vec<IssuedId> = said.bare.containers.iter().filter(new).cloned().collect();
    known.bare.containers.extend(bare);
    known.bare.containers.truncate(crate::model::specimen::MAX_CONTAINERS);
    for (list, more) in [(&mut known.parents, &said.parents), (&mut known.containers, &said.containers)] {
        for one in more {
            if !list.contains(one) && list.len() < crate::model::specimen::MAX_CONTAINERS {
                list.push(one.clone());
            }
        }
    }
    for (known, said) in [(&mut known.kind, &said.kind), (&mut known.site, &said.site)] {
        if !said.is_empty() {
            known.clone_from(said);
        }
    }
    for (known, said) in [(&mut known.description, &said.description), (&mut known.available, &said.available)] {
        if !said.is_empty() {
            said.clone_into(known);
        }
    }
    for (known, said) in [(&mut known.collected, &said.collected), (&mut known.received, &said.received)] {
        if !said.is_empty() {
            known.clone_from(said);
        }
    }
    let lists = [
        (&mut known.handling, &said.handling),
        (&mut known.risk, &said.risk),
        (&mut known.rejected, &said.rejected),
        (&mut known.condition, &said.condition),
    ];
    for (known, said) in lists {
        if !said.is_empty() {
            known.clone_from(said);
        }
    }
}

impl Tx {
    /// Takes what an order says of its specimens, known by origin and id, and joins each to the order. To be called under
    /// [`Tx::hold_origin`], the order saved. The ids, in the order of `said`; those without any id are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_specimens(
        &mut self,
        origin: &PartnerId,
        order: OrderId,
        said: &[SpecimenSaid],
        now: Moment,
    ) -> Result<Vec<SpecimenId>, StoreError> {
        const JOIN: &str = "INSERT INTO specimen_orders (specimen_id, order_id, joined_us) VALUES ($1, $2, $3) \
             ON CONFLICT (specimen_id, order_id) DO NOTHING";
        // What became of it before was told to nobody whom this order brings.
        const NEWS: &str = "UPDATE specimen_events SET untold = 1 WHERE specimen_id = $1 AND untold = 0";
        let mut ids = Vec::with_capacity(said.len());
        for one in said.iter().filter(|one| one.id().is_some()) {
            let mut specimen = self.save_said(origin, one, now).await?;
            if !specimen.ordered {
                specimen.ordered = true;
                self.save_specimen(&specimen).await?;
            }
            let id = specimen.id.to_string();
            let joined = on_tx!(self, |c| sqlx::query(JOIN)
                .bind(&id)
                .bind(order.to_string())
                .bind(now.0)
                .execute(&mut **c)
                .await
                .map(|done| done.rows_affected()))?;
            if joined == 1 {
                on_tx!(self, |c| sqlx::query(NEWS).bind(&id).execute(&mut **c).await.map(drop))?;
            }
            ids.push(specimen.id);
        }
        Ok(ids)
    }

    /// Takes what is said of a specimen of this origin, whether an order speaks of it or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_said(
        &mut self,
        origin: &PartnerId,
        said: &SpecimenSaid,
        now: Moment,
    ) -> Result<SpecimenRow, StoreError> {
        let found = self.specimen_known_by(origin, said).await?;
        let mut specimen = found.unwrap_or_else(|| SpecimenRow {
            id: SpecimenId::generate(),
            origin: origin.clone(),
            said: SpecimenSaid::default(),
            state: SpecimenState::Expected,
            since: now,
            ordered: false,
            due: None,
        });
        add(&mut specimen.said, said);
        self.save_specimen(&specimen).await?;
        Ok(specimen)
    }

    /// By the placer's id; by the laboratory's or a container's only where that names one alone and the placer's does not
    /// contradict. Held for change.
    async fn specimen_known_by(
        &mut self,
        origin: &PartnerId,
        said: &SpecimenSaid,
    ) -> Result<Option<SpecimenRow>, StoreError> {
        let looks = [(BY_PLACER, Some(&said.placer)), (BY_FILLER, Some(&said.filler))];
        let container = said.containers.first().filter(|_| said.placer.is_empty() && said.filler.is_empty());
        for (sql, id) in looks.into_iter().chain([(BY_CONTAINER, container)]) {
            let Some(id) = id.filter(|id| !id.is_empty()) else { continue };
            let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(sql)
                .bind(origin.as_str())
                .bind(&id.value)
                .bind(&id.issuer)
                .fetch_all(&mut **c)
                .await)?;
            let mut found = read_all(raws)?;
            let differ = |a: &IssuedId, b: &IssuedId| !a.is_empty() && !b.is_empty() && a != b;
            found.retain(|known| !differ(&known.said.placer, &said.placer));
            if let [one] = found.as_slice() {
                return self.specimen(one.id).await.map(Some);
            }
        }
        Ok(None)
    }

    /// The specimen, held for change until the transaction ends.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn specimen(&mut self, id: SpecimenId) -> Result<SpecimenRow, StoreError> {
        let (sql, key) = (self.pick(BY_ID_LOCKED), id.to_string());
        let raw: Option<Raw> = on_tx!(self, |c| sqlx::query_as(sql).bind(&key).fetch_optional(&mut **c).await)?;
        raw.ok_or(StoreError::NotFound { what: "specimen", id: key })?.read()
    }

    /// Adds a specimen, or writes what has changed of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn save_specimen(&mut self, specimen: &SpecimenRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO specimens (id, origin, placer, placer_issuer, filler, filler_issuer, said, state, \
             since_us, ordered, due_us, created_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $9) \
             ON CONFLICT (id) DO UPDATE SET placer = excluded.placer, placer_issuer = excluded.placer_issuer, \
             filler = excluded.filler, filler_issuer = excluded.filler_issuer, said = excluded.said, \
             state = excluded.state, since_us = excluded.since_us, ordered = excluded.ordered, due_us = excluded.due_us";
        const CONTAINER: &str = "INSERT INTO specimen_containers (specimen_id, value, issuer) VALUES ($1, $2, $3) \
             ON CONFLICT (specimen_id, value, issuer) DO NOTHING";
        const PARENT: &str = "INSERT INTO specimen_parents (specimen_id, value, issuer) VALUES ($1, $2, $3) \
             ON CONFLICT (specimen_id, value, issuer) DO NOTHING";
        let said = &specimen.said;
        let json = to_json(said, "specimen")?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(specimen.id.to_string())
            .bind(specimen.origin.as_str())
            .bind(&said.placer.value)
            .bind(&said.placer.issuer)
            .bind(&said.filler.value)
            .bind(&said.filler.issuer)
            .bind(json)
            .bind(specimen.state.as_str())
            .bind(specimen.since.0)
            .bind(i64::from(specimen.ordered))
            .bind(specimen.due.map(|at| at.0))
            .execute(&mut **c)
            .await
            .map(drop))?;
        for (sql, ids) in [(CONTAINER, &said.containers), (PARENT, &said.parents)] {
            for id in ids {
                on_tx!(self, |c| sqlx::query(sql)
                    .bind(specimen.id.to_string())
                    .bind(&id.value)
                    .bind(&id.issuer)
                    .execute(&mut **c)
                    .await
                    .map(drop))?;
            }
        }
        Ok(())
    }

    /// Specimens of every origin that go by this value, whoever gave it: the caller compares issuers and looks who may
    /// know of them. None when so many do that it names nobody's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimens_with(&mut self, value: &str) -> Result<Vec<SpecimenRow>, StoreError> {
        let value = super::plain(value);
        let raws: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(WITH_VALUE).bind(&value).fetch_all(&mut **c).await)?;
        if raws.len() > MAX_ALIKE { Ok(Vec::new()) } else { read_all(raws) }
    }

    /// Cases whose orders speak of this specimen of this origin, or of this container, in the order of their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn case_of_specimen(&mut self, origin: &PartnerId, id: &IssuedId) -> Result<Vec<CaseId>, StoreError> {
        let mut cases = Vec::new();
        for specimen in self.specimens_with(&id.value).await? {
            if specimen.origin == *origin && specimen.said.ids().any(|known| known == id) {
                cases.extend(self.cases_of_specimen(specimen.id).await?);
            }
        }
        cases.sort_unstable();
        cases.dedup();
        Ok(cases)
    }

    /// The cases of a specimen's orders, in the order of their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cases_of_specimen(&mut self, specimen: SpecimenId) -> Result<Vec<CaseId>, StoreError> {
        const SQL: &str = "SELECT DISTINCT oc.case_id FROM specimen_orders so JOIN order_cases oc ON oc.order_id = so.order_id \
             WHERE so.specimen_id = $1 ORDER BY oc.case_id LIMIT 64";
        let id = specimen.to_string();
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        let unreadable = |_| StoreError::Unreadable { what: "case id" };
        rows.into_iter().map(|(case,)| case.parse().map_err(unreadable)).collect()
    }

    /// # Errors
    /// When the database fails.
    pub async fn specimens_of_case(&mut self, case: CaseId) -> Result<Vec<SpecimenRow>, StoreError> {
        let id = case.to_string();
        read_all(on_tx!(self, |c| sqlx::query_as(OF_CASE).bind(&id).fetch_all(&mut **c).await)?)
    }

    /// # Errors
    /// When the database fails.
    pub async fn specimens_of_order(&mut self, order: OrderId) -> Result<Vec<SpecimenRow>, StoreError> {
        let id = order.to_string();
        read_all(on_tx!(self, |c| sqlx::query_as(OF_ORDER).bind(&id).fetch_all(&mut **c).await)?)
    }

    /// The orders that speak of a specimen.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_of_specimen(&mut self, specimen: SpecimenId) -> Result<Vec<OrderId>, StoreError> {
        const SQL: &str = "SELECT order_id FROM specimen_orders WHERE specimen_id = $1 ORDER BY order_id LIMIT 100";
        let id = specimen.to_string();
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).fetch_all(&mut **c).await)?;
        let unreadable = |_| StoreError::Unreadable { what: "order id" };
        rows.into_iter().map(|(order,)| order.parse().map_err(unreadable)).collect()
    }
}

impl Store {
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn specimen(&self, id: SpecimenId) -> Result<SpecimenRow, StoreError> {
        let key = id.to_string();
        let raw: Option<Raw> = on_read!(self, |p| sqlx::query_as(BY_ID).bind(&key).fetch_optional(p).await)?;
        raw.ok_or(StoreError::NotFound { what: "specimen", id: key })?.read()
    }

    /// # Errors
    /// When the database fails.
    pub async fn specimens_of_case(&self, case: CaseId) -> Result<Vec<SpecimenRow>, StoreError> {
        let id = case.to_string();
        read_all(on_read!(self, |p| sqlx::query_as(OF_CASE).bind(&id).fetch_all(p).await)?)
    }

    /// Specimens of every origin that go by this value; at most 65.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimens_with(&self, value: &str) -> Result<Vec<SpecimenRow>, StoreError> {
        let value = super::plain(value);
        read_all(on_read!(self, |p| sqlx::query_as(WITH_VALUE).bind(&value).fetch_all(p).await)?)
    }

    /// What was taken from this one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimens_taken_from(&self, parent: &SpecimenRow) -> Result<Vec<SpecimenRow>, StoreError> {
        let mut found: Vec<SpecimenRow> = Vec::new();
        for id in [&parent.said.placer, &parent.said.filler].into_iter().filter(|id| !id.is_empty()) {
            let origin = parent.origin.as_str();
            let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(CHILDREN)
                .bind(origin)
                .bind(&id.value)
                .bind(&id.issuer)
                .fetch_all(p)
                .await)?;
            for child in read_all(raws)? {
                if child.id != parent.id && !found.iter().any(|known| known.id == child.id) {
                    found.push(child);
                }
            }
        }
        Ok(found)
    }

    /// Those with the newest events first, of one origin or of all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_specimens(&self, origin: Option<&PartnerId>, limit: i64) -> Result<Vec<SpecimenRow>, StoreError> {
        let origin = origin.map_or("", PartnerId::as_str);
        read_all(on_read!(self, |p| sqlx::query_as(NEWEST).bind(origin).bind(limit).fetch_all(p).await)?)
    }
}
