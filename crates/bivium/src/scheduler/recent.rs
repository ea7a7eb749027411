//! The last look at the machine, and what was promised since: enough to admit a call without another look.
//!
//! What a call was promised and may have taken after the look is missing from it. So each plugin counts with the most that its
//! calls were promised at once since the look began, also when they have ended: what they took stays with its processes until
//! the next look sees it, and its next call takes no more than that.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Need;
use super::ledger::Memory;
use crate::monitor::SystemSnapshot;

/// The machine, as it was seen.
pub(super) struct Recent {
    /// When the look began.
    at: Instant,
    snapshot: SystemSnapshot,
    /// The most that calls of each plugin may have taken since.
    most: BTreeMap<String, Memory>,
}

/// What happens while a look is taken: it may have seen that or not.
#[derive(Default)]
pub(super) struct Pending {
    ended: BTreeMap<String, Memory>,
}

/// How old a look is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    /// It will do, and it is time for another.
    Aging,
    /// It will not do.
    Old,
}

impl Age {
    /// From this age on another look is taken in the background.
    const AGING: Duration = Duration::from_millis(100);
    /// From this age on a call waits for another look.
    const OLD: Duration = Duration::from_millis(250);

    /// Of what was seen at this time.
    pub(crate) fn of(at: Instant) -> Self {
        match at.elapsed() {
            age if age < Self::AGING => Self::New,
            age if age < Self::OLD => Self::Aging,
            _ => Self::Old,
        }
    }
}

impl Pending {
    /// A call of the plugin ends, whose calls were promised so much in all until now.
    pub(super) fn ends(&mut self, plugin: &str, promised: Memory) {
        let most = self.ended.entry(plugin.to_owned()).or_default();
        *most = most.or_more(promised);
    }
}

impl Recent {
    pub(super) fn new(at: Instant, snapshot: SystemSnapshot, left: impl Iterator<Item = (String, Memory)>) -> Self {
        let mut most: BTreeMap<String, Memory> = BTreeMap::new();
        for (plugin, left) in left {
            let all = most.entry(plugin).or_default();
            *all = all.and(left);
        }
        Self { at, snapshot, most }
    }

    pub(super) fn after(mut self, pending: Pending) -> Self {
        for (plugin, promised) in pending.ended {
            self.promised(&plugin, promised);
        }
        self
    }

    /// The plugin's calls are promised so much in all.
    pub(super) fn promised(&mut self, plugin: &str, all: Memory) {
        match self.most.get_mut(plugin) {
            Some(most) => *most = most.or_more(all),
            None => drop(self.most.insert(plugin.to_owned(), all)),
        }
    }

    pub(super) fn snapshot(&self) -> &SystemSnapshot {
        &self.snapshot
    }

    pub(super) fn age(&self) -> Age {
        Age::of(self.at)
    }

    /// Whether one more call fits beside all that may have been taken since. `own` is left of what calls of its plugin were
    /// promised that run now.
    pub(super) fn leaves_room(&self, need: &Need, own: Memory) -> bool {
        let others = self.most.iter().filter(|(plugin, _)| **plugin != need.plugin);
        let others = others.fold(Memory::default(), |all, (_, most)| all.and(*most));
        let before = self.most.get(&need.plugin).copied().unwrap_or_default();
        let all = others.and(before.or_more(own.and(need.memory())));
        let machine = &self.snapshot;
        let gpu = machine.gpus.iter().map(|gpu| gpu.memory_free_bytes).max();
        (need.memory_bytes == 0 || machine.memory_total_bytes == 0 || all.host <= machine.memory_available_bytes)
            && (need.gpu_memory_bytes == 0 || all.gpu <= gpu.unwrap_or(0))
            && (!need.requires_gpu || gpu.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(free: u64) -> SystemSnapshot {
        SystemSnapshot { memory_total_bytes: 100, memory_available_bytes: free, ..SystemSnapshot::default() }
    }

    fn host(host: u64) -> Memory {
        Memory { host, gpu: 0 }
    }

    fn need(plugin: &str, memory_bytes: u64) -> Need {
        Need { plugin: plugin.to_owned(), memory_bytes, ..Need::default() }
    }

    #[test]
    fn what_ended_calls_may_have_taken_counts_against_others_and_once_for_their_own_plugin() {
        let mut recent = Recent::new(Instant::now(), machine(50), std::iter::empty());
        for _ in 0..3 {
            assert!(recent.leaves_room(&need("a", 30), host(0)));
            recent.promised("a", host(30));
        }
        assert!(recent.leaves_room(&need("b", 20), host(0)));
        assert!(!recent.leaves_room(&need("b", 21), host(0)), "the look has not seen what `a` took");
        assert!(!recent.leaves_room(&need("a", 30), host(30)), "one of `a` runs, and two are sixty");
    }

    #[test]
    fn what_ends_during_a_look_may_not_have_been_seen() {
        let mut pending = Pending::default();
        pending.ends("a", host(30));
        pending.ends("a", host(10));
        let recent = Recent::new(Instant::now(), machine(50), [("b".into(), host(5))].into_iter()).after(pending);
        assert!(recent.leaves_room(&need("c", 15), host(0)));
        assert!(!recent.leaves_room(&need("c", 16), host(0)));
    }

    #[test]
    fn a_gpu_has_to_be_there() {
        let recent = Recent::new(Instant::now(), machine(50), std::iter::empty());
        assert!(!recent.leaves_room(&Need { requires_gpu: true, ..Need::default() }, host(0)));
        assert!(!recent.leaves_room(&Need { gpu_memory_bytes: 1, ..Need::default() }, host(0)));
    }
}
