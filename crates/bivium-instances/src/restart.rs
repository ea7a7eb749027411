//! When an instance may be made in place of a crashed one: at once, after a growing delay, or not for now.
//!
//! This module reads no clock and never waits: the pool passes the time and asks.

use std::time::Duration;

use bivium_interface::{CircuitState, LastCrash, PluginError};
use tokio::time::Instant;

/// How crashed instances are replaced. A crash is a process that exited by itself or was ended by a signal that the host did not
/// send, or a start that failed. A component's trap is not a crash: it costs only that instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The delay after the second crash in a row; the first is followed by a new instance at once. It doubles with
    /// each further one.
    pub delay: Duration,
    /// After this many crashes in a row the circuit opens: no instance is made for `open`, which doubles as well.
    pub open_after: u32,
    /// How long the circuit stays open the first time.
    pub open: Duration,
    /// The longest delay.
    pub longest: Duration,
    /// How much a delay varies at random, in percent of it, so that instances that crashed together do not restart at the same
    /// moment.
    pub jitter: u8,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(100),
            open_after: 5,
            open: Duration::from_secs(10),
            longest: Duration::from_secs(300),
            jitter: 20,
        }
    }
}

impl RestartPolicy {
    fn is_open(&self, in_a_row: u32) -> bool {
        in_a_row >= self.open_after.max(1)
    }

    /// The delay after that many crashes in a row. `chance` is from 0 to 1.
    fn time_after(&self, in_a_row: u32, chance: f64) -> Duration {
        let (first, doubled) = match self.is_open(in_a_row) {
            true => (self.open, in_a_row - self.open_after.max(1)),
            false if in_a_row < 2 => return Duration::ZERO,
            false => (self.delay, in_a_row - 2),
        };
        let time = first.saturating_mul(2_u32.saturating_pow(doubled.min(31))).min(self.longest);
        let spread = f64::from(self.jitter.min(100)) / 100.0;
        time.mul_f64(1.0 + spread * (2.0 * chance.clamp(0.0, 1.0) - 1.0))
    }
}

/// Whether an instance may be made now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StartDecision {
    /// It may.
    Now,
    /// Not before this time.
    At(Instant),
    /// Only once the instance that is being made has proved to live: after a crash there is one attempt at a time.
    AfterTheOther,
    /// Not before this time, and calls should not wait for it.
    Open(Instant),
}

/// The crashes so far.
#[derive(Debug)]
pub(crate) struct Restarts {
    policy: RestartPolicy,
    in_a_row: u32,
    crashes: u64,
    last: Option<(PluginError, Instant)>,
    next_try: Instant,
}

