//! Fills the pages: the front page's head, the body with its breaks, the running head and the footers.
//!
//! In: a checked report. Out: sheets to draw. Every page names the patient, because pages get separated.

use super::words::{Words, spoken_name};
use super::{DocumentError, MAX_PAGES, ReportDocument, body, front};
use crate::model::{IssuedId, ReportStatus};
use crate::paper::canvas::{Area, Color, Sheet, Style};
use crate::paper::faces::{Faces, Weight};
use body::{LEADING, SIZE, SetLine};
use std::ops::Range;

/// A4, points.
pub const WIDTH: f32 = 595.28;
pub const HEIGHT: f32 = 841.89;
pub const MARGIN: f32 = 60.0;
pub const RIGHT: f32 = WIDTH - MARGIN;
pub const TEXT_WIDTH: f32 = RIGHT - MARGIN;
/// First base line of a page that is not the first.
const RUNNING_TOP: f32 = 96.0;
/// The last base line lies above this.
const BOTTOM: f32 = HEIGHT - 78.0;
/// What the front page keeps for the body.
const MIN_BODY: f32 = 4.0 * LEADING;

pub const INK: Color = (27, 36, 48);
pub const MUTED: Color = (88, 102, 117);
pub const BAND: Color = (16, 60, 92);
pub const PANEL: Color = (241, 245, 248);
pub const RULE: Color = (203, 212, 220);
pub const WHITE: Color = (255, 255, 255);

pub fn status_color(status: ReportStatus) -> Color {
    match status {
        ReportStatus::Preliminary => (163, 92, 0),
        ReportStatus::Final => (22, 110, 66),
        ReportStatus::Corrected | ReportStatus::Withdrawn => (160, 28, 48),
    }
}

pub fn small(size: f32) -> Style {
    Style { size, weight: Weight::Regular, color: MUTED }
}

/// `value (issuer)`: an identifier never stands without who gave it, where that is known.
pub fn issued(id: &IssuedId, words: &Words) -> String {
    match (id.value.trim(), id.issuer.trim()) {
        ("", _) => words.not_given.to_owned(),
        (value, "") => value.to_owned(),
        (value, issuer) => format!("{value} ({issuer})"),
    }
}

pub fn lay_out<'a>(
    faces: &'a Faces,
    words: &Words,
    report: &ReportDocument,
    missing: &[char],
) -> Result<Vec<Sheet<'a>>, DocumentError> {
    let mut lines = body::set(faces, &report.body, TEXT_WIDTH);
    sign(faces, words, report, &mut lines);
    let mut sheets = vec![Sheet::new(faces)];
    let top = front::draw(faces, &mut sheets[0], words, report, missing) + LEADING;
    if top > BOTTOM - MIN_BODY {
        return Err(DocumentError::HeadTooTall);
    }
    let breaks = paginate(&lines, BOTTOM - top, BOTTOM - RUNNING_TOP);
    if breaks.len() > MAX_PAGES {
        return Err(DocumentError::TooManyPages(breaks.len()));
    }
    for (at, range) in breaks.into_iter().enumerate() {
        if at > 0 {
            let mut sheet = Sheet::new(faces);
            running_head(&mut sheet, words, report);
            sheets.push(sheet);
        }
        let mut y = if at == 0 { top } else { RUNNING_TOP };
        for (number, line) in lines[range].iter().enumerate() {
            y += if number == 0 { 0.0 } else { LEADING + line.gap_before };
            sheets[at].line(MARGIN, y, line.size, INK, &line.line);
        }
    }
    let count = sheets.len();
    for (at, sheet) in sheets.iter_mut().enumerate() {
        footer(sheet, words, report, at + 1, count);
    }
    Ok(sheets)
}

/// Who made the report, under it.
fn sign(faces: &Faces, words: &Words, report: &ReportDocument, lines: &mut Vec<SetLine>) {
    let Some(author) = report.author.as_deref().map(spoken_name).filter(|author| !author.is_empty()) else {
        return;
    };
    let paragraph = lines.last().map_or(0, |line| line.paragraph + 1);
    if let Some(last) = lines.last_mut() {
        // A name alone on the last page would say nothing.
        last.keep_with_next = true;
    }
    let label = format!("{}: ", words.author);
    let pieces = [(Weight::Regular, label.as_str()), (Weight::Bold, author.as_str())];
    let set = crate::paper::wrap::wrap(faces, &pieces, crate::paper::wrap::Measure::plain(SIZE, TEXT_WIDTH));
    for (at, line) in set.into_iter().enumerate() {
        let gap_before = if at == 0 { 14.0 } else { 0.0 };
        lines.push(SetLine { line, size: SIZE, gap_before, paragraph, source: usize::MAX, keep_with_next: false });
    }
}

/// Divides lines into pages of `first` and then `other` points between the first and the last base line.
/// A heading is not left at the foot of a page, nor one line of a paragraph at its foot or at the next one's head.
fn paginate(lines: &[SetLine], first: f32, other: f32) -> Vec<Range<usize>> {
    let mut pages = Vec::new();
    let mut start = 0;
    while start < lines.len() {
        let room = if pages.is_empty() { first } else { other };
        let full = start + fitting(&lines[start..], room);
        let end = if full == lines.len() { full } else { good_break(lines, start, full) };
        pages.push(start..end);
        start = end;
    }
    if pages.is_empty() {
        pages.push(0..0);
    }
    pages
}

