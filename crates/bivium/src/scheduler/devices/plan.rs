//! Decides which instance gets which GPUs, and which instances make room. Pure: everything it decides by is in [`Picture`], so the same
//! picture always gives the same decisions, and a simulation tests it with thousands of calls.
//!
//! Requests are served in order. One that fits now is granted, unless it would take what an earlier one is waiting for. For one that
//! does not fit, idle instances are stopped (or asked to release their memory): on the GPUs where that costs least. An instance that
//! runs calls, or whose plugin has calls that wait, is spared until a request has waited for [`Patience::limit`]; then it gets no
//! new call, and ends when its running calls have ended. No instance is stopped sooner after its start than its start took.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::accounts::Accounts;
use super::reason::{Never, Waits};
use super::victims::{self, Victims};

/// Everything that the decisions depend on.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub(super) now: Instant,
    pub(super) devices: Vec<Device>,
    /// Every instance that was granted GPUs and has not ended.
    pub(super) instances: Vec<Placed>,
    /// The requests that wait, oldest first.
    pub(super) requests: Vec<Request>,
    pub(super) patience: Patience,
}

/// How long requests and instances are patient with each other.
#[derive(Debug, Clone, Copy)]
pub(in crate::scheduler) struct Patience {
    /// After this time instances in use make room for a request.
    pub(in crate::scheduler) limit: Duration,
    /// An instance is not stopped before it was ready for as long as its start took, or for this time if that is shorter.
    pub(in crate::scheduler) stay: Duration,
    /// Whether a request that would wait for the calls of others is refused.
    pub(in crate::scheduler) refuses: bool,
}

/// One GPU.
#[derive(Debug, Clone)]
pub(super) struct Device {
    /// Its index, for messages.
    pub(super) index: u32,
    /// Its memory in bytes.
    pub(super) total: u64,
    /// What is free, as measured.
    pub(super) free: u64,
    /// Whether [`Placed::held`] is known on it.
    pub(super) tells_processes: bool,
}

/// An instance that was granted GPUs.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) id: u64,
    pub(super) plugin: Arc<str>,
    /// Its GPUs, as positions in [`Picture::devices`].
    pub(super) on: Vec<usize>,
    /// The bytes that it may use on each of them; 0 once it has released its memory.
    pub(super) promised: u64,
    /// The bytes that its processes use on each of them, in the order of `on`.
    pub(super) held: Vec<u64>,
    pub(super) stage: Stage,
    /// How long its last start took, or would take again.
    pub(super) load: Duration,
    /// Whether it can release its memory without ending.
    pub(super) can_release: bool,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Ready {
        /// Since when.
        since: Instant,
        /// When its last call ended.
        used: Instant,
        /// How many calls run on it.
        running: u32,
        /// Whether calls of its plugin wait.
        is_wanted: bool,
    },
    /// It has released its memory. It needs a new grant before its next call.
    Released,
    /// It gets no further call and ends after those that run, or is ending now.
    Leaving,
}

/// An instance that waits for GPUs.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) plugin: Arc<str>,
    /// How many GPUs.
    pub(super) gpus: usize,
    /// The bytes that it needs on each.
    pub(super) bytes: u64,
    pub(super) since: Instant,
    /// The GPUs that are kept for it since it has waited for long.
    pub(super) kept: Option<Vec<usize>>,
    /// The instance that has released its memory and should go on, if it gets its own GPUs.
    pub(super) resumes: Option<u64>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// The request gets these GPUs: for the instance that has released its memory, or else for a new one.
    Grant { request: u64, on: Vec<usize>, resumes: Option<u64> },
    /// The request can never be granted on this machine.
    Refuse { request: u64, why: Never },
    /// From now on what comes free on these GPUs is kept for the request.
    Keep { request: u64, on: Vec<usize> },
    /// The instance is asked to release its memory.
    Release { instance: u64 },
    /// The instance ends: at once if it is idle, or else when its running calls have ended.
    Stop { instance: u64 },
    /// The request waits for this.
    Wait { request: u64, why: Waits },
}

impl Placed {
    /// What it uses or may still use of the device at `position` of its own.
    pub(super) fn weight(&self, position: usize) -> u64 {
        self.held.get(position).copied().unwrap_or(0).max(self.promised)
    }

    fn position_of(&self, device: usize) -> Option<usize> {
        self.on.iter().position(|on| *on == device)
    }

