//! The fixed words of a made report in its four languages, and how each writes dates, times and names.
//!
//! In: DICOM dates, times and person names, instants. Out: text for people. A value that is not what the standard
//! says (a birth date `unknown`, a sex `X`) is shown as it came, never dropped or guessed at.

use crate::model::{Moment, ReportStatus};
use chrono::{NaiveDate, Timelike};
use chrono_tz::Tz;

pub struct Words {
    pub language: &'static str,
    pub report: &'static str,
    pub recipient: &'static str,
    pub preliminary: &'static str,
    pub final_report: &'static str,
    pub corrected: &'static str,
    /// As a status, beside preliminary, final and corrected.
    pub taken_back: &'static str,
    pub version: &'static str,
    pub patient: &'static str,
    pub born: &'static str,
    pub sex: &'static str,
    pub patient_id: &'static str,
    pub examination: &'static str,
    pub examined: &'static str,
    pub accession: &'static str,
    pub reported: &'static str,
    pub author: &'static str,
    pub preliminary_note: &'static str,
    pub corrected_note: &'static str,
    /// In place of a report whose reader has taken back every result.
    pub withdrawn: &'static str,
    pub withdrawn_note: &'static str,
    /// The same where there was no report before.
    pub cancelled: &'static str,
    /// One result of several that is taken back, or final as it was; take `{what}`.
    pub deleted: &'static str,
    pub unchanged: &'static str,
    /// For `{what}` where it has no name.
    pub a_result: &'static str,
    pub order: &'static str,
    pub specimen: &'static str,
    /// Takes `{when}`.
    pub replaces: &'static str,
    pub transmitted: &'static str,
    pub case: &'static str,
    pub page: &'static str,
    /// Takes `{which}`.
    pub missing: &'static str,
    pub not_given: &'static str,
    male: &'static str,
    female: &'static str,
    other: &'static str,
}

/// The words for an ISO 639-1 code (`de`, `de-AT`); English where we have none for it.
pub fn of(language: &str) -> &'static Words {
    match language.get(..2).unwrap_or_default().to_ascii_lowercase().as_str() {
        "de" => &GERMAN,
        "pl" => &POLISH,
        "cs" => &CZECH,
        _ => &ENGLISH,
    }
}

impl Words {
    pub fn status(&self, status: ReportStatus) -> &'static str {
        match status {
            ReportStatus::Preliminary => self.preliminary,
            ReportStatus::Final => self.final_report,
            ReportStatus::Corrected => self.corrected,
            ReportStatus::Withdrawn => self.taken_back,
        }
    }

    /// Patient's Sex (0010,0040): M, F, O (PS3.3 C.7.1.1).
    pub fn sex_of(&self, code: &str) -> String {
        match code.trim() {
            "" => self.not_given.to_owned(),
            "M" => self.male.to_owned(),
            "F" => self.female.to_owned(),
            "O" => self.other.to_owned(),
            unknown => unknown.to_owned(),
        }
    }

    /// A DICOM date (`YYYYMMDD`, and the older `YYYY.MM.DD`, PS3.5 6.2) as this language writes it.
    pub fn date(&self, dicom: &str) -> String {
        let dicom = dicom.trim();
        if dicom.is_empty() {
            return self.not_given.to_owned();
        }
        let digits: String = dicom.chars().filter(|c| *c != '.').collect();
        let eight_digits = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit());
        match NaiveDate::parse_from_str(&digits, "%Y%m%d") {
            Ok(date) if eight_digits => self.civil_date(date),
            _ => dicom.to_owned(),
        }
    }

    /// A DICOM date and time, to the minute. The time is the sender's local time and stays so.
    pub fn date_and_time(&self, date: &str, time: &str) -> String {
        let day = self.date(date);
        match hour_and_minute(time.trim()) {
            Some(time) => format!("{day}, {}", self.clock(&time)),
            None => day,
        }
    }

    /// An instant in the hospital's zone, with the zone's name: at the end of summer time 02:30 comes twice.
    pub fn moment(&self, at: Moment, zone: Tz) -> String {
        let local = at.utc().with_timezone(&zone);
        let time = format!("{:02}:{:02}", local.hour(), local.minute());
        let day = self.civil_date(local.date_naive());
        format!("{day}, {} ({})", self.clock(&time), self.zone_name(&local.format("%Z").to_string()))
    }

    fn civil_date(&self, date: NaiveDate) -> String {
        match self.language {
            "de" | "pl" => date.format("%d.%m.%Y").to_string(),
            // No break between day, month and year.
            "cs" => date.format("%-d.\u{a0}%-m.\u{a0}%Y").to_string(),
            _ => date.format("%-d\u{a0}%b\u{a0}%Y").to_string(),
        }
    }

    fn clock(&self, time: &str) -> String {
        if self.language == "de" { format!("{time}\u{a0}Uhr") } else { time.to_owned() }
    }

    fn zone_name(&self, name: &str) -> String {
        let local = match (self.language, name) {
            ("de", "CET") => "MEZ",
            ("de", "CEST") => "MESZ",
            ("cs", "CET") => "SEČ",
            ("cs", "CEST") => "SELČ",
            _ => name,
        };
        local.to_owned()
    }
}

