//! Shipments: which specimens travel together, from where to where, and by when they should be there.

use super::{Store, StoreError, Tx, cases::partner, on_read, on_tx, plain};
use crate::model::{Moment, PartnerId, ShipmentId, SpecimenId};

/// Names of people and couriers are cut here.
const MAX_WORDS: usize = 250;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShipmentRow {
    pub id: ShipmentId,
    pub from: PartnerId,
    /// Counts the shipments of `from`, from 1.
    pub number: i64,
    pub to: PartnerId,
    pub made: Moment,
    /// Who, and by whom it travels.
    pub made_by: String,
    pub courier: String,
    pub due: Moment,
}

impl ShipmentRow {
    /// What is written on its list: short, and unlike that of any other shipment here.
    pub fn name(&self) -> String {
        format!("{}-{:06}", self.from.as_str().to_ascii_uppercase(), self.number)
    }
}

#[derive(sqlx::FromRow)]
struct Raw {
    id: String,
    from_partner: String,
    number: i64,
    to_partner: String,
    made_us: i64,
    made_by: String,
    courier: String,
    due_us: i64,
}

impl Raw {
    fn read(self) -> Result<ShipmentRow, StoreError> {
        Ok(ShipmentRow {
            id: self.id.parse().map_err(|_| StoreError::Unreadable { what: "shipment id" })?,
            from: partner(&self.from_partner)?,
            number: self.number,
            to: partner(&self.to_partner)?,
            made: Moment(self.made_us),
            made_by: self.made_by,
            courier: self.courier,
            due: Moment(self.due_us),
        })
    }
}

impl Tx {
    /// Adds a shipment with its specimens, in the order of its list; its number is given here. To be called under
    /// [`Tx::hold_origin`] of its sender.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_shipment(&mut self, new: &ShipmentRow, specimens: &[SpecimenId]) -> Result<i64, StoreError> {
        const NEXT: &str = "SELECT COALESCE(MAX(number), 0) + 1 FROM shipments WHERE from_partner = $1";
        const SQL: &str = "INSERT INTO shipments (id, from_partner, number, to_partner, made_us, made_by, courier, due_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        const LINE: &str = "INSERT INTO shipment_specimens (shipment_id, line, specimen_id) VALUES ($1, $2, $3)";
        let words = |text: &str| -> String { plain(text).chars().take(MAX_WORDS).collect() };
        let (number,): (i64,) =
            on_tx!(self, |c| sqlx::query_as(NEXT).bind(new.from.as_str()).fetch_one(&mut **c).await)?;
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(new.id.to_string())
            .bind(new.from.as_str())
            .bind(number)
            .bind(new.to.as_str())
            .bind(new.made.0)
            .bind(words(&new.made_by))
            .bind(words(&new.courier))
            .bind(new.due.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        for (line, specimen) in (1_i64..).zip(specimens) {
            on_tx!(self, |c| sqlx::query(LINE)
                .bind(new.id.to_string())
                .bind(line)
                .bind(specimen.to_string())
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        Ok(number)
    }
}

impl Store {
    /// # Errors
    /// [`StoreError::NotFound`], or when the database fails.
    pub async fn shipment(&self, id: ShipmentId) -> Result<ShipmentRow, StoreError> {
        const SQL: &str = "SELECT id, from_partner, number, to_partner, made_us, made_by, courier, due_us FROM shipments \
             WHERE id = $1";
        let key = id.to_string();
        let raw: Option<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(&key).fetch_optional(p).await)?;
        raw.ok_or(StoreError::NotFound { what: "shipment", id: key })?.read()
    }

    /// By what is written on its list.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shipment_named(&self, from: &PartnerId, number: i64) -> Result<Option<ShipmentRow>, StoreError> {
        const SQL: &str = "SELECT id, from_partner, number, to_partner, made_us, made_by, courier, due_us FROM shipments \
             WHERE from_partner = $1 AND number = $2";
        let raw: Option<Raw> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(from.as_str()).bind(number).fetch_optional(p).await)?;
        raw.map(Raw::read).transpose()
    }

    /// The specimens of a shipment, line by line.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn specimens_of_shipment(&self, id: ShipmentId) -> Result<Vec<SpecimenId>, StoreError> {
        const SQL: &str = "SELECT specimen_id FROM shipment_specimens WHERE shipment_id = $1 ORDER BY line LIMIT 10000";
        let key = id.to_string();
        let rows: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).bind(&key).fetch_all(p).await)?;
        rows.into_iter().map(|(id,)| id.parse().map_err(|_| StoreError::Unreadable { what: "specimen id" })).collect()
    }
}
