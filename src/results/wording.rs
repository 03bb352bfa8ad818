//! A report as one text, for those who get it as a document: results under their names, what was taken back in words.
//!
//! In: the pieces of an incoming report, and the origin's language. Out: text. The words of the reader stand as they came;
//! only names of results, examinations and specimens are put before them, where more than one speaks.

use super::{
    documents,
    incoming::{Incoming, Piece, Section, ValuePiece},
};
use crate::{
    hl7::oru::{Coded, Specimen},
    model::OrderNumbers,
};

impl Incoming {
    /// All text, for a reader's eyes; which order each part answers, where that is told apart.
    pub fn text(&self, language: &str, orders: &[OrderNumbers]) -> String {
        let named = self.speaks_under_several_names();
        let mut text = Text { language, orders, named, ..Text::default() };
        for piece in &self.pieces {
            text.add(piece);
        }
        text.lines.join("\n")
    }

    fn speaks_under_several_names(&self) -> bool {
        let names = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text { code, .. } => Some(code),
            Piece::Value(value) if value.detail.structured.is_none() => Some(&value.code),
            _ => None,
        });
        let mut names = names.map(name).filter(|name| !name.is_empty());
        let first = names.next();
        names.any(|name| Some(name) != first)
    }
}

#[derive(Default)]
struct Text<'a> {
    language: &'a str,
    orders: &'a [OrderNumbers],
    /// Texts stand under the names of their results.
    named: bool,
    under: String,
    lines: Vec<String>,
}

impl Text<'_> {
    fn add(&mut self, piece: &Piece) {
        match piece {
            Piece::Text { code, text } => self.text(code, text.clone()),
            Piece::Value(value) => self.value(value),
            Piece::Deleted { code } => self.lines.push(deleted(self.language, code)),
            Piece::Unchanged { code } => self.lines.push(unchanged(self.language, code)),
            Piece::Section(section) => self.section(section),
            Piece::Document { .. } => {}
        }
    }

    fn text(&mut self, code: &Coded, text: String) {
        let name = name(code);
        // Notes have no name, and stay under that of their result.
        if self.named && !name.is_empty() && name != self.under {
            self.gap();
            self.lines.push(format!("{name}:"));
            self.under = name.to_owned();
        }
        self.lines.push(text);
    }

    fn value(&mut self, value: &ValuePiece) {
        let shown = format!("{}{}", value.text, value.detail.remark());
        if value.detail.structured.is_none() {
            return self.text(&value.code, shown);
        }
        let name = name(&value.code);
        let between = if name.is_empty() { "" } else { ": " };
        self.lines.push(format!("{name}{between}{shown}"));
    }

    fn section(&mut self, section: &Section) {
        let Section { title, specimens, order, .. } = section;
        self.gap();
        self.under.clear();
        if !name(title).is_empty() {
            self.lines.push(format!("{}:", name(title)));
        }
        if let Some(order) = order.and_then(|order| self.orders.get(order)) {
            let numbers = [&order.placer, &order.filler, &order.accession].map(|id| id.value.as_str());
            let said: Vec<&str> = numbers.into_iter().filter(|number| !number.is_empty()).take(2).collect();
            if !said.is_empty() {
                self.lines.push(format!("{}: {}", documents::order(self.language), said.join(" / ")));
            }
        }
        let shown: Vec<String> = specimens.iter().map(Specimen::display).filter(|shown| !shown.is_empty()).collect();
        if !shown.is_empty() {
            self.lines.push(format!("{}: {}", documents::specimen(self.language), shown.join(", ")));
        }
    }

    fn gap(&mut self) {
        if self.lines.last().is_some_and(|line| !line.is_empty()) {
            self.lines.push(String::new());
        }
    }
}

/// What a result is called.
fn name(code: &Coded) -> &str {
    if code.text.is_empty() { &code.code } else { &code.text }
}

/// That a result is taken back.
pub fn deleted(language: &str, code: &Coded) -> String {
    documents::deleted(language).replace("{what}", named(language, code))
}

/// That a result is final as it was.
pub fn unchanged(language: &str, code: &Coded) -> String {
    documents::unchanged(language).replace("{what}", named(language, code))
}

fn named<'a>(language: &str, code: &'a Coded) -> &'a str {
    let name = name(code);
    if name.is_empty() { documents::a_result(language) } else { name }
}
