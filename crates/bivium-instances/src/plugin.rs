//! [`PooledPlugin`]: implements `PluginInterface` with a pool of instances.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bivium_interface::{Call, CallId, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Result, Stats};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::drain::{DRAIN_TIME, drain};
use crate::instance::{Instance, InstanceFactory};
use crate::pool::{Lease, Pool, PoolRef};

/// A plugin that runs on the instances of a factory.
pub struct PooledPlugin<F: InstanceFactory> {
    pool: Arc<Pool<F>>,
    /// Cancelled when the plugin ends, which stops every running call.
    ending: CancellationToken,
    drain: Duration,
}

impl<F: InstanceFactory> PooledPlugin<F> {
    /// A plugin without instances; the first is made by `initialize` or by the first call.
    #[must_use]
    pub fn new(factory: F) -> Self {
        Self { pool: Pool::new(factory), ending: CancellationToken::new(), drain: DRAIN_TIME }
    }

    /// Sets how long running calls may take to end at [`cleanup`](PluginInterface::cleanup) before they are cancelled, in place of
    /// [`DRAIN_TIME`].
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Self {
        self.drain = time;
        self
    }

    /// The factory of its instances.
    pub fn factory(&self) -> &F {
        self.pool.factory()
    }

    fn name_error(&self) -> impl Fn(PluginError) -> PluginError {
        |error| error.with_plugin(self.factory().name())
    }

    async fn question(&self) -> Result<Lease<'_, F>> {
        self.pool.lease_for_question().await.map_err(self.name_error())
    }

    /// Runs `work`, or until the plugin ends.
    async fn until_ending<T>(&self, mut work: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
        let mut ending = None;
        poll_fn(|cx| {
            // The work is polled first: most of it ends at its first poll, and then needs no waker.
            if let Poll::Ready(result) = work.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            let ending = ending.get_or_insert_with(|| Box::pin(self.ending.cancelled()));
            ending.as_mut().poll(cx).map(|()| Err(PluginError::unloading()))
        })
        .await
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
        self.pool.configure(config).await.map_err(self.name_error())
    }

    // Not an `async fn`, which would store the call twice.
    fn execute<'a, 'b>(&'a self, mut call: Call) -> BoxFuture<'b, Result<Payload>>
    where
        'a: 'b,
    {
        Box::pin(async move {
            let id = call.id();
            let work = pin!(async {
                let admit = call.take_admit();
                let lease = match self.pool.try_lease(admit.as_deref()) {
                    Some(lease) => lease,
                    // Rare and large: boxed, so that the future of all other calls stays small.
                    None => {
                        Box::pin(Pool::lease(PoolRef::Borrowed(&self.pool), call.handle(), admit.as_deref())).await?
                    }
                };
                let result = lease.instance.execute(&mut call).await;
                lease.end(&result).await;
                result
            });
            let result = self.until_ending(work).await;
            result.map_err(|error| self.name_error()(error).with_call(id))
        })
    }

    async fn execute_stream(&self, mut call: Call) -> Result<PayloadStream> {
        let (id, handle, admit) = (call.id(), call.handle().clone(), call.take_admit());
        let work = pin!(async {
            let mut lease =
                Pool::lease(PoolRef::Owned(Arc::clone(&self.pool)), call.handle(), admit.as_deref()).await?;
            let stream = Arc::clone(&lease.instance).execute_stream(call).await;
            if stream.is_err() {
                lease.note(&stream);
            }
            Ok((stream?, lease))
        });
        let started = self.until_ending(work).await;
        let (stream, mut lease) = started.map_err(|error| self.name_error()(error).with_call(id))?;
        let at_end = move |outcome: Result<()>| {
            lease.note(&outcome);
            outcome.map_err(|error| error.with_plugin(lease.hold.pool.factory().name()).with_call(id))
        };
        Ok(stream.bound(&handle, &self.ending, at_end))
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        self.question().await?.instance.methods().await.map_err(self.name_error())
    }

    async fn config_schema(&self) -> Result<Value> {
        self.question().await?.instance.config_schema().await.map_err(self.name_error())
    }

    async fn current_config(&self) -> Result<Value> {
        self.question().await?.instance.current_config().await.map_err(self.name_error())
    }

    async fn stats(&self) -> Result<Stats> {
        self.pool.stats().await.map_err(self.name_error())
    }

    fn position(&self, call: CallId) -> Option<usize> {
        self.pool.position(call)
    }

    async fn is_alive(&self) -> bool {
        !self.pool.is_closed()
    }

    async fn cleanup(&self) -> Result<()> {
        if self.pool.is_closed() {
            return Ok(());
        }
        // Held until the end, so that no waiting call begins in between. Calls that do not end by themselves end with their
        // instance.
        let drained = drain(self.pool.drained(), self.drain, || self.ending.cancel()).await;
        self.pool.close().await;
        drop(drained);
        Ok(())
    }
}

impl<F: InstanceFactory> Drop for PooledPlugin<F> {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}
