//! (file amqp)
