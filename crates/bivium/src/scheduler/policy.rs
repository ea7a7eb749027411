//! The three schedulers: start every call, refuse calls that do not fit, or let them wait.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bivium_instances::Devices;
use bivium_interface::{CallHandle, PluginError, Result};

use super::devices::{GpuDevices, Gpus, Patience};
use super::ledger::{Ledger, Reservation, Shortage};
use super::{Admission, Need, Scheduler};
use crate::monitor::Monitor;

/// Starts every call at once.
pub struct PermissiveScheduler;

#[async_trait]
impl Scheduler for PermissiveScheduler {
    async fn admit(&self, _need: &Need, _call: &CallHandle) -> Result<Admission> {
        Ok(Admission::default())
    }

    fn admit_at_once(&self, _need: &Need) -> Option<Admission> {
        Some(Admission::default())
    }

    fn weighs_memory(&self) -> bool {
        false
    }
}

/// Refuses a call that does not fit now with `resource-exhausted`. Idle instances of other plugins make room on a GPU; a call that
/// would have to wait for the calls of others is refused.
pub struct RefuseScheduler {
    ledger: Arc<Ledger>,
    gpus: Arc<Gpus>,
}

impl RefuseScheduler {
    /// A scheduler for this machine. `cpu_slots` is its number of processor slots, by default one for each logical processor.
    #[must_use]
    pub fn new(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>) -> Self {
        let patience = Patience { limit: Duration::MAX, stay: Duration::ZERO, refuses: true };
        Self { gpus: Gpus::new(Arc::clone(&monitor), patience), ledger: Ledger::new(monitor, cpu_slots) }
    }
}

#[async_trait]
impl Scheduler for RefuseScheduler {
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission> {
        match reserve(&self.ledger, need, call).await? {
            Ok(reservation) => Ok(Admission::new(reservation)),
            Err(Shortage::Busy(what)) => Err(refused(need, call, &what).with_help("try again later")),
            Err(Shortage::Never(what)) => Err(never(refused(need, call, &what))),
        }
    }

    fn admit_at_once(&self, need: &Need) -> Option<Admission> {
        self.ledger.admit_at_once(need)
    }

    fn devices(&self) -> Option<Arc<dyn Devices>> {
        Some(Arc::new(GpuDevices(Arc::clone(&self.gpus))))
    }

    fn refusal(&self, need: &Need) -> Option<PluginError> {
        refusal(&self.ledger, need)
    }
}

/// Lets a call that does not fit now wait until it fits, within its deadline and cancellation. A call that can never fit is refused at
/// once. A call may overtake an earlier one that needs more: no call waits for resources that it does not need.
///
/// An instance that needs a GPU waits until there is room on one. Idle instances of other plugins end for it: the least recently used
/// first, weighed by what they hold and by how long their start took. Instances in use make room after [`PATIENCE`](Self::PATIENCE):
/// they get no new call, and end when their running calls have ended.
pub struct QueueScheduler {
    ledger: Arc<Ledger>,
    gpus: Arc<Gpus>,
}

impl QueueScheduler {
    /// How often a waiting call measures the machine by itself, because other programs free memory without notice.
    const RETRY: Duration = Duration::from_millis(250);

    /// How long an instance waits for a GPU until instances that are in use make room for it.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// A scheduler for this machine. `cpu_slots` is its number of processor slots, by default one for each logical processor.
    #[must_use]
    pub fn new(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>) -> Self {
        Self::with_patience(monitor, cpu_slots, Self::PATIENCE)
    }

    /// As [`new`](Self::new), with another time in place of [`PATIENCE`](Self::PATIENCE).
    #[must_use]
    pub fn with_patience(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>, patience: Duration) -> Self {
        let patience = Patience { limit: patience, stay: patience, refuses: false };
        Self { gpus: Gpus::new(Arc::clone(&monitor), patience), ledger: Ledger::new(monitor, cpu_slots) }
    }
}

#[async_trait]
impl Scheduler for QueueScheduler {
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission> {
        match reserve(&self.ledger, need, call).await? {
            Ok(reservation) => Ok(Admission::new(reservation)),
            // Waiting is rare and its future is large. The box keeps the future of each call small.
            Err(_) => Box::pin(self.wait(need, call)).await,
        }
    }

    fn admit_at_once(&self, need: &Need) -> Option<Admission> {
        self.ledger.admit_at_once(need)
    }

    fn devices(&self) -> Option<Arc<dyn Devices>> {
        Some(Arc::new(GpuDevices(Arc::clone(&self.gpus))))
    }

