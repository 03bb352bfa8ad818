//! Names without case and accents, for finding: a person types `muller`, the name is `Müller`.
//!
//! In: text. Out: the same text in lower case, without marks on letters, and with the few letters that are a letter and a
//! stroke (ł, đ, ø) or two letters in one (ß, æ) as their plain ones. Only for comparing: never shown, never sent.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Folded twice it is the same.
pub fn fold(text: &str) -> String {
    let lower = text.nfkd().filter(|letter| !is_combining_mark(*letter)).flat_map(char::to_lowercase);
    let mut folded = String::with_capacity(text.len());
    // Lower case may bring a mark of its own (İ).
    for letter in lower.filter(|letter| !is_combining_mark(*letter)) {
        match plain(letter) {
            Some(letters) => folded.push_str(letters),
            None => folded.push(letter),
        }
    }
    folded
}

/// Letters that Unicode does not take apart.
fn plain(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ø' => "o",
        'ħ' => "h",
        'ŧ' => "t",
        'ı' => "i",
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ς' => "σ",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_and_accents_are_left_out() {
        for (name, folded) in [
            ("Müller^Jürgen", "muller^jurgen"),
            ("MU\u{308}LLER", "muller"),
            ("Świątek^Łucja", "swiatek^lucja"),
            ("Dvořák^Ondřej", "dvorak^ondrej"),
            ("Groß", "gross"),
            ("GROẞ", "gross"),
            ("Ørsted", "orsted"),
            ("İnce", "ince"),
            ("Иванов", "иванов"),
        ] {
            assert_eq!(fold(name), folded, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_folded_stays_folded(text in "\\PC{0,40}") {
            let once = fold(&text);
            prop_assert_eq!(fold(&once), once);
        }
    }
}