    /// What it uses or may still use of this device.
    pub(super) fn weight_on(&self, device: usize) -> u64 {
        self.position_of(device).map_or(0, |position| self.weight(position))
    }

    /// What was promised to it on this device and is not held yet.
    pub(super) fn unheld_on(&self, device: usize) -> u64 {
        let Some(position) = self.position_of(device) else { return 0 };
        self.weight(position).saturating_sub(self.held.get(position).copied().unwrap_or(0))
    }

    /// How long after its start it may not be stopped.
    pub(super) fn stay(&self, patience: Patience) -> Duration {
        self.load.min(patience.stay)
    }
}

/// Decides for all requests.
pub(super) fn plan(picture: &Picture) -> Vec<Action> {
    let mut plan = Plan { picture, accounts: Accounts::of(picture), settled: BTreeSet::new(), actions: Vec::new() };
    for request in &picture.requests {
        plan.decide(request);
    }
    plan.actions
}

struct Plan<'a> {
    picture: &'a Picture,
    accounts: Accounts<'a>,
    /// The instances that this plan ends, and those that it lets go on.
    settled: BTreeSet<u64>,
    actions: Vec<Action>,
}

impl<'a> Plan<'a> {
    fn decide(&mut self, request: &Request) {
        let totals = self.picture.devices.iter().map(|device| device.total).collect();
        if let Some(why) = Never::of(totals, request.gpus, request.bytes) {
            self.actions.push(Action::Refuse { request: request.id, why });
            return;
        }
        let large_enough = self.accounts.with_total(request.bytes);
        let resumed = self.resumed(request);
        if let Some(resumed) = resumed
            && resumed.on.iter().all(|device| self.accounts.fits(*device, self.needs(request, *device)))
        {
            self.grant(request, resumed.on.clone(), Some(resumed.id));
            return;
        }
        if let Some(on) = self.free_now(request, &large_enough) {
            // It cannot go on elsewhere.
            resumed.into_iter().for_each(|resumed| self.end(resumed.id));
            self.grant(request, on, None);
            return;
        }
        let large_enough = resumed.map_or(large_enough, |resumed| resumed.on.clone());
        let way = |device: &usize| Some((*device, self.victims(request, *device)?));
        if self.is_out_of_patience(request) {
            let possible: Vec<usize> =
                large_enough.into_iter().filter(|device| self.is_possible(request, *device)).collect();
            if possible.len() < request.gpus {
                // Nothing is kept for it or ended for it, since that would not be enough.
                self.wait_for(request, &[]);
                return;
            }
            let kept = request.kept.clone().filter(|kept| kept.iter().all(|device| possible.contains(device)));
            let is_kept = kept.is_some();
            let on = kept.unwrap_or_else(|| self.choose(request, possible));
            let ways: Vec<(usize, Victims)> = on.iter().filter_map(way).collect();
            self.wait_for(request, &ways);
            on.iter().for_each(|device| self.claim(request, *device));
            if !is_kept {
                self.actions.push(Action::Keep { request: request.id, on });
            }
            return;
        }
        let mut ways: Vec<(usize, Victims)> = large_enough.iter().filter_map(way).collect();
        ways.sort_by(|(one, victims), (other, others)| victims.cost.total_cmp(&others.cost).then(one.cmp(other)));
        ways.truncate(request.gpus);
        if ways.len() < request.gpus {
            ways.clear();
        }
        self.wait_for(request, &ways);
        ways.iter().for_each(|(device, _)| self.claim(request, *device));
    }

    /// Ends the instances that make room on these devices.
    fn wait_for(&mut self, request: &Request, ways: &[(usize, Victims)]) {
        let why = match ways {
            [] => {
                // One that was granted a GPU just now will soon be ready, and can then make room.
                let is_granted = |action: &Action| matches!(action, Action::Grant { .. });
                Waits::for_calls(self.picture, request, self.actions.iter().any(is_granted))
            }
            ways => Waits::for_room(self.picture, request, ways),
        };
        self.actions.push(Action::Wait { request: request.id, why });
        for id in ways.iter().flat_map(|(_, victims)| &victims.instances) {
            self.end(*id);
        }
    }

    /// Whether the request would fit on this device if all instances on it had ended. If not, other programs hold too much of it.
    fn is_possible(&self, request: &Request, device: usize) -> bool {
        let others = |one: &&Placed| request.resumes != Some(one.id);
        let held: i128 =
            self.picture.instances.iter().filter(others).map(|one| i128::from(one.weight_on(device))).sum();
        self.accounts.measured(device) + held >= i128::from(self.needs(request, device))
    }

