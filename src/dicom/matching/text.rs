//! Single value and wild card matching of texts, names and numbers (PS3.4 C.2.2.2.1, C.2.2.2.4).
//!
//! In: one value of a key and one of a candidate, without padding. Out: whether they match. A wild card pattern takes at most
//! as many steps as its letters times those of the text: it goes back to its last `*` only.

use super::Names;
use crate::model::fold;

/// One value of a key, case sensitive; with `*` and `?`.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    /// Its letters, where it has wild cards.
    wild: Option<Vec<char>>,
}

impl Pattern {
    pub fn new(key: &str) -> Self {
        Self { text: key.to_owned(), wild: key.contains(['*', '?']).then(|| key.chars().collect()) }
    }

    pub fn takes(&self, known: &str) -> bool {
        self.wild.as_ref().map_or_else(|| self.text == known, |pattern| letters(pattern, known))
    }

    fn begins(&self, word: &str) -> bool {
        self.wild.as_ref().map_or_else(|| word.starts_with(&self.text), |pattern| letters(pattern, word))
    }
}

/// `*` matches any letters, also none; `?` exactly one.
pub fn wild(pattern: &str, text: &str) -> bool {
    letters(&pattern.chars().collect::<Vec<_>>(), text)
}

fn letters(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
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

/// A person's name that is asked for: component groups (alphabetic, ideographic, phonetic) by themselves where the key names
/// several, else any of them; or words. Components that are empty at the end say nothing.
#[derive(Debug)]
pub enum NameKey {
    Groups(Vec<Pattern>),
    Words(Vec<Pattern>),
}

impl NameKey {
    pub fn new(key: &str, how: Names) -> Self {
        let patterns = known_name(key, how).iter().map(|part| Pattern::new(part)).collect();
        if how == Names::Fuzzy { NameKey::Words(patterns) } else { NameKey::Groups(patterns) }
    }

    /// Whether a [`known_name`] is it.
    pub fn takes(&self, known: &[String]) -> bool {
        match self {
            // Every word of the key begins a word of the name.
            NameKey::Words(wanted) => wanted.iter().all(|word| known.iter().any(|known| word.begins(known))),
            NameKey::Groups(wanted) => match wanted.as_slice() {
                [wanted] => known.iter().any(|known| !known.is_empty() && wanted.takes(known)),
                _ => wanted.iter().enumerate().all(|(number, wanted)| {
                    wanted.text.is_empty() || known.get(number).is_some_and(|known| wanted.takes(known))
                }),
            },
        }
    }
}

/// What of a name is compared: its component groups, or its words.
pub fn known_name(name: &str, how: Names) -> Vec<String> {
    match how {
        Names::Exact => name.split('=').map(shortened).collect(),
        Names::Folded => fold(name).split('=').map(shortened).collect(),
        Names::Fuzzy => words(&fold(name)),
    }
}

/// Without spaces around components and without empty components at the end (PS3.5 6.2.1.1).
fn shortened(group: &str) -> String {
    let components: Vec<&str> = group.split('^').map(str::trim).collect();
    components.join("^").trim_end_matches('^').to_owned()
}

fn words(name: &str) -> Vec<String> {
    let words = name.split(|letter: char| letter.is_whitespace() || matches!(letter, '^' | '=' | ',' | '-' | '.'));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Any other VR: by meaning where both are numbers, so that `1` is `1.0`.
pub fn number(key: &str, known: &str) -> bool {
    let (one, other) = (key.parse::<f64>(), known.parse::<f64>());
    key == known || matches!((one, other), (Ok(one), Ok(other)) if one == other)
}
