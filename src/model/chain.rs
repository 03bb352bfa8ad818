//! The whole chain of an error as one line, for the one place where it is handled.

use std::error::Error;

/// `outermost: its cause: the cause's cause`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
