//! What is printed: type, lines, rectangles and barcodes on pages of PDF, and the list that travels with specimens.
//!
//! In: text and what is to be drawn. Out: sheets, and the bytes of a shipment's list. The reports that people read are
//! made from the same sheets, by `results::documents`.
//!
//! Knows no case and no database: whoever prints says what stands on the page.

pub mod canvas;
pub mod code128;
pub mod faces;
pub mod shipment;
pub mod wrap;

/// A compiled-in font cannot be read, which a test rules out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a compiled-in font cannot be read")]
pub struct NoFont;
