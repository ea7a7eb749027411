//! Measures from the host what a worker's processes use, when somebody asks.
//!
//! The cost depends on the number of the worker's threads, not on the number of processes of the machine: the kernel lists the
//! children of each thread. Only the processor time of the last measurement is kept, because processor use is
//! a difference. So the figures of a worker that has just started are as exact as later ones.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Processor use over less time than this is not reported: the kernel counts in steps of 10 ms.
const SPAN: Duration = Duration::from_millis(250);

/// What a process tree uses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage {
    pub(crate) memory_bytes: u64,
    /// None while the worker is too young.
    pub(crate) cpu_percent: Option<f32>,
    pub(crate) pids: Vec<u32>,
}

/// Measures all processes below one guard. The guard itself is not counted.
#[derive(Debug)]
pub(crate) struct Meter {
    guard: u32,
    processor: Mutex<Processor>,
}

/// The processor time at the last measurement that was long enough after the one before.
#[derive(Debug)]
struct Processor {
    at: Instant,
    used: Vec<(Process, Duration)>,
    percent: Option<f32>,
}

/// Identifies a process, and not another one that gets the same id later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: u32,
    started: u64,
}

/// One process at one moment.
#[derive(Debug)]
struct Sample {
    process: Process,
    memory_bytes: u64,
    processor: Duration,
}

impl Meter {
    /// For a worker that is ready now: processor time before this does not count.
    pub(crate) fn new(guard: u32) -> Self {
        let used = below(guard).into_iter().map(|sample| (sample.process, sample.processor)).collect();
        Self { guard, processor: Mutex::new(Processor { at: Instant::now(), used, percent: None }) }
    }

    /// What they use now.
    pub(crate) fn look(&self) -> Usage {
        let mut samples = below(self.guard);
        samples.sort_unstable_by_key(|sample| sample.process.pid);
        Usage {
            memory_bytes: samples.iter().map(|sample| sample.memory_bytes).sum(),
            cpu_percent: self.processor.lock().unwrap_or_else(PoisonError::into_inner).percent(&samples),
            pids: samples.iter().map(|sample| sample.process.pid).collect(),
        }
    }
}

impl Processor {
    fn percent(&mut self, samples: &[Sample]) -> Option<f32> {
        let span = self.at.elapsed();
        if span >= SPAN {
            let before = |process| self.used.iter().find(|(known, _)| *known == process).map(|(_, used)| *used);
            let since = |sample: &Sample| sample.processor.saturating_sub(before(sample.process).unwrap_or_default());
            let used: Duration = samples.iter().map(since).sum();
            self.percent = Some(100.0 * used.as_secs_f32() / span.as_secs_f32());
            self.used = samples.iter().map(|sample| (sample.process, sample.processor)).collect();
            self.at = Instant::now();
        }
        self.percent
    }
}

#[cfg(target_os = "linux")]
use linux::below;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::{Process, Sample};
    use crate::process::stat::Stat;

    /// Whether the kernel lists the children of a thread (`CONFIG_PROC_CHILDREN`).
    static LISTS: LazyLock<bool> = LazyLock::new(|| Path::new("/proc/thread-self/children").exists());

    /// All processes below this one, in no order.
    pub(super) fn below(top: u32) -> Vec<Sample> {
        let everyone = if *LISTS { Vec::new() } else { everyone() };
        // When its parent ends, a process moves up in the tree while this walks down; the set prevents counting it twice.
        let mut seen = BTreeSet::from([top]);
        let (mut parents, mut samples) = (vec![top], Vec::new());
        while let Some(parent) = parents.pop() {
            let children = if *LISTS {
                children(parent)
            } else {
                everyone.iter().filter(|(_, above)| *above == parent).map(|(pid, _)| *pid).collect()
            };
            for pid in children {
                if seen.insert(pid) {
                    samples.extend(Stat::of(pid).map(|stat| sample(pid, &stat)));
                    parents.push(pid);
                }
            }
        }
        samples
    }

    /// A process has the children of all its threads.
    fn children(parent: u32) -> Vec<u32> {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
        let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// All processes of the machine, each with its parent's id.
    fn everyone() -> Vec<(u32, u32)> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Some((pid, Stat::of(pid)?.parent))).collect()
    }

    #[allow(clippy::cast_precision_loss, reason = "ticks of the processor's time are few")]
    fn sample(pid: u32, stat: &Stat) -> Sample {
        let page = rustix::param::page_size() as u64;
        let second = rustix::param::clock_ticks_per_second().max(1);
        Sample {
            process: Process { pid, started: stat.started },
            memory_bytes: stat.resident.saturating_mul(page),
            processor: Duration::from_secs_f64(stat.processor as f64 / second as f64),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn both_ways_to_find_children_agree() {
            let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
            let own = std::process::id();
            let listed = everyone().iter().any(|(pid, parent)| (*pid, *parent) == (child.id(), own));
            let found = !*LISTS || children(own).contains(&child.id());
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(listed && found);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn below(top: u32) -> Vec<Sample> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

    let Ok(mut system) = System::new() else { return Vec::new() };
    let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let (mut parents, mut samples) = (vec![Pid::from_u32(top)], Vec::new());
    while let Some(parent) = parents.pop() {
        for (pid, process) in system.processes() {
            if process.parent() == Some(parent) {
                samples.push(Sample {
                    process: Process { pid: pid.as_u32(), started: process.start_time() },
                    memory_bytes: process.memory(),
                    processor: Duration::from_millis(process.accumulated_cpu_time()),
                });
                parents.push(*pid);
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Ends with the test.
    struct ProcessTree(Child);

    impl ProcessTree {
        /// A shell that runs `script`, once it has printed a line.
        fn begin(script: &str) -> Self {
            let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
            Self(child)
        }
    }

    impl Drop for ProcessTree {
        fn drop(&mut self) {
            for pid in Meter::new(self.0.id()).look().pids {
                let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_new_process_is_measured_at_once() {
        for _ in 0..20 {
            let family = ProcessTree::begin("sleep 100 & (sleep 100 & echo; sleep 100) & wait");
            let usage = Meter::new(family.0.id()).look();
            assert!(usage.pids.len() >= 2, "{usage:?}");
            assert!(usage.memory_bytes > 0, "{usage:?}");
            assert_eq!(usage.cpu_percent, None, "it is too early");
        }
    }

    #[test]
    fn children_of_any_thread_are_seen() {
        let child = std::thread::spawn(|| Command::new("sleep").arg("100").spawn().unwrap());
        let (say, hear) = std::sync::mpsc::channel();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            let child = Command::new("sleep").arg("100").spawn().unwrap();
            say.send(child).unwrap();
            let _ = wait.recv();
        });
        let mut children = [child.join().unwrap(), hear.recv().unwrap()];
        let pids = Meter::new(std::process::id()).look().pids;
        drop(end);
        other.join().unwrap();
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(pids.contains(&child.id()), "{pids:?}");
        }
    }

    #[test]
    fn processor_use_is_reported_once_it_is_known() {
        let family = ProcessTree::begin("while :; do :; done & echo; wait");
        let meter = Meter::new(family.0.id());
        let percent = loop {
            if let Some(percent) = meter.look().cpu_percent {
                break percent;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(percent > 1.0 && percent < 150.0, "{percent}");
        assert!(meter.look().cpu_percent.is_some());
    }

    #[test]
    fn processes_that_have_ended_use_nothing() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let usage = Meter::new(child.id()).look();
        assert_eq!((usage.memory_bytes, usage.pids), (0, Vec::new()));
    }
}
