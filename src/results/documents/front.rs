//! The head of the front page: the band with the reading institution and the status, notes, the patient's and the
//! examination's block.

use super::ReportDocument;
use super::pages::{BAND, INK, MARGIN, PANEL, RIGHT, TEXT_WIDTH, WHITE, WIDTH, issued, small, status_color};
use super::words::{Words, spoken_name};
use crate::model::ReportStatus;
use crate::paper::canvas::{Area, Color, Sheet, Style};
use crate::paper::faces::{Faces, Weight};
use crate::paper::wrap::{Measure, wrap};

const PADDING: f32 = 12.0;
const COLUMN_GAP: f32 = 18.0;
const COLUMN_WIDTH: f32 = (TEXT_WIDTH - 2.0 * PADDING - COLUMN_GAP) / 2.0;
/// At most this many missing characters are listed; the caller gets them all.
const LISTED: usize = 12;

/// Draws the head and says where it ends.
pub fn draw(faces: &Faces, sheet: &mut Sheet<'_>, words: &Words, report: &ReportDocument, missing: &[char]) -> f32 {
    let mut y = band(faces, sheet, words, report) + 18.0;
    if let Some(note) = status_note(words, report) {
        y = notice(faces, sheet, y, status_color(report.status), &note) + 12.0;
    }
    if !missing.is_empty() {
        let which = listed(missing);
        y = notice(faces, sheet, y, (163, 92, 0), &words.missing.replace("{which}", &which)) + 12.0;
    }
    panel(faces, sheet, words, report, y) + 12.0
}

fn band(faces: &Faces, sheet: &mut Sheet<'_>, words: &Words, report: &ReportDocument) -> f32 {
    let badge = Style { size: 10.0, weight: Weight::Bold, color: status_color(report.status) };
    let status = words.status(report.status);
    let badge_width = sheet.width(status, badge) + 26.0;
    let institution = Style { size: 16.0, weight: Weight::Bold, color: WHITE };
    let name_width = TEXT_WIDTH - badge_width - 16.0;
    let name = wrap(faces, &[(Weight::Bold, &report.reading_institution)], Measure::plain(16.0, name_width));
    let purpose = format!("{} {} {}", words.report, words.recipient, report.origin_name);
    let purpose = wrap(faces, &[(Weight::Regular, &purpose)], Measure::plain(10.0, name_width));
    let height = 46.0 + 20.0 * lines_of(&name) + 14.0 * lines_of(&purpose);
    sheet.area(Area { x: 0.0, y: 0.0, width: WIDTH, height }, 0.0, BAND);
    let mut y = 44.0;
    for line in &name {
        sheet.line(MARGIN, y, institution.size, WHITE, line);
        y += 20.0;
    }
    for line in &purpose {
        sheet.line(MARGIN, y - 1.0, 10.0, (208, 222, 233), line);
        y += 14.0;
    }
    let x = RIGHT - badge_width;
    sheet.area(Area { x, y: 27.0, width: badge_width, height: 23.0 }, 11.5, WHITE);
    sheet.text(x + 13.0, 42.2, badge, status);
    if report.version > 1 {
        let style = Style { size: 8.5, weight: Weight::Regular, color: (208, 222, 233) };
        sheet.text_ending_at(RIGHT - 13.0, 64.0, style, format!("{} {}", words.version, report.version));
    }
    height
}

