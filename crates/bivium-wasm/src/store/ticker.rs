//! The ticker: one thread that advances the engine's epoch while guests run, so that a guest that computes without end yields to others,
//! notices its cancellation and is stopped at its deadline. It sleeps while no guest runs.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bivium_interface::{PluginError, Result};
use wasmtime::{Engine, EngineWeak};

/// How long a guest computes before it yields. Short compared to the 50 ms within which a cancelled call must end, long compared to a
/// yield (about a microsecond).
const TICK: Duration = Duration::from_millis(5);

/// The same while cancelled guests have their grace time, within which many of them must get a turn.
const SHORT_TICK: Duration = Duration::from_millis(1);

/// Ticks after which a running guest yields.
pub(crate) const TICKS_TO_YIELD: u64 = 1;

/// The thread sleeps after so many ticks in which no guest ran, so that a host that is called all the time rarely wakes it.
const IDLE_TICKS: u32 = 20;

/// The number of counters of running guests. Different threads usually write different ones.
const SHARDS: usize = 16;

/// The ticker of one engine. Its thread ends when this is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    engine: EngineWeak,
}

struct Shared {
    running: [Shard; SHARDS],
    /// Whether the thread sleeps, or is about to.
    asleep: AtomicBool,
    /// Until when ticks are short, in milliseconds since `begun`.
    short_until: AtomicU64,
    begun: Instant,
    ended: AtomicBool,
    thread: OnceLock<Thread>,
}

#[derive(Default)]
#[repr(align(64))]
struct Shard(AtomicU32);

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: &Engine) -> Result<Self> {
        let shared = Arc::new(Shared {
            running: Default::default(),
            asleep: AtomicBool::new(false),
            short_until: AtomicU64::new(0),
            begun: Instant::now(),
            ended: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let (ticks, weak, engine) = (Arc::clone(&shared), engine.weak(), engine.weak());
        let tick = move || ticks.run(|| engine.upgrade().map(|engine| engine.increment_epoch()).is_some());
        let spawned = thread::Builder::new().name("bivium-wasm-tick".to_owned()).spawn(tick);
        let spawned =
            spawned.map_err(|error| PluginError::internal(format!("cannot start the ticker thread: {error}")))?;
        shared.thread.get_or_init(|| spawned.thread().clone());
        Ok(Self { shared, engine: weak })
    }

    /// Must be called whenever a guest gets a thread; the guest counts as running until the returned value is dropped. The engine ticks
    /// meanwhile.
    pub(crate) fn running(&self) -> Running<'_> {
        let shard = self.shared.shard();
        // Ordered with `asleep`: either the thread sees this guest before it sleeps, or this sees that the thread sleeps.
        shard.0.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.shared.wake();
        }
        Running(shard)
    }

    /// Makes all running guests yield now, which costs each a microsecond.
    pub(crate) fn tick(&self) {
        if let Some(engine) = self.engine.upgrade() {
            (0..TICKS_TO_YIELD).for_each(|_| engine.increment_epoch());
        }
    }

    /// Makes all running guests yield often for this time.
    pub(crate) fn tick_fast(&self, time: Duration) {
        let until = self.shared.begun.elapsed() + time;
        self.shared.short_until.fetch_max(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.shared.wake();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

/// Marks a guest as running, until it is dropped.
pub(crate) struct Running<'a>(&'a Shard);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Shared {
    fn shard(&self) -> &Shard {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        thread_local! {
            static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) as usize % SHARDS;
        }
        let [first, ..] = &self.running;
        OWN.with(|own| self.running.get(*own)).unwrap_or(first)
    }

    fn is_any_running(&self) -> bool {
        self.running.iter().any(|shard| shard.0.load(Ordering::SeqCst) > 0)
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn tick(&self) -> Duration {
        let short = u128::from(self.short_until.load(Ordering::SeqCst)) > self.begun.elapsed().as_millis();
        if short { SHORT_TICK } else { TICK }
    }

    /// Ticks until the engine is gone.
    fn run(&self, mut advance: impl FnMut() -> bool) {
        let mut idle = 0;
        while !self.ended.load(Ordering::SeqCst) {
            thread::park_timeout(self.tick());
            if !advance() {
                return;
            }
            idle = if self.is_any_running() { 0 } else { idle + 1 };
            if idle >= IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
        }
    }

    /// Sleeps until a guest runs.
    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while !self.is_any_running() && !self.ended.load(Ordering::SeqCst) {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}
