//! What a request is told: why it waits, or why it can never be granted.

use std::fmt;

use super::plan::{Picture, Placed, Request, Stage};
use super::victims::Victims;

/// Why a request can never be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Never {
    gpus: usize,
    bytes: u64,
    /// The memory of each GPU, largest first.
    have: Vec<u64>,
}

impl Never {
    /// Why this many GPUs with this much memory can never be had where GPUs have `have` bytes; `None` if they can.
    pub(super) fn of(mut have: Vec<u64>, gpus: usize, bytes: u64) -> Option<Self> {
        let large_enough = have.iter().filter(|total| **total >= bytes).count();
        have.sort_unstable_by(|one, other| other.cmp(one));
        (large_enough < gpus).then_some(Self { gpus, bytes, have })
    }

    /// Whether the host has no GPU.
    pub(super) fn is_without_any(&self) -> bool {
        self.have.is_empty()
    }
}

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.gpus, self.have.len()) {
            (_, 0) => return write!(f, "it needs a GPU, but the host finds none"),
            (1, _) => write!(f, "it needs {} MiB of GPU memory", mib(self.bytes))?,
            (gpus, have) if gpus > have => {
                let has = if have == 1 { "1" } else { &have.to_string() };
                return write!(f, "it needs {gpus} GPUs, but the host has {has}");
            }
            (gpus, _) => write!(f, "it needs {} MiB on each of {gpus} GPUs", mib(self.bytes))?,
        }
        let have: Vec<String> = self.have.iter().map(|bytes| mib(*bytes)).collect();
        match have.as_slice() {
            [one] => write!(f, ", but the host's GPU has {one}"),
            all => write!(f, ", but the host's GPUs have {}", all.join(", ")),
        }
    }
}

/// What a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waits {
    text: String,
    is_for_calls: bool,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Waits {
    /// Whether nothing makes room for it soon, so that it waits until calls of others end.
    pub(super) fn is_for_calls(&self) -> bool {
        self.is_for_calls
    }

    /// It waits until these instances have ended.
    pub(super) fn for_room(picture: &Picture, request: &Request, ways: &[(usize, Victims)]) -> Self {
        let devices: Vec<usize> = ways.iter().map(|(device, _)| *device).collect();
        let ending = |one: &&Placed| {
            one.stage == Stage::Leaving || ways.iter().any(|(_, victims)| victims.instances.contains(&one.id))
        };
        Self { text: text(picture, request, &devices, ending), is_for_calls: false }
    }

    /// It waits until calls of others end, or until it has waited for so long that they make room. `others_start` says whether
    /// instances begin to start now.
    pub(super) fn for_calls(picture: &Picture, request: &Request, others_start: bool) -> Self {
        let all = picture.devices.iter().enumerate();
        let devices: Vec<usize> = all.filter(|(_, device)| device.total >= request.bytes).map(|(at, _)| at).collect();
        let is_starting = |one: &Placed| one.stage == Stage::Starting && one.on.iter().any(|on| devices.contains(on));
        let is_for_calls = !others_start && !picture.instances.iter().any(is_starting);
        Self { text: text(picture, request, &devices, |one| one.stage == Stage::Leaving), is_for_calls }
    }
}

fn text(picture: &Picture, request: &Request, devices: &[usize], is_ending: impl Fn(&&Placed) -> bool) -> String {
    let name = |device: &usize| Some(picture.devices.get(*device)?.index.to_string());
    let names: Vec<String> = devices.iter().filter_map(name).collect();
    let gpus = match (names.as_slice(), request.gpus) {
        ([one], _) => format!("of GPU {one}"),
        (all, wanted) if all.len() == wanted => format!("of each of GPUs {}", all.join(", ")),
        (all, 1) => format!("of one of GPUs {}", all.join(", ")),
        (all, wanted) => format!("of each of {wanted} of GPUs {}", all.join(", ")),
    };
    let mut parts = vec![format!("needs {} MiB {gpus}", mib(request.bytes))];
    for one in picture.instances.iter().filter(|one| one.on.iter().any(|on| devices.contains(on))) {
        let holds = one.on.iter().filter(|on| devices.contains(on)).map(|on| one.weight_on(*on)).max().unwrap_or(0);
        let state = match one.stage {
            _ if is_ending(&one) && !one.is_running() => "is being stopped".to_owned(),
            _ if is_ending(&one) => "ends after its calls".to_owned(),
            Stage::Starting => "is starting".to_owned(),
            Stage::Released => "has released its memory".to_owned(),
            Stage::Leaving => "is being stopped".to_owned(),
            Stage::Ready { running: 0, is_wanted: true, .. } => "has calls that wait".to_owned(),
            Stage::Ready { running: 0, .. } => "has just started".to_owned(),
            Stage::Ready { running: 1, .. } => "runs 1 call".to_owned(),
            Stage::Ready { running, .. } => format!("runs {running} calls"),
        };
        let idle = match one.stage {
            Stage::Ready { running: 0, used, .. } => {
                format!("idle for {} s, ", picture.now.saturating_duration_since(used).as_secs())
            }
            _ => String::new(),
        };
        parts.push(format!("{} holds {} MiB, {idle}{state}", one.plugin, mib(holds)));
    }
    if parts.len() == 1 {
        parts.push("other programs hold its memory".to_owned());
    }
    parts.join("; ")
}

impl Placed {
    fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Ready { running, .. } if running > 0)
    }
}

/// Mebibytes, with commas between the thousands.
fn mib(bytes: u64) -> String {
    let digits = (bytes >> 20).to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
