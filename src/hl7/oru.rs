//! (file oru)
