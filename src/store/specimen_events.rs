//! The story of a specimen, and who has still to be told of it.
//!
//! Reasons and names of staff are kept here for people to read; they go into no log and no case's story.

use super::{
    Store, StoreError, Tx,
    cases::{from_json, partner, to_json},
    on_read, on_tx,
    pages::{Behind, Page},
    plain,
};
use crate::model::{Moment, OrderId, PartnerId, ShipmentId, SpecimenEvent, SpecimenId, SpecimenSaid, SpecimenState};
use bytes::Bytes;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Names and reasons are cut here.
const MAX_WORDS: usize = 250;

/// One event, as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecimenEventRow {
    pub id: String,
    pub specimen: SpecimenId,
    pub event: SpecimenEvent,
    /// Where the specimen stood after it.
    pub state: SpecimenState,
    pub note: String,
    pub happened: Option<Moment>,
    pub told: Moment,
    /// A partner's id, or `operator`.
    pub teller: String,
    /// Who it was there, in the teller's words.
    pub who: String,
    pub reason_code: String,
    pub reason: String,
    /// Whose code it is (SPM-21.3).
    pub reason_system: String,
    pub shipment: Option<ShipmentId>,
    pub untold: Untold,
}

/// Whether the other side knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// Everybody who is to be told has been made owed it.
    No,
    /// Nobody has.
    Yes,
    /// Everybody there is has; one of its cases has no reader yet.
    Reader,
    /// Nobody has; there is no case yet.
    Case,
}

impl Untold {
    fn number(self) -> i64 {
        match self {
            Untold::No => 0,
            Untold::Yes => 1,
            Untold::Reader => 2,
            Untold::Case => 3,
        }
    }
}

#[derive(sqlx::FromRow)]
struct Raw {
    id: String,
    specimen_id: String,
    event: String,
    state: String,
    note: String,
    happened_us: Option<i64>,
    told_us: i64,
    teller: String,
    who: String,
    reason_code: String,
    reason: String,
    reason_system: String,
    shipment_id: Option<String>,
    untold: i64,
}

impl Raw {
    fn read(self) -> Result<SpecimenEventRow, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(SpecimenEventRow {
            id: self.id,
            specimen: self.specimen_id.parse().map_err(|_| unreadable("specimen id"))?,
            event: SpecimenEvent::parse(&self.event).ok_or(unreadable("specimen event"))?,
            state: SpecimenState::parse(&self.state).ok_or(unreadable("specimen state"))?,
            note: self.note,
            happened: self.happened_us.map(Moment),
            told: Moment(self.told_us),
            teller: self.teller,
            who: self.who,
            reason_code: self.reason_code,
            reason: self.reason,
            reason_system: self.reason_system,
            shipment: self.shipment_id.map(|id| id.parse().map_err(|_| unreadable("shipment id"))).transpose()?,
            untold: match self.untold {
                0 => Untold::No,
                1 => Untold::Yes,
                2 => Untold::Reader,
                _ => Untold::Case,
            },
        })
    }
}

macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT e.id, e.specimen_id, e.event, e.state, e.note, e.happened_us, e.told_us, e.teller, e.who, \
             e.reason_code, e.reason, e.reason_system, e.shipment_id, e.untold FROM specimen_events e ",
            $rest
        )
    };
}

fn words(text: &str) -> String {
    plain(text).chars().take(MAX_WORDS).collect()
}

