//! Simulates machines with GPUs, plugins and calls, and checks what the plan promises. The same seed gives the same schedule.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::{Action, Device, Patience, Picture, Placed, Request, Stage, plan};

const GIB: u64 = 1 << 30;
const PATIENCE: Patience = Patience { limit: Duration::from_secs(10), stay: Duration::from_secs(10), refuses: false };
/// How often the plan is made while a request waits.
const TICK: Duration = Duration::from_millis(250);
const STOP: Duration = Duration::from_millis(500);
const LONGEST_LOAD: Duration = Duration::from_secs(15);
const LONGEST_CALL: Duration = Duration::from_secs(8);

/// SplitMix64 (Steele, Lea, Flood 2014): a few lines, and the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn time(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_millis(self.between(low.as_millis() as u64, high.as_millis() as u64))
    }
}

struct Plugin {
    name: Arc<str>,
    gpus: usize,
    bytes: u64,
    load: Duration,
    can_release: bool,
    instances: usize,
    /// The calls that wait, with their time.
    waiting: VecDeque<u64>,
}

struct Call {
    plugin: usize,
    time: Duration,
    outcome: Option<&'static str>,
}

struct Live {
    plugin: usize,
    placed: Placed,
    /// The call that runs on it.
    call: Option<u64>,
    ready: Instant,
}

#[derive(Debug)]
struct Asked {
    request: Request,
    plugin: usize,
    /// How many requests were before it when it came.
    ahead: usize,
    /// Since when its plugin has had no other instance.
    alone: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive(u64),
    Cancel(u64),
    Loaded(u64),
    Ended(u64, u64),
    Crash(u64),
    Released(u64),
    Stopped(u64),
    Tick,
}

struct World {
    random: Random,
    now: Instant,
    devices: Vec<Device>,
    plugins: Vec<Plugin>,
    calls: Vec<Call>,
    live: BTreeMap<u64, Live>,
    requests: Vec<Asked>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    next: u64,
    schedule: DefaultHasher,
    begin: Instant,
    ticking: bool,
    report: Report,
    refused: BTreeSet<usize>,
}

/// What was seen.
#[derive(Default)]
struct Report {
    calls: BTreeMap<&'static str, u64>,
    grants: u64,
    releases: u64,
    stops: u64,
    /// The longest wait of a request, and what it may have been.
    longest: (Duration, Duration),
    /// The largest part of its bound that a request waited.
    worst: f64,
}

impl Report {
    fn add(&mut self, other: Self) {
        for (outcome, number) in other.calls {
            *self.calls.entry(outcome).or_default() += number;
        }
        self.grants += other.grants;
        self.releases += other.releases;
        self.stops += other.stops;
        self.longest = self.longest.max(other.longest);
        self.worst = self.worst.max(other.worst);
    }
}

impl World {
    fn new(seed: u64, calls: usize) -> Self {
        let mut random = Random(seed);
        let now = Instant::now();
        let devices = (0..random.between(1, 8)).map(|index| {
            let total = [8, 16, 24, 40, 80][random.between(0, 4) as usize] * GIB;
            let tells_processes = !random.chance(20);
            Device { index: index as u32, total, free: total, tells_processes }
        });
        let devices: Vec<Device> = devices.collect();
        let largest = devices.iter().map(|device| device.total).max().unwrap_or(0);
        let plugins = (0..random.between(2, 12)).map(|number| Plugin {
            name: format!("p{number}").into(),
            gpus: if random.chance(15) { 2 } else { 1 },
            bytes: match random.between(0, 9) {
                0 => 0,
                1 => largest + GIB,
                2 | 3 => random.between(largest / 2, largest),
                _ => random.between(GIB / 4, largest / 3),
            },
            load: random.time(Duration::from_millis(50), LONGEST_LOAD),
            can_release: random.chance(30),
            instances: random.between(1, 2) as usize,
            waiting: VecDeque::new(),
        });
        let plugins: Vec<Plugin> = plugins.collect();
        let mut world = Self {
            random,
            now,
            devices,
            plugins,
            calls: Vec::new(),
            live: BTreeMap::new(),
            requests: Vec::new(),
            events: BinaryHeap::new(),
            next: 0,
            schedule: DefaultHasher::new(),
            begin: now,
            ticking: false,
            report: Report::default(),
            refused: BTreeSet::new(),
        };
        let mut at = Duration::ZERO;
        let pace = world.random.time(Duration::from_millis(20), Duration::from_secs(3));
        for number in 0..calls as u64 {
            at += world.random.time(Duration::ZERO, pace);
            let plugin = world.random.between(0, world.plugins.len() as u64 - 1) as usize;
            let time = world.random.time(Duration::from_millis(1), LONGEST_CALL);
            world.calls.push(Call { plugin, time, outcome: None });
            world.after(at, Event::Arrive(number));
            if world.random.chance(10) {
                let patience = world.random.time(Duration::from_millis(1), Duration::from_secs(30));
                world.after(at + patience, Event::Cancel(number));
            }
        }
        world
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.next += 1;
        self.events.push(Reverse((self.now + time, self.next, event)));
    }

