//! Measures the memory of a plugin, and keeps the last measurement. Measuring reads files of the kernel, so calls use the last measurement
//! if it is recent enough.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bivium_interface::PluginInterface;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::manager::held::Held;
use crate::monitor::{Monitor, snapshot};
use crate::scheduler::Age;
use crate::turns::{Turn, Turns};

/// The processes of a plugin and the memory that they use.
#[derive(Debug, Clone, Default)]
pub(in crate::manager) struct Usage {
    pub(in crate::manager) pids: Vec<u32>,
    pub(in crate::manager) held: Held,
}

impl Usage {
    /// Measures now. GPU memory is measured only if a monitor for it is given. If the plugin has no statistics, its memory counts as 0.
    pub(in crate::manager) async fn of(plugin: &dyn PluginInterface, gpus: Option<&Arc<dyn Monitor>>) -> Self {
        let stats = plugin.stats().await.unwrap_or_default();
        let pids = stats.pids();
        let gpu_memory_bytes = match gpus {
            Some(monitor) => snapshot(monitor).await.gpu_memory_of(&pids),
            None => None,
        };
        Self { pids, held: Held { memory_bytes: stats.memory_bytes(), gpu_memory_bytes } }
    }
}

/// The last measurement of one copy of a plugin.
#[derive(Default)]
pub(in crate::manager) struct LastUsage {
    last: Mutex<Option<(Instant, Usage)>>,
    turns: Turns,
}

impl LastUsage {
    /// The last measurement, if it is recent enough and all its processes still run. If it is aging, a new measurement is started in the
    /// background.
    pub(in crate::manager) fn recent(self: &Arc<Self>, plugin: &Arc<dyn PluginInterface>) -> Option<Usage> {
        let (at, usage) = self.last().clone()?;
        let age = Age::of(at);
        if age == Age::Old || !usage.pids.iter().copied().all(lives) {
            return None;
        }
        if age == Age::Aging
            && let Ok(runtime) = Handle::try_current()
            && let Some(turn) = self.turns.try_next()
        {
            let (this, plugin) = (Arc::clone(self), Arc::clone(plugin));
            runtime.spawn(async move { this.measure(turn, &*plugin).await });
        }
        Some(usage)
    }

    /// A measurement that begins after this call. Tasks that ask at the same time share one.
    pub(in crate::manager) async fn now(&self, plugin: &dyn PluginInterface) -> Usage {
        match self.turns.next().await {
            Some(turn) => self.measure(turn, plugin).await,
            None => self.last().as_ref().map(|(_, usage)| usage.clone()).unwrap_or_default(),
        }
    }

    async fn measure(&self, turn: Turn, plugin: &dyn PluginInterface) -> Usage {
        let at = Instant::now();
        let usage = Usage::of(plugin, None).await;
        *self.last() = Some((at, usage.clone()));
        turn.finish();
        usage
    }

    fn last(&self) -> MutexGuard<'_, Option<(Instant, Usage)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there is a process with this id.
fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use bivium_interface::{Call, InstanceStats, Payload, Result, Stats, async_trait};
    use serde_json::{Value, json};

    use super::*;

    /// Uses one byte more each time it is measured.
    struct Growing {
        measured: AtomicU64,
        pids: Vec<u32>,
    }

    #[async_trait]
    impl PluginInterface for Growing {
        fn name(&self) -> &str {
            "growing"
        }

        fn version(&self) -> &str {
            "1"
        }

        async fn initialize(&self, _config: Value) -> Result<()> {
            Ok(())
        }

        async fn execute(&self, _call: Call) -> Result<Payload> {
            Ok(json!({}).into())
        }

        async fn stats(&self) -> Result<Stats> {
            let memory_bytes = self.measured.fetch_add(1, Ordering::SeqCst) + 1;
            // Other tasks run in between.
            tokio::task::yield_now().await;
            let (mut stats, mut one) = (Stats::default(), InstanceStats::default());
            (one.memory_bytes, one.pids) = (memory_bytes, self.pids.clone());
            stats.instances.push(one);
            Ok(stats)
        }
    }

    fn growing(pids: Vec<u32>) -> (Arc<dyn PluginInterface>, Arc<LastUsage>) {
        (Arc::new(Growing { measured: AtomicU64::new(0), pids }), Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_measurement_serves_for_a_while_and_the_next_one_is_made_in_the_background() {
        let (plugin, last) = growing(vec![std::process::id()]);
        let recent = || last.recent(&plugin).map(|usage| usage.held.memory_bytes);
        assert_eq!(recent(), None, "nobody has measured yet");
        assert_eq!(last.now(&*plugin).await.held.memory_bytes, 1);
        assert_eq!(recent(), Some(1));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!((recent(), recent()), (Some(1), Some(1)), "no call waits for the next one");
        while recent() == Some(1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(recent(), Some(2));
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(recent(), None);
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_a_measurement() {
        let (plugin, last) = growing(Vec::new());
        let all = (0..8).map(|_| last.now(&*plugin));
        let all = futures_util::future::join_all(all).await;
        // The first begins before the others ask.
        assert!(all.iter().all(|usage| usage.held.memory_bytes <= 2), "{all:?}");
    }

    #[tokio::test]
    async fn a_measurement_of_a_process_that_has_ended_is_not_used() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let (plugin, last) = growing(vec![child.id()]);
        last.now(&*plugin).await;
        assert!(last.recent(&plugin).is_some() && lives(1));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last.recent(&plugin).is_none());
        assert!(!lives(0) && !lives(u32::MAX));
    }

    #[test]
    fn without_a_runtime_nothing_is_measured_in_the_background() {
        let (plugin, last) = growing(Vec::new());
        let aging = Instant::now().checked_sub(Duration::from_millis(150)).unwrap();
        *last.last() = Some((aging, Usage::default()));
        // `None` if this test was delayed for too long.
        drop(last.recent(&plugin));
        assert!(last.turns.try_next().is_some());
    }
}
