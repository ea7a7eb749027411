//! [`Contest`]: measures the sides of one comparison in turn.
//!
//! Each round measures every side once, so that changes of the machine's speed affect all sides equally: A B C, B C A, …. A side gives
//! samples of one or more measures; each measure becomes an [`Entry`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use async_trait::async_trait;

use crate::entry::{Against, Better, Entry, Goal, Measured};
use crate::stats::Stats;

/// Samples by measure.
pub type Samples = BTreeMap<String, Vec<f64>>;

/// A side that is measured.
#[async_trait(?Send)]
pub trait Side {
    /// Adds some samples, without warm-up.
    ///
    /// # Errors
    /// If the measured work failed. Then only this failure is reported for the side.
    async fn round(&mut self, samples: &mut Samples) -> Result<()>;

    /// Ends everything that the side has started.
    ///
    /// # Errors
    /// If something may still run.
    async fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The role of a side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    Ours,
    Floor,
    Peer(String),
    /// A further measurement, without a goal.
    Also(String),
}

/// A measure for which the sides give samples.
pub struct Measure {
    key: String,
    variant: String,
    unit: &'static str,
    better: Better,
    goals: Vec<Goal>,
}

impl Measure {
    /// A measure for which lower is better.
    pub fn lower(key: impl Into<String>, variant: impl Into<String>, unit: &'static str) -> Self {
        Self { key: key.into(), variant: variant.into(), unit, better: Better::Lower, goals: Vec::new() }
    }

    /// A measure for which higher is better.
    pub fn higher(key: impl Into<String>, variant: impl Into<String>, unit: &'static str) -> Self {
        Self { better: Better::Higher, ..Self::lower(key, variant, unit) }
    }

    /// Sets a goal: our value must be at most (or at least, if higher is better) this many times the compared value.
    #[must_use]
    pub fn goal(mut self, against: Against, times: f64) -> Self {
        self.goals.push(Goal { against, times });
        self
    }
}

/// The sides of a comparison.
pub struct Contest {
    case: &'static str,
    measures: Vec<Measure>,
    sides: Vec<(Role, Result<Box<dyn Side>>)>,
}

impl Contest {
    /// A comparison with these measures.
    #[must_use]
    pub fn new(case: &'static str, measures: Vec<Measure>) -> Self {
        Self { case, measures, sides: Vec::new() }
    }

    /// Adds a side. A side that could not be set up is reported as missing; our side and the floor must not be missing.
    #[must_use]
    pub fn side(mut self, role: Role, side: Result<impl Side + 'static>) -> Self {
        self.sides.push((role, side.map(|side| Box::new(side) as Box<dyn Side>)));
        self
    }

    /// Measures, ends the sides, and returns one entry for each measure.
    ///
    /// # Errors
    /// If our side or the floor failed.
    pub async fn run(self, rounds: usize) -> Result<Vec<Entry>> {
        let mut sides = Vec::new();
        for (role, side) in self.sides {
            if matches!(role, Role::Ours | Role::Floor)
                && let Err(error) = side
            {
                return Err(error.context(format!("cannot set up {role:?} of {}", self.case)));
            }
            sides.push((role, side, Samples::new()));
        }
        // Each round has another order, which is the same in every run: otherwise a side would always suffer from the state of caches and
        // processors that the same other side leaves behind.
        let mut order = fastrand::Rng::with_seed(0);
        let mut turns: Vec<usize> = (0..sides.len()).collect();
        for _ in 0..rounds {
            order.shuffle(&mut turns);
            for turn in &turns {
                let Some((role, side, samples)) = sides.get_mut(*turn) else { continue };
                let Ok(running) = side else { continue };
                if let Err(error) = running.round(samples).await {
                    let error = error.context(format!("{role:?} of {} failed", self.case));
                    if let Ok(failed) = std::mem::replace(side, Err(error)) {
                        failed.end().await?;
                    }
                }
            }
        }
        let mut measured = Vec::new();
        for (role, side, samples) in sides {
            let failure = match side {
                Ok(side) => side.end().await.with_context(|| format!("cannot end {role:?} of {}", self.case)).err(),
                Err(error) => Some(error),
            };
            match failure {
                Some(error) if matches!(role, Role::Ours | Role::Floor) => return Err(error),
                failure => measured.push((role, samples, failure.map(|error| format!("{error:#}")))),
            }
        }
        Ok(self.measures.iter().map(|measure| entry(self.case, measure, &measured)).collect())
    }
}

fn entry(case: &'static str, measure: &Measure, sides: &[(Role, Samples, Option<String>)]) -> Entry {
    let mut entry = Entry::new(case, measure.variant.clone(), measure.unit, measure.better);
    for (role, samples, failure) in sides {
        let measured = match (failure, samples.get(&measure.key).and_then(|samples| Stats::of(samples))) {
            (Some(failure), _) => Measured::Missing { missing: failure.clone() },
            (None, Some(stats)) => Measured::Stats(stats),
            // This side does not have this measure.
            (None, None) => continue,
        };
        match role {
            Role::Ours => entry.ours = measured,
            Role::Floor => entry.floor = Some(measured),
            Role::Peer(name) => drop(entry.peers.insert(name.clone(), measured)),
            Role::Also(name) => drop(entry.also.insert(name.clone(), measured)),
        }
    }
    entry.judged(&measure.goals)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use anyhow::bail;

    use super::*;

    struct Scripted {
        name: &'static str,
        value: f64,
        fails: bool,
        turns: Rc<RefCell<Vec<&'static str>>>,
    }

    #[async_trait(?Send)]
    impl Side for Scripted {
        async fn round(&mut self, samples: &mut Samples) -> Result<()> {
            self.turns.borrow_mut().push(self.name);
            if self.fails {
                bail!("broke");
            }
            samples.entry("time".to_owned()).or_default().push(self.value);
            Ok(())
        }
    }

    #[tokio::test]
    async fn sides_take_turns_and_a_peer_that_fails_is_reported() {
        let turns = Rc::new(RefCell::new(Vec::new()));
        let side = |name, value, fails| Ok(Scripted { name, value, fails, turns: Rc::clone(&turns) });
        let measure = Measure::lower("time", "variant", "µs").goal(Against::Floor, 2.0);
        let entries = Contest::new("case", vec![measure])
            .side(Role::Ours, side("ours", 3.0, false))
            .side(Role::Floor, side("floor", 2.0, false))
            .side(Role::Peer("broken".to_owned()), side("broken", 1.0, true))
            .run(100)
            .await
            .unwrap();
        let turns = turns.take();
        assert_eq!(turns.iter().filter(|turn| **turn == "broken").count(), 1);
        let rounds: Vec<_> = turns.iter().filter(|turn| **turn != "broken").collect();
        let first = |name| rounds.chunks(2).filter(|round| *round[0] == name && *round[1] != name).count();
        assert_eq!(first("ours") + first("floor"), 100, "each has one turn in each round");
        assert!(first("ours").abs_diff(first("floor")) < 40, "neither is always first");
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!((entry.ratio_to_floor, entry.met), (Some(1.5), Some(true)));
        assert!(matches!(&entry.peers["broken"], Measured::Missing { missing } if missing.contains("broke")));
        let failed = Contest::new("case", Vec::new()).side(Role::Ours, side("ours", 1.0, true)).run(1).await;
        assert!(failed.unwrap_err().to_string().contains("failed"));
    }
}
