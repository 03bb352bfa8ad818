//! The last resort for a letter: ASCII spellings that people read without a key.
//!
//! Latin and Cyrillic letters by ICAO Doc 9303-3 section 6, as in passports (ö is `oe`, ł is `l`, ж is `zh`); Greek by
//! the transcription of ISO 843, without its digraphs but ου; signs by what they say. What is not listed loses its marks
//! (Unicode compatibility decomposition), but only a letter does: `≠` without its stroke would say the opposite.
//!
//! In medicine a letter may be a number: `µ` is never `m`, and a Greek letter that stands alone is called by its name
//! (`γ-GT`).

use super::Around;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// ICAO Doc 9303-3 section 6 A, small letters.
const LATIN: &[(char, &str)] = &[
    ('ä', "ae"),
    ('å', "aa"),
    ('æ', "ae"),
    ('ð', "d"),
    ('đ', "d"),
    ('ħ', "h"),
    ('ı', "i"),
    ('ĸ', "q"),
    ('ł', "l"),
    ('ŋ', "n"),
    ('ö', "oe"),
    ('ø', "oe"),
    ('œ', "oe"),
    ('ß', "ss"),
    ('ŧ', "t"),
    ('þ', "th"),
    ('ü', "ue"),
];

/// ICAO Doc 9303-3 section 6 B, without its exceptions for single languages: the language is not known here.
const CYRILLIC: &[(char, &str)] = &[
    ('а', "a"),
    ('б', "b"),
    ('в', "v"),
    ('г', "g"),
    ('д', "d"),
    ('е', "e"),
    ('ё', "e"),
    ('ж', "zh"),
    ('з', "z"),
    ('и', "i"),
    ('й', "i"),
    ('к', "k"),
    ('л', "l"),
    ('м', "m"),
    ('н', "n"),
    ('о', "o"),
    ('п', "p"),
    ('р', "r"),
    ('с', "s"),
    ('т', "t"),
    ('у', "u"),
    ('ф', "f"),
    ('х', "kh"),
    ('ц', "ts"),
    ('ч', "ch"),
    ('ш', "sh"),
    ('щ', "shch"),
    ('ъ', "ie"),
    ('ы', "y"),
    ('ь', ""),
    ('э', "e"),
    ('ю', "iu"),
    ('я', "ia"),
    ('ѵ', "y"),
    ('ґ', "g"),
    ('ў', "u"),
    ('ѫ', "u"),
    ('ѓ', "g"),
    ('ђ', "d"),
    ('ѕ', "dz"),
    ('і', "i"),
    ('ї', "i"),
    ('ј', "j"),
    ('ќ', "k"),
    ('љ', "lj"),
    ('њ', "nj"),
    ('ћ', "c"),
    ('џ', "dz"),
    ('є', "ie"),
];

/// ISO 843, and the name by which a letter that stands alone is called.
const GREEK: &[(char, &str, &str)] = &[
    ('α', "a", "alpha"),
    ('β', "v", "beta"),
    ('γ', "g", "gamma"),
    ('δ', "d", "delta"),
    ('ε', "e", "epsilon"),
    ('ζ', "z", "zeta"),
    ('η', "i", "eta"),
    ('θ', "th", "theta"),
    ('ι', "i", "iota"),
    ('κ', "k", "kappa"),
    ('λ', "l", "lambda"),
    // Alone it is the sign for a millionth, in UCUM `u`.
    ('μ', "m", "u"),
    ('ν', "n", "nu"),
    ('ξ', "x", "xi"),
    ('ο', "o", "omicron"),
    ('π', "p", "pi"),
    ('ρ', "r", "rho"),
    ('ς', "s", "sigma"),
    ('σ', "s", "sigma"),
    ('τ', "t", "tau"),
    ('υ', "y", "upsilon"),
    ('φ', "f", "phi"),
    ('χ', "ch", "chi"),
    ('ψ', "ps", "psi"),
    ('ω', "o", "omega"),
];

