//! Code 128 (ISO/IEC 15417): ASCII text in, the widths of bars and spaces out.
//!
//! Code set B for letters, C for runs of digits, two to a symbol. Control characters and letters beyond ASCII have no place
//! in it: whoever draws says so in words. Does not draw.

/// Longest text: more does not fit the width of a page in bars that a hand scanner reads.
pub const MAX_LENGTH: usize = 48;

const START_B: usize = 104;
const START_C: usize = 105;
const TO_B: usize = 100;
const TO_C: usize = 99;

/// Widths in modules, bar first, by symbol value; the last is the stop pattern, with its final bar.
const PATTERNS: [&str; 107] = [
    "212222", "222122", "222221", "121223", "121322", "131222", "122213", "122312", "132212", "221213", "221312",
    "231212", "112232", "122132", "122231", "113222", "123122", "123221", "223211", "221132", "221231", "213212",
    "223112", "312131", "311222", "321122", "321221", "312212", "322112", "322211", "212123", "212321", "232121",
    "111323", "131123", "131321", "112313", "132113", "132311", "211313", "231113", "231311", "112133", "112331",
    "132131", "113123", "113321", "133121", "313121", "211331", "231131", "213113", "213311", "213131", "311123",
    "311321", "331121", "312113", "312311", "332111", "314111", "221411", "431111", "111224", "111422", "121124",
    "121421", "141122", "141221", "112214", "112412", "122114", "122411", "142112", "142211", "241211", "221114",
    "413111", "241112", "134111", "111242", "121142", "121241", "114212", "124112", "124211", "411212", "421112",
    "421211", "212141", "214121", "412121", "111143", "111341", "131141", "114113", "114311", "411113", "411311",
    "113141", "114131", "311141", "411131", "211412", "211214", "211232", "2331112",
];
const STOP: usize = 106;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBarcode {
    #[error("it is empty")]
    Empty,
    #[error("it has letters that Code 128 does not hold")]
    Letters,
    #[error("it is longer than {MAX_LENGTH} characters")]
    TooLong,
}

/// The widths of bars and spaces in modules, beginning with a bar. The quiet zones of 10 modules are the drawer's.
///
/// # Errors
/// When the text cannot be written so; it is never changed to fit.
pub fn widths(text: &str) -> Result<Vec<u8>, NoBarcode> {
    if text.is_empty() {
        return Err(NoBarcode::Empty);
    }
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(NoBarcode::Letters);
    }
    if text.len() > MAX_LENGTH {
        return Err(NoBarcode::TooLong);
    }
    let symbols = symbols(text.as_bytes());
    let all = symbols.iter().copied().chain([check(&symbols), STOP]);
    Ok(all.flat_map(|symbol| PATTERNS[symbol].bytes().map(|digit| digit - b'0')).collect())
}

/// Start, data and code set symbols. Four digits or more go by twos: fewer gain nothing.
fn symbols(text: &[u8]) -> Vec<usize> {
    let digits = |at: usize| text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut symbols = Vec::with_capacity(text.len() + 4);
    let mut in_c = digits(0) >= 4;
    symbols.push(if in_c { START_C } else { START_B });
    let mut at = 0;
    while at < text.len() {
        let run = digits(at);
        if in_c && run >= 2 {
            symbols.push(usize::from(text[at] - b'0') * 10 + usize::from(text[at + 1] - b'0'));
            at += 2;
        } else if in_c {
            symbols.push(TO_B);
            in_c = false;
        } else if run >= 4 && run.is_multiple_of(2) {
            symbols.push(TO_C);
            in_c = true;
        } else {
            symbols.push(usize::from(text[at]) - 0x20);
            at += 1;
        }
    }
    symbols
}

/// The start symbol, and each after it by its place, modulo 103.
fn check(symbols: &[usize]) -> usize {
    let weighed = symbols.iter().enumerate().map(|(place, symbol)| symbol * place.max(1));
    weighed.sum::<usize>() % 103
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each symbol has eleven modules, of which an even number is bars (ISO/IEC 15417 4.2); no two are alike.
    #[test]
    fn the_table_has_the_form_the_standard_gives_it() {
        for (value, pattern) in PATTERNS[..STOP].iter().enumerate() {
            let widths: Vec<u32> = pattern.chars().filter_map(|c| c.to_digit(10)).collect();
            assert_eq!((widths.len(), widths.iter().sum::<u32>()), (6, 11), "{value}");
            assert_eq!(widths.iter().step_by(2).sum::<u32>() % 2, 0, "{value}");
        }
        assert_eq!(PATTERNS[STOP].chars().filter_map(|c| c.to_digit(10)).sum::<u32>(), 13);
        let different: std::collections::BTreeSet<&str> = PATTERNS.into_iter().collect();
        assert_eq!(different.len(), PATTERNS.len());
    }

    /// A text whose check symbol is published: 88 for "Wikipedia" in code set B.
    #[test]
    fn the_check_symbol_is_the_known_one() {
        let symbols = symbols(b"Wikipedia");
        assert_eq!(symbols, [104, 55, 73, 75, 73, 80, 69, 68, 73, 65]);
        assert_eq!(check(&symbols), 88);
    }

    #[test]
    fn digits_go_by_twos_where_that_is_shorter() {
        assert_eq!(symbols(b"123456"), [105, 12, 34, 56]);
        assert_eq!(symbols(b"12345"), [105, 12, 34, 100, 21]);
        assert_eq!(symbols(b"A1234"), [104, 33, 99, 12, 34]);
        assert_eq!(symbols(b"A12345"), [104, 33, 17, 99, 23, 45]);
        assert_eq!(symbols(b"A12B"), [104, 33, 17, 18, 34]);
    }

    #[test]
    fn what_it_does_not_hold_is_refused() {
        assert_eq!(widths(""), Err(NoBarcode::Empty));
        assert_eq!(widths("Ł-1"), Err(NoBarcode::Letters));
        assert_eq!(widths("a\n"), Err(NoBarcode::Letters));
        assert_eq!(widths(&"1".repeat(MAX_LENGTH + 1)), Err(NoBarcode::TooLong));
        assert!(widths(&"x".repeat(MAX_LENGTH)).is_ok());
    }
}