    fn refusal(&self, need: &Need) -> Option<PluginError> {
        refusal(&self.ledger, need)
    }
}

impl QueueScheduler {
    async fn wait(&self, need: &Need, call: &CallHandle) -> Result<Admission> {
        // Enters the queue before it measures, so that resources released in between are not missed.
        let mut entry = self.ledger.enqueue(need);
        loop {
            match reserve(&self.ledger, need, call).await? {
                Ok(reservation) => return Ok(Admission::new(reservation)),
                Err(Shortage::Never(what)) => return Err(never(refused(need, call, &what))),
                Err(Shortage::Busy(_)) => {}
            }
            let given =
                call.guard(async { Ok(tokio::time::timeout(Self::RETRY, &mut entry.reservation).await) }).await?;
            if let Ok(Ok(reservation)) = given {
                return Ok(Admission::new(reservation));
            }
        }
    }
}

/// Tries to reserve what the call needs, after a new measurement if it needs memory.
async fn reserve(
    ledger: &Arc<Ledger>,
    need: &Need,
    call: &CallHandle,
) -> Result<std::result::Result<Reservation, Shortage>> {
    if need.asks_for_memory() {
        call.guard(ledger.measure()).await?;
    }
    Ok(ledger.try_reserve(need))
}

fn refused(need: &Need, call: &CallHandle, what: &str) -> PluginError {
    PluginError::resource_exhausted(format!("the call cannot start: {what}"))
        .with_plugin(&need.plugin)
        .with_call(call.id())
}

fn never(refused: PluginError) -> PluginError {
    refused.with_help("run it on a larger machine, or lower `resources` in its manifest")
}

