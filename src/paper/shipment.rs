//! The list that travels with specimens: who sends them where, each with its number as text and as barcode, and lines for
//! the hands they pass through.
//!
//! In: a [`ShipmentList`]. Out: a PDF in A4. A number that has no barcode (letters beyond ASCII, too long) stands as text,
//! and the line says why. Names of patients stand on it only where whoever prints it gave them.

use super::{
    NoFont,
    canvas::{Area, Color, Sheet, Style},
    code128,
    faces::{Faces, Weight, clean},
    wrap::{Measure, wrap},
};
use krilla::{Document, metadata::Metadata, page::PageSettings};

/// Lines of one list; a courier's box holds fewer.
pub const MAX_LINES: usize = 1000;
/// Longer values are cut, with an ellipsis; numbers never are.
const MAX_TEXT: usize = 120;

const WIDTH: f32 = 595.28;
const HEIGHT: f32 = 841.89;
const MARGIN: f32 = 48.0;
const RIGHT: f32 = WIDTH - MARGIN;
const BOTTOM: f32 = HEIGHT - 60.0;
const ROW: f32 = 62.0;
const HANDS: f32 = 120.0;
/// Where the barcode of a line begins, and how wide it may be with its quiet zones.
const BAR_LEFT: f32 = 270.0;
const BAR_WIDTH: f32 = RIGHT - BAR_LEFT;
/// 0.25 mm and 0.5 mm: what hand scanners read from paper.
const LEAST_MODULE: f32 = 0.71;
const MOST_MODULE: f32 = 1.42;
/// On each side of the bars, in modules (ISO/IEC 15417 4.4).
const QUIET: f32 = 10.0;

const INK: Color = (27, 36, 48);
const MUTED: Color = (88, 102, 117);
const RULE: Color = (203, 212, 220);
const BLACK: Color = (0, 0, 0);

/// What the list says.
#[derive(Clone, Debug, Default)]
pub struct ShipmentList {
    /// Of the shipment, as text and barcode.
    pub number: String,
    pub from: String,
    pub to: String,
    pub courier: String,
    /// Local time, with its zone.
    pub made: String,
    pub due: String,
    /// ISO 639-1: `de`, `pl`, `cs`; English for others.
    pub language: String,
    pub lines: Vec<ShipmentLine>,
}

#[derive(Clone, Debug, Default)]
pub struct ShipmentLine {
    /// What its label says: this is the barcode.
    pub number: String,
    /// Who gave the number.
    pub issuer: String,
    pub containers: String,
    pub kind: String,
    pub patient: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error("{0} specimens in one shipment, at most {MAX_LINES} are listed")]
    TooMany(usize),
    #[error(transparent)]
    Font(#[from] NoFont),
    #[error("the PDF could not be written")]
    Write,
}

struct Words {
    title: &'static str,
    from: &'static str,
    to: &'static str,
    courier: &'static str,
    made: &'static str,
    due: &'static str,
    container: &'static str,
    specimens: &'static str,
    page: &'static str,
    handed_over: &'static str,
    carried: &'static str,
    received: &'static str,
    signature: &'static str,
    no_barcode: &'static str,
}

fn words(language: &str) -> Words {
    match language {
        "de" => Words {
            title: "Versandliste Proben",
            from: "Von",
            to: "An",
            courier: "Kurier",
            made: "Erstellt",
            due: "Erwartet bis",
            container: "Gefäß",
            specimens: "Proben",
            page: "Seite",
            handed_over: "Übergeben",
            carried: "Übernommen (Kurier)",
            received: "Empfangen",
            signature: "Name, Datum, Uhrzeit, Unterschrift",
            no_barcode: "kein Strichcode möglich",
        },
        "pl" => Words {
            title: "Lista przesyłki próbek",
            from: "Od",
            to: "Do",
            courier: "Kurier",
            made: "Utworzono",
            due: "Oczekiwana do",
            container: "Pojemnik",
            specimens: "Próbki",
            page: "Strona",
            handed_over: "Wydano",
            carried: "Przejęto (kurier)",
            received: "Odebrano",
            signature: "Nazwisko, data, godzina, podpis",
            no_barcode: "kod kreskowy niemożliwy",
        },
        "cs" => Words {
            title: "Seznam zásilky vzorků",
            from: "Od",
            to: "Komu",
            courier: "Kurýr",
            made: "Vytvořeno",
            due: "Očekáváno do",
            container: "Nádobka",
            specimens: "Vzorky",
            page: "Strana",
            handed_over: "Předáno",
            carried: "Převzato (kurýr)",
            received: "Přijato",
            signature: "Jméno, datum, čas, podpis",
            no_barcode: "čárový kód nelze vytvořit",
        },
        _ => Words {
            title: "Specimen shipment list",
            from: "From",
            to: "To",
            courier: "Courier",
            made: "Made",
            due: "Expected by",
            container: "Container",
            specimens: "Specimens",
            page: "Page",
            handed_over: "Handed over",
            carried: "Taken over (courier)",
            received: "Received",
            signature: "Name, date, time, signature",
            no_barcode: "no barcode possible",
        },
    }
}

