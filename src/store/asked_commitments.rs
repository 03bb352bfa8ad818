//! Storage commitments that this node asks of whoever it has delivered images to (PS3.4 J as SCU).
//!
//! In: a delivery that has ended, in the transaction that ends it; later what its receiver says. Out: what is to be asked now, and
//! the instances of it: what was delivered of a case within a few seconds is asked for at once. An attempt is written down before it is made and has a Transaction UID of its own, made of the row's id
//! and the attempt's number, so that a late answer finds its row. Who is asked, and what an answer means, `worklist` decides.

use super::{
    DeliveryRow, Sql, Store, StoreError, Tx, UnreadableRow,
    cases::{from_json, partner, to_json},
    error::each,
    on_read, on_tx,
};
use crate::model::{CaseId, Moment, PartnerId, Uid};
use std::time::Duration;
use uuid::Uuid;

/// Instances of one question.
const MOST: i64 = 2_000;
/// A study that is still being sent is not asked for image by image.
const GATHERS: Duration = Duration::from_secs(10);

/// Numbers of instances of a case, inclusive.
type Run = (i64, i64);

fn overlap(one: Run, other: Run) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

fn length(run: Run) -> i64 {
    run.1 - run.0 + 1
}

/// The same numbers, each once and in order, no more than [`MOST`] together.
fn portions(mut runs: Vec<Run>) -> Vec<Vec<Run>> {
    runs.sort_unstable();
    let mut whole: Vec<Run> = Vec::new();
    for run in runs.into_iter().filter(|run| run.0 <= run.1) {
        match whole.last_mut() {
            Some(before) if run.0 <= before.1 + 1 => before.1 = before.1.max(run.1),
            _ => whole.push(run),
        }
    }
    let (mut portions, mut room) = (vec![Vec::new()], MOST);
    for (mut first, last) in whole {
        while first <= last {
            if room == 0 {
                portions.push(Vec::new());
                room = MOST;
            }
            let to = last.min(first + room - 1);
            portions.last_mut().into_iter().for_each(|portion: &mut Vec<Run>| portion.push((first, to)));
            (room, first) = (room - length((first, to)), to + 1);
        }
    }
    portions.retain(|portion| !portion.is_empty());
    portions
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedCommitment {
    pub id: Uuid,
    pub case: CaseId,
    pub partner: PartnerId,
    runs: Vec<Run>,
    /// In them, not taken by it, and so not asked for.
    skipped: Vec<i64>,
    pub items: i64,
    pub state: AskedState,
    /// Taken so far.
    pub asks: i64,
    /// Made so far.
    pub attempts: i64,
    /// When it was owed, or last taken.
    pub since: Moment,
    next: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedState {
    Owed,
    /// Its answer is awaited.
    Asked,
    /// All are kept.
    Committed,
    /// Not all are.
    Failed,
    /// No answer came, or it would not take the question.
    GivenUp,
    /// Another asks for the same, and more.
    Replaced,
    /// It is not to be asked any more.
    Dropped,
}

impl AskedState {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Owed, "owed"),
        (Self::Asked, "asked"),
        (Self::Committed, "committed"),
        (Self::Failed, "failed"),
        (Self::GivenUp, "given_up"),
        (Self::Replaced, "replaced"),
        (Self::Dropped, "dropped"),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|(_, known)| *known == word).map(|(state, _)| state);
        found.ok_or(StoreError::Unreadable { what: "state of a commitment" })
    }

    /// An answer still counts. One that comes late is as good.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Owed | Self::Asked | Self::GivenUp)
    }
}

impl AskedCommitment {
    /// Of the attempt with this number. 2.25 and a UUID's number (PS3.5 B.2), and the attempt's below it.
    pub fn transaction(id: Uuid, attempt: i64) -> String {
        format!("2.25.{}.{attempt}", id.as_u128())
    }

    /// The row and the attempt of a Transaction UID; `None`: it is not one of ours.
    pub fn of_transaction(uid: &str) -> Option<(Uuid, i64)> {
        let (number, attempt) = uid.strip_prefix("2.25.")?.split_once('.')?;
        let (id, attempt) = (Uuid::from_u128(number.parse().ok()?), attempt.parse().ok()?);
        // Written otherwise, with zeros before it, it is another UID.
        (Self::transaction(id, attempt) == uid).then_some((id, attempt))
    }
}

/// How a case stands with one that it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Questions without an answer.
    pub open: i64,
    /// Those that were answered with failures, or not at all.
    pub bad: i64,
    /// Instances that are kept.
    pub kept: i64,
}

