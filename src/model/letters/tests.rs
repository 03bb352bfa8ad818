//! What letters become, and what is said about it.

use super::*;
use proptest::prelude::*;

fn to(set: &str) -> Outgoing {
    Outgoing { utf8: false, ..Outgoing::new(Charset::named(set).expect("a known set")) }
}

fn spelled(text: &str, outgoing: &Outgoing) -> String {
    Speller::new(outgoing, br"|^~\&").text(text).into_owned()
}

#[test]
fn letters_without_a_place_are_spelled_as_people_read_them() {
    for (text, expected) in [
        ("Łucja Świątek, Żółć", "Lucja Swiatek, Zolc"),
        ("Jiří Dvořák, Ďábelský kůň", "Jiri Dvorak, Dabelsky kun"),
        ("Jörg Müßig, Ärztin, GROẞ", "Joerg Muessig, Aerztin, GROSs"),
        ("Þórður Ægisson, Søren Ångström", "Thordur Aegisson, Soeren Aangstroem"),
        ("Ελένη Παπαδοπούλου, Χρήστος", "Eleni Papadopoulou, Christos"),
        ("Дмитрий Щукин, Юлия, Ольга", "Dmitrii Shchukin, Iuliia, Olga"),
        ("„Befund“ – ‚unauffällig‘…", "\"Befund\" - 'unauffaellig'..."),
        ("5 µg, 5 μg, 10 Ω, γ-GT, 2 °C, Δ 3", "5 ug, 5 ug, 10 Ohm, gamma-GT, 2 degC, Delta 3"),
        ("≤ 3 mm, ≥ 4, ± 1, ≠ 0, a → b", "<= 3 mm, >= 4, +/- 1, <> 0, a -> b"),
        ("ﬁnal, Œuvre, 5 €", "final, Oeuvre, 5 EUR"),
        ("x\u{302} e\u{301}", "x e"),
    ] {
        assert_eq!(spelled(text, &to("ASCII")), expected, "{text}");
    }
}

/// 10⁶ cells are not 106 cells, and 1½ hours not 11/2.
#[test]
fn no_number_becomes_another_one() {
    for (text, expected) in [
        ("10⁶ 10²³ 10⁻³ mm⁻¹", "10**6 10**23 10**-3 mm**-1"),
        ("12 cm² 3 m³ CO₂ Ca²⁺ Cl⁻", "12 cm2 3 m3 CO2 Ca2+ Cl-"),
        ("1½ ½", "1 1/2 1/2"),
        ("１２", "12"),
        ("2·10⁶ 2×3", "2*10**6 2x3"),
    ] {
        assert_eq!(spelled(text, &to("ASCII")), expected, "{text}");
    }
    assert_eq!(spelled("5 μg", &to("8859/1")), "5 µg", "the same sign in another place");
    assert_eq!(spelled("5 µg", &to("8859/7")), "5 μg");
}

#[test]
fn what_nobody_can_spell_is_its_code_point() {
    for (text, expected) in [
        ("中文", "U+4E2D U+6587"),
        ("a中5b", "a U+4E2D 5b"),
        ("🙂", "U+1F642"),
        ("⋠", "U+22E0"),
        ("∄", "U+2204"),
        ("한", "U+D55C"),
        ("｜＾", "U+FF5C U+FF3E"),
        ("\u{FFFD}", "U+FFFD"),
    ] {
        assert_eq!(spelled(text, &to("ASCII")), expected, "{text}");
    }
}

#[test]
fn a_partners_own_spelling_comes_first_where_its_set_holds_it() {
    let mut outgoing = to("8859/2");
    outgoing.table = [('ø', "ö"), ('Þ', "Ŧ"), ('å', "a|b")].map(|(c, text)| (c, text.to_owned())).into();
    assert_eq!(spelled("Søren Þór å", &outgoing), "Sören Thór aa");
}

#[test]
fn a_letter_and_its_mark_are_the_letter_the_set_has() {
    let (latin2, text) = (to("8859/2"), "Dvor\u{30C}a\u{301}k");
    let mut speller = Speller::new(&latin2, &[]);
    assert_eq!(speller.text(text), "Dvořák");
    assert!(speller.changes.is_empty());
}

#[test]
fn an_identifier_is_spelled_by_nothing_that_could_be_another_one() {
    let latin1 = Outgoing { table: [('Ł', "L".to_owned())].into(), ..to("8859/1") };
    let mut speller = Speller::new(&latin1, &[]);
    assert_eq!(speller.identifier("Ł12"), "U+0141 12");
    assert_eq!(speller.identifier("Ö12"), "Ö12");
    assert_eq!(speller.changes.warnings(&latin1).len(), 2);
}

#[test]
fn a_warning_names_letters_and_no_name() {
    let latin1 = to("8859/1");
    let mut speller = Speller::new(&latin1, &[]);
    speller.text("Łucja Świątek\u{200B}");
    let told =
        "letters replaced: 8859/1 does not hold ą (U+0105) as a, Ł (U+0141) as L, Ś (U+015A) as S, (U+200B) as nothing";
    assert_eq!(speller.changes.warnings(&latin1), [told]);
    let both = Outgoing { utf8: true, ..latin1.clone() };
    let told = "sent as UTF-8: 8859/1 does not hold ą (U+0105), Ł (U+0141), Ś (U+015A), (U+200B)";
    assert_eq!(speller.changes.warnings(&both), [told]);
    let mut speller = Speller::new(&both, &[]);
    speller.text(&('а'..='я').collect::<String>());
    let warnings = speller.changes.warnings(&both).concat();
    assert!(warnings.ends_with("й (U+0439) and others"), "{warnings}");
}

proptest! {
    #[test]
    fn whatever_the_text_the_set_holds_what_is_written(text: String, set in prop::sample::select(vec![
        "ASCII", "8859/1", "8859/2", "8859/5", "8859/7", "8859/9", "8859/15", "Windows-1250", "Windows-1252",
    ])) {
        let outgoing = to(set);
        let written = spelled(&text, &outgoing);
        prop_assert!(outgoing.charset.encode(written.clone()).is_ok());
        let delimiters = |text: &str| text.chars().filter(|c| r"|^~\&".contains(*c)).count();
        prop_assert_eq!(delimiters(&written), delimiters(&text));
        if text.chars().all(|c| outgoing.charset.holds(c)) {
            prop_assert_eq!(written, text);
        }
    }
}