impl Restarts {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, in_a_row: 0, crashes: 0, last: None, next_try: Instant::now() }
    }

    /// The number of crashes so far. An instance remembers the number from its start: instances of the same generation that crash
    /// count as one crash in a row, and an instance that lives says nothing about later generations.
    pub(crate) fn generation(&self) -> u64 {
        self.crashes
    }

    pub(crate) fn may_start(&self, now: Instant, another_starts: bool) -> StartDecision {
        match self.in_a_row {
            0 => StartDecision::Now,
            in_a_row if now < self.next_try && self.policy.is_open(in_a_row) => StartDecision::Open(self.next_try),
            _ if now < self.next_try => StartDecision::At(self.next_try),
            _ if another_starts => StartDecision::AfterTheOther,
            _ => StartDecision::Now,
        }
    }

    /// An instance of that generation has crashed.
    pub(crate) fn crashed(&mut self, generation: u64, error: PluginError, now: Instant, chance: f64) {
        if generation == self.crashes || self.in_a_row == 0 {
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.next_try = now + self.policy.time_after(self.in_a_row, chance);
        }
        self.crashes += 1;
        self.last = Some((error, now));
    }

    /// An instance of that generation has ended a call and lives.
    pub(crate) fn lives(&mut self, generation: u64) {
        // Written only if it changes: every call on every processor comes here.
        if generation == self.crashes && self.in_a_row > 0 {
            self.in_a_row = 0;
        }
    }

    /// Forgets earlier crashes, since somebody has fixed the plugin.
    pub(crate) fn forget(&mut self) {
        self.in_a_row = 0;
    }

    /// The error of a call for which no instance may be made now.
    pub(crate) fn refusal(&self, now: Instant) -> PluginError {
        let left = self.next_try.saturating_duration_since(now).as_secs_f64();
        let message = format!("it crashed {} times in a row; the next try is in {left:.1} s", self.in_a_row);
        let error = PluginError::unavailable(message);
        match &self.last {
            Some((last, _)) => {
                let error = error.with_help(format!("fix it and reload it; the last crash: {}", last.message()));
                match last.failure() {
                    Some(failure) => error.with_failure(failure.clone()),
                    None => error,
                }
            }
            None => error,
        }
    }

    pub(crate) fn crashes(&self) -> u64 {
        self.crashes
    }

    /// The state of the circuit, and the seconds until an instance may be made, if that is not now.
    pub(crate) fn circuit(&self, now: Instant) -> (CircuitState, Option<f64>) {
        let wait = |until: Instant| Some(until.saturating_duration_since(now).as_secs_f64());
        match self.may_start(now, false) {
            StartDecision::Open(until) => (CircuitState::Open, wait(until)),
            StartDecision::At(until) => (CircuitState::Closed, wait(until)),
            _ if self.policy.is_open(self.in_a_row) => (CircuitState::HalfOpen, None),
            _ => (CircuitState::Closed, None),
        }
    }

    pub(crate) fn last_crash(&self, now: Instant) -> Option<LastCrash> {
        let (error, at) = self.last.as_ref()?;
        let ago_s = now.saturating_duration_since(*at).as_secs_f64();
        Some(LastCrash::new(error.clone(), ago_s, self.in_a_row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        delay: Duration::from_secs(1),
        open_after: 4,
        open: Duration::from_secs(10),
        longest: Duration::from_secs(25),
        jitter: 50,
    };

    fn crash(restarts: &mut Restarts, now: Instant) {
        restarts.crashed(restarts.generation(), PluginError::crashed("the worker exited"), now, 0.5);
    }

    #[test]
    fn delays_double_up_to_the_longest_and_vary_at_random() {
        let times = |chance: f64| (0..8).map(|n| POLICY.time_after(n, chance).as_millis()).collect::<Vec<_>>();
        assert_eq!(times(0.5), [0, 0, 1000, 2000, 10_000, 20_000, 25_000, 25_000]);
        assert_eq!(times(0.0), [0, 0, 500, 1000, 5_000, 10_000, 12_500, 12_500]);
        assert_eq!(times(1.0), [0, 0, 1500, 3000, 15_000, 30_000, 37_500, 37_500]);
        assert_eq!(POLICY.time_after(u32::MAX, 0.5), POLICY.longest);
    }

    #[test]
    fn the_circuit_opens_allows_one_attempt_and_closes_once_a_call_has_ended() {
        let now = Instant::now();
        let seconds = |n| now + Duration::from_secs(n);
        let mut restarts = Restarts::new(POLICY);
        assert_eq!(restarts.may_start(now, true), StartDecision::Now, "those that never crashed start side by side");
        crash(&mut restarts, now);
        assert_eq!(restarts.may_start(now, false), StartDecision::Now);
        assert_eq!(restarts.may_start(now, true), StartDecision::AfterTheOther);
        crash(&mut restarts, now);
        assert_eq!(restarts.may_start(now, false), StartDecision::At(seconds(1)));
        crash(&mut restarts, now);
        assert_eq!(restarts.circuit(now), (CircuitState::Closed, Some(2.0)));
        crash(&mut restarts, now);
        assert_eq!(restarts.may_start(now, false), StartDecision::Open(seconds(10)));
        assert_eq!(restarts.circuit(seconds(3)), (CircuitState::Open, Some(7.0)));
        let refusal = restarts.refusal(seconds(3));
        assert_eq!(refusal.message(), "it crashed 4 times in a row; the next try is in 7.0 s");
        assert!(refusal.help().unwrap().ends_with("the last crash: the worker exited"), "{refusal}");

        assert_eq!(restarts.circuit(seconds(10)), (CircuitState::HalfOpen, None));
        assert_eq!(restarts.may_start(seconds(10), true), StartDecision::AfterTheOther);
        crash(&mut restarts, seconds(10));
        assert_eq!(
            restarts.may_start(seconds(29), false),
            StartDecision::Open(seconds(30)),
            "the second time is twice as long"
        );
        restarts.lives(restarts.generation());
        assert_eq!(restarts.circuit(seconds(29)), (CircuitState::Closed, None));
        assert_eq!(restarts.last_crash(seconds(29)).unwrap().ago_s, 19.0);
    }

    #[test]
    fn instances_of_one_generation_crash_once_and_say_nothing_about_later_ones() {
        let now = Instant::now();
        let mut restarts = Restarts::new(POLICY);
        let old = restarts.generation();
        for _ in 0..9 {
            restarts.crashed(old, PluginError::crashed("all at once"), now, 0.5);
        }
        assert_eq!((restarts.in_a_row, restarts.crashes()), (1, 9));
        let young = restarts.generation();
        restarts.crashed(young, PluginError::crashed("again"), now, 0.5);
        restarts.lives(old);
        restarts.lives(young);
        assert_eq!(restarts.in_a_row, 2, "an older sibling that lives does not end the row");
        restarts.lives(restarts.generation());
        assert_eq!(restarts.in_a_row, 0);
    }
}