/// `HHMMSS.FFFFFF`, `HHMM` or `HH` (PS3.5 6.2, TM) to `HH:MM`; the older `HH:MM:SS` too.
fn hour_and_minute(dicom: &str) -> Option<String> {
    let digits: String = dicom.chars().filter(|c| *c != ':').take_while(char::is_ascii_digit).collect();
    let hour: u8 = digits.get(..2)?.parse().ok()?;
    let minute: u8 = digits.get(2..4).unwrap_or("00").parse().ok()?;
    (hour < 24 && minute < 60).then(|| format!("{hour:02}:{minute:02}"))
}

/// A DICOM person name (PS3.5 6.2.1) as it is said: prefix, given, middle, family, suffix. Other component groups
/// (ideographic, phonetic) follow in brackets. Text without `^` is shown as it is.
pub fn spoken_name(dicom: &str) -> String {
    let groups: Vec<String> = dicom.split('=').map(spoken_group).filter(|group| !group.is_empty()).collect();
    match groups.split_first() {
        None => String::new(),
        Some((first, [])) => first.clone(),
        Some((first, rest)) => format!("{first} ({})", rest.join(", ")),
    }
}

fn spoken_group(group: &str) -> String {
    let parts: Vec<&str> = group.splitn(5, '^').map(str::trim).collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let name: Vec<&str> = [part(3), part(1), part(2), part(0)].into_iter().filter(|part| !part.is_empty()).collect();
    match (name.join(" "), part(4)) {
        (name, "") => name,
        (name, suffix) if name.is_empty() => suffix.to_owned(),
        (name, suffix) => format!("{name}, {suffix}"),
    }
}

static GERMAN: Words = Words {
    language: "de",
    report: "Befund",
    recipient: "für",
    preliminary: "VORLÄUFIG",
    final_report: "ENDGÜLTIG",
    corrected: "KORRIGIERT",
    taken_back: "ZURÜCKGEZOGEN",
    version: "Version",
    patient: "Patient",
    born: "Geboren am",
    sex: "Geschlecht",
    patient_id: "Patienten-ID",
    examination: "Untersuchung",
    examined: "Untersucht am",
    accession: "Accession-Nummer",
    reported: "Befundet am",
    author: "Befundet von",
    preliminary_note: "Vorläufiger Befund. Der endgültige Befund folgt.",
    corrected_note: "Korrigierter Befund.",
    withdrawn: "Der frühere Befund wurde von der befundenden Stelle zurückgezogen und gilt nicht mehr.",
    withdrawn_note: "Es gilt kein Befund.",
    cancelled: "Es wird keinen Befund geben: die befundende Stelle hat die Untersuchung nicht befundet.",
    deleted: "Zurückgezogen, gilt nicht mehr: {what}",
    unchanged: "Endgültig, Wert unverändert: {what}",
    a_result: "ein Ergebnis",
    order: "Auftrag",
    specimen: "Material",
    replaces: "Ersetzt den Befund vom {when}.",
    transmitted: "Von Neisse unverändert übermittelt; erstellt aus dem empfangenen Befundtext.",
    case: "Fall",
    page: "Seite",
    missing: "Zeichen, die hier nicht darstellbar sind, erscheinen als ▯ ({which}). Maßgeblich ist der Originalbefund.",
    not_given: "nicht angegeben",
    male: "männlich",
    female: "weiblich",
    other: "divers",
};

