//! When an instance may be made in place of one that crashed: at once, after a delay that grows, or not for now.
//!
//! Nothing here looks at a clock or waits: the pool tells the time and asks.

use std::time::Duration;

use bivium_interface::{CircuitState, LastCrash, PluginError};
use tokio::time::Instant;

/// How instances that crash are replaced. A crash is a process that ended by itself or by a signal that the host did
/// not send, and a start that failed. A component's trap is none: what it costs is one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The delay after the second crash in a row; the first is followed by a new instance at once. It doubles with
    /// each further one.
    pub delay: Duration,
    /// After this many crashes in a row the circuit opens: no instance is made for `open`, which doubles as well.
    pub open_after: u32,
    /// How long the circuit stays open the first time.
    pub open: Duration,
    /// No time is longer.
    pub longest: Duration,
    /// By how much a time may be longer or shorter, by chance, in percent of it: what crashed together need not
    /// come back together.
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

    /// How long to wait after that many crashes in a row. `chance` is from 0 to 1.
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
pub(crate) enum Leave {
    /// Yes.
    Now,
    /// Not before.
    At(Instant),
    /// Once the one that is being made has shown whether it lives: after a crash there is one try at a time.
    AfterTheOther,
    /// Not before, and nobody should wait for it.
    Open(Instant),
}

/// What is known of crashes.
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

    /// Crashes so far. An instance remembers how many there were when it was begun: those of one age that crash
    /// count as one crash in a row, and one that lives says something only about what came before it.
    pub(crate) fn age(&self) -> u64 {
        self.crashes
    }

    pub(crate) fn leave(&self, now: Instant, another_starts: bool) -> Leave {
        match self.in_a_row {
            0 => Leave::Now,
            in_a_row if now < self.next_try && self.policy.is_open(in_a_row) => Leave::Open(self.next_try),
            _ if now < self.next_try => Leave::At(self.next_try),
            _ if another_starts => Leave::AfterTheOther,
            _ => Leave::Now,
        }
    }

    /// An instance of that age has crashed.
    pub(crate) fn crashed(&mut self, age: u64, error: PluginError, now: Instant, chance: f64) {
        if age == self.crashes || self.in_a_row == 0 {
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.next_try = now + self.policy.time_after(self.in_a_row, chance);
        }
        self.crashes += 1;
        self.last = Some((error, now));
    }

    /// An instance of that age has ended a call and lives.
    pub(crate) fn lives(&mut self, age: u64) {
        // Not written where it need not be: each call comes here, on all processors.
        if age == self.crashes && self.in_a_row > 0 {
            self.in_a_row = 0;
        }
    }

    /// Somebody has mended it: what was before counts no more.
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
                let error = error.with_help(format!("reload it once it is mended; the last crash: {}", last.message()));
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

    /// The circuit, and the seconds until an instance may be made where that is not now.
    pub(crate) fn circuit(&self, now: Instant) -> (CircuitState, Option<f64>) {
        let wait = |until: Instant| Some(until.saturating_duration_since(now).as_secs_f64());
        match self.leave(now, false) {
            Leave::Open(until) => (CircuitState::Open, wait(until)),
            Leave::At(until) => (CircuitState::Closed, wait(until)),
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
        restarts.crashed(restarts.age(), PluginError::crashed("the worker exited"), now, 0.5);
    }

    #[test]
    fn times_double_up_to_the_longest_and_spread_around_it() {
        let times = |chance: f64| (0..8).map(|n| POLICY.time_after(n, chance).as_millis()).collect::<Vec<_>>();
        assert_eq!(times(0.5), [0, 0, 1000, 2000, 10_000, 20_000, 25_000, 25_000]);
        assert_eq!(times(0.0), [0, 0, 500, 1000, 5_000, 10_000, 12_500, 12_500]);
        assert_eq!(times(1.0), [0, 0, 1500, 3000, 15_000, 30_000, 37_500, 37_500]);
        assert_eq!(POLICY.time_after(u32::MAX, 0.5), POLICY.longest);
    }

    #[test]
    fn the_circuit_opens_lets_one_try_and_closes_once_a_call_has_ended() {
        let now = Instant::now();
        let seconds = |n| now + Duration::from_secs(n);
        let mut restarts = Restarts::new(POLICY);
        assert_eq!(restarts.leave(now, true), Leave::Now, "those that never crashed start side by side");
        crash(&mut restarts, now);
        assert_eq!(restarts.leave(now, false), Leave::Now);
        assert_eq!(restarts.leave(now, true), Leave::AfterTheOther);
        crash(&mut restarts, now);
        assert_eq!(restarts.leave(now, false), Leave::At(seconds(1)));
        crash(&mut restarts, now);
        assert_eq!(restarts.circuit(now), (CircuitState::Closed, Some(2.0)));
        crash(&mut restarts, now);
        assert_eq!(restarts.leave(now, false), Leave::Open(seconds(10)));
        assert_eq!(restarts.circuit(seconds(3)), (CircuitState::Open, Some(7.0)));
        let refusal = restarts.refusal(seconds(3));
        assert_eq!(refusal.message(), "it crashed 4 times in a row; the next try is in 7.0 s");
        assert!(refusal.help().unwrap().ends_with("the last crash: the worker exited"), "{refusal}");

        assert_eq!(restarts.circuit(seconds(10)), (CircuitState::HalfOpen, None));
        assert_eq!(restarts.leave(seconds(10), true), Leave::AfterTheOther);
        crash(&mut restarts, seconds(10));
        assert_eq!(restarts.leave(seconds(29), false), Leave::Open(seconds(30)), "the second time is twice as long");
        restarts.lives(restarts.age());
        assert_eq!(restarts.circuit(seconds(29)), (CircuitState::Closed, None));
        assert_eq!(restarts.last_crash(seconds(29)).unwrap().ago_s, 19.0);
    }

    #[test]
    fn those_of_one_age_crash_once_and_vouch_for_nothing_younger() {
        let now = Instant::now();
        let mut restarts = Restarts::new(POLICY);
        let old = restarts.age();
        for _ in 0..9 {
            restarts.crashed(old, PluginError::crashed("all at once"), now, 0.5);
        }
        assert_eq!((restarts.in_a_row, restarts.crashes()), (1, 9));
        let young = restarts.age();
        restarts.crashed(young, PluginError::crashed("again"), now, 0.5);
        restarts.lives(old);
        restarts.lives(young);
        assert_eq!(restarts.in_a_row, 2, "an older sibling that lives does not end the row");
        restarts.lives(restarts.age());
        assert_eq!(restarts.in_a_row, 0);
    }
}
