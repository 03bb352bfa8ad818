//! (file ack)
