//! Bytes in several pieces, shared with whoever holds them already: tens of megabytes that are sent on as they came are not
//! copied to put a few hundred others around them.
//!
//! In: pieces, in order. Out: the same, one after the other, or in blocks of a size. Does not look into them.

use bytes::{Bytes, BytesMut};

#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pieces(Vec<Bytes>);

// No content in `{:?}`: it may be patient data.
impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pieces({} bytes)", self.len())
    }
}

impl Pieces {
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.0.push(piece);
        }
    }

    pub fn append(&mut self, more: Pieces) {
        self.0.extend(more.0);
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it in one piece.
    pub fn whole(&self) -> Bytes {
        match self.0.as_slice() {
            [one] => one.clone(),
            pieces => pieces.concat().into(),
        }
    }

    /// All of it in blocks of this size, the last one smaller. Only a block that begins in one piece and ends in another is
    /// copied.
    pub fn blocks(&self, size: usize) -> impl Iterator<Item = Bytes> {
        let size = size.max(1);
        let mut rest = self.0.iter().cloned();
        let mut at_hand = Bytes::new();
        std::iter::from_fn(move || {
            let mut block = BytesMut::new();
            loop {
                if at_hand.is_empty() {
                    match rest.next() {
                        Some(piece) => at_hand = piece,
                        None => return (!block.is_empty()).then(|| block.freeze()),
                    }
                }
                let taken = at_hand.split_to(at_hand.len().min(size - block.len()));
                if taken.len() == size {
                    return Some(taken);
                }
                block.extend_from_slice(&taken);
                if block.len() == size {
                    return Some(block.freeze());
                }
            }
        })
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(bytes);
        pieces
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_are_the_whole_in_order(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..8), size in 1..30_usize
        ) {
            let whole = pieces.concat();
            let mut made = Pieces::default();
            pieces.into_iter().for_each(|piece| made.push(piece.into()));
            prop_assert_eq!(made.len(), whole.len());
            prop_assert_eq!(&made.whole()[..], &whole[..]);
            let blocks: Vec<Bytes> = made.blocks(size).collect();
            let expected: Vec<&[u8]> = whole.chunks(size).collect();
            prop_assert_eq!(blocks, expected);
        }
    }

    #[test]
    fn a_block_inside_of_a_piece_is_no_copy() {
        let piece = Bytes::from(vec![7; 100]);
        let pieces = Pieces::from(piece.clone());
        let starts: Vec<_> = pieces.blocks(40).map(|block| block.as_ptr()).collect();
        assert_eq!(starts[..2], [piece[..].as_ptr(), piece[40..].as_ptr()]);
    }
}