fn status_note(words: &Words, report: &ReportDocument) -> Option<String> {
    let replaces = report.replaces.map(|at| words.replaces.replace("{when}", &words.moment(at, report.time_zone)));
    let about = match report.status {
        ReportStatus::Preliminary => Some(words.preliminary_note.to_owned()),
        ReportStatus::Final => None,
        ReportStatus::Corrected => Some(words.corrected_note.to_owned()),
        ReportStatus::Withdrawn => Some(words.withdrawn_note.to_owned()),
    };
    let parts: Vec<String> = about.into_iter().chain(replaces).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn listed(missing: &[char]) -> String {
    let mut codes: Vec<String> = missing.iter().take(LISTED).map(|c| format!("U+{:04X}", u32::from(*c))).collect();
    if missing.len() > LISTED {
        codes.push(format!("+{}", missing.len() - LISTED));
    }
    codes.join(", ")
}

/// A note with a coloured edge, so that it is seen in print without colours too.
fn notice(faces: &Faces, sheet: &mut Sheet<'_>, top: f32, color: Color, text: &str) -> f32 {
    let lines = wrap(faces, &[(Weight::Bold, text)], Measure::plain(10.0, TEXT_WIDTH - 24.0));
    let height = 13.0 + 14.0 * lines_of(&lines);
    sheet.area(Area { x: MARGIN, y: top, width: TEXT_WIDTH, height }, 0.0, tint(color));
    sheet.area(Area { x: MARGIN, y: top, width: 3.5, height }, 0.0, color);
    for (y, line) in base_lines(top + 16.5, 14.0).zip(&lines) {
        sheet.line(MARGIN + 14.0, y, 10.0, color, line);
    }
    top + height
}

fn tint(color: Color) -> Color {
    let lighter = |part: u8| 255 - (255 - part) / 12;
    (lighter(color.0), lighter(color.1), lighter(color.2))
}

/// The two columns: patient at the left, examination at the right.
fn panel(faces: &Faces, sheet: &mut Sheet<'_>, words: &Words, report: &ReportDocument, top: f32) -> f32 {
    let name = spoken_name(&report.patient_name);
    let name = if name.is_empty() { words.not_given.to_owned() } else { name };
    let born = words.date(&report.birth_date);
    let or_not_given = |text: &str| {
        if text.is_empty() { words.not_given.to_owned() } else { text.to_owned() }
    };
    let left = [
        (words.patient, name, 14.0),
        (words.born, born, 10.5),
        (words.sex, words.sex_of(&report.sex), 10.5),
        (words.patient_id, issued(&report.patient_id, words), 10.5),
    ];
    let right = [
        (words.examination, or_not_given(report.examination.trim()), 14.0),
        (words.examined, words.date_and_time(&report.study_date, &report.study_time), 10.5),
        (words.reported, words.moment(report.reported, report.time_zone), 10.5),
        (words.accession, issued(&report.accession, words), 10.5),
    ];
    // Recorded twice: the panel lies under its text, and its height is known when the text has been set.
    let start = top + PADDING + 6.0;
    let mut scratch = Sheet::new(faces);
    let bottom =
        column(faces, &mut scratch, MARGIN, start, &left).max(column(faces, &mut scratch, MARGIN, start, &right));
    let height = bottom - top + 3.0;
    sheet.area(Area { x: MARGIN, y: top, width: TEXT_WIDTH, height }, 5.0, PANEL);
    column(faces, sheet, MARGIN + PADDING, start, &left);
    column(faces, sheet, MARGIN + PADDING + COLUMN_WIDTH + COLUMN_GAP, start, &right);
    top + height
}

/// Labels over values; says where the last ends.
fn column(faces: &Faces, sheet: &mut Sheet<'_>, x: f32, top: f32, fields: &[(&str, String, f32)]) -> f32 {
    let mut y = top;
    for (label, value, size) in fields {
        sheet.text(x, y, small(7.5), *label);
        let weight = if *size > 12.0 { Weight::Bold } else { Weight::Regular };
        let size = if *size > 12.0 && value.chars().count() > 28 { 12.0 } else { *size };
        let lines = wrap(faces, &[(weight, value)], Measure::plain(size, COLUMN_WIDTH));
        let leading = size + 3.5;
        for (base, line) in base_lines(y + size + 2.5, leading).zip(&lines) {
            sheet.line(x, base, size, INK, line);
        }
        y += leading * lines_of(&lines) + 16.0;
    }
    y - 5.5
}

fn base_lines(first: f32, leading: f32) -> impl Iterator<Item = f32> {
    std::iter::successors(Some(first), move |y| Some(y + leading))
}

fn lines_of<T>(lines: &[T]) -> f32 {
    // At most 1,024 bytes of text, one character a line.
    f32::from(u16::try_from(lines.len()).unwrap_or(u16::MAX))
}
