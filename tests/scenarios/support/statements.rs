//! The statements that a node really sends, heard where the database driver logs them. Scenarios that run beside the one
//! that listens are heard too.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, Once,
        atomic::{AtomicBool, Ordering},
    },
};
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

/// What came of `work`, and every statement that was sent meanwhile, with how often it was. One scenario listens at a time.
pub async fn heard<T>(work: impl Future<Output = T>) -> (T, BTreeMap<String, usize>) {
    static FIRST: Once = Once::new();
    static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    FIRST.call_once(|| tracing::subscriber::set_global_default(Listener).expect("nobody else listens to the logs"));
    let _alone = ONE.lock().await;
    LISTENING.store(true, Ordering::Relaxed);
    let done = work.await;
    LISTENING.store(false, Ordering::Relaxed);
    (done, std::mem::take(&mut *HEARD.lock().expect("heard")))
}

static LISTENING: AtomicBool = AtomicBool::new(false);
static HEARD: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

/// Hears the statements that the database driver logs, while it is to.
struct Listener;

impl Subscriber for Listener {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == "sqlx::query" { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query" && LISTENING.load(Ordering::Relaxed)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        let text = if statement.whole.is_empty() { statement.summary } else { statement.whole };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        *HEARD.lock().expect("heard").entry(text).or_default() += 1;
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Statement {
    summary: String,
    whole: String,
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
