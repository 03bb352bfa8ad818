//! Reads everything in, wires the rooms, starts the listeners.