/// How many lines fit; at least one, so that it ends.
fn fitting(lines: &[SetLine], room: f32) -> usize {
    let mut used = 0.0;
    for (at, line) in lines.iter().enumerate().skip(1) {
        used += LEADING + line.gap_before;
        if used > room {
            return at;
        }
    }
    lines.len()
}

/// The last good place at or shortly before `full`; `full` itself where there is none.
fn good_break(lines: &[SetLine], start: usize, full: usize) -> usize {
    const LOOK_BACK: usize = 8;
    let lowest = full.saturating_sub(LOOK_BACK).max(start + 1);
    (lowest..=full).rev().find(|at| may_break(lines, *at)).unwrap_or(full)
}

fn may_break(lines: &[SetLine], at: usize) -> bool {
    if lines[at - 1].keep_with_next {
        return false;
    }
    parts_well(lines, at, |line| line.paragraph) && parts_well(lines, at, |line| line.source)
}

/// Whether `at` begins another group, or leaves two lines of its group on either side.
fn parts_well(lines: &[SetLine], at: usize, group: impl Fn(&SetLine) -> usize) -> bool {
    let same = |a: usize, b: usize| lines.get(a).map(&group) == lines.get(b).map(&group);
    !same(at - 1, at) || (at >= 2 && same(at - 2, at - 1) && same(at, at + 1))
}

/// The head of a further page: who, born when, which identifiers, which report.
fn running_head(sheet: &mut Sheet<'_>, words: &Words, report: &ReportDocument) {
    let bold = Style { size: 9.0, weight: Weight::Bold, color: INK };
    let status = Style { color: status_color(report.status), ..bold };
    let badge = words.status(report.status);
    sheet.text_ending_at(RIGHT, 46.0, status, badge);
    let name = one_line(sheet, &spoken_name(&report.patient_name), bold, TEXT_WIDTH - 120.0);
    sheet.text(MARGIN, 46.0, bold, name);
    let facts = format!(
        "{} {}  ·  {} {}  ·  {} {}",
        words.born,
        words.date(&report.birth_date),
        words.patient_id,
        issued(&report.patient_id, words),
        words.accession,
        issued(&report.accession, words)
    );
    let facts = one_line(sheet, &facts, small(8.0), TEXT_WIDTH);
    sheet.text(MARGIN, 59.0, small(8.0), facts);
    sheet.area(Area { x: MARGIN, y: 66.0, width: TEXT_WIDTH, height: 0.7 }, 0.0, RULE);
}

/// Shortened with `…` where it does not fit; the whole stands on the front page.
fn one_line(sheet: &Sheet<'_>, text: &str, style: Style, width: f32) -> String {
    if sheet.width(text, style) <= width {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while sheet.width(&short, style) > width - style.size && short.pop().is_some() {}
    short.push('…');
    short
}

fn footer(sheet: &mut Sheet<'_>, words: &Words, report: &ReportDocument, page: usize, count: usize) {
    sheet.area(Area { x: MARGIN, y: HEIGHT - 56.0, width: TEXT_WIDTH, height: 0.7 }, 0.0, RULE);
    sheet.text(MARGIN, HEIGHT - 43.0, small(7.0), words.transmitted);
    sheet.text(MARGIN, HEIGHT - 33.0, small(6.5), format!("{} {}", words.case, report.case));
    sheet.text_ending_at(RIGHT, HEIGHT - 43.0, small(8.0), format!("{} {page}/{count}", words.page));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(paragraph: usize, keep_with_next: bool) -> SetLine {
        SetLine { line: Vec::new(), size: SIZE, gap_before: 0.0, paragraph, source: paragraph, keep_with_next }
    }

    #[test]
    fn a_heading_goes_with_two_lines_of_its_paragraph() {
        // Ten lines, a heading, a paragraph of six; eleven or twelve lines fit on the first page.
        let mut lines: Vec<SetLine> = (0..10).map(|at| line(at, false)).collect();
        lines.push(line(20, true));
        lines.extend((0..6).map(|_| line(21, false)));
        for fit in [11_u8, 12] {
            let pages = paginate(&lines, LEADING * (f32::from(fit) - 0.5), 400.0);
            assert_eq!(pages, vec![0..10, 10..17], "{fit} lines fit");
        }
        assert_eq!(paginate(&lines, LEADING * 12.5, 400.0), vec![0..13, 13..17]);
        // A single line is not left for the next page.
        assert_eq!(paginate(&lines, LEADING * 15.5, 400.0), vec![0..15, 15..17]);
    }

    proptest! {
        #[test]
        fn pages_hold_every_line_once_and_none_too_many(
            kinds in proptest::collection::vec((0_usize..4, any::<bool>()), 0..120), fit in 2_u8..20
        ) {
            let mut paragraph = 0;
            let lines: Vec<SetLine> = kinds.iter().map(|(new, keep)| {
                paragraph += usize::from(*new == 0);
                line(paragraph, *keep && *new == 0)
            }).collect();
            let room = LEADING * (f32::from(fit) - 0.5);
            let pages = paginate(&lines, room, room);
            let mut next = 0;
            for page in &pages {
                prop_assert_eq!(page.start, next);
                prop_assert!(page.len() <= usize::from(fit));
                next = page.end;
            }
            prop_assert_eq!(next, lines.len());
        }
    }
}
