//! Single value and wild card matching of texts, names and numbers (PS3.4 C.2.2.2.1, C.2.2.2.4).
//!
//! In: one value of a key and one of a candidate, without padding. Out: whether they match. A wild card pattern takes at most
//! as many steps as its letters times those of the text: it goes back to its last `*` only.

use super::Names;
use crate::model::fold;

/// Case sensitive; with `*` and `?`.
pub fn text(key: &str, known: &str) -> bool {
    if has_wildcards(key) { wild(key, known) } else { key == known }
}

fn has_wildcards(key: &str) -> bool {
    key.contains(['*', '?'])
}

/// `*` matches any letters, also none; `?` exactly one.
pub fn wild(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut in_text) = (0, 0);
    // Behind the last star, and where in the text it was tried.
    let mut star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                star = Some((at, in_text));
            }
            Some(letter) if *letter == '?' || *letter == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((behind, tried)) = star else { return false };
                star = Some((behind, tried + 1));
                (at, in_text) = (behind, tried + 1);
            }
        }
    }
    pattern[at..].iter().all(|letter| *letter == '*')
}

/// A person's name: component groups (alphabetic, ideographic, phonetic) by themselves where the key names several, else any
/// of them. Components that are empty at the end say nothing.
pub fn name(key: &str, known: &str, how: Names) -> bool {
    match how {
        Names::Exact => groups(key, known),
        Names::Folded => groups(&fold(key), &fold(known)),
        Names::Fuzzy => words(&fold(key), &fold(known)),
    }
}

fn groups(key: &str, known: &str) -> bool {
    let wanted: Vec<String> = key.split('=').map(shortened).collect();
    let known: Vec<String> = known.split('=').map(shortened).collect();
    match wanted.as_slice() {
        [wanted] => known.iter().any(|known| !known.is_empty() && text(wanted, known)),
        _ => wanted
            .iter()
            .enumerate()
            .all(|(number, wanted)| wanted.is_empty() || known.get(number).is_some_and(|known| text(wanted, known))),
    }
}

/// Without spaces around components and without empty components at the end (PS3.5 6.2.1.1).
fn shortened(group: &str) -> String {
    let components: Vec<&str> = group.split('^').map(str::trim).collect();
    components.join("^").trim_end_matches('^').to_owned()
}

/// Every word of the key begins a word of the name.
fn words(key: &str, known: &str) -> bool {
    let split = |name: &str| -> Vec<String> {
        let words = name.split(|letter: char| letter.is_whitespace() || matches!(letter, '^' | '=' | ',' | '-' | '.'));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let known = split(known);
    split(key).iter().all(|word| {
        known.iter().any(|known| if has_wildcards(word) { wild(word, known) } else { known.starts_with(word) })
    })
}

/// Any other VR: by meaning where both are numbers, so that `1` is `1.0`.
pub fn number(key: &str, known: &str) -> bool {
    let (one, other) = (key.parse::<f64>(), known.parse::<f64>());
    key == known || matches!((one, other), (Ok(one), Ok(other)) if one == other)
}
