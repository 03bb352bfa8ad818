//! What is wrong with a configuration: every problem of every file, each with its place, in the files' order.

use std::{fmt, sync::Arc};

/// One thing to mend. Its text says what was found and what was expected, never a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Relative to the configuration folder: `routes.toml`, `partners/harz.toml`.
    pub file: String,
    /// Both count from 1; 0 where the problem is the file itself.
    pub line: usize,
    pub column: usize,
    /// `route[3] "Night CT": to`; routes count from 1, in file order. Empty at the top of a file.
    pub place: String,
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.text)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One problem that is no line of a file: an unreadable folder, a missing file.
    pub(super) fn of_file(&mut self, file: &str, text: impl Into<String>) {
        let (file, place, text) = (file.to_owned(), String::new(), text.into());
        self.0.push(Problem { file, line: 0, column: 0, place, text });
    }

    pub(super) fn at(&mut self, spot: &Spot, text: impl Into<String>) {
        self.0.push(Problem {
            file: spot.file.to_string(),
            line: spot.line,
            column: spot.column,
            place: spot.place.clone(),
            text: text.into(),
        });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// Where in the files something stands.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
    pub place: String,
}
