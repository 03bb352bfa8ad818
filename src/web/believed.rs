//! An answer that anybody may ask for and that costs something: found out for one caller at a time, and believed for a
//! moment by all others.

use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// Shorter than any monitoring looks again.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

pub struct Believed<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Believed<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Believed<T> {
    /// What is known, or else what `find_out` says. Whoever comes meanwhile waits for that; where its caller hangs up, the
    /// next one finds out.
    pub async fn get(&self, find_out: impl Future<Output = T>) -> T {
        let mut known = self.0.lock().await;
        if let Some((since, answer)) = &*known
            && since.elapsed() < BELIEVED_FOR
        {
            return answer.clone();
        }
        let answer = find_out.await;
        *known = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_crowd_asks_once_and_later_again() {
        let (asked, believed) = (AtomicUsize::new(0), Believed::default());
        let find_out = || async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            asked.fetch_add(1, Ordering::Relaxed)
        };
        let all = futures_util::future::join_all((0..1_000).map(|_| believed.get(find_out()))).await;
        assert!(all.iter().all(|answer| *answer == 0));
        tokio::time::sleep(BELIEVED_FOR).await;
        assert_eq!(believed.get(find_out()).await, 1);
    }
}
