//! Values as people write them: durations, sizes, AE titles, hosts, zones, character sets; and "did you mean".
//!
//! Each reader takes the text and answers with the value, or with what it found and what it expected.

use crate::model::Charset;
use std::time::Duration;

/// DICOM defined terms of Specific Character Set, PS3.3 C.12.1.1.2, tables C.12-2 to C.12-5.
/// Last, what old systems write without saying so.
const DICOM_CHARSETS: [&str; 35] = [
    "ISO_IR 6",
    "ISO_IR 100",
    "ISO_IR 101",
    "ISO_IR 109",
    "ISO_IR 110",
    "ISO_IR 144",
    "ISO_IR 127",
    "ISO_IR 126",
    "ISO_IR 138",
    "ISO_IR 148",
    "ISO_IR 203",
    "ISO_IR 13",
    "ISO_IR 166",
    "ISO_IR 192",
    "GB18030",
    "GBK",
    "ISO 2022 IR 6",
    "ISO 2022 IR 100",
    "ISO 2022 IR 101",
    "ISO 2022 IR 109",
    "ISO 2022 IR 110",
    "ISO 2022 IR 144",
    "ISO 2022 IR 127",
    "ISO 2022 IR 126",
    "ISO 2022 IR 138",
    "ISO 2022 IR 148",
    "ISO 2022 IR 203",
    "ISO 2022 IR 13",
    "ISO 2022 IR 166",
    "ISO 2022 IR 87",
    "ISO 2022 IR 159",
    "ISO 2022 IR 149",
    "ISO 2022 IR 58",
    "Windows-1250",
    "Windows-1252",
];

/// In which reports are made as DICOM objects: sets that need no escape sequences.
const DICOM_WRITTEN: [&str; 12] = [
    "ISO_IR 192",
    "ISO_IR 6",
    "ISO_IR 100",
    "ISO_IR 101",
    "ISO_IR 109",
    "ISO_IR 110",
    "ISO_IR 144",
    "ISO_IR 127",
    "ISO_IR 126",
    "ISO_IR 138",
    "ISO_IR 148",
    "ISO_IR 203",
];

/// HL7 v2.5.1 table 0211, the European part, and what Windows systems send without saying so.
const HL7_CHARSETS: [&str; 15] = [
    "ASCII",
    "8859/1",
    "8859/2",
    "8859/3",
    "8859/4",
    "8859/5",
    "8859/6",
    "8859/7",
    "8859/8",
    "8859/9",
    "8859/15",
    "UNICODE",
    "UNICODE UTF-8",
    "Windows-1250",
    "Windows-1252",
];

/// Modalities of PS3.3 C.7.3.1.1.1 that are seen in the field, to suggest from; others are accepted.
const MODALITIES: [&str; 34] = [
    "AR", "BMD", "CR", "CT", "DG", "DX", "ECG", "ES", "EPS", "GM", "HD", "IO", "IVUS", "KO", "LS", "MG", "MR", "NM",
    "OCT", "OP", "OT", "PR", "PT", "PX", "REG", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SM", "SR",
    "US",
];

pub(super) type Read<T> = Result<T, String>;

fn wanted<T>(found: &str, expected: &str) -> Read<T> {
    Err(format!("found \"{}\", expected {expected}", shorten(found)))
}

/// A value of the file, short enough for one line.
pub(super) fn shorten(text: &str) -> String {
    let short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 60 { format!("{short}…") } else { short }
}

/// `45m`, `30s`, `24h`, `2d`, also `1h30m`.
pub(super) fn duration(text: &str) -> Read<Duration> {
    let expected = "a duration such as \"30s\", \"10m\", \"24h\" or \"1h30m\"";
    let (mut seconds, mut rest) = (0u64, text.trim());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return wanted(text, expected),
        };
        let Some(part) = rest[..digits].parse::<u64>().ok().and_then(|count| count.checked_mul(unit)) else {
            return wanted(text, expected);
        };
        seconds = seconds.saturating_add(part);
        rest = &rest[digits + 1..];
    }
    if seconds == 0 { wanted(text, expected) } else { Ok(Duration::from_secs(seconds)) }
}

pub(super) fn duration_between(text: &str, least: &str, most: &str) -> Read<Duration> {
    let found = duration(text)?;
    let fits = duration(least)? <= found && found <= duration(most)?;
    if fits { Ok(found) } else { wanted(text, &format!("between {least} and {most}")) }
}

