//! The three schedulers: start every call, refuse calls that do not fit, or let them wait.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bivium_interface::{CallHandle, PluginError, Result};

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

/// Refuses a call that does not fit now with `resource-exhausted`.
pub struct RefuseScheduler(Arc<Ledger>);

impl RefuseScheduler {
    /// A scheduler for this machine. `cpu_slots` is its number of processor slots, by default one for each logical processor.
    #[must_use]
    pub fn new(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>) -> Self {
        Self(Ledger::new(monitor, cpu_slots))
    }
}

#[async_trait]
impl Scheduler for RefuseScheduler {
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission> {
        match reserve(&self.0, need, call).await? {
            Ok(reservation) => Ok(Admission::new(reservation)),
            Err(Shortage::Busy(what)) => Err(refused(need, call, &what).with_help("try again later")),
            Err(Shortage::Never(what)) => Err(never(refused(need, call, &what))),
        }
    }

    fn admit_at_once(&self, need: &Need) -> Option<Admission> {
        self.0.admit_at_once(need)
    }

    fn refusal(&self, need: &Need) -> Option<PluginError> {
        refusal(&self.0, need)
    }
}

/// Lets a call that does not fit now wait until it fits, within its deadline and cancellation. A call that can never fit is refused at
/// once. A call may overtake an earlier one that needs more: no call waits for resources that it does not need.
pub struct QueueScheduler(Arc<Ledger>);

impl QueueScheduler {
    /// How often a waiting call measures the machine by itself, because other programs free memory without notice.
    const RETRY: Duration = Duration::from_millis(250);

    /// A scheduler for this machine. `cpu_slots` is its number of processor slots, by default one for each logical processor.
    #[must_use]
    pub fn new(monitor: Arc<dyn Monitor>, cpu_slots: Option<u32>) -> Self {
        Self(Ledger::new(monitor, cpu_slots))
    }
}

#[async_trait]
impl Scheduler for QueueScheduler {
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission> {
        match reserve(&self.0, need, call).await? {
            Ok(reservation) => Ok(Admission::new(reservation)),
            // Waiting is rare and its future is large. The box keeps the future of each call small.
            Err(_) => Box::pin(self.wait(need, call)).await,
        }
    }

    fn admit_at_once(&self, need: &Need) -> Option<Admission> {
        self.0.admit_at_once(need)
    }

    fn refusal(&self, need: &Need) -> Option<PluginError> {
        refusal(&self.0, need)
    }
}

