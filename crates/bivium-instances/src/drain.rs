//! [`drain`]: how calls end when their plugin is unloaded.

use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

/// How long running calls may take to end by themselves when their plugin is unloaded.
pub const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How long cancelled calls may take to end.
const STOP_TIME: Duration = Duration::from_secs(1);

/// Waits for `time` until the calls have `ended`; then cancels them and waits at most one more second. `None` if some have not
/// ended even then.
pub async fn drain<T>(ended: impl Future<Output = T>, time: Duration, cancel: impl FnOnce()) -> Option<T> {
    let mut ended = pin!(ended);
    if let Ok(ended) = timeout(time, &mut ended).await {
        return Some(ended);
    }
    cancel();
    timeout(time.min(STOP_TIME), ended).await.ok()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_cancelled_after_the_time_and_abandoned_a_second_later() {
        assert_eq!(drain(async { 7 }, DRAIN_TIME, || panic!("nothing runs")).await, Some(7));

        let begun = Instant::now();
        let (cancel, cancelled) = oneshot::channel();
        let ended = drain(cancelled, DRAIN_TIME, || cancel.send(7).unwrap()).await;
        assert_eq!((ended, begun.elapsed()), (Some(Ok(7)), DRAIN_TIME));

        let begun = Instant::now();
        let ended = drain(std::future::pending::<()>(), DRAIN_TIME, || {}).await;
        assert_eq!((ended, begun.elapsed()), (None, DRAIN_TIME + STOP_TIME));
    }
}
