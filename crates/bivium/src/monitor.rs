//! The machine's processors, memory and GPUs, and how much of them is free. For the scheduler and for people.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// The machine at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SystemSnapshot {
    /// Logical processors.
    pub cpus: u32,
    /// Processor use in percent of all of them, since the last snapshot.
    pub cpu_percent: f32,
    /// Host memory in bytes; 0 if it is not known.
    pub memory_total_bytes: u64,
    /// Host memory that is available without swapping, in bytes.
    pub memory_available_bytes: u64,
    /// The GPUs; empty if there are none or none are found.
    pub gpus: Vec<Gpu>,
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Gpu {
    /// Its index, in the order of the driver's library (NVML): that of the PCI bus.
    pub index: u32,
    /// Its UUID, as in `CUDA_VISIBLE_DEVICES`; empty if it is not known.
    pub uuid: String,
    /// The number in the name of its device file (`/dev/nvidia0`), if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    /// Its model.
    pub name: String,
    /// Its memory in bytes.
    pub memory_total_bytes: u64,
    /// Its free memory in bytes.
    pub memory_free_bytes: u64,
    /// The processes that use it, with the bytes that each holds.
    pub processes: Vec<(u32, u64)>,
    /// Whether `processes` has the process ids of this host. In a container the driver does not report them; then only the total of
    /// the GPU is known.
    pub tells_processes: bool,
}

/// Measures the machine. A host may use its own implementation.
pub trait Monitor: Send + Sync + 'static {
    /// The machine now. May take a few milliseconds.
    fn snapshot(&self) -> SystemSnapshot;

    /// Host memory that these processes use, in bytes. Processes that have ended count as 0. A monitor that cannot measure it returns 0.
    fn memory_of(&self, _pids: &[u32]) -> u64 {
        0
    }

    /// Why it finds no GPU, in a few words; `None` if it finds one or does not know.
    fn why_no_gpu(&self) -> Option<String> {
        None
    }
}

impl Gpu {
    /// A GPU with this total and free memory.
    #[must_use]
    pub fn new(index: u32, name: impl Into<String>, memory_total_bytes: u64, memory_free_bytes: u64) -> Self {
        let name = name.into();
        Self { index, name, memory_total_bytes, memory_free_bytes, tells_processes: true, ..Self::default() }
    }

    /// Sets the UUID.
    #[must_use]
    pub fn with_uuid(self, uuid: impl Into<String>) -> Self {
        Self { uuid: uuid.into(), ..self }
    }

    /// Memory that these processes use of it, in bytes.
    #[must_use]
    pub fn held_by(&self, pids: &[u32]) -> u64 {
        self.processes.iter().filter(|(pid, _)| pids.contains(pid)).map(|(_, bytes)| bytes).sum()
    }
}

impl SystemSnapshot {
    /// A machine with these processors and this total and available memory, without a GPU.
    #[must_use]
    pub fn new(cpus: u32, memory_total_bytes: u64, memory_available_bytes: u64) -> Self {
        Self { cpus, memory_total_bytes, memory_available_bytes, ..Self::default() }
    }

    /// Sets the GPUs.
    #[must_use]
    pub fn with_gpus(self, gpus: Vec<Gpu>) -> Self {
        Self { gpus, ..self }
    }

    /// GPU memory that these processes use, in bytes; `None` if there is no GPU.
    #[must_use]
    pub fn gpu_memory_of(&self, pids: &[u32]) -> Option<u64> {
        (!self.gpus.is_empty()).then(|| self.gpus.iter().map(|gpu| gpu.held_by(pids)).sum())
    }
}

/// The real machine, measured with sysinfo and, if it exists, NVML.
pub struct MachineMonitor {
    /// `None` if the system is not supported. Its values are then 0, which means unknown.
    system: Option<Mutex<sysinfo::System>>,
    #[cfg(feature = "nvml")]
    nvml: Result<nvml_wrapper::Nvml, nvml_wrapper::error::NvmlError>,
}

impl Default for MachineMonitor {
    fn default() -> Self {
        Self {
            system: sysinfo::System::new().ok().map(Mutex::new),
            // Without the library no GPU can be found.
            #[cfg(feature = "nvml")]
            nvml: nvml_wrapper::Nvml::init(),
        }
    }
}