/// `5GiB`, `256KiB`, `64MiB`.
pub(super) fn size(text: &str, least: u64, most: u64) -> Read<u64> {
    let expected = format!("a size between {} and {}", show_size(least), show_size(most));
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1u64 << 40,
        _ => {
            return wanted(text, &format!("{expected}, with its unit: B, KiB, MiB, GiB, TiB"));
        }
    };
    match text[..digits].parse::<u64>().ok().and_then(|count| count.checked_mul(unit)) {
        Some(bytes) if (least..=most).contains(&bytes) => Ok(bytes),
        _ => wanted(text, &expected),
    }
}

fn show_size(bytes: u64) -> String {
    for (unit, name) in [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("\"{}{name}\"", bytes / unit);
        }
    }
    format!("\"{bytes}B\"")
}

/// PS3.5 6.2, VR AE: 1 to 16 characters of the default repertoire without backslash and control characters; leading
/// and trailing spaces mean nothing.
pub(super) fn ae_title(text: &str) -> Read<String> {
    let title = text.trim_matches(' ');
    let fits =
        (1..=16).contains(&title.len()) && title.bytes().all(|b| (b == b' ' || b.is_ascii_graphic()) && b != b'\\');
    if fits {
        Ok(title.to_owned())
    } else {
        let count = title.chars().count();
        wanted(text, &format!("an AE title of 1 to 16 characters A-Z a-z 0-9 _ - without accents (this has {count})"))
    }
}

/// An HL7 name (HD or ST) that goes into an MSH field: no delimiters, no control characters.
pub(super) fn hl7_name(text: &str) -> Read<String> {
    let fits = (1..=180).contains(&text.len()) && !text.chars().any(|c| c.is_control() || "|~\\&".contains(c));
    if fits { Ok(text.to_owned()) } else { wanted(text, "1 to 180 characters without | ~ \\ &") }
}

/// What can stand before an identifier in DICOM and HL7: it leaves room for one in an LO of 64.
pub(super) fn identifier_prefix(text: &str) -> Read<String> {
    if (1..=12).contains(&text.len()) && text.bytes().all(is_in_identifiers) {
        Ok(text.to_owned())
    } else {
        wanted(text, "1 to 12 letters, digits and signs without accents, spaces and | ~ \\ & ^")
    }
}

/// An issuer that fits an LO of any character set.
pub(super) fn dicom_issuer(text: &str) -> Read<String> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b == b' ' || is_in_identifiers(b));
    if fits { Ok(text.to_owned()) } else { wanted(text, "1 to 64 letters without accents and | ~ \\ & ^") }
}

fn is_in_identifiers(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"|~\\&^".contains(&byte)
}

/// A value of OBX-8: one repetition, one component.
pub(super) fn hl7_flag(text: &str) -> Read<String> {
    let fits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && !b"|~\\&^".contains(&b));
    if fits { Ok(text.to_owned()) } else { wanted(text, "1 to 20 characters of OBX-8, such as \"HH\"") }
}

pub(super) fn host(text: &str) -> Read<String> {
    let fits =
        (1..=253).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:_[]".contains(&b));
    if fits { Ok(text.to_owned()) } else { wanted(text, "a host name or an IP address, without port or spaces") }
}

pub(super) fn address(text: &str) -> Read<std::net::IpAddr> {
    text.parse().or_else(|_| wanted(text, "an IP address such as \"10.20.1.11\""))
}

pub(super) fn listen(text: &str) -> Read<std::net::SocketAddr> {
    text.parse()
        .or_else(|_| wanted(text, "an IP address and a port such as \"0.0.0.0:11112\"; port 0 picks a free one"))
}

pub(super) fn zone(text: &str) -> Read<chrono_tz::Tz> {
    text.parse().or_else(|_| {
        let hint = nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        wanted(text, &format!("an IANA time zone such as \"Europe/Berlin\"{hint}"))
    })
}

pub(super) fn country(text: &str) -> Read<String> {
    let known = text.parse::<opening_hours::localization::Country>().is_ok();
    if known && text.len() == 2 {
        Ok(text.to_owned())
    } else {
        wanted(text, "an ISO 3166-1 code in capitals such as \"DE\", \"PL\" or \"CZ\"")
    }
}

pub(super) fn language(text: &str) -> Read<String> {
    match text {
        "de" | "pl" | "cs" | "en" => Ok(text.to_owned()),
        "cz" => wanted(text, "\"cs\" for Czech (ISO 639-1)"),
        _ => wanted(text, "\"de\", \"pl\", \"cs\" or \"en\""),
    }
}

pub(super) fn dicom_charset(text: &str) -> Read<String> {
    match text.split('\\').find(|term| !term.is_empty() && !DICOM_CHARSETS.contains(term)) {
        None if !text.is_empty() => Ok(text.to_owned()),
        bad => {
            let hint = nearest(bad.unwrap_or_default(), DICOM_CHARSETS.into_iter());
            wanted(text, &format!("a defined term of (0008,0005) such as \"ISO_IR 100\" or \"ISO_IR 192\"{hint}"))
        }
    }
}

