//! The last measurement of the machine, and what was promised since. It is enough to admit most calls without another measurement.
//!
//! A measurement does not contain what calls took afterwards. So for each plugin the largest sum of promises at any time since the
//! measurement began is counted, even if the calls have ended: the plugin's processes may keep that memory until the next
//! measurement sees it. A later call of the plugin uses the same memory.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::need::Need;
use crate::monitor::SystemSnapshot;

/// The last measurement.
pub(super) struct Recent {
    /// When the measurement began.
    at: Instant,
    snapshot: SystemSnapshot,
    /// For each plugin, the most memory that its calls may have taken since.
    most: BTreeMap<String, u64>,
}

/// Calls that ended during a measurement, which may have counted their memory or not.
#[derive(Default)]
pub(super) struct Pending {
    ended: BTreeMap<String, u64>,
}

/// The age of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    /// It can be used, but a new one should be started.
    Aging,
    /// It cannot be used.
    Old,
}

impl Age {
    /// From this age on, a new measurement is started in the background.
    const AGING: Duration = Duration::from_millis(100);
    /// From this age on, a call waits for a new measurement.
    const OLD: Duration = Duration::from_millis(250);

    /// The age of a measurement from this time.
    pub(crate) fn of(at: Instant) -> Self {
        match at.elapsed() {
            age if age < Self::AGING => Self::New,
            age if age < Self::OLD => Self::Aging,
            _ => Self::Old,
        }
    }
}

impl Pending {
    /// Notes that a call of the plugin ends. `promised` is the sum of promises to the plugin's calls until now.
    pub(super) fn ends(&mut self, plugin: &str, promised: u64) {
        let most = self.ended.entry(plugin.to_owned()).or_default();
        *most = (*most).max(promised);
    }
}

impl Recent {
    pub(super) fn new(at: Instant, snapshot: SystemSnapshot, left: impl Iterator<Item = (String, u64)>) -> Self {
        let mut most: BTreeMap<String, u64> = BTreeMap::new();
        for (plugin, left) in left {
            let all = most.entry(plugin).or_default();
            *all = all.saturating_add(left);
        }
        Self { at, snapshot, most }
    }

    pub(super) fn after(mut self, pending: Pending) -> Self {
        for (plugin, promised) in pending.ended {
            self.promised(&plugin, promised);
        }
        self
    }

    /// Notes that the sum of promises to the plugin's calls is `all`.
    pub(super) fn promised(&mut self, plugin: &str, all: u64) {
        match self.most.get_mut(plugin) {
            Some(most) => *most = (*most).max(all),
            None => drop(self.most.insert(plugin.to_owned(), all)),
        }
    }

    pub(super) fn snapshot(&self) -> &SystemSnapshot {
        &self.snapshot
    }

    pub(super) fn age(&self) -> Age {
        Age::of(self.at)
    }

    /// Whether one more call surely fits, whatever has been taken since. `own` is what running calls of the same plugin may still take of
    /// their promises.
    pub(super) fn leaves_room(&self, need: &Need, own: u64) -> bool {
        let others = self.most.iter().filter(|(plugin, _)| **plugin != need.plugin);
        let others = others.fold(0u64, |all, (_, most)| all.saturating_add(*most));
        let before = self.most.get(&need.plugin).copied().unwrap_or_default();
        let all = others.saturating_add(before.max(own.saturating_add(need.memory_bytes)));
        let machine = &self.snapshot;
        need.memory_bytes == 0 || machine.memory_total_bytes == 0 || all <= machine.memory_available_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(free: u64) -> SystemSnapshot {
        SystemSnapshot { memory_total_bytes: 100, memory_available_bytes: free, ..SystemSnapshot::default() }
    }

    fn need(plugin: &str, memory_bytes: u64) -> Need {
        Need { plugin: plugin.to_owned(), memory_bytes, ..Need::default() }
    }

    #[test]
    fn memory_that_ended_calls_may_have_taken_counts_for_other_plugins() {
        let mut recent = Recent::new(Instant::now(), machine(50), std::iter::empty());
        for _ in 0..3 {
            assert!(recent.leaves_room(&need("a", 30), 0));
            recent.promised("a", 30);
        }
        assert!(recent.leaves_room(&need("b", 20), 0));
        assert!(!recent.leaves_room(&need("b", 21), 0), "the measurement has not seen what `a` took");
        assert!(!recent.leaves_room(&need("a", 30), 30), "one of `a` runs, and two are sixty");
    }

    #[test]
    fn calls_that_end_during_a_measurement_still_count() {
        let mut pending = Pending::default();
        pending.ends("a", 30);
        pending.ends("a", 10);
        let recent = Recent::new(Instant::now(), machine(50), [("b".into(), 5)].into_iter()).after(pending);
        assert!(recent.leaves_room(&need("c", 15), 0));
        assert!(!recent.leaves_room(&need("c", 16), 0));
    }
}