/// Makes the list.
///
/// # Errors
/// When there are more lines than a shipment has, or the PDF cannot be written.
pub fn pdf(list: &ShipmentList) -> Result<Vec<u8>, ListError> {
    if list.lines.len() > MAX_LINES {
        return Err(ListError::TooMany(list.lines.len()));
    }
    let (faces, words) = (Faces::load()?, words(&list.language));
    let sheets = lay_out(&faces, &words, list);
    let mut document = Document::new();
    document
        .set_metadata(Metadata::new().title(format!("{} {}", words.title, list.number)).creator("Neisse".to_owned()));
    for sheet in sheets {
        let mut page = document.start_page_with(PageSettings::from_wh(WIDTH, HEIGHT).ok_or(ListError::Write)?);
        let mut surface = page.surface();
        sheet.draw(&mut surface);
        surface.finish();
        page.finish();
    }
    // The library's error may quote text of the document, so it is not kept.
    document.finish().map_err(|_| ListError::Write)
}

fn bold(size: f32) -> Style {
    Style { size, weight: Weight::Bold, color: INK }
}

fn muted(size: f32) -> Style {
    Style { size, weight: Weight::Regular, color: MUTED }
}

fn plain(size: f32) -> Style {
    Style { size, weight: Weight::Regular, color: INK }
}

fn short(text: &str) -> String {
    let text = clean(text).replace(['\n', '\t'], " ");
    if text.chars().count() <= MAX_TEXT { text } else { text.chars().take(MAX_TEXT).chain(['…']).collect() }
}

fn lay_out<'a>(faces: &'a Faces, words: &Words, list: &ShipmentList) -> Vec<Sheet<'a>> {
    let mut sheets = vec![Sheet::new(faces)];
    let mut y = head(faces, &mut sheets[0], words, list);
    for (at, line) in list.lines.iter().enumerate() {
        let height = line_height(faces, line);
        if y + height > BOTTOM {
            y = next_page(faces, &mut sheets, words, list);
        }
        if let Some(sheet) = sheets.last_mut() {
            row(faces, sheet, words, line, at + 1, y);
        }
        y += height;
    }
    if y + HANDS > BOTTOM {
        y = next_page(faces, &mut sheets, words, list);
    }
    if let Some(sheet) = sheets.last_mut() {
        hands(sheet, words, y + 24.0);
    }
    let pages = sheets.len();
    for (at, sheet) in sheets.iter_mut().enumerate() {
        sheet.text(MARGIN, HEIGHT - 34.0, muted(8.0), list.number.clone());
        sheet.text_ending_at(RIGHT, HEIGHT - 34.0, muted(8.0), format!("{} {} / {pages}", words.page, at + 1));
    }
    sheets
}

/// Says where its first line begins.
fn next_page<'a>(faces: &'a Faces, sheets: &mut Vec<Sheet<'a>>, words: &Words, list: &ShipmentList) -> f32 {
    let mut sheet = Sheet::new(faces);
    sheet.text(MARGIN, 52.0, bold(10.0), format!("{} {}", words.title, list.number));
    rule(&mut sheet, 62.0);
    sheets.push(sheet);
    72.0
}

fn rule(sheet: &mut Sheet<'_>, y: f32) {
    sheet.area(Area { x: MARGIN, y, width: RIGHT - MARGIN, height: 0.6 }, 0.0, RULE);
}

fn head(faces: &Faces, sheet: &mut Sheet<'_>, words: &Words, list: &ShipmentList) -> f32 {
    sheet.text(MARGIN, 62.0, bold(18.0), words.title);
    sheet.text(MARGIN, 80.0, plain(11.0), list.number.clone());
    barcode(sheet, &list.number, 34.0, 40.0);
    let entries = [
        (words.from, &list.from),
        (words.to, &list.to),
        (words.made, &list.made),
        (words.due, &list.due),
        (words.courier, &list.courier),
    ];
    let mut y = 104.0;
    for (label, value) in entries.into_iter().filter(|(_, value)| !value.is_empty()) {
        sheet.text(MARGIN, y, muted(9.0), label);
        for line in wrap(faces, &[(Weight::Regular, &short(value))], Measure::plain(10.5, RIGHT - MARGIN - 90.0)) {
            sheet.line(MARGIN + 90.0, y, 10.5, INK, &line);
            y += 15.0;
        }
    }
    sheet.text(MARGIN, y, muted(9.0), words.specimens);
    sheet.text(MARGIN + 90.0, y, bold(10.5), list.lines.len().to_string());
    rule(sheet, y + 10.0);
    y + 20.0
}

const TEXT_LEFT: f32 = MARGIN + 28.0;
const TEXT_WIDTH: f32 = BAR_LEFT - TEXT_LEFT - 10.0;