impl Tx {
    /// Adds an event to a specimen's story. Its `id` is made here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tell_of_specimen(&mut self, event: &SpecimenEventRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO specimen_events (id, specimen_id, event, state, note, happened_us, told_us, teller, who, \
             reason_code, reason, reason_system, shipment_id, untold) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(Uuid::now_v7().to_string())
            .bind(event.specimen.to_string())
            .bind(event.event.as_str())
            .bind(event.state.as_str())
            .bind(&event.note)
            .bind(event.happened.map(|at| at.0))
            .bind(event.told.0)
            .bind(words(&event.teller))
            .bind(words(&event.who))
            .bind(words(&event.reason_code))
            .bind(words(&event.reason))
            .bind(words(&event.reason_system))
            .bind(event.shipment.map(|id| id.to_string()))
            .bind(event.untold.number())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Whether this teller has told this event of this time already: results repeat what their specimens' segments say.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn was_told_of_specimen(
        &mut self,
        specimen: SpecimenId,
        event: SpecimenEvent,
        happened: Moment,
    ) -> Result<bool, StoreError> {
        const SQL: &str =
            "SELECT COUNT(*) FROM specimen_events WHERE specimen_id = $1 AND event = $2 AND happened_us = $3";
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(specimen.to_string())
            .bind(event.as_str())
            .bind(happened.0)
            .fetch_one(&mut **c)
            .await)?;
        Ok(count > 0)
    }

    /// # Errors
    /// When the database fails.
    pub async fn set_untold(&mut self, event: &str, untold: Untold) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE specimen_events SET untold = $2 WHERE id = $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(event).bind(untold.number()).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// For whom an event has been gone through already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn told_of_specimen_event(&mut self, event: &str) -> Result<BTreeSet<String>, StoreError> {
        const SQL: &str = "SELECT partner FROM specimen_events_told WHERE event_id = $1";
        let rows: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(SQL).bind(event).fetch_all(&mut **c).await)?;
        Ok(rows.into_iter().map(|(partner,)| partner).collect())
    }

    /// Notes that an event has been gone through for a partner: made owed it, or found not to want it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_told_of_specimen_event(&mut self, event: &str, partner: &PartnerId) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO specimen_events_told (event_id, partner) VALUES ($1, $2) \
             ON CONFLICT (event_id, partner) DO NOTHING";
        let partner = partner.as_str();
        on_tx!(self, |c| sqlx::query(SQL).bind(event).bind(partner).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// An order has got another case: what became of its specimens may be news to whoever reads that.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn specimen_events_have_news(&mut self, order: OrderId) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE specimen_events SET untold = 1 WHERE untold = 0 AND specimen_id IN \
             (SELECT specimen_id FROM specimen_orders WHERE order_id = $1)";
        let order = order.to_string();
        on_tx!(self, |c| sqlx::query(SQL).bind(&order).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The whole story of a specimen, oldest first, read page by page.
    ///
    /// # Errors
    /// When the database fails, or a part of it cannot be read.
    pub async fn whole_specimen_story(&mut self, specimen: SpecimenId) -> Result<Vec<SpecimenEventRow>, StoreError> {
        const SQL: &str = select_events!("WHERE e.specimen_id = $1 AND e.id > $2 ORDER BY e.id LIMIT 500");
        let (id, mut story) = (specimen.to_string(), Vec::<SpecimenEventRow>::new());
        loop {
            let after = story.last().map(|last| last.id.clone()).unwrap_or_default();
            let raws: Vec<Raw> =
                on_tx!(self, |c| sqlx::query_as(SQL).bind(&id).bind(&after).fetch_all(&mut **c).await)?;
            if raws.is_empty() {
                return Ok(story);
            }
            for raw in raws {
                story.push(raw.read()?);
            }
        }
    }

    /// A specimen that turned out to be another, with its story: what was told of it has been told of the other.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_specimen(&mut self, id: SpecimenId, it_is: SpecimenId) -> Result<(), StoreError> {
        const LINE: &str = "UPDATE shipment_specimens SET specimen_id = $2 WHERE specimen_id = $1";
        const GONE: [&str; 6] = [
            "DELETE FROM specimen_events_told WHERE event_id IN (SELECT id FROM specimen_events WHERE specimen_id = $1)",
            "DELETE FROM specimen_events WHERE specimen_id = $1",
            "DELETE FROM specimen_alarms WHERE specimen_id = $1",
            "DELETE FROM specimen_containers WHERE specimen_id = $1",
            "DELETE FROM specimen_parents WHERE specimen_id = $1",
            "DELETE FROM specimens WHERE id = $1",
        ];
        let (gone, meant) = (id.to_string(), it_is.to_string());
        on_tx!(self, |c| sqlx::query(LINE).bind(&gone).bind(&meant).execute(&mut **c).await.map(drop))?;
        for sql in GONE {
            on_tx!(self, |c| sqlx::query(sql).bind(&gone).execute(&mut **c).await.map(drop))?;
        }
        Ok(())
    }

    /// Keeps a message about specimens as received.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_specimen_content(
        &mut self,
        from: &PartnerId,
        sha256: &str,
        received: Moment,
        content: &Bytes,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO specimen_contents (sha256, received_us, partner, content) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (sha256, received_us) DO NOTHING";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(sha256)
            .bind(received.0)
            .bind(from.as_str())
            .bind(&content[..])
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// What a message that is not about specimens alone says of them: taken up within a moment.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_specimens_said(
        &mut self,
        from: &PartnerId,
        said: &[SpecimenSaid],
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO specimen_news (id, partner, said, told_us) VALUES ($1, $2, $3, $4)";
        for one in said.iter().filter(|one| one.id().is_some()) {
            let json = to_json(one, "specimen")?;
            on_tx!(self, |c| sqlx::query(SQL)
                .bind(Uuid::now_v7().to_string())
                .bind(from.as_str())
                .bind(json)
                .bind(now.0)
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        Ok(())
    }

    /// # Errors
    /// When the database fails.
    pub async fn specimen_news_taken(&mut self, id: &str) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM specimen_news WHERE id = $1";
        let gone =
            on_tx!(self, |c| sqlx::query(SQL).bind(id).execute(&mut **c).await.map(|done| done.rows_affected()))?;
        Ok(gone == 1)
    }
}

