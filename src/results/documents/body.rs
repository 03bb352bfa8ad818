//! Recognises what the lines of a text report are, and sets them.
//!
//! In: the report's text as received. Out: lines ready for pages, with the gaps between them and where a page may not
//! be broken. Every line of the report begins a line of the document: lines are never joined, because a list or a
//! table that lost its line ends could be misread. It only chooses weight, gaps and indents.

use crate::paper::faces::{Faces, Weight};
use crate::paper::wrap::{Line, Measure, Piece, wrap};

/// Type size and the distance of base lines, points.
pub const SIZE: f32 = 10.5;
pub const LEADING: f32 = 15.0;
const HEADING_SIZE: f32 = 11.0;
const PARAGRAPH_GAP: f32 = 7.5;
const HEADING_GAP: f32 = 11.0;
/// What one space at the start of a line, or one column of a table set with spaces, is worth.
const COLUMN: f32 = SIZE * 0.52;

/// One line on its way to a page.
#[derive(Clone, Debug)]
pub struct SetLine {
    pub line: Line,
    pub size: f32,
    /// Left out at the top of a page.
    pub gap_before: f32,
    /// Lines of one paragraph share the first number, lines broken from one line of the report the second as well;
    /// see `pages::paginate`.
    pub paragraph: usize,
    pub source: usize,
    /// A heading stays with what it heads.
    pub keep_with_next: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    Blank,
    Heading(&'a str),
    /// Label of a `Befund: …` line (may be empty) and the rest.
    Text {
        label: &'a str,
        rest: &'a str,
    },
    /// Cells with the column each starts in.
    Table(Vec<(usize, &'a str)>),
}

/// Sets the whole text to `width` points.
pub fn set(faces: &Faces, text: &str, width: f32) -> Vec<SetLine> {
    let mut lines = Vec::new();
    let mut paragraph = 0;
    let mut gap = 0.0;
    let mut after_heading = false;
    for (number, source) in text.lines().enumerate() {
        let expanded = expand_tabs(source.trim_end());
        match kind(&expanded) {
            Kind::Blank => {
                // Several blank lines say no more than one.
                gap = if lines.is_empty() || after_heading { 0.0 } else { PARAGRAPH_GAP };
                paragraph += 1;
            }
            Kind::Heading(heading) => {
                paragraph += 1;
                let gap_before = if lines.is_empty() { 0.0 } else { HEADING_GAP };
                let set = wrap(faces, &[(Weight::Bold, heading)], Measure::plain(HEADING_SIZE, width));
                push(
                    &mut lines,
                    set,
                    SetLine { size: HEADING_SIZE, gap_before, keep_with_next: true, ..like(paragraph, number) },
                );
                paragraph += 1;
                gap = 1.5;
                after_heading = true;
            }
            kind => {
                let set = set_text(faces, &expanded, kind, width);
                push(&mut lines, set, SetLine { gap_before: gap, ..like(paragraph, number) });
                gap = 0.0;
                after_heading = false;
            }
        }
    }
    lines
}

fn like(paragraph: usize, source: usize) -> SetLine {
    SetLine { line: Line::new(), size: SIZE, gap_before: 0.0, paragraph, source, keep_with_next: false }
}

fn push(lines: &mut Vec<SetLine>, set: Vec<Line>, like: SetLine) {
    for (at, line) in set.into_iter().enumerate() {
        let gap_before = if at == 0 { like.gap_before } else { 0.0 };
        lines.push(SetLine { line, gap_before, ..like.clone() });
    }
}

fn set_text(faces: &Faces, source: &str, kind: Kind<'_>, width: f32) -> Vec<Line> {
    if let Kind::Table(cells) = &kind
        && let Some(row) = set_row(faces, cells, width)
    {
        return vec![row];
    }
    let trimmed = source.trim_start();
    let columns = source.len() - trimmed.len();
    #[expect(clippy::cast_precision_loss, reason = "a count of leading spaces, at most the length of a line")]
    let indent = (columns as f32 * COLUMN).min(width * 0.4);
    let bullet = faces.width_em(bullet_of(trimmed), Weight::Regular) * SIZE;
    let measure = Measure { size: SIZE, width, first_indent: indent, hanging_indent: indent + bullet };
    match kind {
        Kind::Text { label, rest } => wrap(faces, &[(Weight::Bold, label), (Weight::Regular, rest)], measure),
        _ => wrap(faces, &[(Weight::Regular, trimmed)], measure),
    }
}

/// A table row set with runs of spaces: each cell at its column, or None where that does not fit the line.
fn set_row(faces: &Faces, cells: &[(usize, &str)], width: f32) -> Option<Line> {
    let mut line = Line::new();
    let mut end = 0.0_f32;
    for (column, text) in cells {
        #[expect(clippy::cast_precision_loss, reason = "a column within a line")]
        let x = (*column as f32 * COLUMN).max(if line.is_empty() { 0.0 } else { end + COLUMN });
        end = x + faces.width_em(text, Weight::Regular) * SIZE;
        line.push(Piece { x, weight: Weight::Regular, text: (*text).to_owned() });
    }
    (end <= width).then_some(line)
}

fn kind(line: &str) -> Kind<'_> {
    let text = line.trim();
    if text.is_empty() {
        return Kind::Blank;
    }
    let cells = cells(line);
    if cells.len() > 1 {
        return Kind::Table(cells);
    }
    if is_heading(text) {
        return Kind::Heading(text);
    }
    let label = label_of(text);
    Kind::Text { label, rest: &text[label.len()..] }
}

/// A short line that ends in a colon, or is all in capitals.
fn is_heading(text: &str) -> bool {
    let length = text.chars().count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let first_is_letter = text.starts_with(|c: char| c.is_alphabetic());
    let colon = text.ends_with(':') && length <= 60 && letters >= 3 && first_is_letter;
    let capitals = length <= 50
        && letters >= 4
        && first_is_letter
        && !text.chars().any(|c| c.is_lowercase() || c.is_ascii_digit())
        && !text.ends_with(['.', ';', ',']);
    colon || capitals
}

/// `Beurteilung:` of `Beurteilung: keine Blutung`: up to three words that begin with a capital and end in a colon.
fn label_of(text: &str) -> &str {
    let Some(colon) = text.find(": ").filter(|at| *at <= 40) else {
        return "";
    };
    let label = &text[..colon];
    let fits = label.starts_with(char::is_uppercase)
        && label.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '/'))
        && label.split(' ').count() <= 3
        && label.chars().count() >= 3;
    if fits { &text[..=colon] } else { "" }
}