/// What stands beside the barcode: the number whole, then the rest.
fn texts(words: &Words, line: &ShipmentLine) -> Vec<(Weight, String)> {
    let number = clean(&line.number).replace(['\n', '\t'], " ");
    let number = if line.issuer.is_empty() { number } else { format!("{number} ({})", short(&line.issuer)) };
    let mut texts = vec![(Weight::Bold, number)];
    if !line.kind.is_empty() {
        texts.push((Weight::Regular, short(&line.kind)));
    }
    if !line.containers.is_empty() {
        texts.push((Weight::Regular, format!("{}: {}", words.container, short(&line.containers))));
    }
    texts.extend(line.patient.as_ref().map(|patient| (Weight::Regular, short(patient))));
    texts
}

fn set(faces: &Faces, texts: &[(Weight, String)]) -> Vec<super::wrap::Line> {
    texts.iter().flat_map(|(weight, text)| wrap(faces, &[(*weight, text)], Measure::plain(10.0, TEXT_WIDTH))).collect()
}

fn line_height(faces: &Faces, line: &ShipmentLine) -> f32 {
    let lines = set(faces, &texts(&words(""), line)).len();
    #[expect(clippy::cast_precision_loss, reason = "a handful of lines")]
    let needed = lines as f32 * 13.0 + 18.0;
    needed.max(ROW)
}

fn row(faces: &Faces, sheet: &mut Sheet<'_>, words: &Words, line: &ShipmentLine, number: usize, y: f32) {
    sheet.text(MARGIN, y + 14.0, muted(10.0), number.to_string());
    let mut base = y + 14.0;
    for set in set(faces, &texts(words, line)) {
        sheet.line(TEXT_LEFT, base, 10.0, INK, &set);
        base += 13.0;
    }
    if !barcode(sheet, &line.number, y + 4.0, 34.0) {
        sheet.text(BAR_LEFT + 14.0, y + 24.0, muted(9.0), words.no_barcode);
    }
    rule(sheet, y + line_height(faces, line) - 6.0);
}

/// Bars, and the number under them. False where there can be none.
fn barcode(sheet: &mut Sheet<'_>, text: &str, y: f32, height: f32) -> bool {
    let Ok(widths) = code128::widths(text) else { return false };
    let modules = widths.iter().map(|width| f32::from(*width)).sum::<f32>() + 2.0 * QUIET;
    let module = (BAR_WIDTH / modules).min(MOST_MODULE);
    if module < LEAST_MODULE {
        return false;
    }
    let mut x = RIGHT - (modules - QUIET) * module;
    for (at, width) in widths.iter().enumerate() {
        let width = f32::from(*width) * module;
        if at.is_multiple_of(2) {
            sheet.area(Area { x, y, width, height }, 0.0, BLACK);
        }
        x += width;
    }
    sheet.text_ending_at(RIGHT - QUIET * module, y + height + 9.0, muted(8.0), text);
    true
}

/// Lines for the hands it passes through.
fn hands(sheet: &mut Sheet<'_>, words: &Words, top: f32) {
    for (at, label) in (0_u8..).zip([words.handed_over, words.carried, words.received]) {
        let y = top + f32::from(at) * 32.0;
        sheet.text(MARGIN, y, plain(9.0), label);
        sheet.area(Area { x: MARGIN + 120.0, y: y + 2.0, width: RIGHT - MARGIN - 120.0, height: 0.6 }, 0.0, INK);
        sheet.text(MARGIN + 120.0, y + 11.0, muted(7.0), words.signature);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lines: usize) -> ShipmentList {
        let line = |at: usize| ShipmentLine {
            number: format!("S-{at:05}"),
            issuer: "RABENSTEIN".into(),
            containers: format!("C-{at:05}"),
            kind: "Gewebe".into(),
            patient: None,
        };
        ShipmentList {
            number: "RABENSTEIN-000001".into(),
            from: "DRK-Krankenhaus Chemnitz-Rabenstein".into(),
            to: "Klinikum Chemnitz".into(),
            language: "de".into(),
            lines: (0..lines).map(line).collect(),
            ..ShipmentList::default()
        }
    }

    #[test]
    fn equal_lists_make_equal_bytes_and_long_ones_several_pages() {
        let one = pdf(&list(3)).expect("a list");
        assert!(one.starts_with(b"%PDF-"));
        assert_eq!(one, pdf(&list(3)).expect("a list"));
        let faces = Faces::load().expect("the compiled-in fonts");
        let pages = |lines| lay_out(&faces, &words("de"), &list(lines)).len();
        assert_eq!((pages(0), pages(3), pages(40)), (1, 1, 4));
        assert_eq!(pdf(&list(MAX_LINES + 1)).err(), Some(ListError::TooMany(MAX_LINES + 1)));
    }

    /// A number as long as the standard allows stands whole as text, in a line as high as it needs.
    #[test]
    fn a_number_is_never_cut() {
        let faces = Faces::load().expect("the compiled-in fonts");
        let mut list = list(1);
        list.lines[0].number = "Ż".repeat(199);
        let set = set(&faces, &texts(&words("pl"), &list.lines[0]));
        let letters = set.iter().flatten().flat_map(|piece| piece.text.chars()).filter(|c| *c == 'Ż').count();
        assert_eq!(letters, 199);
        assert!(line_height(&faces, &list.lines[0]) > ROW);
        pdf(&list).expect("a list");
    }
}