/// What waits in `specimen_news`.
#[derive(Clone, Debug)]
pub struct SpecimenNews {
    pub id: String,
    pub partner: PartnerId,
    pub said: SpecimenSaid,
    pub told: Moment,
}

impl Store {
    /// A specimen's story, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimen_story(&self, specimen: SpecimenId) -> Result<Vec<SpecimenEventRow>, StoreError> {
        const SQL: &str = select_events!("WHERE e.specimen_id = $1 ORDER BY e.id LIMIT 1000");
        let id = specimen.to_string();
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// Events that the other side has not been told of, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn untold_specimen_events(
        &self,
        behind: &Behind,
        limit: i64,
    ) -> Result<Page<SpecimenEventRow>, StoreError> {
        // The condition is that of the partial index, word for word.
        const SQL: &str = select_events!("WHERE e.untold = 1 AND e.id > $1 ORDER BY e.id LIMIT $2");
        self.page_of_events(SQL, behind, limit).await
    }

    /// Events that waited for a case or its reader, of which a case has a reader by now who has not been told. Oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimen_events_with_reader(
        &self,
        behind: &Behind,
        limit: i64,
    ) -> Result<Page<SpecimenEventRow>, StoreError> {
        // The condition is that of the partial index, word for word.
        const SQL: &str = select_events!(
            "WHERE e.untold >= 2 AND e.id > $1 AND EXISTS (SELECT 1 FROM specimen_orders so \
             JOIN order_cases oc ON oc.order_id = so.order_id JOIN cases c ON c.id = oc.case_id \
             WHERE so.specimen_id = e.specimen_id AND (e.untold = 3 OR (c.reader IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM specimen_events_told t WHERE t.event_id = e.id AND t.partner = c.reader)))) \
             ORDER BY e.id LIMIT $2"
        );
        self.page_of_events(SQL, behind, limit).await
    }

    async fn page_of_events(
        &self,
        sql: &'static str,
        behind: &Behind,
        limit: i64,
    ) -> Result<Page<SpecimenEventRow>, StoreError> {
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(sql).bind(&behind.row).bind(limit).fetch_all(p).await)?;
        Ok(Page::of(limit, raws.into_iter().map(|raw| (Behind::row(&raw.id), raw)).collect(), Raw::read))
    }

    /// The oldest of what other messages said of specimens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimen_news(&self, behind: &Behind, limit: i64) -> Result<Page<SpecimenNews>, StoreError> {
        const SQL: &str = "SELECT id, partner, said, told_us FROM specimen_news WHERE id > $1 ORDER BY id LIMIT $2";
        let rows: Vec<(String, String, String, i64)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(&behind.row).bind(limit).fetch_all(p).await)?;
        let read = |(id, name, said, told): (String, String, String, i64)| {
            let said = from_json(&said, "specimen")?;
            Ok(SpecimenNews { id, partner: partner(&name)?, said, told: Moment(told) })
        };
        Ok(Page::of(limit, rows.into_iter().map(|row| (Behind::row(&row.0), row)).collect(), read))
    }
}