impl Monitor for MachineMonitor {
    fn snapshot(&self) -> SystemSnapshot {
        let mut snapshot = SystemSnapshot {
            cpus: std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
            #[cfg(feature = "nvml")]
            gpus: self.nvml.as_ref().map(visible_gpus).unwrap_or_default(),
            ..SystemSnapshot::default()
        };
        if let Some(system) = &self.system {
            let mut system = system.lock().unwrap_or_else(PoisonError::into_inner);
            system.refresh_memory();
            system.refresh_cpu_usage();
            snapshot.cpu_percent = system.global_cpu_usage();
            snapshot.memory_total_bytes = system.total_memory();
            snapshot.memory_available_bytes = system.available_memory();
        }
        snapshot
    }

    fn memory_of(&self, pids: &[u32]) -> u64 {
        resident(pids)
    }

    #[cfg(feature = "nvml")]
    fn why_no_gpu(&self) -> Option<String> {
        use nvml_wrapper::error::NvmlError;

        match &self.nvml {
            Err(NvmlError::LibloadingError(_)) => {
                Some("the library of NVIDIA's driver (libnvidia-ml) was not found".to_owned())
            }
            Err(error) => Some(format!("NVIDIA's driver does not answer ({error})")),
            Ok(nvml) => {
                let all = gpus(nvml);
                why_none(&all, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref())
            }
        }
    }

    #[cfg(not(feature = "nvml"))]
    fn why_no_gpu(&self) -> Option<String> {
        Some("it was built without the feature `nvml`".to_owned())
    }
}

/// Measures the machine on a thread that may block.
pub(crate) async fn snapshot(monitor: &Arc<dyn Monitor>) -> SystemSnapshot {
    let monitor = Arc::clone(monitor);
    // Fails only when the async runtime ends.
    tokio::task::spawn_blocking(move || monitor.snapshot()).await.unwrap_or_default()
}

/// The resident memory of processes, from one file in /proc for each.
#[cfg(target_os = "linux")]
fn resident(pids: &[u32]) -> u64 {
    let pages = |pid| {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let pages: u64 = pids.iter().filter_map(pages).sum();
    pages.saturating_mul(rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
fn resident(pids: &[u32]) -> u64 {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

    let Ok(mut system) = System::new() else { return 0 };
    let pids: Vec<Pid> = pids.iter().copied().map(Pid::from_u32).collect();
    let kind = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, kind);
    pids.iter().filter_map(|pid| system.process(*pid)).map(sysinfo::Process::memory).sum()
}

/// Why none of these GPUs may be used, if that is so.
#[cfg(any(test, feature = "nvml"))]
fn why_none(all: &[Gpu], visible: Option<&str>) -> Option<String> {
    let hidden = visible.filter(|visible| !all.iter().any(|gpu| is_visible(gpu, visible)));
    match (all.len(), hidden) {
        (0, _) => Some("NVIDIA's driver has none that responds".to_owned()),
        (_, Some(visible)) => Some(format!("CUDA_VISIBLE_DEVICES={visible:?} hides them all")),
        _ => None,
    }
}

/// The GPUs that NVML finds and `CUDA_VISIBLE_DEVICES` does not hide.
#[cfg(feature = "nvml")]
fn visible_gpus(nvml: &nvml_wrapper::Nvml) -> Vec<Gpu> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let gpus = gpus(nvml).into_iter();
    gpus.filter(|gpu| visible.as_deref().is_none_or(|visible| is_visible(gpu, visible))).collect()
}

/// The GPUs that NVML finds. A GPU that does not respond is left out, because there may be others.
#[cfg(feature = "nvml")]
fn gpus(nvml: &nvml_wrapper::Nvml) -> Vec<Gpu> {
    use nvml_wrapper::enums::device::UsedGpuMemory;

    let used = |memory| match memory {
        UsedGpuMemory::Used(bytes) => bytes,
        UsedGpuMemory::Unavailable => 0,
    };
    let tells_processes = is_first_pid_namespace();
    let gpu = |index| {
        let device = nvml.device_by_index(index).ok()?;
        let memory = device.memory_info().ok()?;
        let processes = device.running_compute_processes();
        let is_told = |process: &nvml_wrapper::struct_wrappers::device::ProcessInfo| {
            matches!(process.used_gpu_memory, UsedGpuMemory::Used(_))
        };
        let tells_processes = tells_processes && processes.as_ref().is_ok_and(|all| all.iter().all(is_told));
        let processes = processes.unwrap_or_default();
        Some(Gpu {
            index,
            uuid: device.uuid().unwrap_or_default(),
            minor: device.minor_number().ok(),
            name: device.name().unwrap_or_default(),
            memory_total_bytes: memory.total,
            memory_free_bytes: memory.free,
            processes: processes.into_iter().map(|process| (process.pid, used(process.used_gpu_memory))).collect(),
            tells_processes,
        })
    };
    (0..nvml.device_count().unwrap_or(0)).filter_map(gpu).collect()
}

/// Whether `CUDA_VISIBLE_DEVICES` names this GPU: by its index or the beginning of its UUID. What follows an entry that names no GPU is
/// ignored (CUDA C++ Programming Guide, "CUDA Environment Variables").
#[cfg(any(test, feature = "nvml"))]
fn is_visible(gpu: &Gpu, visible: &str) -> bool {
    let entries = visible.split(',').map(str::trim);
    let mut named = entries.take_while(|entry| entry.starts_with("GPU-") || entry.parse::<u32>().is_ok());
    named.any(|entry| entry.parse() == Ok(gpu.index) || entry.starts_with("GPU-") && gpu.uuid.starts_with(entry))
}

/// Whether process ids mean the same here as for the driver, which reports those of the first namespace.
#[cfg(all(feature = "nvml", target_os = "linux"))]
fn is_first_pid_namespace() -> bool {
    use std::os::unix::fs::MetadataExt;

    /// `PROC_PID_INIT_INO` of the kernel (`include/linux/proc_ns.h`).
    const FIRST: u64 = 0xEFFF_FFFC;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|file| file.ino() == FIRST)
}