pub(super) fn dicom_written(text: &str) -> Read<Charset> {
    Charset::of_dicom(text).map_or_else(
        || {
            let hint = nearest(text, DICOM_WRITTEN.into_iter());
            wanted(text, &format!("one of {}{hint}", DICOM_WRITTEN.join(", ")))
        },
        Ok,
    )
}

pub(super) fn hl7_charset(text: &str) -> Read<String> {
    if HL7_CHARSETS.contains(&text) {
        return Ok(text.to_owned());
    }
    let hint = nearest(text, HL7_CHARSETS.into_iter());
    wanted(text, &format!("one of {}{hint}", HL7_CHARSETS.join(", ")))
}

/// A code string (VR CS, PS3.5 6.2), as scanners write it: capitals, digits, space, underscore.
pub(super) fn code(text: &str) -> Read<String> {
    let fits = (1..=16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ' || b == b'_')
        && text.trim() == text;
    if fits { Ok(text.to_owned()) } else { wanted(text, "1 to 16 capitals and digits, as in the image's header") }
}

pub(super) fn modality(text: &str) -> Read<String> {
    code(text).map_err(|problem| {
        let hint = nearest(&text.to_uppercase(), MODALITIES.into_iter());
        format!("{problem}{hint}")
    })
}

pub(super) fn fragment(text: &str) -> Read<String> {
    let fits = (2..=64).contains(&text.trim().chars().count());
    if fits { Ok(text.to_owned()) } else { wanted(text, "a part of the study description, 2 to 64 characters") }
}

/// An origin (RFC 6454 7): scheme, host, port; nothing behind them.
pub(super) fn origin(text: &str) -> Read<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let fits = (1..=255).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]".contains(&b));
    if fits { Ok(text.to_owned()) } else { wanted(text, "an origin such as \"https://viewer.example.org\"") }
}

pub(super) fn node_name(text: &str) -> Read<String> {
    let fits = (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(text.to_owned()) } else { wanted(text, "1 to 32 lower-case letters, digits or '-'") }
}

pub(super) fn words(text: &str) -> Read<String> {
    let fits = (1..=120).contains(&text.trim().chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.trim().to_owned()) } else { wanted(text, "1 to 120 characters on one line") }
}

/// ` (did you mean "chemnitz"?)`, or nothing where no known word is near.
pub(super) fn nearest<'k>(found: &str, known: impl Iterator<Item = &'k str>) -> String {
    let found = found.to_lowercase();
    let reach = match found.chars().count() {
        0..=3 => 1,
        4..=8 => 2,
        length => (length / 3).min(4),
    };
    let best = known
        .map(|word| (distance(&found, &word.to_lowercase()), word))
        .filter(|(far, _)| *far <= reach)
        .min_by_key(|(far, _)| *far);
    best.map_or(String::new(), |(_, word)| format!(" (did you mean \"{word}\"?)"))
}

/// Optimal string alignment: insertions, deletions, replacements, and neighbours swapped. Words over 64 characters are
/// far from everything: the cost is the product of the lengths.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut best = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_with_their_units() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "10", "m", "0s", "10 m", "-5s", "99999999999999999999h", "5µ", "1.5h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert!(duration_between("90m", "1s", "1h").is_err());
        assert_eq!(size("5GiB", 0, u64::MAX), Ok(5 << 30));
        for bad in ["5", "5GB", "GiB", "99999999999TiB"] {
            assert!(size(bad, 1, 1 << 50).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ae_titles_keep_to_the_default_repertoire() {
        assert_eq!(ae_title(" RAB_CT1 ").as_deref(), Ok("RAB_CT1"));
        for bad in ["", "   ", "SEVENTEEN_LETTERS", "A\\B", "GÖRLITZ", "A\nB"] {
            assert!(ae_title(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["chemnitz", "leipzig-ukl", "harz"];
        assert_eq!(nearest("chemnits", known.into_iter()), " (did you mean \"chemnitz\"?)");
        assert_eq!(nearest("hazr", known.into_iter()), " (did you mean \"harz\"?)");
        assert_eq!(nearest("rostock", known.into_iter()), "");
        assert!(zone("Europe/Berln").unwrap_err().contains("Europe/Berlin"));
    }

    proptest::proptest! {
        #[test]
        fn readers_never_panic(text in ".{0,80}") {
            let _ = (duration(&text), size(&text, 1, 1 << 40), ae_title(&text), zone(&text), dicom_charset(&text));
            proptest::prop_assert!(distance(&text, &text) == 0 || text.chars().count() > 64);
        }
    }
}