macro_rules! asked {
    ($which:literal) => {
        concat!(
            "SELECT id, case_id, partner, runs, skipped, items, state, asks, attempts, since_us, next_us \
             FROM asked_commitments WHERE ",
            $which
        )
    };
}

macro_rules! due_of {
    ($locks:literal) => {
        concat!(
            "SELECT id FROM asked_commitments WHERE partner = $1 AND ended_us IS NULL AND next_us < $2 \
             AND (state = 'owed' OR next_us <= $3) ORDER BY id",
            $locks
        )
    };
}

#[derive(sqlx::FromRow)]
struct Raw {
    id: String,
    case_id: String,
    partner: String,
    runs: String,
    skipped: String,
    items: i64,
    state: String,
    asks: i64,
    attempts: i64,
    since_us: i64,
    next_us: i64,
}

impl Raw {
    fn read(self) -> Result<AskedCommitment, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(AskedCommitment {
            id: self.id.parse().map_err(|_| unreadable("id of a commitment"))?,
            case: self.case_id.parse().map_err(|_| unreadable("case id"))?,
            partner: partner(&self.partner)?,
            runs: from_json(&self.runs, "list of runs")?,
            skipped: from_json(&self.skipped, "list of numbers")?,
            items: self.items,
            state: AskedState::parse(&self.state)?,
            asks: self.asks,
            attempts: self.attempts,
            since: Moment(self.since_us),
            next: Moment(self.next_us),
        })
    }
}