#[cfg(all(feature = "nvml", not(target_os = "linux")))]
fn is_first_pid_namespace() -> bool {
    true
}

/// A machine with chosen values, for simulations and tests.
#[derive(Default)]
pub struct SimulatedMonitor(Mutex<SystemSnapshot>);

impl SimulatedMonitor {
    /// A machine with these values.
    #[must_use]
    pub fn new(snapshot: SystemSnapshot) -> Self {
        Self(Mutex::new(snapshot))
    }

    /// Changes the machine's values.
    pub fn change(&self, change: impl FnOnce(&mut SystemSnapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Monitor for SimulatedMonitor {
    fn snapshot(&self) -> SystemSnapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_machine_has_processors_and_memory() {
        let snapshot = MachineMonitor::default().snapshot();
        assert!(snapshot.cpus > 0 && snapshot.memory_total_bytes > 0);
        assert!(snapshot.memory_available_bytes <= snapshot.memory_total_bytes);
    }

    #[test]
    fn the_hosts_own_variable_says_which_gpus_it_uses() {
        let gpu = Gpu::new(1, "", 0, 0).with_uuid("GPU-5d2c");
        for (visible, sees) in
            [("0,1", true), ("GPU-5d", true), ("0", false), ("", false), ("-1,1", false), ("GPU-6", false)]
        {
            assert_eq!(is_visible(&gpu, visible), sees, "{visible}");
        }
    }

    #[test]
    fn why_no_gpu_may_be_used_is_known() {
        let gpus = [Gpu::new(0, "", 0, 0), Gpu::new(1, "", 0, 0)];
        assert_eq!(why_none(&gpus, Some("")).unwrap(), "CUDA_VISIBLE_DEVICES=\"\" hides them all");
        assert_eq!(why_none(&gpus, Some("2")).unwrap(), "CUDA_VISIBLE_DEVICES=\"2\" hides them all");
        assert!(why_none(&[], Some("0")).unwrap().contains("driver"));
        assert_eq!((why_none(&gpus, Some("1")), why_none(&gpus, None)), (None, None));
        let monitor = MachineMonitor::default();
        assert_eq!(monitor.why_no_gpu().is_none(), !monitor.snapshot().gpus.is_empty());
    }

    #[test]
    fn a_process_holds_memory_until_it_has_ended() {
        let monitor = MachineMonitor::default();
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pids = [child.id()];
        assert!(monitor.memory_of(&pids) > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(monitor.memory_of(&pids), 0);
    }
}
