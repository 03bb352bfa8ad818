//! What can go wrong with the store, said without a value that is stored in it.
//!
//! In: errors of the database driver. Out: the same in our words. A database quotes the values it will not have
//! (`Key (origin, study_uid)=(…) already exists`, `invalid input syntax for type json: …`), and values here are patient
//! data: of what it says about data only the code and the constraint's name are kept.

use sqlx::error::DatabaseError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, busy, or refuses to work: the same again later may succeed.
    #[error("database")]
    Database(#[source] sqlx::Error),
    /// It will not have what it was given, now or later.
    #[error("the database does not take the data: code {code}{}", named(.constraint))]
    Data { code: String, constraint: Option<String> },
    #[error("database schema")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("a stored {what} is not readable: the database is newer than this program, or damaged")]
    Unreadable { what: &'static str },
    #[error("{what} {id} does not exist")]
    NotFound { what: &'static str, id: String },
    /// See `Store::begin_beside`: to be done again by who holds the origin.
    #[error("a case cannot be changed while its origin is shared")]
    OriginShared,
    #[error(transparent)]
    IllegalMove(#[from] crate::model::IllegalMove),
}

/// A row that is there and cannot be read, by its own key: whoever goes through many passes it over.
#[derive(Debug, thiserror::Error)]
#[error("row {row} cannot be read")]
pub struct UnreadableRow {
    pub row: String,
    pub source: StoreError,
}

impl From<UnreadableRow> for StoreError {
    fn from(unreadable: UnreadableRow) -> Self {
        unreadable.source
    }
}

/// Rows by their keys, each read by itself.
pub(super) fn each<R, T>(
    rows: impl IntoIterator<Item = (String, R)>,
    read: impl Fn(R) -> Result<T, StoreError>,
) -> Vec<Result<T, UnreadableRow>> {
    let one = |(row, raw)| read(raw).map_err(|source| UnreadableRow { row, source });
    rows.into_iter().map(one).collect()
}

impl StoreError {
    /// True if it is about one row, so that other rows may well succeed; false if the database as a whole is in trouble.
    pub fn is_about_one(&self) -> bool {
        match self {
            StoreError::Data { .. }
            | StoreError::Unreadable { .. }
            | StoreError::NotFound { .. }
            | StoreError::IllegalMove(_) => true,
            StoreError::Database(_) | StoreError::Migration(_) | StoreError::OriginShared => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(said) if is_about_data(&error) => StoreError::Data {
                code: said.code().unwrap_or_default().into_owned(),
                constraint: said.constraint().map(str::to_owned),
            },
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Unreadable { what: "column" },
            sqlx::Error::Encode(_) => StoreError::Data { code: "encode".into(), constraint: None },
            _ => StoreError::Database(error),
        }
    }
}

/// It is about what was sent, not about the database.
pub(super) fn is_about_data(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(said) => is_code_about_data(said.as_ref()),
        sqlx::Error::Encode(_) => true,
        _ => false,
    }
}

/// PostgreSQL: class 22 data exception, 23 integrity constraint violation, 54 a limit exceeded. SQLite: 19 constraint, 20 mismatch, 18 too
/// big, each with what it extends in the higher bits.
fn is_code_about_data(error: &dyn DatabaseError) -> bool {
    let code = error.code().unwrap_or_default();
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    }
    matches!(code.parse::<u32>().unwrap_or(0) & 0xff, 18..=20)
}

fn named(constraint: &Option<String>) -> String {
    constraint.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_as_a_parameter_is_about_the_data_and_a_pool_that_is_closed_is_not() {
        assert!(is_about_data(&sqlx::Error::Encode("too long".into())));
        assert!(matches!(StoreError::from(sqlx::Error::Encode("too long".into())), StoreError::Data { .. }));
        for error in [sqlx::Error::PoolClosed, sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())] {
            assert!(!is_about_data(&error));
        }
    }
}