    /// The GPUs that are kept for a request that has waited for long: those where it costs least to make room, then those with the
    /// most to come.
    fn choose(&self, request: &Request, mut devices: Vec<usize>) -> Vec<usize> {
        let cost = |device: usize| self.victims(request, device).map_or(f64::INFINITY, |victims| victims.cost);
        devices.sort_by(|one, other| {
            let expected = |device: usize| self.accounts.expected(device);
            let by_cost = cost(*one).total_cmp(&cost(*other));
            by_cost.then(expected(*other).cmp(&expected(*one))).then(one.cmp(other))
        });
        devices.truncate(request.gpus);
        devices
    }

    /// GPUs on which a new instance fits now: those that it fills best, so that large gaps stay for large models.
    fn free_now(&self, request: &Request, large_enough: &[usize]) -> Option<Vec<usize>> {
        let mut free: Vec<usize> =
            large_enough.iter().copied().filter(|device| self.accounts.fits(*device, request.bytes)).collect();
        if free.len() < request.gpus {
            return None;
        }
        // Without a size there is nothing to fill: the emptiest is the best.
        let gap = |device: &usize| match request.bytes {
            0 => -self.accounts.free(*device),
            _ => self.accounts.free(*device),
        };
        free.sort_by_key(|device| (gap(device), *device));
        free.truncate(request.gpus);
        // In their own order, so that a plugin finds the first GPU of the machine first.
        free.sort_unstable();
        Some(free)
    }

    fn grant(&mut self, request: &Request, on: Vec<usize>, resumes: Option<u64>) {
        for device in &on {
            let needs = if resumes.is_some() { self.needs(request, *device) } else { request.bytes };
            self.accounts.grant(*device, needs);
        }
        self.settled.extend(resumes);
        self.actions.push(Action::Grant { request: request.id, on, resumes });
    }

    fn claim(&mut self, request: &Request, device: usize) {
        self.accounts.claim(device, self.needs(request, device));
    }

    /// The instance with which the request can go on.
    fn resumed(&self, request: &Request) -> Option<&'a Placed> {
        let id = request.resumes.filter(|id| !self.settled.contains(id))?;
        let picture = self.picture;
        picture.instances.iter().find(|one| one.id == id && one.stage == Stage::Released)
    }

    /// What the request needs on this device, besides what the instance with which it can go on holds already.
    fn needs(&self, request: &Request, device: usize) -> u64 {
        request.bytes.saturating_sub(self.resumed(request).map_or(0, |one| one.weight_on(device)))
    }

    /// Whether a request has waited for so long that instances in use make room for it. One of a plugin that has an instance already
    /// never has: its calls are served, though by fewer instances.
    fn is_out_of_patience(&self, request: &Request) -> bool {
        let serves =
            |one: &Placed| one.plugin == request.plugin && matches!(one.stage, Stage::Starting | Stage::Ready { .. });
        self.picture.now.saturating_duration_since(request.since) >= self.picture.patience.limit
            && !self.picture.instances.iter().any(serves)
    }

    /// The instances that would have to end so that the request fits on this device, if there are enough.
    fn victims(&self, request: &Request, device: usize) -> Option<Victims> {
        let out_of_patience = self.is_out_of_patience(request);
        let missing = i128::from(self.needs(request, device)) - self.accounts.expected(device);
        let may_end = |one: &&Placed| {
            !self.settled.contains(&one.id)
                && request.resumes != Some(one.id)
                && (one.plugin != request.plugin || one.stage == Stage::Released)
                && victims::may_end(one, self.picture.now, self.picture.patience, out_of_patience)
        };
        let candidates = self.picture.instances.iter().filter(|one| one.weight_on(device) > 0).filter(may_end);
        victims::cheapest(candidates, device, missing, self.picture.now)
    }

    fn end(&mut self, id: u64) {
        let Some(one) = self.picture.instances.iter().find(|one| one.id == id) else { return };
        if !self.settled.insert(id) {
            return;
        }
        for device in &one.on {
            self.accounts.expect(*device, one.weight_on(*device));
        }
        let is_idle = matches!(one.stage, Stage::Ready { running: 0, .. });
        // What a released instance still holds must be known.
        let is_told = one.on.iter().all(|device| self.accounts.tells_processes(*device));
        self.actions.push(match one.can_release && is_idle && is_told {
            true => Action::Release { instance: id },
            false => Action::Stop { instance: id },
        });
    }
}