static POLISH: Words = Words {
    language: "pl",
    report: "Wynik badania",
    recipient: "dla",
    preliminary: "WSTĘPNY",
    final_report: "OSTATECZNY",
    corrected: "SKORYGOWANY",
    taken_back: "WYCOFANY",
    version: "Wersja",
    patient: "Pacjent",
    born: "Data urodzenia",
    sex: "Płeć",
    patient_id: "Identyfikator pacjenta",
    examination: "Badanie",
    examined: "Data badania",
    accession: "Numer accession",
    reported: "Data wyniku",
    author: "Wynik opracował(a)",
    preliminary_note: "Wynik wstępny. Wynik ostateczny zostanie przesłany.",
    corrected_note: "Wynik skorygowany.",
    withdrawn: "Wcześniejszy wynik został wycofany przez ośrodek, który go opracował, i nie jest już ważny.",
    withdrawn_note: "Brak ważnego wyniku.",
    cancelled: "Wyniku nie będzie: ośrodek opisujący nie opisał badania.",
    deleted: "Wycofano, nieważne: {what}",
    unchanged: "Ostatecznie, wartość bez zmian: {what}",
    a_result: "jeden z wyników",
    order: "Zlecenie",
    specimen: "Materiał",
    replaces: "Zastępuje wynik z dnia {when}.",
    transmitted: "Przekazano przez Neisse bez zmian; utworzono z otrzymanego tekstu wyniku.",
    case: "Przypadek",
    page: "Strona",
    missing: "Znaki, których nie można tu wyświetlić, zastąpiono symbolem ▯ ({which}). Rozstrzyga oryginał wyniku.",
    not_given: "nie podano",
    male: "mężczyzna",
    female: "kobieta",
    other: "inna",
};

static CZECH: Words = Words {
    language: "cs",
    report: "Nález",
    recipient: "pro",
    preliminary: "PŘEDBĚŽNÝ",
    final_report: "KONEČNÝ",
    corrected: "OPRAVENÝ",
    taken_back: "STAŽENO",
    version: "Verze",
    patient: "Pacient",
    born: "Datum narození",
    sex: "Pohlaví",
    patient_id: "ID pacienta",
    examination: "Vyšetření",
    examined: "Datum vyšetření",
    accession: "Číslo accession",
    reported: "Datum nálezu",
    author: "Nález vypracoval(a)",
    preliminary_note: "Předběžný nález. Konečný nález bude následovat.",
    corrected_note: "Opravený nález.",
    withdrawn: "Dřívější nález byl pracovištěm, které jej vypracovalo, stažen a již neplatí.",
    withdrawn_note: "Žádný nález neplatí.",
    cancelled: "Nález nebude: popisující pracoviště vyšetření nepopsalo.",
    deleted: "Staženo, již neplatí: {what}",
    unchanged: "Konečné, hodnota beze změny: {what}",
    a_result: "jeden z výsledků",
    order: "Žádanka",
    specimen: "Materiál",
    replaces: "Nahrazuje nález ze dne {when}.",
    transmitted: "Přeneseno systémem Neisse beze změn; vytvořeno z přijatého textu nálezu.",
    case: "Případ",
    page: "Strana",
    missing: "Znaky, které zde nelze zobrazit, jsou nahrazeny znakem ▯ ({which}). Rozhodující je původní nález.",
    not_given: "neuvedeno",
    male: "muž",
    female: "žena",
    other: "jiné",
};

