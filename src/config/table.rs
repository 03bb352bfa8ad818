//! Walks one TOML file by hand, so that every problem in it is found at once; a deserializer stops at the first.
//!
//! In: a file's name and text. Out: values with the place they stand at; problems go into the file's list. A key that
//! nobody asked for is a problem, with the key that was probably meant.

use super::problems::{Problems, Spot};
use super::values::{self, Read, shorten};
use std::{cell::RefCell, collections::BTreeMap, ops::Range, sync::Arc};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A partner file is a few hundred bytes, routes.toml of a thousand rules some hundred kilobytes.
const LARGEST_FILE: usize = 8 << 20;
/// Syntax errors shown of one file: after the first few, the rest are mostly echoes.
const SYNTAX_ERRORS: usize = 5;

/// One file of the folder.
pub(super) struct Source<'t> {
    pub name: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
    problems: RefCell<Problems>,
}

/// A value together with its place.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub value: T,
    pub spot: Spot,
}

impl<'t> Source<'t> {
    pub fn new(name: &str, text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self { name: name.into(), text, line_starts, problems: RefCell::default() }
    }

    /// Reads the file's top table with `read`; problems join `problems`. None when the file is no TOML.
    pub fn walk<T>(
        name: &str,
        text: &'t str,
        problems: &mut Problems,
        read: impl FnOnce(&mut Table<'_>) -> T,
    ) -> Option<T> {
        let source = Source::new(name, text);
        let result = source.walk_top(read);
        let mut found = source.problems.into_inner().0;
        found.sort();
        problems.0.append(&mut found);
        result
    }

    fn walk_top<T>(&self, read: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        if self.text.len() > LARGEST_FILE {
            let text = format!("is {} bytes long; expected at most {LARGEST_FILE}", self.text.len());
            self.problems.borrow_mut().of_file(&self.name, text);
            return None;
        }
        let (top, errors) = DeTable::parse_recoverable(self.text);
        for error in errors.iter().take(SYNTAX_ERRORS) {
            let spot = self.spot(error.span().map_or(0, |span| span.start), String::new());
            self.problems.borrow_mut().at(&spot, format!("is not TOML: {}", error.message()));
        }
        if !errors.is_empty() {
            return None;
        }
        let mut table = Table::new(self, top.get_ref(), 0..0, String::new());
        Some(read(&mut table))
    }

    fn spot(&self, offset: usize, place: String) -> Spot {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Spot { file: self.name.clone(), line, column, place }
    }
}

/// A table being read. Each key is asked for once; when it is dropped, it complains about the keys nobody asked for.
pub(super) struct Table<'t> {
    source: &'t Source<'t>,
    place: String,
    span: Range<usize>,
    entries: BTreeMap<&'t str, (Range<usize>, &'t Spanned<DeValue<'t>>)>,
    asked: Vec<&'static str>,
}