    fn run(mut self) -> (u64, Report) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            self.now = at;
            self.handle(event);
            self.serve();
            self.check();
            assert!(self.now - self.begin < Duration::from_secs(100_000), "no end: {:#?}", (self.picture()));
        }
        assert!(self.requests.is_empty(), "requests are left: {:?}", self.requests);
        for (number, call) in self.calls.iter().enumerate() {
            let outcome = call.outcome.unwrap_or_else(|| panic!("call {number} has not ended"));
            *self.report.calls.entry(outcome).or_default() += 1;
        }
        (self.schedule.finish(), self.report)
    }

    fn handle(&mut self, event: Event) {
        (self.now - self.begin, format!("{event:?}")).hash(&mut self.schedule);
        match event {
            Event::Arrive(call) => {
                let plugin = self.calls[call as usize].plugin;
                match self.refused.contains(&plugin) {
                    true => self.calls[call as usize].outcome = Some("refused"),
                    false => self.plugins[plugin].waiting.push_back(call),
                }
            }
            Event::Cancel(call) => {
                let plugin = self.calls[call as usize].plugin;
                let waiting = &mut self.plugins[plugin].waiting;
                if let Some(at) = waiting.iter().position(|one| *one == call) {
                    waiting.remove(at);
                    self.calls[call as usize].outcome = Some("cancelled");
                }
            }
            Event::Loaded(id) => {
                let now = self.now;
                let fails = self.random.chance(3);
                let part = self.random.between(50, 100);
                if let Some(one) = self.live.get_mut(&id) {
                    one.ready = now;
                    one.placed.stage = Stage::Ready { since: now, used: now, running: 0, is_wanted: true };
                    one.placed.held.iter_mut().for_each(|held| *held = one.placed.promised * part / 100);
                    if fails {
                        self.end(id);
                    }
                }
            }
            Event::Ended(id, call) => {
                self.calls[call as usize].outcome.get_or_insert("done");
                let now = self.now;
                let Some(one) = self.live.get_mut(&id).filter(|one| one.call == Some(call)) else { return };
                one.call = None;
                match &mut one.placed.stage {
                    Stage::Leaving => self.after(STOP, Event::Stopped(id)),
                    Stage::Ready { used, running, .. } => (*used, *running) = (now, 0),
                    stage => panic!("a call ended on an instance that is {stage:?}"),
                }
            }
            Event::Crash(id) | Event::Stopped(id) => self.end(id),
            Event::Released(id) => {
                if let Some(one) = self.live.get_mut(&id) {
                    (one.placed.stage, one.placed.promised) = (Stage::Released, 0);
                    one.placed.held.iter_mut().for_each(|held| *held = (*held).min(GIB / 8));
                }
            }
            Event::Tick => self.ticking = false,
        }
    }

    fn end(&mut self, id: u64) {
        let Some(gone) = self.live.remove(&id) else { return };
        if let Some(call) = gone.call {
            self.calls[call as usize].outcome.get_or_insert("crashed");
        }
        self.requests.retain(|asked| asked.request.resumes != Some(id));
    }

    /// What the pools do: give waiting calls to free instances, and ask for GPUs for more.
    fn serve(&mut self) {
        for plugin in 0..self.plugins.len() {
            let free = |one: &Live| {
                one.plugin == plugin && one.call.is_none() && matches!(one.placed.stage, Stage::Ready { .. })
            };
            while let Some(id) = self.live.iter().find(|(_, one)| free(one)).map(|(id, _)| *id) {
                let Some(call) = self.plugins[plugin].waiting.pop_front() else { break };
                self.begin_call(id, call);
            }
            let is_wanted = !self.plugins[plugin].waiting.is_empty();
            let own = self.live.values_mut().filter(|one| one.plugin == plugin);
            for one in own {
                if let Stage::Ready { is_wanted: wanted, .. } = &mut one.placed.stage {
                    *wanted = is_wanted;
                }
            }
            self.ask(plugin);
        }
        self.plan();
    }

    fn begin_call(&mut self, id: u64, call: u64) {
        let time = self.calls[call as usize].time;
        let crashes = self.random.chance(3);
        let one = self.live.get_mut(&id).unwrap();
        one.call = Some(call);
        if let Stage::Ready { running, .. } = &mut one.placed.stage {
            *running = 1;
        }
        match crashes {
            true => self.after(time / 2, Event::Crash(id)),
            false => self.after(time, Event::Ended(id, call)),
        }
    }

    /// Keeps as many requests as the plugin's waiting calls can use.
    fn ask(&mut self, number: usize) {
        let plugin = &self.plugins[number];
        let starting =
            self.live.values().filter(|one| one.plugin == number && one.placed.stage == Stage::Starting).count();
        let living =
            self.live.values().filter(|one| one.plugin == number && one.placed.stage != Stage::Released).count();
        let room = plugin.instances.saturating_sub(living);
        let wanted = plugin.waiting.len().saturating_sub(starting).min(room);
        let asked: Vec<usize> = (0..self.requests.len()).filter(|at| self.requests[*at].plugin == number).collect();
        if asked.len() > wanted {
            for at in asked.into_iter().rev().take(self.count(number) - wanted) {
                self.requests.remove(at);
            }
            return;
        }
        for _ in self.count(number)..wanted {
            let plugin = &self.plugins[number];
            let resumed: BTreeSet<u64> = self.requests.iter().filter_map(|asked| asked.request.resumes).collect();
            let released = self
                .live
                .iter()
                .find(|(id, one)| one.plugin == number && one.placed.stage == Stage::Released && !resumed.contains(id));
            let resumes = released.map(|(id, _)| *id);
            self.next += 1;
            let request = Request {
                id: self.next,
                plugin: Arc::clone(&plugin.name),
                gpus: plugin.gpus,
                bytes: plugin.bytes,
                since: self.now,
                kept: None,
                resumes,
            };
            let ahead = self.requests.len();
            self.requests.push(Asked { request, plugin: number, ahead, alone: self.now });
        }
    }

    fn count(&self, number: usize) -> usize {
        self.requests.iter().filter(|asked| asked.plugin == number).count()
    }

    fn picture(&self) -> Picture {
        let used = |device: usize| -> u64 {
            let held =
                |one: &Live| one.placed.on.iter().position(|on| *on == device).map_or(0, |at| one.placed.held[at]);
            self.live.values().map(held).sum()
        };
        let measured = self.devices.iter().enumerate().map(|(at, device)| {
            let free = device.total.checked_sub(used(at)).expect("more is used than there is");
            Device { free, ..device.clone() }
        });
        let instances = self.live.values().map(|one| {
            let mut placed = one.placed.clone();
            for (at, on) in one.placed.on.iter().enumerate() {
                if !self.devices[*on].tells_processes {
                    placed.held[at] = 0;
                }
            }
            placed
        });
        Picture {
            now: self.now,
            devices: measured.collect(),
            instances: instances.collect(),
            requests: self.requests.iter().map(|asked| asked.request.clone()).collect(),
            patience: PATIENCE,
        }
    }

    fn plan(&mut self) {
        loop {
            if self.requests.is_empty() {
                return;
            }
            let actions = plan(&self.picture());
            let mut again = false;
            for action in actions {
                (self.now - self.begin, format!("{action:?}")).hash(&mut self.schedule);
                again |= self.act(action);
            }
            if !again {
                break;
            }
        }
        if !self.requests.is_empty() && !self.ticking {
            self.ticking = true;
            self.after(TICK, Event::Tick);
        }
    }

    /// Does what was decided. Whether the plan should be made again, because of what the plugin asks then.
    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Grant { request, on, resumes } => {
                let at = self.requests.iter().position(|asked| asked.request.id == request).unwrap();
                let asked = self.requests.remove(at);
                self.waited(&asked);
                let Asked { request, plugin: number, .. } = asked;
                let plugin = &self.plugins[number];
                let (load, can_release) = (plugin.load, plugin.can_release);
                let promised = plugin.bytes;
                let id = resumes.unwrap_or(request.id);
                let held = vec![0; on.len()];
                let placed = Placed {
                    id,
                    plugin: request.plugin,
                    on,
                    promised,
                    held,
                    stage: Stage::Starting,
                    load,
                    can_release,
                };
                self.live.insert(id, Live { plugin: number, placed, call: None, ready: self.now });
                self.after(load, Event::Loaded(id));
                false
            }
            Action::Refuse { request, .. } => {
                let at = self.requests.iter().position(|asked| asked.request.id == request).unwrap();
                let number = self.requests.remove(at).plugin;
                assert!(self.can_never_fit(number));
                self.refused.insert(number);
                for call in std::mem::take(&mut self.plugins[number].waiting) {
                    self.calls[call as usize].outcome = Some("refused");
                }
                false
            }
            Action::Keep { request, on } => {
                let asked = self.requests.iter_mut().find(|asked| asked.request.id == request).unwrap();
                asked.request.kept = Some(on);
                false
            }
            Action::Release { instance } => {
                let one = self.live.get_mut(&instance).unwrap();
                assert!(one.call.is_none() && one.placed.can_release);
                stays(one, self.now);
                one.placed.stage = Stage::Leaving;
                self.report.releases += 1;
                self.after(STOP / 5, Event::Released(instance));
                true
            }
            Action::Stop { instance } => {
                let one = self.live.get_mut(&instance).unwrap();
                if one.placed.stage != Stage::Released {
                    stays(one, self.now);
                }
                one.placed.stage = Stage::Leaving;
                self.report.stops += 1;
                if one.call.is_none() {
                    self.after(STOP, Event::Stopped(instance));
                }
                true
            }
            Action::Wait { why, .. } => {
                assert!(why.to_string().starts_with("needs "));
                false
            }
        }
    }

    fn can_never_fit(&self, number: usize) -> bool {
        let Plugin { bytes, gpus, .. } = &self.plugins[number];
        self.devices.iter().filter(|device| device.total >= *bytes).count() < *gpus
    }

    /// No request waits for longer than its patience, and for each that was before it (and those that started meanwhile) one start, the
    /// time that an instance stays, one call, and one stop.
    fn waited(&mut self, asked: &Asked) {
        let Asked { request, ahead, alone, .. } = asked;
        let waited = self.now - *alone;
        let turn = LONGEST_LOAD + PATIENCE.limit + LONGEST_CALL + STOP + 2 * TICK;
        let bound = PATIENCE.limit + turn * (u32::try_from(*ahead).unwrap() + 1);
        assert!(waited <= bound, "{} waited for {waited:?} behind {ahead}, and may for {bound:?}", request.plugin);
        self.report.grants += 1;
        self.report.longest = self.report.longest.max((waited, bound));
        self.report.worst = self.report.worst.max(waited.as_secs_f64() / bound.as_secs_f64());
    }

    /// Never more is promised than there is.
    fn check(&mut self) {
        for asked in &mut self.requests {
            let serves = |one: &Live| {
                one.plugin == asked.plugin && matches!(one.placed.stage, Stage::Starting | Stage::Ready { .. })
            };
            if self.live.values().any(serves) {
                asked.alone = self.now;
            }
        }
        for (at, device) in self.devices.iter().enumerate() {
            let promised: u64 = self.live.values().map(|one| one.placed.weight_on(at)).sum();
            assert!(promised <= device.total, "{promised} of {} are promised on {at}", device.total);
        }
    }
}

