//! (room handoff)
