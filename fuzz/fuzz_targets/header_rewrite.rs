//! The header rewriter, in every way elements are written, and again on what it has written.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::rewrite::fuzz_rewrite(data));
