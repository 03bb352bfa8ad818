//! Two ways to carry an envelope to a worker, one behaviour: `memory` and `amqp`.

pub mod amqp;
pub mod envelope;
pub mod memory;