fn refusal(ledger: &Ledger, need: &Need) -> Option<PluginError> {
    let what = ledger.lacks(need)?;
    Some(never(PluginError::resource_exhausted(format!("no call can start: {what}")).with_plugin(&need.plugin)))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bivium_interface::{Call, ErrorCode};

    use super::*;
    use crate::monitor::{SimulatedMonitor, SystemSnapshot};

    const GIB: u64 = 1 << 30;

    fn machine() -> Arc<SimulatedMonitor> {
        Arc::new(SimulatedMonitor::new(SystemSnapshot {
            cpus: 2,
            memory_total_bytes: 8 * GIB,
            memory_available_bytes: 8 * GIB,
            ..SystemSnapshot::default()
        }))
    }

    fn memory_need(bytes: u64) -> Need {
        Need { plugin: "p".into(), cpu_slots: 1, memory_bytes: bytes, ..Need::default() }
    }

    async fn admit(scheduler: &dyn Scheduler, need: &Need) -> Result<Admission> {
        scheduler.admit(need, Call::new().timeout(Duration::from_secs(60)).handle()).await
    }

    #[tokio::test]
    async fn permissive_admits_calls_that_could_never_fit() {
        assert!(admit(&PermissiveScheduler, &memory_need(1000 * GIB)).await.is_ok());
    }

    #[tokio::test]
    async fn refuse_counts_what_it_has_promised() {
        let scheduler = RefuseScheduler::new(machine(), None);
        let first = admit(&scheduler, &memory_need(5 * GIB)).await.unwrap();
        let error = admit(&scheduler, &memory_need(4 * GIB)).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        assert!(error.to_string().contains("4096 MiB of host memory, but only 3072 are free"), "{error}");
        drop(first);
        assert!(admit(&scheduler, &memory_need(4 * GIB)).await.is_ok());
    }

    /// A machine of which processes hold memory.
    struct Held {
        machine: Arc<SimulatedMonitor>,
        held: Mutex<Vec<(u32, u64)>>,
    }

    impl Monitor for Held {
        fn snapshot(&self) -> SystemSnapshot {
            self.machine.snapshot()
        }

        fn memory_of(&self, pids: &[u32]) -> u64 {
            let held = self.held.lock().unwrap();
            held.iter().filter(|(pid, _)| pids.contains(pid)).map(|(_, bytes)| bytes).sum()
        }
    }

    #[tokio::test]
    async fn memory_that_was_promised_and_is_taken_counts_once() {
        let machine = Arc::new(Held { machine: machine(), held: Mutex::default() });
        let scheduler = RefuseScheduler::new(Arc::clone(&machine) as _, None);
        let asks = |bytes| Need { cpu_slots: 0, ..memory_need(bytes) };
        let need = |pid, held| Need { pids: vec![pid], held_bytes: held, ..asks(3 * GIB) };
        let hold = |held: &[(u32, u64)]| {
            *machine.held.lock().unwrap() = held.to_vec();
            let sum = held.iter().map(|(_, bytes)| bytes).sum::<u64>();
            machine.machine.change(|snapshot| snapshot.memory_available_bytes = 8 * GIB - sum);
        };
        // What it has before its model.
        hold(&[(7, GIB)]);
        let _first = admit(&scheduler, &need(7, GIB)).await.unwrap();
        assert!(admit(&scheduler, &asks(5 * GIB)).await.is_err(), "seven are free, and three promised");
        hold(&[(7, 4 * GIB)]);
        let second = admit(&scheduler, &need(8, 0)).await.unwrap();
        assert!(admit(&scheduler, &asks(2 * GIB)).await.is_err(), "one is left");
        hold(&[(7, 4 * GIB), (8, 2 * GIB)]);
        let error = admit(&scheduler, &asks(2 * GIB)).await.err().unwrap();
        assert!(error.to_string().contains("but only 1024 are free"), "{error}");
        // The part that it has not taken at its end is free again.
        drop(second);
        assert!(admit(&scheduler, &asks(2 * GIB)).await.is_ok());
    }

    #[tokio::test]
    async fn refuse_knows_slots_and_memory() {
        let machine = machine();
        let scheduler = RefuseScheduler::new(Arc::clone(&machine) as _, None);
        let slots = |n| Need { cpu_slots: n, ..Need::default() };
        let _two = admit(&scheduler, &slots(2)).await.unwrap();
        assert!(admit(&scheduler, &slots(1)).await.is_err());
        assert!(admit(&scheduler, &slots(3)).await.err().unwrap().to_string().contains("larger machine"));
        let memory = Need { memory_bytes: 9 * GIB, ..Need::default() };
        assert!(admit(&scheduler, &memory).await.err().unwrap().to_string().contains("host memory"));
        let memory = Need { memory_bytes: 500 * GIB, ..Need::default() };
        assert!(scheduler.refusal(&memory).unwrap().to_string().contains("host memory"));
        assert!(scheduler.refusal(&slots(2)).is_none(), "they are only in use");
    }

    #[tokio::test]
    async fn queue_waits_for_a_place() {
        let scheduler = Arc::new(QueueScheduler::new(machine(), None));
        let first = admit(&*scheduler, &memory_need(5 * GIB)).await.unwrap();
        let waiting = tokio::spawn({
            let scheduler = Arc::clone(&scheduler);
            async move { admit(&*scheduler, &memory_need(5 * GIB)).await.map(drop) }
        });
        while scheduler.ledger.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn queue_serves_calls_in_order_but_smaller_ones_may_overtake() {
        let scheduler = Arc::new(QueueScheduler::new(machine(), None));
        let slots = |n| Need { cpu_slots: n, ..Need::default() };
        let (first, second) =
            (admit(&*scheduler, &slots(1)).await.unwrap(), admit(&*scheduler, &slots(1)).await.unwrap());
        let wait = |n| {
            let scheduler = Arc::clone(&scheduler);
            tokio::spawn(async move { admit(&*scheduler, &slots(n)).await })
        };
        let (gone, both, one, other) = (wait(1), wait(2), wait(1), wait(1));
        tokio::task::yield_now().await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(first);
        let one = one.await.unwrap().unwrap();
        tokio::task::yield_now().await;
        assert!(!both.is_finished() && !other.is_finished());
        drop(second);
        let other = other.await.unwrap().unwrap();
        drop(one);
        tokio::task::yield_now().await;
        assert!(!both.is_finished(), "one slot is not two");
        drop(other);
        drop(both.await.unwrap().unwrap());
        assert!(admit(&*scheduler, &slots(2)).await.is_ok(), "nothing is left reserved");
    }

    #[tokio::test]
    async fn queue_waits_for_memory_but_not_longer_than_the_deadline() {
        let machine = machine();
        let scheduler = QueueScheduler::new(Arc::clone(&machine) as _, None);
        machine.change(|snapshot| snapshot.memory_available_bytes = GIB);
        let call = Call::new().timeout(Duration::from_millis(1));
        let error = scheduler.admit(&memory_need(2 * GIB), call.handle()).await.err().unwrap();
        assert_eq!((error.code(), error.call()), (ErrorCode::Timeout, Some(call.id())));
        assert_eq!(admit(&scheduler, &memory_need(9 * GIB)).await.err().unwrap().code(), ErrorCode::ResourceExhausted);

        let need = memory_need(2 * GIB);
        let freed = async {
            // When the first has measured and waits, the second frees the memory without notice.
            while scheduler.ledger.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            machine.change(|snapshot| snapshot.memory_available_bytes = 8 * GIB);
        };
        let (admitted, ()) = tokio::join!(biased; admit(&scheduler, &need), freed);
        assert!(admitted.is_ok());
    }

    /// A machine that counts how often it is measured.
    struct Counted(SimulatedMonitor, AtomicUsize);

    impl Counted {
        fn measurements(&self) -> usize {
            self.1.load(Ordering::SeqCst)
        }
    }

    impl Monitor for Counted {
        fn snapshot(&self) -> SystemSnapshot {
            let snapshot = self.0.snapshot();
            self.1.fetch_add(1, Ordering::SeqCst);
            snapshot
        }
    }

    fn counted() -> Arc<Counted> {
        Arc::new(Counted(SimulatedMonitor::new(machine().snapshot()), AtomicUsize::new(0)))
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_surely_fit_take_no_look_of_their_own() {
        let machine = counted();
        let scheduler = QueueScheduler::new(Arc::clone(&machine) as _, Some(1000));
        let need = memory_need(8 * GIB);
        assert!(scheduler.admit_at_once(&need).is_none() && machine.measurements() == 0, "nobody has measured yet");
        drop(admit(&scheduler, &need).await.unwrap());
        assert!((0..1000).all(|_| scheduler.admit_at_once(&need).is_some()));
        assert_eq!(machine.measurements(), 1);

        tokio::time::advance(Duration::from_millis(100)).await;
        assert!((0..1000).all(|_| scheduler.admit_at_once(&need).is_some()), "none waits for the next measurement");
        while machine.measurements() == 1 {
            tokio::task::yield_now().await;
        }
        // A measurement that begins now, so the one in the background has ended.
        scheduler.ledger.measure().await.unwrap();
        assert_eq!(machine.measurements(), 3, "a thousand calls start one measurement");

        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(scheduler.admit_at_once(&need).is_none(), "the last measurement is too old");
        assert_eq!(machine.measurements(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_may_not_fit_starts_another_measurement() {
        let machine = counted();
        let scheduler = RefuseScheduler::new(Arc::clone(&machine) as _, Some(2));
        drop(admit(&scheduler, &memory_need(8 * GIB)).await.unwrap());
        let other = Need { plugin: "other".into(), ..memory_need(GIB) };
        assert!(scheduler.admit_at_once(&other).is_none(), "the call that has ended may have taken all");
        assert!(admit(&scheduler, &other).await.is_ok(), "it has not");
        assert_eq!(machine.measurements(), 2);
        machine.0.change(|snapshot| snapshot.memory_available_bytes = 0);
        assert_eq!(admit(&scheduler, &other).await.err().unwrap().code(), ErrorCode::ResourceExhausted);
        machine.0.change(|snapshot| snapshot.memory_available_bytes = GIB);
        assert!(admit(&scheduler, &other).await.is_ok(), "nothing is refused by an old measurement");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_come_at_the_same_moment_are_promised_no_more_than_there_is() {
        for _ in 0..50 {
            let scheduler = QueueScheduler::new(machine(), Some(100));
            // Five of eight may be taken by a call that has ended.
            drop(admit(&scheduler, &memory_need(5 * GIB)).await.unwrap());
            let (runtime, start) = (tokio::runtime::Handle::current(), std::sync::Barrier::new(8));
            let come = |n: u8| {
                let _in = runtime.enter();
                let need = Need { plugin: n.to_string(), ..memory_need(2 * GIB) };
                start.wait();
                scheduler.admit_at_once(&need)
            };
            let admitted: Vec<_> = std::thread::scope(|scope| {
                let come = &come;
                let calls: Vec<_> = (0..8).map(|n| scope.spawn(move || come(n))).collect();
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            });
            assert_eq!(admitted.iter().flatten().count(), 1);
        }
    }

    #[test]
    fn a_reservation_and_a_scheduler_may_outlive_the_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scheduler = QueueScheduler::new(machine(), None);
        let place = runtime.block_on(admit(&scheduler, &memory_need(5 * GIB))).unwrap();
        let waits = runtime.block_on(async { scheduler.ledger.enqueue(&memory_need(5 * GIB)) });
        drop(runtime);
        drop(place);
        drop(waits);
        // Nothing measures in the background.
        drop(scheduler.admit_at_once(&memory_need(GIB)));
    }
}
