//! Burns SYNTHETIC into pixels, so that no sample is ever taken for a patient, whatever becomes of its header.

const LINES: [&str; 2] = ["SYNTHETIC", "NOT A PATIENT"];
const WIDTH: usize = 5;
const HEIGHT: usize = 7;

/// Rows of five bits, leftmost highest. Only the letters of [`LINES`].
fn glyph(letter: char) -> [u8; HEIGHT] {
    match letter {
        'A' => [0b01110, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
        'C' => [0b01110, 0b10001, 0b10000, 0b10000, 0b10000, 0b10001, 0b01110],
        'E' => [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111],
        'H' => [0b10001, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001],
        'I' => [0b01110, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        'N' => [0b10001, 0b11001, 0b11001, 0b10101, 0b10011, 0b10011, 0b10001],
        'O' => [0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110],
        'P' => [0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000],
        'S' => [0b01111, 0b10000, 0b10000, 0b01110, 0b00001, 0b00001, 0b11110],
        'T' => [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100],
        'Y' => [0b10001, 0b10001, 0b01010, 0b00100, 0b00100, 0b00100, 0b00100],
        _ => [0; HEIGHT],
    }
}

/// Calls `set(column, row)` for every pixel of the lettering at the upper left of an image this wide.
pub(super) fn burn_in(columns: usize, mut set: impl FnMut(usize, usize)) {
    let scale = (columns / 256).max(1);
    for (line, text) in LINES.iter().enumerate() {
        for (place, letter) in text.chars().enumerate() {
            for (row, bits) in glyph(letter).iter().enumerate() {
                for column in (0..WIDTH).filter(|column| bits >> (WIDTH - 1 - column) & 1 == 1) {
                    let left = (4 + place * (WIDTH + 1) + column) * scale;
                    let top = (4 + line * (HEIGHT + 2) + row) * scale;
                    for pixel in 0..scale * scale {
                        set(left + pixel % scale, top + pixel / scale);
                    }
                }
            }
        }
    }
}

/// The same into a frame of one value a pixel.
pub(super) fn burn_into<T: Copy>(pixels: &mut [T], columns: usize, value: T) {
    burn_in(columns, |column, row| {
        if let Some(pixel) = pixels.get_mut(row * columns + column) {
            *pixel = value;
        }
    });
}
