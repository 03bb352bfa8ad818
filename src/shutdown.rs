//! One way to stop.
