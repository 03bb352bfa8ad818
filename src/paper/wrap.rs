//! Breaks text into lines that fit a width.
//!
//! In: pieces of text with their weights, a type size, a width. Out: lines of placed pieces. Breaks at spaces; a word
//! wider than the line is broken between characters. Nothing is left out and nothing is joined.

use super::faces::{Faces, Weight};

/// Part of one line: where it starts, from the line's left edge, in points.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    pub x: f32,
    pub weight: Weight,
    pub text: String,
}

pub type Line = Vec<Piece>;

/// What to set: the size of the type, the width to fill, and where first and further lines begin, all in points.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    pub size: f32,
    pub width: f32,
    pub first_indent: f32,
    pub hanging_indent: f32,
}

impl Measure {
    pub fn plain(size: f32, width: f32) -> Self {
        Self { size, width, first_indent: 0.0, hanging_indent: 0.0 }
    }
}

struct Setter<'a> {
    faces: &'a Faces,
    measure: Measure,
    lines: Vec<Line>,
    line: Line,
    /// Where the line has got to.
    x: f32,
    /// Spaces read since the last word; they vanish at a break.
    spaces: String,
}

/// Always at least one line, which may be empty.
pub fn wrap(faces: &Faces, pieces: &[(Weight, &str)], measure: Measure) -> Vec<Line> {
    let mut setter =
        Setter { faces, measure, lines: Vec::new(), line: Line::new(), x: measure.first_indent, spaces: String::new() };
    for (weight, text) in pieces {
        for word in text.split_inclusive(' ') {
            let bare = word.trim_end_matches(' ');
            if !bare.is_empty() {
                setter.word(bare, *weight);
            }
            if word.len() > bare.len() {
                setter.spaces.push(' ');
            }
        }
    }
    setter.lines.push(setter.line);
    setter.lines
}

impl Setter<'_> {
    fn width(&self, text: &str, weight: Weight) -> f32 {
        self.faces.width_em(text, weight) * self.measure.size
    }

    fn word(&mut self, word: &str, weight: Weight) {
        let spaces = if self.line.is_empty() { String::new() } else { std::mem::take(&mut self.spaces) };
        self.spaces.clear();
        let width = self.width(word, weight);
        let gap = self.width(&spaces, weight);
        if self.x + gap + width <= self.measure.width {
            self.place(&spaces, word, weight, gap + width);
            return;
        }
        // No space before it: a comma in another weight stays with its word unless the line is full.
        if !self.line.is_empty() {
            self.next_line();
        }
        if self.x + width <= self.measure.width {
            self.place("", word, weight, width);
        } else {
            self.long_word(word, weight);
        }
    }

    fn long_word(&mut self, word: &str, weight: Weight) {
        let mut buffer = [0; 4];
        for c in word.chars() {
            let text: &str = c.encode_utf8(&mut buffer);
            let width = self.width(text, weight);
            if self.x + width > self.measure.width && !self.line.is_empty() {
                self.next_line();
            }
            self.place("", text, weight, width);
        }
    }

    fn place(&mut self, spaces: &str, text: &str, weight: Weight, width: f32) {
        match self.line.last_mut().filter(|piece| piece.weight == weight) {
            Some(piece) => {
                piece.text.push_str(spaces);
                piece.text.push_str(text);
            }
            None => self.line.push(Piece { x: self.x, weight, text: format!("{spaces}{text}") }),
        }
        self.x += width;
    }

    fn next_line(&mut self) {
        self.lines.push(std::mem::take(&mut self.line));
        self.x = self.measure.hanging_indent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(lines: &[Line]) -> String {
        let lines: Vec<String> =
            lines.iter().map(|line| line.iter().map(|piece| piece.text.as_str()).collect()).collect();
        lines.join(" ")
    }

    proptest! {
        #[test]
        fn every_letter_arrives_in_order_and_no_line_is_too_wide(text in "[a-zäłř]{1,60}( [a-zäłř.,]{1,20}){0,30}") {
            let faces = Faces::load().expect("the compiled-in fonts");
            let measure = Measure { size: 10.0, width: 120.0, first_indent: 0.0, hanging_indent: 12.0 };
            let lines = wrap(&faces, &[(Weight::Regular, text.as_str())], measure);
            let bare = |text: &str| text.replace(' ', "");
            prop_assert_eq!(bare(&text_of(&lines)), bare(&text));
            for line in &lines {
                for piece in line {
                    let end = piece.x + faces.width_em(&piece.text, piece.weight) * measure.size;
                    prop_assert!(end <= measure.width + 0.01, "{} ends at {end}", piece.text);
                }
            }
        }
    }

    #[test]
    fn a_bold_label_and_its_text_share_a_line() {
        let faces = Faces::load().expect("the compiled-in fonts");
        let lines =
            wrap(&faces, &[(Weight::Bold, "Befund:"), (Weight::Regular, " unauffällig")], Measure::plain(10.0, 400.0));
        assert_eq!(lines.len(), 1);
        assert_eq!(text_of(&lines), "Befund: unauffällig");
        assert!(lines[0][1].x > 30.0);
    }

    #[test]
    fn nothing_makes_one_empty_line() {
        let faces = Faces::load().expect("the compiled-in fonts");
        assert_eq!(wrap(&faces, &[(Weight::Regular, "   ")], Measure::plain(10.0, 100.0)), vec![Line::new()]);
    }
}
