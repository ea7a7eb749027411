//! [`PoolLimits`]: how many instances a pool has, and how it uses each.

use std::time::Duration;

use bivium_interface::HostPolicy;
use bivium_interface::manifest::Limits;

use crate::restart::RestartPolicy;

/// How many instances there may be, and how each is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// At most this many at once.
    pub instances: u32,
    /// Calls that one instance runs at once.
    pub calls_per_instance: u32,
    /// Whether an instance ends after its first call.
    pub single_use: bool,
    /// Whether a call prefers the instance that its thread used last. Useful if calls run on the caller's thread, whose caches
    /// then hold the instance's data.
    pub thread_affinity: bool,
    /// Calls that may wait for a place.
    pub queue: u32,
    /// When idle instances are stopped; `None` for never.
    pub idle: Option<Idle>,
    /// How crashed instances are replaced.
    pub restart: RestartPolicy,
}

impl PoolLimits {
    /// How many calls may wait for a plugin with these limits.
    #[must_use]
    pub fn queue(limits: &Limits) -> u32 {
        let limit = limits.queue.or(HostPolicy::DEFAULTS.queue);
        limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(u32::MAX)
    }
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            instances: 1,
            calls_per_instance: 1,
            single_use: false,
            thread_affinity: false,
            queue: Self::queue(&Limits::default()),
            idle: None,
            restart: RestartPolicy::default(),
        }
    }
}

/// When idle instances are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// After this time without a call. The next call that needs an instance makes it again, with the configuration in force.
    pub after: Duration,
    /// This many are kept, however long they are idle.
    pub keep: u32,
}
