//! HL7 v2 on the wire: MLLP framing, a loss-free lazy view of a message, acknowledgements, the listener and the sender.
//!
//! Knows no case. `startup` gives the listener its handler.

pub mod ack;
pub mod charset;
pub mod listener;
pub mod message;
pub mod mllp;
pub mod oru;
pub mod sender;