impl Tx {
    /// Images of a delivery have arrived: whoever has them is to be asked whether it keeps them. What is still to be asked of it
    /// about the same case is asked at once with them; what was asked about the same images, which were then sent again, is asked
    /// anew. A row that cannot be read stays as it is. The caller holds the case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn owe_commitment(
        &mut self,
        delivery: &DeliveryRow,
        done_to: i64,
        now: Moment,
    ) -> Result<(), StoreError> {
        const KNOWN: &str =
            asked!("case_id = $1 AND partner = $2 AND state NOT IN ('replaced', 'dropped') ORDER BY id");
        const REPLACE: &str = "UPDATE asked_commitments SET state = 'replaced', ended_us = $2 \
             WHERE id = $1 AND attempts = $3 AND state = $4";
        let (case, arrived) = (delivery.case.to_string(), (delivery.first_seq, done_to));
        let known: Vec<Raw> = on_tx!(self, |c| sqlx::query_as(KNOWN)
            .bind(&case)
            .bind(delivery.partner.as_str())
            .fetch_all(&mut **c)
            .await)?;
        let (mut runs, mut due) = (vec![arrived], now + GATHERS);
        let mut skipped: Vec<i64> = delivery.refused.iter().map(|one| one.seq).collect();
        for row in each(known.into_iter().map(|raw| (raw.id.clone(), raw)), Raw::read) {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    tracing::error!(case.id = %case, site = %delivery.partner, %error, "What {} is to be asked of case {case} cannot be read; its images are asked for without it", delivery.partner);
                    continue;
                }
            };
            let is_new = row.state == AskedState::Owed && row.attempts == 0;
            let is_about_the_same = row.runs.iter().any(|run| overlap(*run, arrived));
            let has_room = is_new && row.items + length(arrived) <= MOST;
            if !is_about_the_same && !has_room {
                continue;
            }
            let (id, state) = (row.id.to_string(), row.state.as_str());
            let done = on_tx!(self, |c| sqlx::query(REPLACE)
                .bind(&id)
                .bind(now.0)
                .bind(row.attempts)
                .bind(state)
                .execute(&mut **c)
                .await
                .map(|done| done.rows_affected()))?;
            if done == 1 {
                runs.extend(&row.runs);
                skipped.extend(row.skipped.iter().filter(|seq| !overlap((**seq, **seq), arrived)));
                due = if is_new { due.min(row.next) } else { due };
            }
        }
        for runs in portions(runs) {
            self.owe_runs(delivery, &case, &runs, &skipped, (now, due)).await?;
        }
        Ok(())
    }

    async fn owe_runs(
        &mut self,
        delivery: &DeliveryRow,
        case: &str,
        runs: &[Run],
        skipped: &[i64],
        (now, due): (Moment, Moment),
    ) -> Result<(), StoreError> {
        const COUNT: &str =
            "SELECT COUNT(*) FROM instances WHERE case_id = $1 AND seq BETWEEN $2 AND $3 AND conflict = 0";
        const OWE: &str = "INSERT INTO asked_commitments (id, case_id, partner, runs, skipped, items, state, asks, attempts, \
             created_us, since_us, next_us, ended_us) VALUES ($1, $2, $3, $4, $5, $6, 'owed', 0, 0, $7, $7, $8, NULL)";
        let within = |seq: &&i64| runs.iter().any(|run| overlap((**seq, **seq), *run));
        let skipped: Vec<i64> = skipped.iter().filter(within).copied().collect();
        let mut items = -i64::try_from(skipped.len()).unwrap_or(0);
        for (first, last) in runs {
            let (count,): (i64,) =
                on_tx!(self, |c| sqlx::query_as(COUNT).bind(case).bind(first).bind(last).fetch_one(&mut **c).await)?;
            items += count;
        }
        if items <= 0 {
            return Ok(());
        }
        let (runs, skipped) = (to_json(&runs, "list of runs")?, to_json(&skipped, "list of numbers")?);
        on_tx!(self, |c| sqlx::query(OWE)
            .bind(Uuid::now_v7().to_string())
            .bind(case)
            .bind(delivery.partner.as_str())
            .bind(&runs)
            .bind(&skipped)
            .bind(items)
            .bind(now.0)
            .bind(due.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Writes an attempt down; until `lease` it is nobody else's. False: somebody else makes it, or it has been answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_asking(&mut self, row: &AskedCommitment, lease: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE asked_commitments SET attempts = attempts + 1, next_us = $3 \
             WHERE id = $1 AND attempts = $2 AND ended_us IS NULL";
        let rows = on_tx!(self, |c| sqlx::query(SQL)
            .bind(row.id.to_string())
            .bind(row.attempts)
            .bind(lease.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }

    /// The question was taken: the answer is waited for. Nothing, if it has come already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn asked(&mut self, row: &AskedCommitment, now: Moment, until: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE asked_commitments SET state = 'asked', asks = asks + 1, since_us = $2, next_us = $3 \
             WHERE id = $1 AND ended_us IS NULL";
        let id = row.id.to_string();
        on_tx!(self, |c| sqlx::query(SQL).bind(&id).bind(now.0).bind(until.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// It is tried again at `next`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ask_again(&mut self, row: &AskedCommitment, next: Moment) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE asked_commitments SET next_us = $2 WHERE id = $1 AND ended_us IS NULL";
        let id = row.id.to_string();
        on_tx!(self, |c| sqlx::query(SQL).bind(&id).bind(next.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// One that cannot be read waits until `next`, before a person where its case is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_off_asking(
        &mut self,
        unreadable: &UnreadableRow,
        why: &str,
        next: Moment,
    ) -> Result<(), StoreError> {
        const CASE: &str = "SELECT case_id FROM asked_commitments WHERE id = $1";
        const SQL: &str = "UPDATE asked_commitments SET next_us = $2 WHERE id = $1 AND ended_us IS NULL";
        let id = &unreadable.row;
        let case: Option<(String,)> = on_tx!(self, |c| sqlx::query_as(CASE).bind(id).fetch_optional(&mut **c).await)?;
        // The case before what is asked of it, as everywhere.
        if let Some(case) = case.and_then(|(case,)| case.parse().ok()) {
            self.mark_for_a_person(case, why).await?;
        }
        on_tx!(self, |c| sqlx::query(SQL).bind(id).bind(next.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Nothing is asked there before `next`: it is away.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pause_asking(&mut self, partner: &PartnerId, now: Moment, next: Moment) -> Result<(), StoreError> {
        // In one order, so that no two wait for each other. What is awaited is due only when its time is over.
        const HELD: Sql = Sql { sqlite: due_of!(""), postgres: due_of!(" FOR UPDATE") };
        const SQL: &str = "UPDATE asked_commitments SET next_us = $2 WHERE partner = $1 AND ended_us IS NULL \
             AND next_us < $2 AND (state = 'owed' OR next_us <= $3)";
        let (held, partner) = (self.pick(HELD), partner.as_str());
        on_tx!(self, |c| sqlx::query(held).bind(partner).bind(next.0).bind(now.0).execute(&mut **c).await.map(drop))?;
        on_tx!(self, |c| sqlx::query(SQL).bind(partner).bind(next.0).bind(now.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Ends it. The caller holds the case. False: somebody else has ended it, but for a late answer after it was given up.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_asking(&mut self, id: Uuid, state: AskedState, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE asked_commitments SET state = $2, ended_us = $3 \
             WHERE id = $1 AND (ended_us IS NULL OR (state = 'given_up' AND $2 <> 'given_up'))";
        let rows = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id.to_string())
            .bind(state.as_str())
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }

    /// How a case, held by this transaction, stands with one that it was sent to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn committed(&mut self, case: CaseId, partner: &PartnerId) -> Result<Committed, StoreError> {
        const SQL: &str = "SELECT COUNT(CASE WHEN ended_us IS NULL THEN 1 END), \
             COUNT(CASE WHEN state IN ('failed', 'given_up') THEN 1 END), \
             CAST(COALESCE(SUM(CASE WHEN state = 'committed' THEN items ELSE 0 END), 0) AS BIGINT) \
             FROM asked_commitments WHERE case_id = $1 AND partner = $2";
        let (open, bad, kept): (i64, i64, i64) = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(case.to_string())
            .bind(partner.as_str())
            .fetch_one(&mut **c)
            .await)?;
        Ok(Committed { open, bad, kept })
    }
}

impl Store {
    /// Who may be asked something now, each by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn to_be_asked(&self, now: Moment) -> Result<Vec<Result<PartnerId, UnreadableRow>>, StoreError> {
        const SQL: &str = "SELECT DISTINCT partner FROM asked_commitments WHERE ended_us IS NULL AND next_us <= $1";
        let rows: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).fetch_all(p).await)?;
        Ok(each(rows.into_iter().map(|(name,)| (name.clone(), name)), |name| partner(&name)))
    }

    /// What is due of one, longest due first, each by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn commitments_to_ask(
        &self,
        partner: &PartnerId,
        now: Moment,
        limit: i64,
    ) -> Result<Vec<Result<AskedCommitment, UnreadableRow>>, StoreError> {
        const SQL: &str = asked!("partner = $1 AND ended_us IS NULL AND next_us <= $2 ORDER BY next_us, id LIMIT $3");
        let partner = partner.as_str();
        let raws: Vec<Raw> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(partner).bind(now.0).bind(limit).fetch_all(p).await)?;
        Ok(each(raws.into_iter().map(|raw| (raw.id.clone(), raw)), Raw::read))
    }

    /// One, as it stands now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn asked_commitment(&self, id: Uuid) -> Result<Option<AskedCommitment>, StoreError> {
        const SQL: &str = asked!("id = $1");
        let id = id.to_string();
        let raw: Option<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(&id).fetch_optional(p).await)?;
        raw.map(Raw::read).transpose()
    }

    /// SOP class and SOP instance of each instance that is asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn instances_asked_for(&self, row: &AskedCommitment) -> Result<Vec<(Uid, Uid)>, StoreError> {
        const SQL: &str = "SELECT seq, sop_class, sop_uid FROM instances WHERE case_id = $1 AND seq BETWEEN $2 AND $3 \
             AND conflict = 0 ORDER BY seq";
        let unreadable = |_| StoreError::Unreadable { what: "UID" };
        let case = row.case.to_string();
        let mut asked = Vec::new();
        for (first, last) in &row.runs {
            let rows: Vec<(i64, String, String)> =
                on_read!(self, |p| sqlx::query_as(SQL).bind(&case).bind(first).bind(last).fetch_all(p).await)?;
            for (_, class, instance) in rows.into_iter().filter(|(seq, ..)| !row.skipped.contains(seq)) {
                asked.push((Uid::new(&class).map_err(unreadable)?, Uid::new(&instance).map_err(unreadable)?));
            }
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_leads_back_to_its_row_and_nothing_else_does() {
        let id = Uuid::from_u128(u128::MAX);
        let uid = AskedCommitment::transaction(id, i64::from(u32::MAX));
        assert!(Uid::new(&uid).is_ok(), "{uid}");
        assert_eq!(AskedCommitment::of_transaction(&uid), Some((id, i64::from(u32::MAX))));
        for other in ["2.25.7", "2.25.7.", "2.25.07.1", "2.25.7.01", "2.25.7.1.1", "1.2.7.1", "2.25.+7.1", "2.25.7.-1x"]
        {
            assert_eq!(AskedCommitment::of_transaction(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_asked_for_at_once_is_each_instance_once_and_not_too_many() {
        assert_eq!(portions(vec![(4, 6), (1, 3), (5, 9), (20, 20)]), [vec![(1, 9), (20, 20)]]);
        assert_eq!(portions(vec![(1, 0)]), Vec::<Vec<Run>>::new());
        let long = portions(vec![(1, 10), (21, 4_500)]);
        assert_eq!(long, [vec![(1, 10), (21, 2_010)], vec![(2_011, 4_010)], vec![(4_011, 4_500)]]);
        assert!(long.iter().all(|portion| portion.iter().map(|run| length(*run)).sum::<i64>() <= MOST));
    }

    #[test]
    fn every_state_is_written_as_one_word() {
        for (state, word) in AskedState::ALL {
            assert_eq!((AskedState::parse(word).expect("a state"), state.as_str()), (state, word));
        }
    }
}
