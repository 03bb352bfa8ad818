//! The two weights of the text font and the font of symbols behind them: which glyph, how wide, and what is lacking.
//!
//! In: text. Out: glyphs with advances, and the characters that no font can show. Left to right, one glyph a
//! character, so only scripts that need no shaping: Latin, Greek, Cyrillic, and symbols. A character of another script
//! counts as lacking even where a font has a glyph for it, because unshaped it could be misread.

use super::NoFont;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use skrifa::{
    FontRef, MetadataProvider,
    charmap::Charmap,
    instance::{LocationRef, Size},
    metrics::GlyphMetrics,
};
use unicode_normalization::UnicodeNormalization;

static REGULAR: &[u8] = include_bytes!("fonts/NotoSans-Regular.ttf");
static BOLD: &[u8] = include_bytes!("fonts/NotoSans-Bold.ttf");
static SYMBOLS: &[u8] = include_bytes!("fonts/DejaVuSans-symbols.ttf");

/// Drawn in the place of a character that no font can show; U+25AF, in the symbols font.
const STAND_IN: char = '▯';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Regular,
    Bold,
}

struct Face {
    font: Font,
    charmap: Charmap<'static>,
    metrics: GlyphMetrics<'static>,
    units_per_em: f32,
}

/// A run of glyphs of one font. The advances are in parts of the type size.
pub struct GlyphRun {
    pub font: Font,
    pub glyphs: Vec<KrillaGlyph>,
    pub width_em: f32,
}

pub struct Faces {
    regular: Face,
    bold: Face,
    symbols: Face,
}

impl Face {
    fn load(data: &'static [u8]) -> Result<Self, NoFont> {
        let font_ref = FontRef::new(data).map_err(|_| NoFont)?;
        let font = Font::new(data.into(), 0).ok_or(NoFont)?;
        Ok(Self {
            units_per_em: font.units_per_em(),
            font,
            charmap: font_ref.charmap(),
            metrics: font_ref.glyph_metrics(Size::unscaled(), LocationRef::default()),
        })
    }

    fn glyph(&self, c: char) -> Option<(u32, f32)> {
        let id = self.charmap.map(c).filter(|id| id.to_u32() != 0)?;
        Some((id.to_u32(), self.metrics.advance_width(id)? / self.units_per_em))
    }
}

impl Faces {
    /// # Errors
    /// When the compiled-in fonts cannot be read, which a test rules out.
    pub fn load() -> Result<Self, NoFont> {
        Ok(Self { regular: Face::load(REGULAR)?, bold: Face::load(BOLD)?, symbols: Face::load(SYMBOLS)? })
    }

    /// The face that can show `c`, its glyph there and the advance.
    fn find(&self, c: char, weight: Weight) -> Option<(&Face, u32, f32)> {
        if !stands_alone(c) {
            return None;
        }
        let first = match weight {
            Weight::Regular => &self.regular,
            Weight::Bold => &self.bold,
        };
        [first, &self.symbols].into_iter().find_map(|face| face.glyph(c).map(|(id, advance)| (face, id, advance)))
    }

    fn find_or_stand_in(&self, c: char, weight: Weight) -> Option<(&Face, u32, f32)> {
        self.find(c, weight).or_else(|| self.find(STAND_IN, weight))
    }

    pub fn can_show(&self, c: char) -> bool {
        self.find(c, Weight::Regular).is_some() && self.find(c, Weight::Bold).is_some()
    }

    /// Width of `text` in parts of the type size.
    pub fn width_em(&self, text: &str, weight: Weight) -> f32 {
        text.chars().filter_map(|c| self.find_or_stand_in(c, weight)).map(|(_, _, advance)| advance).sum()
    }

    /// The glyphs of `text`, split where the font changes.
    pub fn runs(&self, text: &str, weight: Weight) -> Vec<GlyphRun> {
        let mut runs: Vec<GlyphRun> = Vec::new();
        for (at, c) in text.char_indices() {
            let Some((face, id, advance)) = self.find_or_stand_in(c, weight) else {
                continue;
            };
            let range = at..at + c.len_utf8();
            let glyph = KrillaGlyph::new(GlyphId::new(id), advance, 0.0, 0.0, 0.0, range, None);
            match runs.last_mut().filter(|run| run.font == face.font) {
                Some(run) => {
                    run.glyphs.push(glyph);
                    run.width_em += advance;
                }
                None => runs.push(GlyphRun { font: face.font.clone(), glyphs: vec![glyph], width_em: advance }),
            }
        }
        runs
    }
}

/// Whether one glyph shows the character rightly without shaping or reordering. U+0590 to U+1CFF are the scripts of
/// the Near East, India, South-East Asia and others; U+0300 to U+036F are marks that need placing.
fn stands_alone(c: char) -> bool {
    !matches!(c, '\u{300}'..='\u{36f}' | '\u{590}'..='\u{1cff}') && !c.is_control()
}

/// Text made fit to be set: composed characters (a name typed on some systems arrives as letter + mark), one kind of
/// line end, and none of the characters that have no form of their own (soft hyphen, zero-width and direction marks).
pub fn clean(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    lines.nfc().filter(|c| !has_no_form(*c)).collect()
}

fn has_no_form(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_three_countries_and_the_signs_of_reports_are_there_in_both_weights() {
        let faces = Faces::load().expect("the compiled-in fonts");
        let wanted = "aąbcćčdďeęéěfghiíjklłlmnńňoóöpqrřsśšßtťuúůüvwxyýzźżžÄÖÜẞĄĆČĎĘĚŁŃŇŘŚŠŤŮŹŻŽАяІїΔβ\
            0123456789.,;:!?()[]%§°±×÷µ²³½–—„“”»«•·…€≥≤≈≠→←↑↓⇒∅√∞▪■●○✓☐☒♂♀⌀₂⁺\u{a0}";
        for c in wanted.chars() {
            assert!(faces.can_show(c), "{c} U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn what_cannot_be_shown_still_takes_its_place() {
        let faces = Faces::load().expect("the compiled-in fonts");
        for c in ['山', 'क', 'ع', '\u{7}', '\u{301}'] {
            assert!(!faces.can_show(c), "U+{:04X}", u32::from(c));
        }
        let glyphs: usize = faces.runs("a山b", Weight::Regular).iter().map(|run| run.glyphs.len()).sum();
        assert_eq!(glyphs, 3);
        assert!(faces.width_em("a山b", Weight::Regular) > faces.width_em("ab", Weight::Regular) + 0.3);
    }

    #[test]
    fn decomposed_letters_are_composed_and_formless_characters_leave() {
        assert_eq!(clean("Dvor\u{30c}a\u{301}k\r\nso\u{ad}ft\u{200b}"), "Dvořák\nsoft");
    }
}
