//! The book: which instances were placed where, and which requests wait. It makes the picture for the plan, and carries the plan out.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bivium_instances::{DeviceRequest, InstanceUse, Placed, PlacedGpu, PlacedInstances, Placement};
use bivium_interface::{PluginError, Result};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::plan::{self, Action, Device, Patience, Picture, Request, Stage};
use super::reason::Waits;
use super::{Gpus, Room, identity, never};
use crate::monitor::Gpu;

pub(super) struct Book {
    gpus: Weak<Gpus>,
    next: u64,
    /// Oldest first.
    pub(super) requests: Vec<Waiting>,
    /// The instances that were granted GPUs, until they have ended.
    instances: BTreeMap<u64, Known>,
    /// The task that serves the requests.
    pub(super) serving: Option<u64>,
}

/// A request.
pub(super) struct Waiting {
    id: u64,
    request: DeviceRequest,
    since: Instant,
    /// The GPUs that are kept for it.
    kept: Option<Vec<String>>,
    give: oneshot::Sender<Result<Placed>>,
}

/// An instance that was granted GPUs.
struct Known {
    plugin: Arc<str>,
    on: Vec<String>,
    promised: u64,
    pool: Weak<dyn PlacedInstances>,
    number: u64,
    /// Whether it was ready once. Its pool forgets it before its processes have ended.
    was_ready: bool,
    can_release: bool,
    /// How long its start took.
    load: Duration,
    /// Whether it has released its memory.
    has_released: bool,
    /// Whether it was granted its memory again and is not ready yet.
    resumes: bool,
    /// Whether it was told to end after it had released its memory. Its number in the pool may already be that of another.
    ends: bool,
}

/// The machine at one moment.
pub(super) struct Measured {
    pub(super) gpus: Vec<Gpu>,
    /// Why there is none, if that is known.
    pub(super) why_none: Option<String>,
    /// The processes of each instance.
    pub(super) pids: BTreeMap<u64, Vec<u32>>,
    /// What each instance does, by its pool. One whose pool is gone is missing.
    pub(super) uses: BTreeMap<u64, Option<InstanceUse>>,
}

impl Measured {
    /// The GPUs at these positions.
    fn chosen<'a>(&'a self, on: &'a [usize]) -> impl Iterator<Item = &'a Gpu> {
        on.iter().filter_map(|at| self.gpus.get(*at))
    }
}

/// What remains to be done without the lock.
pub(super) enum Act {
    Give(oneshot::Sender<Result<Placed>>, Result<Placed>),
    Tell(watch::Sender<String>, String),
    Release(Weak<dyn PlacedInstances>, u64),
    End(Weak<dyn PlacedInstances>, u64),
}

impl Act {
    pub(super) fn run(self) {
        match self {
            // If the request was withdrawn, the placement is dropped, which makes room again.
            Self::Give(give, placement) => drop(give.send(placement)),
            Self::Tell(waits, why) => {
                waits.send_if_modified(|told| {
                    let is_new = *told != why;
                    *told = why;
                    is_new
                });
            }
            Self::Release(pool, number) => {
                if let Some(pool) = pool.upgrade() {
                    pool.release(number);
                }
            }
            Self::End(pool, number) => {
                if let Some(pool) = pool.upgrade() {
                    pool.end(number);
                }
            }
        }
    }
}

impl Book {
    pub(super) fn new(gpus: Weak<Gpus>) -> Self {
        Self { gpus, next: 0, requests: Vec::new(), instances: BTreeMap::new(), serving: None }
    }

    pub(super) fn enter(&mut self, request: DeviceRequest, give: oneshot::Sender<Result<Placed>>, now: Instant) -> u64 {
        self.next += 1;
        self.requests.push(Waiting { id: self.next, request, since: now, kept: None, give });
        self.next
    }

    /// Removes a request that nobody waits for any more. It must be dropped without the lock.
    pub(super) fn withdraw(&mut self, id: u64) -> Option<Waiting> {
        let at = self.requests.iter().position(|waiting| waiting.id == id)?;
        Some(self.requests.remove(at))
    }

    pub(super) fn ended(&mut self, instance: u64) {
        self.instances.remove(&instance);
    }

    /// The pool of each instance, and its number there.
    pub(super) fn pools(&self) -> Vec<(u64, Weak<dyn PlacedInstances>, u64)> {
        self.instances.iter().map(|(id, known)| (*id, known.pool.clone(), known.number)).collect()
    }

    /// What the plan is made from.
    pub(super) fn picture(&mut self, measured: &Measured, now: Instant, patience: Patience) -> Picture {
        let names: Vec<String> = measured.gpus.iter().map(identity).collect();
        let position = |name: &String| names.iter().position(|one| one == name);
        let device = |gpu: &Gpu| Device {
            index: gpu.index,
            total: gpu.memory_total_bytes,
            free: gpu.memory_free_bytes,
            tells_processes: gpu.tells_processes,
        };
        let mut instances = Vec::new();
        for (id, known) in &mut self.instances {
            // A GPU that no longer responds is not planned with.
            let on: Vec<usize> = known.on.iter().filter_map(position).collect();
            let pids = measured.pids.get(id).map(Vec::as_slice).unwrap_or_default();
            let held = measured.chosen(&on).map(|gpu| gpu.held_by(pids)).collect();
            let stage = known.stage(measured.uses.get(id).copied(), now);
            let plugin = Arc::clone(&known.plugin);
            let promised = if stage == Stage::Released { 0 } else { known.promised };
            let load = known.load;
            instances.push(plan::Placed {
                id: *id,
                plugin,
                on,
                promised,
                held,
                stage,
                load,
                can_release: known.can_release,
            });
        }
        let request = |waiting: &Waiting| Request {
            id: waiting.id,
            plugin: Arc::clone(&waiting.request.plugin),
            gpus: waiting.request.need.gpus as usize,
            bytes: waiting.request.need.bytes,
            since: waiting.since,
            kept: waiting.kept.as_ref().and_then(|kept| kept.iter().map(position).collect()),
            resumes: self.released(&waiting.request),
        };
        Picture {
            now,
            devices: measured.gpus.iter().map(device).collect(),
            instances,
            requests: self.requests.iter().map(request).collect(),
            patience,
        }
    }

