//! [`PooledPlugin`]: `PluginInterface` over a pool.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bivium_interface::{
    Call, CallHandle, ErrorCode, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Result, Stats,
};
use futures_util::StreamExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::pool::{Lease, Pool};
use crate::stream::HeldStream;
use crate::{Instance, InstanceFactory};

/// A plugin that runs on the instances which a factory makes.
pub struct PooledPlugin<F: InstanceFactory> {
    pool: Arc<Pool<F>>,
    counters: Arc<Counters>,
    /// Cancelled at the end; every running call is tied to it.
    ending: CancellationToken,
    drain: Duration,
}

#[derive(Default)]
struct Counters {
    begun: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    busy_us: AtomicU64,
}

/// Counts a call as running while it lives, and how it ended: one that is dropped before its end was cancelled.
struct Running<C: Deref<Target = Counters>> {
    counters: C,
    since: Instant,
    ended: Option<Result<(), ErrorCode>>,
}

impl<C: Deref<Target = Counters>> Running<C> {
    fn new(counters: C) -> Self {
        counters.begun.fetch_add(1, Ordering::Relaxed);
        Self { counters, since: Instant::now(), ended: None }
    }

    fn end<T>(&mut self, result: &Result<T>) {
        self.ended = Some(result.as_ref().map(|_| ()).map_err(PluginError::code));
    }
}

impl<C: Deref<Target = Counters>> Drop for Running<C> {
    fn drop(&mut self) {
        match self.ended {
            Some(Ok(())) => {}
            None | Some(Err(ErrorCode::Cancelled)) => _ = self.counters.cancelled.fetch_add(1, Ordering::Relaxed),
            Some(Err(_)) => _ = self.counters.failed.fetch_add(1, Ordering::Relaxed),
        }
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.busy_us.fetch_add(micros, Ordering::Relaxed);
        self.counters.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl<F: InstanceFactory> PooledPlugin<F> {
    /// How long running calls get at [`cleanup`](PluginInterface::cleanup) before they are cancelled, unless
    /// [`drain`](Self::drain) says otherwise.
    pub const DRAIN: Duration = Duration::from_secs(5);

    /// How long cancelled calls get to end before their instances end under them.
    const STOP: Duration = Duration::from_secs(1);

    /// A plugin without instances; the first is made by `initialize` or by the first call.
    #[must_use]
    pub fn new(factory: F) -> Self {
        Self {
            pool: Arc::new(Pool::new(factory)),
            counters: Arc::default(),
            ending: CancellationToken::new(),
            drain: Self::DRAIN,
        }
    }

    /// Gives running calls another time to end at `cleanup`.
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// The factory, for what it knows of the plugin.
    pub fn factory(&self) -> &F {
        self.pool.factory()
    }

    fn name_error(&self, call: Option<&CallHandle>) -> impl Fn(PluginError) -> PluginError + Send + Sync + 'static {
        let (name, call) = (self.factory().name().to_owned(), call.map(CallHandle::id));
        move |error| {
            let error = error.with_plugin(name.as_str());
            match call {
                Some(call) => error.with_call(call),
                None => error,
            }
        }
    }

    async fn question(&self) -> Result<Lease<F>> {
        self.pool.lease_for_question().await.map_err(self.name_error(None))
    }

    /// Runs `work` under the call, or until the plugin ends.
    async fn until_ending<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.ending.cancelled() => Err(unloading()),
        }
    }
}

#[async_trait]
impl<F: InstanceFactory> PluginInterface for PooledPlugin<F> {
    fn name(&self) -> &str {
        self.factory().name()
    }

    fn version(&self) -> &str {
        self.factory().version()
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        self.pool.configure(config).await.map_err(self.name_error(None))
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        let handle = call.handle().clone();
        let run = async {
            let lease = self.pool.lease(&handle).await?;
            let mut running = Running::new(&*self.counters);
            let result = lease.instance().execute(call).await;
            running.end(&result);
            drop(running);
            lease.end().await;
            result
        };
        match self.until_ending(run).await {
            Ok(payload) => Ok(payload),
            Err(error) => Err(self.name_error(Some(&handle))(error)),
        }
    }

    async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
        let named = self.name_error(Some(call.handle()));
        let handle = call.handle().clone();
        let start = async {
            let lease = self.pool.lease(&handle).await?;
            let mut running = Running::new(Arc::clone(&self.counters));
            let stream = Arc::clone(lease.instance()).execute_stream(call).await;
            if stream.is_err() {
                running.end(&stream);
            }
            Ok((stream?, lease, running))
        };
        let (stream, lease, mut running) = self.until_ending(start).await.map_err(&named)?;
        let ended = move |outcome: &Result<()>| running.end(outcome);
        let held = HeldStream::new(stream, self.ending.clone(), lease, ended);
        Ok(Box::pin(held.map(move |item| item.map_err(&named))))
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        self.question().await?.instance().methods().await.map_err(self.name_error(None))
    }

    async fn config_schema(&self) -> Result<Value> {
        self.question().await?.instance().config_schema().await.map_err(self.name_error(None))
    }

    async fn current_config(&self) -> Result<Value> {
        self.question().await?.instance().current_config().await.map_err(self.name_error(None))
    }

    async fn stats(&self) -> Result<Stats> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Read first, so that no call that begins meanwhile ends before it began.
        let ended = count(&self.counters.ended);
        let mut stats = Stats {
            calls: ended,
            failed: count(&self.counters.failed),
            cancelled: count(&self.counters.cancelled),
            running: count(&self.counters.begun).saturating_sub(ended),
            busy_s: Duration::from_micros(count(&self.counters.busy_us)).as_secs_f64(),
            ..Stats::default()
        };
        self.pool.tell(&mut stats);
        Ok(stats)
    }

    async fn is_alive(&self) -> bool {
        !self.pool.is_closed()
    }

    async fn cleanup(&self) -> Result<()> {
        if self.pool.is_closed() {
            return Ok(());
        }
        // Held across the end, so that no call that waits begins in between.
        let mut drained = tokio::time::timeout(self.drain, self.pool.drained()).await;
        if drained.is_err() {
            self.ending.cancel();
            // Those that do not end by themselves end with their instance.
            drained = tokio::time::timeout(self.drain.min(Self::STOP), self.pool.drained()).await;
        }
        self.pool.close().await;
        drop(drained);
        Ok(())
    }
}

/// The error of a call whose plugin ends under it.
pub(crate) fn unloading() -> PluginError {
    PluginError::cancelled("the call was cancelled: its plugin is being unloaded")
}

impl<F: InstanceFactory> Drop for PooledPlugin<F> {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}
