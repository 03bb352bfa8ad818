//! Lists that are gone through page by page: what stands first and cannot be settled keeps nobody from what stands behind it.
//!
//! In: the rows of a page, each with its place in the order of the list. Out: each row, read by itself, and where the next
//! page begins.

use super::{StoreError, UnreadableRow, error::each};

/// Behind which row a page begins: by time, where the list is in the order of one, and by the row's own key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub(super) at_us: i64,
    pub(super) row: String,
}

impl Behind {
    /// Before every row.
    pub fn nothing() -> Self {
        Self { at_us: i64::MIN, row: String::new() }
    }

    pub(super) fn row(row: &str) -> Self {
        Self { row: row.to_owned(), ..Self::nothing() }
    }
}

#[derive(Debug)]
pub struct Page<T> {
    pub rows: Vec<Result<T, UnreadableRow>>,
    /// `None`: there is nothing behind this page.
    pub next: Option<Behind>,
}

impl<T> Page<T> {
    /// At most `limit` rows were asked for; so many may have been left.
    pub(super) fn of<R>(limit: i64, rows: Vec<(Behind, R)>, read: impl Fn(R) -> Result<T, StoreError>) -> Self {
        let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let next = rows.last().map(|(place, _)| place.clone()).filter(|_| is_full);
        Self { rows: each(rows.into_iter().map(|(place, row)| (place.row, row)), read), next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_page_is_followed_by_one_behind_its_last_row() {
        let page = |rows: &[&str]| {
            let rows = rows.iter().map(|row| (Behind::row(row), (*row).to_owned())).collect();
            Page::of(2, rows, |row: String| row.parse::<u8>().map_err(|_| StoreError::Unreadable { what: "number" }))
        };
        let full = page(&["1", "x"]);
        assert_eq!(full.next, Some(Behind::row("x")), "though it cannot be read");
        let read: Vec<Result<u8, String>> =
            full.rows.into_iter().map(|row| row.map_err(|unreadable| unreadable.row)).collect();
        assert_eq!(read, [Ok(1), Err("x".to_owned())]);
        assert_eq!((page(&["1"]).next, page(&[]).next), (None, None));
    }
}
