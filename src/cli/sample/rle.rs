//! RLE Lossless (PS3.5 Annex G): one segment a byte plane, most significant first, each row PackBits-encoded by itself.

/// Encodes one frame. `planes` are the byte planes in the order of the standard (16 bits: high, low; RGB: R, G, B).
pub(super) fn frame(planes: &[Vec<u8>], columns: usize) -> Vec<u8> {
    let segments: Vec<Vec<u8>> = planes.iter().map(|plane| segment(plane, columns)).collect();
    let mut header = [0_u32; 16];
    header[0] = segments.len() as u32;
    let mut offset = 64;
    for (slot, segment) in header[1..].iter_mut().zip(&segments) {
        *slot = offset;
        offset += segment.len() as u32;
    }
    let mut out: Vec<u8> = header.iter().flat_map(|number| number.to_le_bytes()).collect();
    out.extend(segments.into_iter().flatten());
    out
}

/// The two byte planes of 16-bit pixels.
pub(super) fn planes_of_16_bit(pixels: &[u16]) -> Vec<Vec<u8>> {
    let high = pixels.iter().map(|pixel| (pixel >> 8) as u8).collect();
    let low = pixels.iter().map(|pixel| (pixel & 0xFF) as u8).collect();
    vec![high, low]
}

/// The three planes of interleaved RGB.
pub(super) fn planes_of_rgb(pixels: &[u8]) -> Vec<Vec<u8>> {
    (0..3).map(|plane| pixels.iter().skip(plane).step_by(3).copied().collect()).collect()
}

fn segment(plane: &[u8], columns: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(plane.len() / 2);
    // Runs do not cross rows (PS3.5 G.3.1).
    plane.chunks(columns.max(1)).for_each(|row| pack_row(row, &mut out));
    if !out.len().is_multiple_of(2) {
        out.push(0);
    }
    out
}

/// PackBits: n in 0..=127: n + 1 literal bytes follow; n in 129..=255: the next byte 257 - n times.
fn pack_row(row: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    let mut literals = 0;
    while at < row.len() {
        let run = row[at..].iter().take(128).take_while(|byte| **byte == row[at]).count();
        // A run of two pays only where it ends no literal run.
        if run >= 3 || (run == 2 && literals == at) {
            put_literals(&row[literals..at], out);
            out.extend_from_slice(&[(257 - run) as u8, row[at]]);
            at += run;
            literals = at;
        } else {
            at += run.min(row.len() - at);
        }
    }
    put_literals(&row[literals..], out);
}

fn put_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for part in bytes.chunks(128) {
        out.push((part.len() - 1) as u8);
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unpack(mut bytes: &[u8], length: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < length {
            let (n, rest) = bytes.split_first().expect("more");
            bytes = rest;
            if *n < 128 {
                let (literal, rest) = bytes.split_at(usize::from(*n) + 1);
                out.extend_from_slice(literal);
                bytes = rest;
            } else {
                assert_ne!(*n, 128, "no operation is not written");
                out.extend(std::iter::repeat_n(bytes[0], 257 - usize::from(*n)));
                bytes = &bytes[1..];
            }
        }
        assert!(bytes.len() <= 1, "only padding is left");
        out
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks_to_itself(plane in prop::collection::vec(0u8..3, 1..900), columns in 1usize..300) {
            prop_assert_eq!(unpack(&segment(&plane, columns), plane.len()), plane);
        }
    }

    #[test]
    fn the_header_says_where_each_segment_starts() {
        let frame = frame(&planes_of_16_bit(&[0x0102; 300]), 100);
        let number = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((number(0), number(4), number(8), number(12)), (2, 64, 70, 0));
        assert_eq!(unpack(&frame[70..], 300), vec![2; 300]);
    }
}