    /// Carries the plan out, as far as it can be done under the lock. With `refuses`, a request that would wait for running calls is
    /// refused.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, measured: &Measured, refuses: bool) -> Vec<Act> {
        let mut acts = Vec::new();
        for action in actions {
            match action {
                Action::Grant { request, on, resumes } => {
                    if let Some(waiting) = self.withdraw(request) {
                        acts.push(Act::Tell(waiting.request.waits.clone(), String::new()));
                        let resumed = resumes.and_then(|id| self.instances.get_mut(&id));
                        let (placed, give) = match resumed {
                            Some(known) => {
                                known.resumes = true;
                                (Placed::Again, waiting.give)
                            }
                            None => {
                                let (placement, give) = self.place(waiting, measured.chosen(&on).collect());
                                (Placed::New(placement), give)
                            }
                        };
                        acts.push(Act::Give(give, Ok(placed)));
                    }
                }
                Action::Refuse { request, why } => {
                    acts.extend(self.refuse(request, never(&why, measured.why_none.as_deref())));
                }
                Action::Wait { request, why } if refuses && why.is_for_calls() => {
                    let busy = format!("no instance can start: it {why}");
                    let error = PluginError::resource_exhausted(busy).with_help("try again later");
                    acts.extend(self.refuse(request, error));
                }
                Action::Wait { request, why } => acts.extend(self.tell(request, &why)),
                Action::Keep { request, on } => {
                    let kept = measured.chosen(&on).map(identity).collect();
                    if let Some(waiting) = self.requests.iter_mut().find(|waiting| waiting.id == request) {
                        waiting.kept = Some(kept);
                    }
                }
                Action::Release { instance } => {
                    let known = self.instances.get(&instance);
                    acts.extend(known.map(|known| Act::Release(known.pool.clone(), known.number)));
                }
                Action::Stop { instance } => {
                    if let Some(known) = self.instances.get_mut(&instance) {
                        if known.has_released {
                            (known.ends, known.promised) = (true, 0);
                        }
                        acts.push(Act::End(known.pool.clone(), known.number));
                    }
                }
            }
        }
        acts
    }

    /// The instance that has released its memory and would go on with this request.
    fn released(&self, request: &DeviceRequest) -> Option<u64> {
        let is_it =
            |known: &Known| known.number == request.instance && !known.ends && Weak::ptr_eq(&known.pool, &request.pool);
        let mut known = self.instances.iter().filter(|(_, known)| request.resumes && is_it(known));
        known.next().map(|(id, _)| *id)
    }

    fn place(&mut self, waiting: Waiting, gpus: Vec<&Gpu>) -> (Placement, oneshot::Sender<Result<Placed>>) {
        let Waiting { id, request, give, .. } = waiting;
        let known = Known {
            plugin: request.plugin,
            on: gpus.iter().map(|gpu| identity(gpu)).collect(),
            promised: request.need.bytes,
            pool: request.pool,
            number: request.instance,
            was_ready: false,
            can_release: false,
            load: Duration::ZERO,
            has_released: false,
            resumes: false,
            ends: false,
        };
        self.instances.insert(id, known);
        let placed = gpus.into_iter().map(|gpu| PlacedGpu::new(&*gpu.uuid, gpu.index, gpu.minor)).collect();
        let placement = match self.gpus.upgrade() {
            Some(gpus) => Placement::new(placed, Room { gpus, instance: id }),
            None => Placement::new(placed, ()),
        };
        (placement, give)
    }

    fn refuse(&mut self, request: u64, error: PluginError) -> Option<Act> {
        let waiting = self.withdraw(request)?;
        Some(Act::Give(waiting.give, Err(error)))
    }

    fn tell(&self, request: u64, why: &Waits) -> Option<Act> {
        let waiting = self.requests.iter().find(|waiting| waiting.id == request)?;
        Some(Act::Tell(waiting.request.waits.clone(), why.to_string()))
    }
}

impl Known {
    /// Where it is in its life.
    fn stage(&mut self, found: Option<Option<InstanceUse>>, now: Instant) -> Stage {
        if self.ends {
            return Stage::Leaving;
        }
        let found_use = found.flatten();
        self.has_released = found_use == Some(InstanceUse::Released) && !self.resumes;
        match found_use {
            Some(InstanceUse::Ready { since, start, used, running, is_wanted, can_release }) => {
                (self.was_ready, self.resumes) = (true, false);
                (self.load, self.can_release) = (start, can_release);
                Stage::Ready { since: since.min(now), used, running, is_wanted }
            }
            Some(InstanceUse::Released) if self.has_released => Stage::Released,
            Some(InstanceUse::Ending) => Stage::Leaving,
            Some(_) => Stage::Starting,
            // Its pool does not list it yet, or no longer.
            None if self.was_ready || found.is_none() => Stage::Leaving,
            None => Stage::Starting,
        }
    }
}