/// The bullet or number of a list item with its space: `- `, `• `, `* `, `1. `, `2) `, `a) `.
fn bullet_of(text: &str) -> &str {
    let Some(space) = text.find(' ').filter(|at| *at <= 4) else {
        return "";
    };
    let mark = &text[..space];
    let sign = matches!(mark, "-" | "–" | "•" | "*" | "·" | "▪" | "●" | "○" | ">" | "→");
    let number = mark
        .strip_suffix(['.', ')'])
        .is_some_and(|n| !n.is_empty() && (n.bytes().all(|b| b.is_ascii_digit()) || n.chars().count() == 1));
    if sign || number { &text[..=space] } else { "" }
}

/// Splits at runs of two spaces or more; the column counts characters. One cell means no table.
fn cells(line: &str) -> Vec<(usize, &str)> {
    let mut cells = Vec::new();
    let mut column = 0;
    let mut rest = line;
    while !rest.is_empty() {
        let cell_end = rest.find("  ").unwrap_or(rest.len());
        let (cell, after) = rest.split_at(cell_end);
        let bare = cell.trim_start();
        if !bare.is_empty() {
            cells.push((column + cell.len() - bare.len(), bare));
        }
        column += cell.chars().count();
        rest = after.trim_start_matches(' ');
        column += after.len() - rest.len();
    }
    cells
}

/// Tabs to the next multiple of eight columns, as a terminal shows them.
fn expand_tabs(line: &str) -> String {
    let mut expanded = String::with_capacity(line.len());
    let mut column = 0_usize;
    for c in line.chars() {
        if c == '\t' {
            let to = (column / 8 + 1) * 8;
            // At least two, so that a tab is seen as the border of a cell.
            let spaces = (to - column).max(2);
            expanded.extend(std::iter::repeat_n(' ', spaces));
            column += spaces;
        } else {
            expanded.push(c);
            column += 1;
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_for_what_they_are() {
        for heading in
            ["Befund:", "BEURTEILUNG", "OPIS BADANIA", "ZÁVĚR", "Klinické údaje:", "MAKROSKOPIE / MIKROSKOPIE"]
        {
            assert_eq!(kind(heading), Kind::Heading(heading));
        }
        for text in ["Keine Blutung.", "CT 1", "- Befund:", "KEIN PNEUMOTHORAX.", "12:30", "Er sagte:aber"] {
            assert!(matches!(kind(text), Kind::Text { label: "", .. }), "{text}");
        }
        assert_eq!(kind("Beurteilung: o. B."), Kind::Text { label: "Beurteilung:", rest: " o. B." });
        assert_eq!(kind("Leber  14 cm   normal"), Kind::Table(vec![(0, "Leber"), (7, "14 cm"), (15, "normal")]));
        assert_eq!(kind("  "), Kind::Blank);
    }

    #[test]
    fn a_list_item_hangs_and_an_indent_stays() {
        let faces = Faces::load().expect("the compiled-in fonts");
        let lines = set(&faces, "   - ein langer Punkt, der umbrochen werden muss, weil er nicht passt", 160.0);
        assert!(lines.len() > 1);
        assert!(lines[1].line[0].x > lines[0].line[0].x && lines[0].line[0].x > 10.0);
    }

    #[test]
    fn cells_of_a_column_stand_under_each_other() {
        let faces = Faces::load().expect("the compiled-in fonts");
        let lines = set(&faces, "Leber\t14 cm\nMilz\t9 cm\nIIII    9 cm", 400.0);
        let columns: Vec<f32> = lines.iter().map(|line| line.line[1].x).collect();
        assert!(columns.iter().all(|x| (x - columns[0]).abs() < 0.01), "{columns:?}");
    }

    #[test]
    fn a_line_is_never_joined_with_the_next() {
        let faces = Faces::load().expect("the compiled-in fonts");
        assert_eq!(set(&faces, "eins\nzwei\n\n\ndrei", 400.0).len(), 3);
    }
}
