//! Right of way: while stat images are under way to a partner, its other images wait.
//!
//! They share the partner's line, and a line that is shared is slower for all. So routine batches end after the instance they
//! are in, and give their association back; a slide, of which nobody can send one half now and the other later, goes on by a
//! piece from time to time, so that its receiver does not give up. Nothing waits for ever: after [`PATIENCE`] a batch goes all
//! the same, and a slide that is under way gives way to nobody any more. In the memory of this process only: what waits is owed, or on the queue.

use crate::dicom::scu::DataSource;
use bytes::BytesMut;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

/// The next batch of a study that is still being scanned may be this far off.
const LINGER: Duration = Duration::from_secs(2);
/// Less than an envelope may stay on the queue.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// Between two pieces of a slide that gives way, at most: receivers wait for half a minute and more.
const TRICKLE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Default)]
struct Stat {
    under_way: usize,
    /// When the last one ended.
    ended: Option<Instant>,
}

/// One partner's way.
#[derive(Debug)]
pub struct Way {
    stat: watch::Sender<Stat>,
    linger: Duration,
    patience: Duration,
}

/// Stat images under way, until dropped.
pub struct Going(Arc<Way>);

impl Way {
    pub fn new() -> Arc<Self> {
        Self::with(LINGER, PATIENCE)
    }

    fn with(linger: Duration, patience: Duration) -> Arc<Self> {
        Arc::new(Self { stat: watch::Sender::new(Stat::default()), linger, patience })
    }

    pub fn go(self: &Arc<Self>) -> Going {
        self.stat.send_modify(|stat| stat.under_way += 1);
        Going(Arc::clone(self))
    }

    /// How long the way is still taken; `None`: nobody can say. Zero: it is free.
    fn remains(&self, stat: Stat, now: Instant) -> Option<Duration> {
        if stat.under_way > 0 {
            return None;
        }
        let until = stat.ended.map(|ended| ended + self.linger);
        Some(until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now)))
    }

    pub fn is_taken(&self) -> bool {
        self.remains(*self.stat.borrow(), Instant::now()) != Some(Duration::ZERO)
    }

    /// Waits until the way is free. False: it has not become free for so long that whoever waits goes all the same.
    pub async fn free(&self) -> bool {
        timeout(self.patience, self.until_free()).await.is_ok()
    }

    async fn until_free(&self) {
        let mut changes = self.stat.subscribe();
        loop {
            let stat = *changes.borrow_and_update();
            let now = Instant::now();
            match self.remains(stat, now) {
                Some(Duration::ZERO) => return,
                Some(rest) => tokio::select! {
                    () = sleep_until(now + rest) => {}
                    _ = changes.changed() => {}
                },
                None => _ = changes.changed().await,
            }
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.stat.send_modify(|stat| {
            stat.under_way = stat.under_way.saturating_sub(1);
            stat.ended = Some(Instant::now());
        });
    }
}

/// A slide's bytes, which give way piece by piece.
pub struct Giving<'w, S> {
    pub source: S,
    /// `None`: it gives way to nobody.
    way: Option<&'w Way>,
    /// The wire waits no longer than this for a piece.
    response: Duration,
    /// How long it still gives way, all times together: its receiver waits for it, and its reader.
    left: Duration,
}

impl<'w, S> Giving<'w, S> {
    pub fn new(source: S, way: Option<&'w Way>, response: Duration) -> Self {
        Self { source, way, response, left: way.map_or(Duration::ZERO, |way| way.patience) }
    }
}

impl<S: DataSource> DataSource for Giving<'_, S> {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        if let Some(way) = self.way.filter(|way| !self.left.is_zero() && way.is_taken()) {
            let since = Instant::now();
            tokio::select! {
                () = way.until_free() => {}
                () = sleep(TRICKLE.min(self.response / 2)) => {}
            }
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.source.read(into, at_most).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_way_is_taken_until_a_moment_after_the_last() {
        let way = Way::with(SHORT, LONG);
        assert!(!way.is_taken());
        let (one, two) = (way.go(), way.go());
        drop(one);
        assert!(way.is_taken());
        let waiting = tokio::spawn({
            let way = Arc::clone(&way);
            async move { (way.free().await, Instant::now()) }
        });
        tokio::time::sleep(SHORT).await;
        let ended = Instant::now();
        drop(two);
        assert!(way.is_taken(), "more may come");
        let (free, at) = waiting.await.unwrap();
        assert!(free && at >= ended + SHORT, "{:?}", at - ended);
        assert!(!way.is_taken());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let way = Way::with(LONG, SHORT);
        let _going = way.go();
        assert!(!way.free().await);
    }

    struct Endless;

    impl DataSource for Endless {
        async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
            into.resize(into.len() + at_most, 0);
            Ok(at_most)
        }
    }

    #[tokio::test]
    async fn a_slide_goes_on_by_a_piece_before_the_wire_gives_up() {
        let (way, begun) = (Way::with(LONG, LONG), Instant::now());
        let mut slide = Giving::new(Endless, Some(&way), SHORT);
        let mut piece = BytesMut::new();
        let _going = way.go();
        for _ in 0..3 {
            assert_eq!(slide.read(&mut piece, 10).await.unwrap(), 10);
        }
        assert!(begun.elapsed() >= SHORT * 3 / 2 && begun.elapsed() < LONG, "{:?}", begun.elapsed());
        let before = begun.elapsed();
        Giving::new(Endless, None, LONG).read(&mut piece, 10).await.unwrap();
        assert!(begun.elapsed() - before < SHORT * 10);
    }

    #[tokio::test]
    async fn a_slide_does_not_give_way_for_ever() {
        let way = Way::with(LONG, SHORT * 2);
        let _going = way.go();
        let (mut slide, begun) = (Giving::new(Endless, Some(&way), SHORT), Instant::now());
        let mut piece = BytesMut::new();
        for _ in 0..1_000 {
            slide.read(&mut piece, 10).await.unwrap();
        }
        assert!(begun.elapsed() >= SHORT * 2 && begun.elapsed() < SHORT * 40, "{:?}", begun.elapsed());
    }
}