static ENGLISH: Words = Words {
    language: "en",
    report: "Report",
    recipient: "for",
    preliminary: "PRELIMINARY",
    final_report: "FINAL",
    corrected: "CORRECTED",
    taken_back: "WITHDRAWN",
    version: "Version",
    patient: "Patient",
    born: "Born",
    sex: "Sex",
    patient_id: "Patient ID",
    examination: "Examination",
    examined: "Examined",
    accession: "Accession number",
    reported: "Reported",
    author: "Reported by",
    preliminary_note: "Preliminary report. The final report will follow.",
    corrected_note: "Corrected report.",
    withdrawn: "The earlier report has been withdrawn by the institution that made it and is no longer valid.",
    withdrawn_note: "No report is valid.",
    cancelled: "There will be no report: the reading institution has not reported on the examination.",
    deleted: "Withdrawn, no longer valid: {what}",
    unchanged: "Final, value unchanged: {what}",
    a_result: "a result",
    order: "Order",
    specimen: "Specimen",
    replaces: "Replaces the report of {when}.",
    transmitted: "Transmitted unchanged by Neisse; made from the text report received.",
    case: "Case",
    page: "Page",
    missing: "Characters that cannot be shown here appear as ▯ ({which}). The original report is authoritative.",
    not_given: "not given",
    male: "male",
    female: "female",
    other: "other",
};

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{TimeZone, Utc};

    #[test]
    fn names_are_said_given_name_first() {
        for (dicom, said) in [
            ("Świątek^Łucja", "Łucja Świątek"),
            ("Dvořák^Jiří^^MUDr.^CSc.", "MUDr. Jiří Dvořák, CSc."),
            ("Müßig^Jörg^Karl", "Jörg Karl Müßig"),
            ("Yamada^Tarou=山田^太郎", "Tarou Yamada (太郎 山田)"),
            ("NN", "NN"),
            ("", ""),
        ] {
            assert_eq!(spoken_name(dicom), said);
        }
    }

    #[test]
    fn dates_and_times_are_written_as_the_language_does_and_strange_ones_as_they_came() {
        assert_eq!(of("de").date("20261224"), "24.12.2026");
        assert_eq!(of("cs").date("20260105"), "5.\u{a0}1.\u{a0}2026");
        assert_eq!(of("en").date("1951.02.03"), "3\u{a0}Feb\u{a0}1951");
        assert_eq!(of("pl").date("unbekannt"), "unbekannt");
        assert_eq!(of("pl").date("20261341"), "20261341");
        assert_eq!(of("de").date_and_time("20261224", "231005.123"), "24.12.2026, 23:10\u{a0}Uhr");
        assert_eq!(of("de").date_and_time("20261224", "99"), "24.12.2026");
        assert_eq!(of("xx").sex_of("F"), "female");
    }

    #[test]
    fn the_hour_that_comes_twice_is_told_apart_by_its_zone() {
        let first = Moment::from_utc(Utc.with_ymd_and_hms(2026, 10, 25, 0, 30, 0).unwrap());
        let second = Moment::from_utc(Utc.with_ymd_and_hms(2026, 10, 25, 1, 30, 0).unwrap());
        let zone = chrono_tz::Europe::Berlin;
        assert_eq!(of("de").moment(first, zone), "25.10.2026, 02:30\u{a0}Uhr (MESZ)");
        assert_eq!(of("de").moment(second, zone), "25.10.2026, 02:30\u{a0}Uhr (MEZ)");
    }
}
