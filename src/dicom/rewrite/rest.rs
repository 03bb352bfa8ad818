//! What stands behind the header: Pixel Data, and what may follow it.
//!
//! In: the data set from its first byte, in pieces, as it streams. Out: nothing, or why it may not leave: an identifier
//! that the rewriter has passed, because it stands behind Pixel Data or out of order, or bytes in which none can be told.
//! Padding (FFFC,FFFC), Digital Signatures (FFFA,FFFA) and the like may follow Pixel Data; so may NULs. Keeps nothing. What
//! has a length is not looked into, at top level and in items alike.

use super::{RewriteError, SPECIFIC_CHARACTER_SET, WANTED, level::malformed};
use crate::dicom::scan::{
    Element, ITEM, ITEM_DELIMITER, MAX_DEPTH, SEQUENCE_DELIMITER, Syntax, UNDEFINED, has_long_header,
};

/// What is open; nothing is at top level.
enum Open {
    Items(Syntax),
    Elements(Syntax),
}

/// Watches the rest of a data set.
pub struct Rest {
    syntax: Syntax,
    /// Bytes to pass over.
    skip: u64,
    header: [u8; 12],
    collected: usize,
    needed: usize,
    open: Vec<Open>,
}

impl Rest {
    /// Of a data set whose header ends at byte `from`.
    pub(super) fn behind(syntax: Syntax, from: u64) -> Self {
        Self { syntax, skip: from, header: [0; 12], collected: 0, needed: 8, open: Vec::new() }
    }

    /// Takes the next piece. It may leave only when this has said yes.
    ///
    /// # Errors
    /// An identifier begins in it, or it cannot be read.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), RewriteError> {
        loop {
            let passed = usize::try_from(self.skip).map_or(piece.len(), |skip| skip.min(piece.len()));
            self.skip -= passed as u64;
            piece = &piece[passed..];
            let taken = piece.len().min(self.needed - self.collected);
            if taken == 0 {
                return Ok(());
            }
            self.header[self.collected..self.collected + taken].copy_from_slice(&piece[..taken]);
            self.collected += taken;
            piece = &piece[taken..];
            if self.collected == self.needed {
                self.meet()?;
            }
        }
    }

    fn syntax(&self) -> Syntax {
        match self.open.last() {
            Some(Open::Items(syntax) | Open::Elements(syntax)) => *syntax,
            None => self.syntax,
        }
    }

    /// An element header is complete, or so much of it that its VR is known.
    fn meet(&mut self) -> Result<(), RewriteError> {
        let syntax = self.syntax();
        if self.needed == 8 && has_long_header(&self.header, syntax) {
            self.needed = 12;
            return Ok(());
        }
        let element = Element::read(&self.header, syntax);
        (self.collected, self.needed) = (0, 8);
        match self.open.last() {
            None => self.top(&element),
            Some(_) => self.inside(&element, syntax),
        }
    }

    fn top(&mut self, element: &Element) -> Result<(), RewriteError> {
        if is_rewritten(element.tag) {
            return Err(malformed(element.tag, "it stands behind where it belongs"));
        }
        // NULs behind the data set, and delimiters of what had a length, hold nothing.
        let holds_nothing = element.length == 0 && (element.tag == 0 || element.is_delimiter());
        if !holds_nothing && (element.tag >> 16 == 0 || element.is_delimiter()) {
            return Err(malformed(element.tag, "no element of a data set, behind its header"));
        }
        self.enter(element, self.syntax)
    }

    fn inside(&mut self, element: &Element, syntax: Syntax) -> Result<(), RewriteError> {
        if self.open.len() > 2 * MAX_DEPTH {
            return Err(malformed(element.tag, "nested too deeply, behind the header"));
        }
        match (self.open.last(), element.tag) {
            (Some(Open::Items(_)), SEQUENCE_DELIMITER) | (Some(Open::Elements(_)), ITEM_DELIMITER) => {
                self.open.pop();
                Ok(())
            }
            (Some(Open::Items(_)), ITEM) if element.length == UNDEFINED => {
                self.open.push(Open::Elements(syntax));
                Ok(())
            }
            (Some(Open::Items(_)), ITEM) => {
                self.skip = u64::from(element.length);
                Ok(())
            }
            (Some(Open::Items(_)), tag) => Err(malformed(tag, "an item or the end of a sequence is expected")),
            (_, tag @ (ITEM | SEQUENCE_DELIMITER)) => Err(malformed(tag, "an element is expected")),
            _ => self.enter(element, syntax),
        }
    }

    fn enter(&mut self, element: &Element, syntax: Syntax) -> Result<(), RewriteError> {
        if element.length == UNDEFINED {
            // UN of undefined length is a sequence in Implicit VR Little Endian (PS3.5 6.2.2 note 2).
            let inner = if element.vr == Some(*b"UN") { Syntax::ImplicitLe } else { syntax };
            self.open.push(Open::Items(inner));
        } else {
            self.skip = u64::from(element.length);
        }
        Ok(())
    }
}

/// Group lengths and the character set say nothing of anybody.
fn is_rewritten(tag: u32) -> bool {
    WANTED.contains(&tag) && tag & 0xFFFF != 0 && tag != SPECIFIC_CHARACTER_SET
}
