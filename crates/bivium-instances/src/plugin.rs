//! [`PooledPlugin`]: `PluginInterface` over a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bivium_interface::{
    Call, CallHandle, ErrorCode, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Result, Stats,
};
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
    calls: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    running: AtomicU64,
    busy_us: AtomicU64,
}

/// Counts a call as running while it lives, and how it ended.
struct Running {
    counters: Arc<Counters>,
    since: Instant,
}

impl Running {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.running.fetch_add(1, Ordering::Relaxed);
        Self { counters: Arc::clone(counters), since: Instant::now() }
    }

    fn count(&self, code: Option<ErrorCode>) {
        match code {
            None => {}
            Some(ErrorCode::Cancelled) => _ = self.counters.cancelled.fetch_add(1, Ordering::Relaxed),
            Some(_) => _ = self.counters.failed.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.busy_us.fetch_add(micros, Ordering::Relaxed);
        self.counters.calls.fetch_add(1, Ordering::Relaxed);
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<F: InstanceFactory> PooledPlugin<F> {
    /// How long running calls get at [`cleanup`](PluginInterface::cleanup) before they are cancelled, and how long
    /// they get after that before their instances end under them, unless [`drain`](Self::drain) says otherwise.
    pub const DRAIN: Duration = Duration::from_secs(5);

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
            () = self.ending.cancelled() => Err(PluginError::cancelled("the call was cancelled: its plugin is being unloaded")),
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
            let running = Running::new(&self.counters);
            let result = lease.instance().execute(call).await;
            running.count(result.as_ref().err().map(PluginError::code));
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
            let running = Running::new(&self.counters);
            let stream = Arc::clone(lease.instance()).execute_stream(call).await;
            if let Err(error) = &stream {
                running.count(Some(error.code()));
            }
            Ok((stream?, lease, running))
        };
        let (stream, lease, running) = self.until_ending(start).await.map_err(&named)?;
        let stream = futures_util::StreamExt::map(stream, move |item| item.map_err(&named));
        let held = HeldStream::new(Box::pin(stream), lease, move |outcome: Option<&Result<()>>| match outcome {
            Some(Ok(())) => running.count(None),
            Some(Err(error)) => running.count(Some(error.code())),
            None => running.count(Some(ErrorCode::Cancelled)),
        });
        Ok(Box::pin(held))
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
        let (instances, restarts) = self.pool.instances();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Stats {
            calls: count(&self.counters.calls),
            failed: count(&self.counters.failed),
            cancelled: count(&self.counters.cancelled),
            running: count(&self.counters.running),
            waiting: count(&self.pool.waiting),
            busy_s: Duration::from_micros(count(&self.counters.busy_us)).as_secs_f64(),
            restarts,
            instances: instances.iter().map(|instance| instance.stats()).collect(),
        })
    }

    async fn is_alive(&self) -> bool {
        !self.pool.is_closed()
    }

    async fn cleanup(&self) -> Result<()> {
        if self.pool.is_closed() {
            return Ok(());
        }
        if tokio::time::timeout(self.drain, self.pool.drained()).await.is_err() {
            self.ending.cancel();
            // Those that do not end by themselves end with their instance.
            let _ = tokio::time::timeout(self.drain, self.pool.drained()).await;
        }
        self.pool.close().await;
        Ok(())
    }
}

impl<F: InstanceFactory> Drop for PooledPlugin<F> {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}