/// Signs, by what they say, where the message has another use for none of it.
const SIGNS: &[(char, &str)] = &[
    ('\u{AD}', ""),
    ('\u{200B}', ""),
    ('\u{200C}', ""),
    ('\u{200D}', ""),
    ('\u{200E}', ""),
    ('\u{200F}', ""),
    ('\u{2060}', ""),
    ('\u{FEFF}', ""),
    ('\u{2028}', " "),
    ('\u{2029}', " "),
    ('\u{2010}', "-"),
    ('\u{2011}', "-"),
    ('\u{2012}', "-"),
    ('–', "-"),
    ('—', "-"),
    ('―', "-"),
    ('−', "-"),
    ('•', "-"),
    ('‘', "'"),
    ('’', "'"),
    ('‚', "'"),
    ('‛', "'"),
    ('‹', "'"),
    ('›', "'"),
    ('´', "'"),
    ('′', "'"),
    ('“', "\""),
    ('”', "\""),
    ('„', "\""),
    ('‟', "\""),
    ('«', "\""),
    ('»', "\""),
    ('″', "''"),
    ('⁄', "/"),
    ('÷', "/"),
    ('·', "*"),
    ('×', "x"),
    ('±', "+/-"),
    ('≤', "<="),
    ('≥', ">="),
    ('≈', "ca. "),
    ('≠', "<>"),
    ('→', "->"),
    ('←', "<-"),
    ('↔', "<->"),
    ('µ', "u"),
    ('°', "deg"),
    ('‰', "o/oo"),
    ('€', "EUR"),
    ('£', "GBP"),
    ('§', "par."),
    ('†', "+"),
    ('©', "(C)"),
    ('®', "(R)"),
];

/// How `c` is written where it is missing. None: nobody would understand it.
pub(super) fn spelling(c: char, around: Around, may_write: impl Fn(char) -> bool) -> Option<String> {
    if let Some(micro) = micro(c, around).filter(|micro| may_write(*micro)) {
        return Some(micro.to_string());
    }
    if c == '⁻' {
        // Before a digit it is a power: `10⁻³` is not 10-3.
        return Some(if around.after.is_some_and(is_superscript) { "**-" } else { "-" }.to_owned());
    }
    if ('\u{300}'..='\u{36F}').contains(&c) {
        return around.before.is_some_and(char::is_alphabetic).then(String::new);
    }
    listed(c, around).or_else(|| without_marks(c, around, &may_write))
}

/// The sign for a millionth is in Unicode twice, and in most sets once.
fn micro(c: char, around: Around) -> Option<char> {
    match c {
        'µ' => Some('μ'),
        'μ' if stands_alone(around) => Some('µ'),
        _ => None,
    }
}

fn listed(c: char, around: Around) -> Option<String> {
    let of = |table: &[(char, &'static str)], c| table.iter().find(|(listed, _)| *listed == c).map(|(_, text)| *text);
    if let Some(sign) = of(SIGNS, c) {
        return Some(sign.to_owned());
    }
    let small = only_lower(c);
    let text = of(LATIN, small).or_else(|| of(CYRILLIC, small)).or_else(|| greek(c, small, around))?;
    Some(if small == c { text.to_owned() } else { capital(text) })
}

fn greek(c: char, small: char, around: Around) -> Option<&'static str> {
    let (_, text, name) = GREEK.iter().find(|(letter, ..)| *letter == small)?;
    Some(match c {
        'Ω' if stands_alone(around) => "ohm",
        // The capital is no sign for anything.
        'Μ' if stands_alone(around) => "mu",
        _ if stands_alone(around) => name,
        // ου is one sound, whatever mark it has.
        _ if small == 'υ' && around.before.is_some_and(|before| matches!(before, 'ο' | 'Ο')) => "u",
        _ => text,
    })
}

fn stands_alone(around: Around) -> bool {
    let is_greek = |c: char| matches!(c, '\u{370}'..='\u{3FF}' | '\u{1F00}'..='\u{1FFF}') && c.is_alphabetic();
    !around.before.is_some_and(is_greek) && !around.after.is_some_and(is_greek)
}

/// `é` without its mark, `ﬁ` as two letters, `½` as 1/2; each part as it is or as it is listed.
fn without_marks(c: char, around: Around, may_write: impl Fn(char) -> bool) -> Option<String> {
    let mut text = String::new();
    let mut base = None;
    for part in std::iter::once(c).nfkd() {
        if is_combining_mark(part) {
            if base.is_some_and(char::is_alphabetic) {
                continue;
            }
            return None;
        }
        if part == c {
            return None;
        }
        base = Some(part);
        if may_write(part) {
            text.push(part);
        } else {
            text.push_str(&listed(part, around)?);
        }
    }
    (!text.is_empty()).then_some(text)
}

fn only_lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(small), None) => small,
        _ => c,
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

pub(super) fn is_superscript(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '\u{2070}'..='\u{207F}')
}

/// `５` is a 5 of another width: it goes on where a number stands.
pub(super) fn is_plain_digit(c: char) -> bool {
    matches!(c, '\u{FF10}'..='\u{FF19}')
}