/// An instance stays as long as its start took, so that at most half of the time goes into starts.
fn stays(one: &Live, now: Instant) {
    assert!(now - one.ready >= one.placed.stay(PATIENCE), "{} has just started", one.placed.plugin);
}

#[test]
fn nothing_is_promised_twice_nobody_waits_for_ever_and_all_end() {
    // `cargo xtask simulate` sets it.
    let machines: u64 = std::env::var("BIVIUM_SIMULATIONS").map_or(60, |number| number.parse().unwrap());
    let mut all = Report::default();
    for seed in 0..machines {
        let run = || World::new(seed, 400).run();
        let result = std::panic::catch_unwind(run);
        let (schedule, report) = result.unwrap_or_else(|_| panic!("seed {seed}"));
        all.add(report);
        if seed % 10 == 0 {
            assert_eq!(schedule, World::new(seed, 400).run().0, "seed {seed} gives another schedule");
        }
    }
    assert!(all.stops > machines && all.releases > 0, "instances make room");
    let (waited, bound) = all.longest;
    println!(
        "{machines} machines; calls: {:?}; {} grants, {} releases, {} stops; the longest wait {:.0?} of at most {:.0?}; at most {:.0} % of a \
         bound",
        all.calls,
        all.grants,
        all.releases,
        all.stops,
        waited,
        bound,
        100.0 * all.worst
    );
}
