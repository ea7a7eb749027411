//! One worker: a process with a plugin's object, an instance of the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bivium_instances::Instance;
use bivium_instances::document::Pace;
use bivium_interface::{Call, CallId, InstanceStats, MethodInfo, Payload, PayloadStream, PluginError, Result};
use hyper::Method;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::call::in_flight::{InFlight, Lent};
use crate::call::payload::{Encoded, encode};
use crate::call::shared::Shared;
use crate::call::stream::Events;
use crate::call::time::Time;
use crate::process::GuardChannel;
use crate::process::ending::EndReason;
use crate::process::usage::Meter;
use crate::wire::answer::{Answer, decode, is_long};
use crate::wire::{HookRequest, Methods, Reply};

/// How long a plugin's `cleanup` may take, including the calls that still run.
const CLEANUP_TIME: Duration = Duration::from_secs(5);

/// How long a worker may take to exit after its `cleanup`.
const EXIT_TIME: Duration = Duration::from_secs(2);

/// How long it may take until all processes of a worker have ended after it is told to end at once. Its guard needs some 20 ms; if the
/// guard hangs, the host ends them, which takes longer.
const END_TIME: Duration = Duration::from_secs(5);

/// How many methods of a plugin are returned. A worker itself sends no more, unless its plugin has taken it over.
const MOST_METHODS: usize = 1000;

/// Ends the worker when it is dropped: at any point during its start, and later.
#[derive(Debug)]
pub(crate) struct EndOnDrop(pub(crate) Arc<GuardChannel>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// A worker that is ready for calls.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    meter: Meter,
    /// One permit for each call that it may run; a call that is being stopped still has its permit.
    places: Arc<Semaphore>,
    concurrency: u32,
    calls: AtomicU64,
    born: Instant,
    /// Whether it takes no more calls; those that run go on.
    retired: AtomicBool,
    /// Whether its plugin has a method that releases its GPU memory.
    releases: bool,
    _end_on_drop: EndOnDrop,
}

/// The method that releases a plugin's GPU memory.
const RELEASE: &str = "release";

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, guard: u32, concurrency: u32, end_on_drop: EndOnDrop) -> Self {
        let places = Arc::new(Semaphore::new(concurrency as usize));
        Self {
            shared,
            meter: Meter::new(guard),
            places,
            concurrency,
            calls: AtomicU64::new(0),
            born: Instant::now(),
            retired: AtomicBool::new(false),
            releases: false,
            _end_on_drop: end_on_drop,
        }
    }

    /// Finds out whether its plugin can release its GPU memory: by a method `release` that needs no argument.
    pub(crate) async fn find_release(&mut self) -> Result<()> {
        let needs_nothing = |method: &MethodInfo| {
            let required = method.parameters.as_ref().and_then(|parameters| parameters.get("required")?.as_array());
            required.is_none_or(Vec::is_empty)
        };
        let methods = self.methods().await?;
        self.releases = methods.iter().any(|method| method.name == RELEASE && needs_nothing(method));
        Ok(())
    }

    fn runs(&self) -> bool {
        !self.shared.is_ending() && self.shared.state.ending.borrow().is_none()
    }

    /// A place for one more call: at once, unless a call that nobody waits for has not ended yet.
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let free = Arc::clone(&self.places).acquire_owned();
                free.await.map_err(|_| PluginError::internal("a worker's semaphore was closed"))?
            }
        };
        if self.runs() { Ok(place) } else { Err(self.shared.crashed("before the call could begin").await) }
    }

    async fn begin(&self, call: &mut Call, path: &str, unary: bool) -> Result<InFlight> {
        let shown = self.shared.show(&call.blobs).await?;
        let Shared { limits, exchange, window, .. } = &*self.shared;
        let Encoded { body, spilled } = encode(call, &shown, unary, *limits, exchange, window.as_ref()).await?;
        let place = self.place().await?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let request = self.shared.client.request(Method::POST, path, body);
        let lent = Lent { blobs: call.blobs.clone(), _shown: shown, _request: spilled };
        InFlight::begin(&self.shared, call.id(), Pace::of(call.handle()), place, lent, request).await
    }

    async fn unary(&self, in_flight: &mut InFlight) -> Result<Payload> {
        if !in_flight.head().await?.is_success() {
            return Err(in_flight.error().await);
        }
        let body = in_flight.body().await?;
        let is_long = is_long(&body);
        let limits = self.shared.limits.document;
        let reply: Reply = match decode(body, Answer::Result, limits, in_flight.pace()).await {
            Ok(reply) => reply,
            Err(error) => return in_flight.unreadable(error),
        };
        in_flight.receive(reply, is_long).await
    }

    /// Sends the plugin a request that is not a call of the user.
    async fn ask(&self, method: Method, path: &str, config: Option<&Value>) -> Result<Value> {
        let call = CallId::next();
        let (path, body) = match method {
            Method::GET => (format!("{path}?call={call}"), Vec::new()),
            _ => {
                let request = HookRequest { call, config };
                let body = serde_json::to_vec(&request).map_err(|error| PluginError::internal(error.to_string()))?;
                (path.to_owned(), body)
            }
        };
        let place = self.place().await?;
        let request = self.shared.client.request(method, &path, body);
        let mut in_flight =
            InFlight::begin(&self.shared, call, Pace::endless(), place, Lent::default(), request).await?;
        self.unary(&mut in_flight).await.map(|payload| payload.json)
    }
}