impl QueueScheduler {
    async fn wait(&self, need: &Need, call: &CallHandle) -> Result<Admission> {
        // Enters the queue before it measures, so that resources released in between are not missed.
        let mut entry = self.0.enqueue(need);
        loop {
            match reserve(&self.0, need, call).await? {
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
    if need.concerns_memory() {
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bivium_interface::{Call, ErrorCode};

    use super::*;
    use crate::monitor::{Gpu, SimulatedMonitor, SystemSnapshot};

    const GIB: u64 = 1 << 30;

    fn machine() -> Arc<SimulatedMonitor> {
        let gpu = Gpu { memory_total_bytes: 8 * GIB, memory_free_bytes: 8 * GIB, ..Gpu::default() };
        Arc::new(SimulatedMonitor::new(SystemSnapshot {
            cpus: 2,
            memory_total_bytes: 16 * GIB,
            memory_available_bytes: 4 * GIB,
            gpus: vec![gpu],
            ..SystemSnapshot::default()
        }))
    }

    fn gpu_need(bytes: u64) -> Need {
        Need { plugin: "p".into(), cpu_slots: 1, gpu_memory_bytes: bytes, requires_gpu: true, ..Need::default() }
    }

    async fn admit(scheduler: &dyn Scheduler, need: &Need) -> Result<Admission> {
        scheduler.admit(need, Call::new().timeout(Duration::from_secs(60)).handle()).await
    }

    #[tokio::test]
    async fn permissive_admits_calls_that_could_never_fit() {
        assert!(admit(&PermissiveScheduler, &gpu_need(1000 * GIB)).await.is_ok());
    }

    #[tokio::test]
    async fn refuse_counts_what_it_has_promised() {
        let scheduler = RefuseScheduler::new(machine(), None);
        let first = admit(&scheduler, &gpu_need(5 * GIB)).await.unwrap();
        let error = admit(&scheduler, &gpu_need(4 * GIB)).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        assert!(error.to_string().contains("4096 MiB of GPU memory, but only 3072 are free"), "{error}");
        drop(first);
        assert!(admit(&scheduler, &gpu_need(4 * GIB)).await.is_ok());
    }

    #[tokio::test]
    async fn memory_that_was_promised_and_is_taken_counts_once() {
        let machine = machine();
        let scheduler = RefuseScheduler::new(Arc::clone(&machine) as _, None);
        let asks = |bytes| Need { cpu_slots: 0, ..gpu_need(bytes) };
        let need = |pid, held| Need { pids: vec![pid], held_gpu_bytes: held, ..asks(3 * GIB) };
        let hold = |held: &[(u32, u64)]| {
            let held = held.to_vec();
            machine.change(move |snapshot| {
                let gpu = &mut snapshot.gpus[0];
                gpu.memory_free_bytes = gpu.memory_total_bytes - held.iter().map(|(_, bytes)| bytes).sum::<u64>();
                gpu.processes = held;
            });
        };
        // A GPU context that it has before its model.
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
    async fn refuse_knows_slots_memory_and_the_lack_of_a_gpu() {
        let machine = machine();
        let scheduler = RefuseScheduler::new(Arc::clone(&machine) as _, None);
        let slots = |n| Need { cpu_slots: n, ..Need::default() };
        let _two = admit(&scheduler, &slots(2)).await.unwrap();
        assert!(admit(&scheduler, &slots(1)).await.is_err());
        assert!(admit(&scheduler, &slots(3)).await.err().unwrap().to_string().contains("larger machine"));
        let memory = Need { memory_bytes: 5 * GIB, ..Need::default() };
        assert!(admit(&scheduler, &memory).await.err().unwrap().to_string().contains("host memory"));
        machine.change(|snapshot| snapshot.gpus.clear());
        let none = Need { requires_gpu: true, ..Need::default() };
        assert!(admit(&scheduler, &none).await.err().unwrap().to_string().contains("needs a GPU"));
        let refusal = scheduler.refusal(&none).unwrap();
        assert_eq!(refusal.code(), ErrorCode::ResourceExhausted);
        assert!(refusal.message().starts_with("no call can start: it needs a GPU"), "{refusal}");
        let memory = Need { memory_bytes: 500 * GIB, ..Need::default() };
        assert!(scheduler.refusal(&memory).unwrap().to_string().contains("host memory"));
        assert!(scheduler.refusal(&slots(2)).is_none(), "they are only in use");
    }

    #[tokio::test]
    async fn queue_waits_for_a_place() {
        let scheduler = Arc::new(QueueScheduler::new(machine(), None));
        let first = admit(&*scheduler, &gpu_need(5 * GIB)).await.unwrap();
        let waiting = tokio::spawn({
            let scheduler = Arc::clone(&scheduler);
            async move { admit(&*scheduler, &gpu_need(5 * GIB)).await.map(drop) }
        });
        while scheduler.0.waiting() == 0 {
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
        machine.change(|snapshot| snapshot.gpus[0].memory_free_bytes = GIB);
        let call = Call::new().timeout(Duration::from_millis(1));
        let error = scheduler.admit(&gpu_need(2 * GIB), call.handle()).await.err().unwrap();
        assert_eq!((error.code(), error.call()), (ErrorCode::Timeout, Some(call.id())));
        assert_eq!(admit(&scheduler, &gpu_need(9 * GIB)).await.err().unwrap().code(), ErrorCode::ResourceExhausted);

        let need = gpu_need(2 * GIB);
        let freed = async {
            // When the first has measured and waits, the second frees the memory without notice.
            while scheduler.0.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            machine.change(|snapshot| snapshot.gpus[0].memory_free_bytes = 8 * GIB);
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
        let need = gpu_need(8 * GIB);
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
        scheduler.0.measure().await.unwrap();
        assert_eq!(machine.measurements(), 3, "a thousand calls start one measurement");

        tokio::time::advance(Duration::from_millis(250)).await;
        assert!(scheduler.admit_at_once(&need).is_none(), "the last measurement is too old");
        assert_eq!(machine.measurements(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_may_not_fit_starts_another_measurement() {
        let machine = counted();
        let scheduler = RefuseScheduler::new(Arc::clone(&machine) as _, Some(2));
        drop(admit(&scheduler, &gpu_need(8 * GIB)).await.unwrap());
        let other = Need { plugin: "other".into(), ..gpu_need(GIB) };
        assert!(scheduler.admit_at_once(&other).is_none(), "the call that has ended may have taken all");
        assert!(admit(&scheduler, &other).await.is_ok(), "it has not");
        assert_eq!(machine.measurements(), 2);
        machine.0.change(|snapshot| snapshot.gpus[0].memory_free_bytes = 0);
        assert_eq!(admit(&scheduler, &other).await.err().unwrap().code(), ErrorCode::ResourceExhausted);
        machine.0.change(|snapshot| snapshot.gpus[0].memory_free_bytes = GIB);
        assert!(admit(&scheduler, &other).await.is_ok(), "nothing is refused by an old measurement");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_come_at_the_same_moment_are_promised_no_more_than_there_is() {
        for _ in 0..50 {
            let scheduler = QueueScheduler::new(machine(), Some(100));
            // Five of eight may be taken by a call that has ended.
            drop(admit(&scheduler, &gpu_need(5 * GIB)).await.unwrap());
            let (runtime, start) = (tokio::runtime::Handle::current(), std::sync::Barrier::new(8));
            let come = |n: u8| {
                let _in = runtime.enter();
                let need = Need { plugin: n.to_string(), ..gpu_need(2 * GIB) };
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
        let place = runtime.block_on(admit(&scheduler, &gpu_need(5 * GIB))).unwrap();
        let waits = runtime.block_on(async { scheduler.0.enqueue(&gpu_need(5 * GIB)) });
        drop(runtime);
        drop(place);
        drop(waits);
        // Nothing measures in the background.
        drop(scheduler.admit_at_once(&gpu_need(GIB)));
    }
}