impl<'t> Table<'t> {
    fn new(source: &'t Source<'t>, table: &'t DeTable<'t>, span: Range<usize>, place: String) -> Self {
        let entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), (key.span(), value))).collect();
        Self { source, place, span, entries, asked: Vec::new() }
    }

    /// Where this table begins.
    pub fn spot(&self) -> Spot {
        self.source.spot(self.span.start, self.place.clone())
    }

    /// Names this table by what it says of itself: `route[3]` becomes `route[3] "Night CT"`.
    pub fn call(&mut self, place: String) {
        self.place = place;
    }

    pub fn problem(&self, spot: &Spot, text: impl Into<String>) {
        self.source.problems.borrow_mut().at(spot, text);
    }

    fn spot_of(&self, key: &str, offset: usize) -> Spot {
        let place = if self.place.is_empty() { key.to_owned() } else { format!("{}: {key}", self.place) };
        self.source.spot(offset, place)
    }

    fn take(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key);
        self.entries.get(key).map(|(_, value)| *value)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(text) => format!("\"{}\"", shorten(text)),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
            other => format!("a {}", other.type_str()),
        };
        self.problem(&self.spot_of(key, value.span().start), format!("found {found}, expected {expected}"));
    }

    /// Complains when `key` is missing; the reading call that follows then stays silent.
    pub fn needs(&mut self, key: &'static str, what: &str) {
        if !self.entries.contains_key(key) {
            let example = format!("the key \"{key}\" is missing; expected {what}");
            self.problem(&self.spot(), example);
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub fn parsed<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Read<T>) -> Option<Found<T>> {
        let value = self.take(key)?;
        self.one(key, value, &read)
    }

    fn one<T>(&self, key: &str, value: &Spanned<DeValue<'_>>, read: &impl Fn(&str) -> Read<T>) -> Option<Found<T>> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, value, "text in quotation marks");
            return None;
        };
        let spot = self.spot_of(key, value.span().start);
        match read(text) {
            Ok(value) => Some(Found { value, spot }),
            Err(problem) => {
                self.problem(&spot, problem);
                None
            }
        }
    }

    /// A list, or a single text that stands for a list of one.
    pub fn list<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Read<T>) -> Vec<Found<T>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        match value.get_ref() {
            DeValue::Array(items) => items.iter().filter_map(|item| self.one(key, item, &read)).collect(),
            DeValue::String(_) => self.one(key, value, &read).into_iter().collect(),
            _ => {
                self.wrong_type(key, value, "a list such as [\"…\", \"…\"]");
                Vec::new()
            }
        }
    }

    pub fn number(&mut self, key: &'static str, allowed: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(key)?;
        let expected = format!("a whole number from {} to {}", allowed.start(), allowed.end());
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let fitting = number.filter(|number| allowed.contains(number));
        if fitting.is_none() {
            self.wrong_type(key, value, &expected);
        }
        fitting
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(*flag);
        }
        self.wrong_type(key, value, "true or false");
        None
    }

    /// A table inside this one; a missing one is read as empty where `read` is to apply the defaults.
    pub fn table(&mut self, key: &'static str) -> Option<Table<'t>> {
        let value = self.take(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong_type(key, value, &format!("a table: [{key}]"));
            return None;
        };
        let start = self.entries.get(key).map_or(value.span(), |(span, _)| span.clone());
        Some(Table::new(self.source, table, start, self.inner_place(key)))
    }

    /// A list of tables: `[[route]]`, or `senders = [{ … }, { … }]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<Table<'t>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of tables");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let place = format!("{}[{}]", self.inner_place(key), index + 1);
                    tables.push(Table::new(self.source, table, item.span(), place));
                }
                _ => self.wrong_type(key, item, "a table { … }"),
            }
        }
        tables
    }

    /// Every entry as text, under keys of the user's own.
    pub fn texts(&mut self) -> Vec<(Found<String>, String)> {
        let mut texts = Vec::new();
        for (key, (span, value)) in std::mem::take(&mut self.entries) {
            let spot = self.spot_of(key, span.start);
            match value.get_ref() {
                DeValue::String(text) => texts.push((Found { value: key.to_owned(), spot }, text.to_string())),
                _ => self.wrong_type(key, value, "text in quotation marks"),
            }
        }
        texts
    }

    /// Every entry as a table, under names of the user's own: `[night]`, `[weekend]`.
    pub fn named_tables(&mut self) -> Vec<(Found<String>, Table<'t>)> {
        let mut tables = Vec::new();
        for (key, (span, value)) in std::mem::take(&mut self.entries) {
            let place = format!("[{key}]");
            let spot = self.source.spot(span.start, place.clone());
            match value.get_ref() {
                DeValue::Table(table) => {
                    tables.push((Found { value: key.to_owned(), spot }, Table::new(self.source, table, span, place)))
                }
                _ => self.problem(&spot, format!("expected a table: [{key}]")),
            }
        }
        tables
    }

    fn inner_place(&self, key: &str) -> String {
        match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}: {key}"),
        }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        for (key, (span, _)) in &self.entries {
            if !self.asked.contains(key) {
                let hint = values::nearest(key, self.asked.iter().copied());
                let known = if hint.is_empty() { format!("; known here: {}", self.asked.join(", ")) } else { hint };
                let spot = self.source.spot(span.start, self.place.clone());
                self.problem(&spot, format!("unknown key \"{}\"{known}", shorten(key)));
            }
        }
    }
}
