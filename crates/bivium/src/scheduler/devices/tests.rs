//! Pools of instances on simulated GPUs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bivium_instances::{DeviceAccess, DeviceNeed, Instance, InstanceFactory, Placement, PoolLimits, PooledPlugin};
use bivium_interface::{
    Call, ErrorCode, InstanceStats, MethodInfo, Payload, PayloadStream, PluginError, PluginInterface, Result,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::monitor::{Gpu, Monitor, SimulatedMonitor, SystemSnapshot};
use crate::scheduler::{QueueScheduler, RefuseScheduler, Scheduler};

const GIB: u64 = 1 << 30;

/// How long each start takes.
const START: Duration = Duration::from_secs(2);

struct Model {
    releases: bool,
    released: Arc<AtomicU32>,
    placement: Mutex<Option<Placement>>,
    gate: Arc<Semaphore>,
    alive: Arc<AtomicU32>,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Instance for Model {
    async fn initialize(&self, _config: &Value) -> Result<()> {
        Ok(())
    }

    async fn execute(&self, call: &mut Call) -> Result<Payload> {
        if call.method == "wait" {
            let permit = call.handle().guard(async { Ok(self.gate.acquire().await.unwrap()) }).await?;
            permit.forget();
        }
        let placement = self.placement.lock().unwrap();
        let gpus = placement.as_ref().map(Placement::gpus).unwrap_or_default();
        Ok(json!(gpus.iter().map(|gpu| gpu.uuid.as_str()).collect::<Vec<_>>()).into())
    }

    async fn execute_stream(self: Arc<Self>, _call: Call) -> Result<PayloadStream> {
        Err(PluginError::internal("no streams"))
    }

    async fn methods(&self) -> Result<Vec<MethodInfo>> {
        Ok(Vec::new())
    }

    async fn config_schema(&self) -> Result<Value> {
        Ok(json!({}))
    }

    async fn current_config(&self) -> Result<Value> {
        Ok(json!({}))
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn can_release(&self) -> bool {
        self.releases
    }

    async fn release(&self) -> Result<()> {
        self.released.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn close(&self) {
        self.placement.lock().unwrap().take();
    }

    fn stats(&self) -> InstanceStats {
        InstanceStats::default()
    }
}

struct Models {
    releases: bool,
    released: Arc<AtomicU32>,
    name: &'static str,
    access: DeviceAccess,
    instances: u32,
    gate: Arc<Semaphore>,
    alive: Arc<AtomicU32>,
}

#[async_trait]
impl InstanceFactory for Models {
    type Instance = Model;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> &str {
        "1"
    }

    fn limits(&self) -> PoolLimits {
        PoolLimits { instances: self.instances, ..PoolLimits::default() }
    }

    fn devices(&self) -> Option<&DeviceAccess> {
        Some(&self.access)
    }

    async fn create(&self, placement: Placement) -> Result<Model> {
        tokio::time::sleep(START).await;
        self.alive.fetch_add(1, Ordering::SeqCst);
        Ok(Model {
            releases: self.releases,
            released: Arc::clone(&self.released),
            placement: Mutex::new(Some(placement)),
            gate: Arc::clone(&self.gate),
            alive: Arc::clone(&self.alive),
        })
    }
}

struct Plugin {
    released: Arc<AtomicU32>,
    plugin: Arc<PooledPlugin<Models>>,
    gate: Arc<Semaphore>,
    alive: Arc<AtomicU32>,
}

impl Plugin {
    fn new(scheduler: &dyn Scheduler, name: &'static str, gpus: u32, gib: u64) -> Self {
        Self::with(scheduler, name, gpus, gib, false)
    }

    /// A plugin whose instances can release their memory.
    fn releasing(scheduler: &dyn Scheduler, name: &'static str, gib: u64) -> Self {
        Self::with(scheduler, name, 1, gib, true)
    }

    fn with(scheduler: &dyn Scheduler, name: &'static str, gpus: u32, gib: u64, releases: bool) -> Self {
        let need = DeviceNeed::new(gpus, gib * GIB);
        let access = DeviceAccess { devices: scheduler.devices().unwrap(), need };
        let (gate, alive) = (Arc::new(Semaphore::new(0)), Arc::<AtomicU32>::default());
        let released = Arc::<AtomicU32>::default();
        let factory = Models {
            releases,
            released: Arc::clone(&released),
            name,
            access,
            instances: 4,
            gate: Arc::clone(&gate),
            alive: Arc::clone(&alive),
        };
        Self { released, plugin: Arc::new(PooledPlugin::new(factory)), gate, alive }
    }

    /// Where a call runs.
    async fn call(&self) -> Result<Value> {
        Ok(self.plugin.execute(Call::new().timeout(Duration::from_secs(600))).await?.json)
    }

    /// A call that runs until the gate lets it end.
    fn begin(&self) -> (tokio::task::JoinHandle<Result<Payload>>, Call) {
        let call = Call::new().method("wait").timeout(Duration::from_secs(600));
        let (plugin, kept) = (Arc::clone(&self.plugin), call.clone());
        let handle = call.handle().clone();
        let running = tokio::spawn(async move { plugin.execute(call).await });
        drop(handle);
        (running, kept)
    }

    fn alive(&self) -> u32 {
        self.alive.load(Ordering::SeqCst)
    }
}

fn machine(gib: &[u64]) -> Arc<SimulatedMonitor> {
    let gpu = |(index, gib): (usize, &u64)| {
        let index = u32::try_from(index).unwrap();
        Gpu::new(index, "", gib * GIB, gib * GIB).with_uuid(format!("GPU-{index}"))
    };
    let gpus = gib.iter().enumerate().map(gpu).collect();
    Arc::new(SimulatedMonitor::new(SystemSnapshot::new(4, 0, 0).with_gpus(gpus)))
}

fn queue(gib: &[u64]) -> QueueScheduler {
    QueueScheduler::new(machine(gib), None)
}

#[tokio::test(start_paused = true)]
async fn each_instance_gets_a_gpu_on_which_it_fits() {
    let scheduler = queue(&[8, 24]);
    let large = Plugin::new(&scheduler, "large", 1, 20);
    let small = Plugin::new(&scheduler, "small", 1, 6);
    let both = Plugin::new(&scheduler, "both", 2, 1);
    assert_eq!(large.call().await.unwrap(), json!(["GPU-1"]));
    assert_eq!(small.call().await.unwrap(), json!(["GPU-0"]));
    assert_eq!(both.call().await.unwrap(), json!(["GPU-0", "GPU-1"]));
    assert_eq!((large.alive(), small.alive()), (1, 1), "nothing had to end");
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_ends_for_another_and_comes_back() {
    let scheduler = queue(&[8]);
    let (one, two) = (Plugin::new(&scheduler, "one", 1, 5), Plugin::new(&scheduler, "two", 1, 5));
    for _ in 0..3 {
        one.call().await.unwrap();
        two.call().await.unwrap();
        assert_eq!((one.alive(), two.alive()), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_that_can_releases_its_memory_and_goes_on_without_a_start() {
    let scheduler = queue(&[8]);
    let (one, two) = (Plugin::releasing(&scheduler, "one", 5), Plugin::releasing(&scheduler, "two", 5));
    one.call().await.unwrap();
    two.call().await.unwrap();
    for round in 1..4 {
        let begun = tokio::time::Instant::now();
        assert_eq!(one.call().await.unwrap(), json!(["GPU-0"]));
        assert_eq!(two.call().await.unwrap(), json!(["GPU-0"]));
        let releases = (one.released.load(Ordering::SeqCst), two.released.load(Ordering::SeqCst));
        assert_eq!((releases, one.alive(), two.alive()), ((round + 1, round), 1, 1));
        // Each stays for as long as its start took.
        assert!(begun.elapsed() < 2 * START + Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_released_model_whose_gpu_is_full_starts_on_another_and_its_old_instance_ends() {
    let scheduler = queue(&[8, 8]);
    let one = Plugin::releasing(&scheduler, "one", 5);
    let both = Plugin::new(&scheduler, "both", 2, 4);
    assert_eq!(one.call().await.unwrap(), json!(["GPU-0"]));
    // Both need memory on each GPU, so the first releases its own.
    tokio::time::sleep(START).await;
    both.call().await.unwrap();
    assert_eq!((one.released.load(Ordering::SeqCst), one.alive()), (1, 1));
    let small = Plugin::new(&scheduler, "small", 1, 6);
    // It ends the plugin with two GPUs, and fills one of them; the first goes on or starts on the other.
    tokio::time::sleep(START).await;
    let on = small.call().await.unwrap();
    let again = one.call().await.unwrap();
    assert_ne!(again, on, "they do not share a GPU");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((one.alive(), small.alive(), both.alive()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_model_with_a_running_call_does_not_end_and_makes_room_after_it() {
    let scheduler = queue(&[8]);
    let (one, two) = (Plugin::new(&scheduler, "one", 1, 5), Plugin::new(&scheduler, "two", 1, 5));
    let (running, _) = one.begin();
    while one.alive() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let call = Call::new().timeout(Duration::from_secs(600));
    let mut progress = call.handle().progress();
    let waiting = tokio::spawn({
        let plugin = Arc::clone(&two.plugin);
        async move { plugin.execute(call).await }
    });
    let told = progress.wait_for(|progress| progress.message.contains("runs 1 call")).await.unwrap().message.clone();
    assert_eq!(told, "waiting: needs 5,120 MiB of GPU 0; one holds 5,120 MiB, runs 1 call");
    // Calls of the model go first until the other has waited for long.
    tokio::time::sleep(QueueScheduler::PATIENCE + Duration::from_secs(1)).await;
    let (queued, _) = one.begin();
    assert!(!waiting.is_finished() && !running.is_finished());
    one.gate.add_permits(1);
    running.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    assert!(!queued.is_finished(), "the call of the model that has ended waits");
    one.gate.add_permits(1);
    queued.await.unwrap().unwrap();
    assert_eq!((one.alive(), two.alive()), (1, 0));
}

/// A machine whose GPUs are hidden.
struct Hidden;

impl Monitor for Hidden {
    fn snapshot(&self) -> SystemSnapshot {
        SystemSnapshot::default()
    }

    fn why_no_gpu(&self) -> Option<String> {
        Some("they are hidden".to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_never_fit_is_refused_at_once_with_the_numbers() {
    let scheduler = queue(&[8, 24]);
    let refused = async |gpus, gib| {
        let error = Plugin::new(&scheduler, "vast", gpus, gib).call().await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        error.message().to_owned()
    };
    let begun = tokio::time::Instant::now();
    assert_eq!(
        refused(1, 32).await,
        "no instance can start: it needs 32,768 MiB of GPU memory, but the host's GPUs have 24,576, 8,192"
    );
    assert_eq!(
        refused(2, 10).await,
        "no instance can start: it needs 10,240 MiB on each of 2 GPUs, but the host's GPUs have 24,576, 8,192"
    );
    assert_eq!(refused(3, 1).await, "no instance can start: it needs 3 GPUs, but the host has 2");
    let scheduler = queue(&[]);
    let error = Plugin::new(&scheduler, "any", 1, 0).call().await.unwrap_err();
    assert_eq!(error.message(), "no instance can start: it needs a GPU, but the host finds none");
    for key in ["`requires_gpu`", "`min_gpu_vram_mb`", "`gpus`"] {
        assert!(error.to_string().contains(key), "{error}");
    }
    let hidden = QueueScheduler::new(Arc::new(Hidden), None);
    let told = "no instance can start: it needs a GPU, but the host finds none: they are hidden";
    assert_eq!(hidden.devices().unwrap().refusal(DeviceNeed::new(1, 0)).unwrap().message(), told);
    let error = Plugin::new(&hidden, "any", 1, 0).call().await.unwrap_err();
    assert_eq!(error.message(), told);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_withdrawn_leaves_nothing_behind() {
    let scheduler = queue(&[8]);
    let (one, two) = (Plugin::new(&scheduler, "one", 1, 5), Plugin::new(&scheduler, "two", 1, 5));
    let (running, _) = one.begin();
    while one.alive() == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let late = two.plugin.execute(Call::new().timeout(Duration::from_secs(1))).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Timeout);
    one.gate.add_permits(1);
    running.await.unwrap().unwrap();
    one.call().await.unwrap();
    assert_eq!((one.alive(), two.alive()), (1, 0), "nobody waits for its room any more");
    two.call().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn other_programs_memory_is_not_given_away() {
    let machine = machine(&[8]);
    machine.change(|snapshot| snapshot.gpus[0].memory_free_bytes = 4 * GIB);
    let scheduler = QueueScheduler::new(Arc::clone(&machine) as _, None);
    let one = Plugin::new(&scheduler, "one", 1, 5);
    let late = one.plugin.execute(Call::new().timeout(Duration::from_secs(30))).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::Timeout);
    machine.change(|snapshot| snapshot.gpus[0].memory_free_bytes = 8 * GIB);
    one.call().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_gpu_that_another_program_holds_is_kept_for_nobody() {
    let machine = machine(&[8, 8]);
    machine.change(|snapshot| snapshot.gpus[1].memory_free_bytes = GIB);
    let scheduler = QueueScheduler::new(Arc::clone(&machine) as _, None);
    let (small, both) = (Plugin::new(&scheduler, "small", 1, 6), Plugin::new(&scheduler, "both", 2, 4));
    small.call().await.unwrap();
    let waiting = tokio::spawn({
        let plugin = Arc::clone(&both.plugin);
        async move { plugin.execute(Call::new().timeout(Duration::from_secs(600))).await }
    });
    tokio::time::sleep(3 * QueueScheduler::PATIENCE).await;
    assert_eq!(small.alive(), 1, "its end would not be enough");
    small.plugin.cleanup().await.unwrap();
    Plugin::new(&scheduler, "next", 1, 6).call().await.unwrap();
    machine.change(|snapshot| snapshot.gpus[1].memory_free_bytes = 8 * GIB);
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_refusing_scheduler_ends_idle_models_but_waits_for_no_call() {
    let scheduler = RefuseScheduler::new(machine(&[8]), None);
    let (one, two) = (Plugin::new(&scheduler, "one", 1, 5), Plugin::new(&scheduler, "two", 1, 5));
    one.call().await.unwrap();
    two.call().await.unwrap();
    assert_eq!((one.alive(), two.alive()), (0, 1));
    let (running, call) = two.begin();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let error = one.call().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    assert_eq!(error.message(), "no instance can start: it needs 5,120 MiB of GPU 0; two holds 5,120 MiB, runs 1 call");
    call.handle().cancel();
    two.gate.add_permits(1);
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_refusing_scheduler_lets_two_that_come_together_take_turns() {
    let scheduler = RefuseScheduler::new(machine(&[8]), None);
    let (one, two) = (Plugin::new(&scheduler, "one", 1, 5), Plugin::new(&scheduler, "two", 1, 5));
    let both = [&one, &two].map(|plugin| plugin.plugin.initialize(json!({})));
    for loaded in futures_util::future::join_all(both).await {
        loaded.unwrap();
    }
}

/// A monitor that panics at first.
struct Panics(Arc<SimulatedMonitor>, AtomicU32);

impl Monitor for Panics {
    fn snapshot(&self) -> SystemSnapshot {
        assert!(self.1.fetch_add(1, Ordering::SeqCst) > 2, "a panic of a test");
        self.0.snapshot()
    }
}

#[tokio::test(start_paused = true)]
async fn a_measurement_that_panics_is_tried_again() {
    let scheduler = QueueScheduler::new(Arc::new(Panics(machine(&[8]), AtomicU32::new(0))), Some(1));
    Plugin::new(&scheduler, "one", 1, 5).call().await.unwrap();
}

#[test]
fn a_request_may_outlive_its_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let scheduler = queue(&[8]);
    let (one, two) = (Plugin::new(&scheduler, "one", 1, 5), Plugin::new(&scheduler, "two", 1, 5));
    runtime().block_on(async {
        drop(one.begin());
        drop(two.begin());
        tokio::time::sleep(START / 2).await;
    });
    runtime().block_on(two.call()).unwrap();
}
