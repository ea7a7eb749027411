//! [`Entry`]: one line of the results, as in the JSON file.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::stats::Stats;

/// Whether lower or higher is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Lower,
    Higher,
}

/// The measurement of a side, or why it is missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Measured {
    Stats(Stats),
    Missing { missing: String },
}

impl Measured {
    #[must_use]
    pub fn stats(&self) -> Option<&Stats> {
        match self {
            Self::Stats(stats) => Some(stats),
            Self::Missing { .. } => None,
        }
    }
}

/// What a goal compares our value with.
#[derive(Debug, Clone, PartialEq)]
pub enum Against {
    Floor,
    Peer(&'static str),
    /// The best of the peers whose names begin with this.
    BestOf(&'static str),
    /// The unit itself.
    Value,
}

/// Our value must be at most (if lower is better) or at least (if higher is better) this many times the compared value.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    pub against: Against,
    pub times: f64,
}

/// One case, variant and measure.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub case: &'static str,
    pub variant: String,
    pub unit: &'static str,
    pub better: Better,
    pub ours: Measured,
    /// The least that the same work can cost; see the case.
    pub floor: Option<Measured>,
    pub peers: BTreeMap<String, Measured>,
    /// Further measurements of our side or of floors, without goals.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<String, Measured>,
    /// Our median divided by the floor's.
    pub ratio_to_floor: Option<f64>,
    /// Our median divided by that of the peer in `peer`.
    pub ratio_to_peer: Option<f64>,
    /// The peer of `ratio_to_peer`: the one that the goal names, or else the best one.
    pub peer: Option<String>,
    pub goal: Option<String>,
    /// Whether the goal is met. `None` if there is no goal, or if the compared side was not measured.
    pub met: Option<bool>,
}

impl Entry {
    /// An entry without measurements.
    #[must_use]
    pub fn new(case: &'static str, variant: String, unit: &'static str, better: Better) -> Self {
        Self {
            case,
            variant,
            unit,
            better,
            ours: Measured::Missing { missing: "not measured".to_owned() },
            floor: None,
            peers: BTreeMap::new(),
            also: BTreeMap::new(),
            ratio_to_floor: None,
            ratio_to_peer: None,
            peer: None,
            goal: None,
            met: None,
        }
    }

    /// Computes the ratios and whether the goals are met.
    #[must_use]
    pub fn judged(mut self, goals: &[Goal]) -> Self {
        let ours = self.ours.stats().map(|stats| stats.median);
        let floor = self.floor.as_ref().and_then(Measured::stats).map(|stats| stats.median);
        self.ratio_to_floor = ours.zip(floor).map(|(ours, floor)| ours / floor);
        self.peer = goals
            .iter()
            .find_map(|goal| match goal.against {
                Against::Peer(name) => self.peers.contains_key(name).then(|| name.to_owned()),
                Against::BestOf(prefix) => self.best(prefix),
                Against::Floor | Against::Value => None,
            })
            .or_else(|| self.best(""));
        let peer = self.peer.as_ref().and_then(|name| self.peers.get(name)?.stats());
        self.ratio_to_peer = ours.zip(peer).map(|(ours, peer)| ours / peer.median);
        self.goal =
            (!goals.is_empty()).then(|| goals.iter().map(|goal| self.text(goal)).collect::<Vec<_>>().join(", "));
        let mut met = (!goals.is_empty()).then_some(true);
        for goal in goals {
            let compared = match goal.against {
                Against::Floor => floor,
                Against::Value => Some(1.0),
                Against::Peer(name) => self.peers.get(name).and_then(Measured::stats).map(|stats| stats.median),
                Against::BestOf(prefix) => {
                    self.best(prefix).and_then(|name| self.peers.get(&name)?.stats()).map(|stats| stats.median)
                }
            };
            let this = ours.zip(compared).map(|(ours, compared)| match self.better {
                Better::Lower => ours <= goal.times * compared,
                Better::Higher => ours >= goal.times * compared,
            });
            // A goal that is missed counts even if another one is not known.
            met = match (met, this) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (None, _) | (_, None) => None,
                (Some(true), Some(true)) => Some(true),
            };
        }
        self.met = met;
        self
    }

    /// The best of the peers whose names begin with this.
    fn best(&self, prefix: &str) -> Option<String> {
        let measured = self.peers.iter().filter(|(name, _)| name.starts_with(prefix));
        let measured = measured.filter_map(|(name, peer)| Some((name, peer.stats()?.median)));
        let best = match self.better {
            Better::Lower => measured.min_by(|a, b| a.1.total_cmp(&b.1)),
            Better::Higher => measured.max_by(|a, b| a.1.total_cmp(&b.1)),
        };
        best.map(|(name, _)| name.clone())
    }

    fn text(&self, goal: &Goal) -> String {
        let sign = match self.better {
            Better::Lower => '≤',
            Better::Higher => '≥',
        };
        let times = goal.times;
        match &goal.against {
            Against::Floor => format!("{sign} {times} × floor"),
            Against::Peer(name) => format!("{sign} {times} × {name}"),
            Against::BestOf(prefix) => format!("{sign} {times} × best of {prefix}"),
            Against::Value => format!("{sign} {times} {}", self.unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(median: f64) -> Measured {
        Measured::Stats(Stats { median, p10: median, p90: median, n: 1 })
    }

    fn entry(better: Better, ours: f64, peers: &[(&str, Measured)]) -> Entry {
        Entry {
            ours: stats(ours),
            floor: Some(stats(2.0)),
            peers: peers.iter().map(|(name, peer)| ((*name).to_owned(), peer.clone())).collect(),
            ..Entry::new("case", String::new(), "µs", better)
        }
    }

    fn goal(against: Against, times: f64) -> Goal {
        Goal { against, times }
    }

    #[test]
    fn goals_follow_which_way_is_better() {
        let peers = [("a", stats(6.0)), ("b 1", stats(30.0)), ("b 2", stats(40.0))];
        let goals = [goal(Against::Floor, 1.5), goal(Against::Peer("b 1"), 0.1)];
        let judged = entry(Better::Lower, 3.0, &peers).judged(&goals);
        assert_eq!((judged.ratio_to_floor, judged.ratio_to_peer, judged.met), (Some(1.5), Some(0.1), Some(true)));
        assert_eq!(judged.goal.as_deref(), Some("≤ 1.5 × floor, ≤ 0.1 × b 1"));
        let judged = entry(Better::Higher, 3.0, &peers).judged(&[goal(Against::BestOf("b"), 0.1)]);
        assert_eq!((judged.peer.as_deref(), judged.met), (Some("b 2"), Some(false)));
        let judged = entry(Better::Lower, 3.0, &peers).judged(&[goal(Against::Value, 3.0)]);
        assert_eq!((judged.peer.as_deref(), judged.met), (Some("a"), Some(true)));
    }

    #[test]
    fn a_goal_without_a_measurement_is_neither_met_nor_missed() {
        let peers = [("a", Measured::Missing { missing: "not installed".to_owned() })];
        let both = [goal(Against::Floor, 1.5), goal(Against::Peer("a"), 1.0)];
        assert_eq!(entry(Better::Lower, 3.0, &peers).judged(&both).met, None);
        assert_eq!(entry(Better::Lower, 4.0, &peers).judged(&both).met, Some(false));
        assert_eq!(entry(Better::Lower, 4.0, &peers).judged(&[]).met, None);
    }
}
