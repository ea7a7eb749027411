//! Which instances make room: the least recently used first, weighed by what they hold and by what starting them again costs.

use std::time::Duration;

use tokio::time::Instant;

use super::plan::{Patience, Placed, Stage};

/// Instances that would have to end on one device.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Victims {
    pub(super) instances: Vec<u64>,
    /// The price of ending them: seconds of starting again, each divided by the seconds since the last use.
    pub(super) cost: f64,
}

/// The smallest time since the last use that counts, so that the price is finite.
const JUST_USED: Duration = Duration::from_millis(10);

/// Whether an instance may end for a request of another plugin.
pub(super) fn may_end(one: &Placed, now: Instant, patience: Patience, out_of_patience: bool) -> bool {
    match one.stage {
        Stage::Starting | Stage::Leaving => false,
        Stage::Released => true,
        Stage::Ready { since, running, is_wanted, .. } => {
            let has_stayed = now.saturating_duration_since(since) >= one.stay(patience);
            has_stayed && (out_of_patience || (running == 0 && !is_wanted))
        }
    }
}

/// The candidates whose end gives at least `missing` bytes on this device, at the lowest price; `None` if all are too little.
pub(super) fn cheapest<'a>(
    candidates: impl Iterator<Item = &'a Placed>,
    device: usize,
    missing: i128,
    now: Instant,
) -> Option<Victims> {
    let mut by_price: Vec<(&Placed, f64)> = candidates.map(|one| (one, price(one, now))).collect();
    // For the same price, one that gives more.
    let per_byte = |(one, price): &(&Placed, f64)| price / one.weight_on(device).max(1) as f64;
    by_price.sort_by(|one, other| per_byte(one).total_cmp(&per_byte(other)).then(one.0.id.cmp(&other.0.id)));
    let (mut chosen, mut given) = (Vec::new(), 0);
    for (one, price) in by_price {
        if given >= missing {
            break;
        }
        given += i128::from(one.weight_on(device));
        chosen.push((one, price));
    }
    if given < missing {
        return None;
    }
    // A large one may have made a small one before it unnecessary.
    let mut at = 0;
    while let Some((one, _)) = chosen.get(at) {
        let without = given - i128::from(one.weight_on(device));
        if without >= missing {
            given = without;
            chosen.remove(at);
        } else {
            at += 1;
        }
    }
    Some(Victims {
        instances: chosen.iter().map(|(one, _)| one.id).collect(),
        cost: chosen.iter().map(|(_, price)| price).sum(),
    })
}

/// What ending an instance costs.
fn price(one: &Placed, now: Instant) -> f64 {
    let unused = match one.stage {
        Stage::Ready { used, running: 0, .. } => now.saturating_duration_since(used),
        // Starting it again costs its start, but its memory is not used.
        Stage::Released => return 0.0,
        _ => Duration::ZERO,
    };
    one.load.max(JUST_USED).as_secs_f64() / unused.max(JUST_USED).as_secs_f64()
}
