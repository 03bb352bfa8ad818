//! A thread and a small runtime for each association, and for each request that stores over HTTP.
//!
//! An association has nothing to do while its instance is synced, so the handler may as well do that itself: on a
//! thread of its own a small instance costs two waits (socket, disk) instead of six hand-overs between threads. Measured
//! on two cores, 36 KB instances: see `benches/`. What may be open at once bounds the threads.

use std::thread;
use tokio::{runtime::Builder, sync::oneshot};

/// Our deepest calls are the header scanner and SHA-256, neither of which recurses.
const STACK_BYTES: usize = 1 << 20;

/// Runs `work` to its end on a new thread. The work cannot be dropped half way: it ends by its own bounds.
pub async fn run<F>(work: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let (ended, end) = oneshot::channel();
    let started = thread::Builder::new().name("association".into()).stack_size(STACK_BYTES).spawn(move || {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(work()),
            Err(error) => tracing::error!(%error, "association dropped: no runtime for it; too many open files?"),
        }
        // Whoever waited may have stopped waiting.
        let _ = ended.send(());
    });
    match started {
        Ok(_) if end.await.is_err() => tracing::error!("an association ended by a panic"),
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "association dropped: no thread for it"),
    }
}