impl Instance for Worker {
    async fn initialize(&self, config: &Value) -> Result<()> {
        self.ask(Method::POST, "/initialize", Some(config)).await.map(drop)
    }

    async fn execute(&self, call: &mut Call) -> Result<Payload> {
        let (handle, mut time) = (call.handle().clone(), Time::new(self.shared.limits));
        if handle.has_listener() {
            let mut events = Events::new(handle.guard(self.begin(call, "/execute_stream", true)).await?, call);
            return match time.spend(&handle, events.only()).await {
                Ok(result) => result,
                Err(interrupted) => Err(events.stop().await.explain(interrupted)),
            };
        }
        let mut in_flight = handle.guard(self.begin(call, "/execute", false)).await?;
        match time.spend(&handle, self.unary(&mut in_flight)).await {
            Ok(result) => result,
            Err(interrupted) => Err(in_flight.stop().await.explain(interrupted)),
        }
    }

    async fn execute_stream(self: Arc<Self>, mut call: Call) -> Result<PayloadStream> {
        let handle = call.handle().clone();
        let in_flight = handle.guard(self.begin(&mut call, "/execute_stream", false)).await?;
        Ok(Events::new(in_flight, &call).into_stream())
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        let mut methods = self.shared.client.control::<Methods>(Method::GET, "/methods").await?.methods;
        methods.truncate(MOST_METHODS);
        Ok(methods)
    }

    async fn config_schema(&self) -> Result<Value> {
        self.ask(Method::GET, "/config_schema", None).await
    }

    async fn current_config(&self) -> Result<Value> {
        self.ask(Method::GET, "/config", None).await
    }

    fn is_alive(&self) -> bool {
        self.runs() && !self.retired.load(Ordering::Relaxed)
    }

    fn is_fit(&self) -> bool {
        let Shared { area, window, .. } = &*self.shared;
        if area.is_there() && window.as_ref().is_none_or(|window| window.is_there()) {
            return true;
        }
        // It cannot be repaired: the directories that a confined worker may write to are fixed when it starts.
        if !self.retired.swap(true, Ordering::Relaxed) {
            let path = area.path().display();
            tracing::warn!(
                pid = self.shared.pid,
                "the worker's directory {path} was removed; another worker replaces it"
            );
        }
        false
    }

    fn can_release(&self) -> bool {
        self.releases
    }

    async fn release(&self) -> Result<()> {
        self.execute(&mut Call::new().method(RELEASE)).await.map(drop)
    }

    fn crash(&self) -> Option<PluginError> {
        // A reason that the host recorded after the end is not why it ended.
        let because = match self.shared.ending() {
            Some(ending) if ending.because.is_none() => return Some(ending.error("and has to be started again")),
            Some(ending) => ending.because,
            None => self.shared.state.because.get().copied(),
        };
        let own_fault = because.filter(|because| *because == EndReason::BrokeProtocol)?;
        Some(PluginError::protocol(format!("the host ended the worker: {own_fault}")))
    }

    async fn close(&self) {
        let in_order = async {
            // After the calls that still run.
            let all = Arc::clone(&self.places).acquire_many_owned(self.concurrency).await;
            drop(all);
            self.ask(Method::POST, "/cleanup", None).await
        };
        if self.runs() {
            match tokio::time::timeout(CLEANUP_TIME, in_order).await {
                Ok(Ok(_)) => {
                    // It then exits by itself, so that `atexit` handlers run.
                    let _ = tokio::time::timeout(EXIT_TIME, self.shared.ended()).await;
                }
                Ok(Err(error)) => tracing::warn!(%error, "a plugin's cleanup failed"),
                Err(_) => tracing::warn!(pid = self.shared.pid, "a plugin's cleanup took too long"),
            }
        }
        self.shared.end(EndReason::NotNeeded);
        let _ = tokio::time::timeout(END_TIME, self.shared.ended()).await;
    }

    fn stats(&self) -> InstanceStats {
        let usage = self.meter.look();
        let mut stats = InstanceStats::default();
        stats.id = u64::from(self.shared.pid);
        stats.memory_bytes = usage.memory_bytes;
        stats.cpu_percent = usage.cpu_percent;
        stats.pids = usage.pids;
        stats.calls = self.calls.load(Ordering::Relaxed);
        stats.age_s = self.born.elapsed().as_secs_f64();
        stats
    }
}
