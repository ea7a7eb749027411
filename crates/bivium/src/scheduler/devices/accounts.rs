//! What is left of each GPU while a plan is made.

use super::plan::{Device, Picture, Placed, Stage};

/// The account of each device, at its position in the picture.
pub(super) struct Accounts<'a>(Vec<Account<'a>>);

/// What is left of one device, in bytes. Negative if more was promised than there is, because another program has taken memory.
struct Account<'a> {
    device: &'a Device,
    free: i128,
    /// What was free before this plan.
    measured: i128,
    /// What instances that are ending will give back.
    coming: i128,
    /// What earlier requests wait for.
    claimed: i128,
}

impl<'a> Account<'a> {
    fn of(at: usize, device: &'a Device, instances: &[Placed]) -> Self {
        let sum = |each: &dyn Fn(&Placed) -> u64| instances.iter().map(|one| i128::from(each(one))).sum::<i128>();
        let free = match device.tells_processes {
            true => i128::from(device.free) - sum(&|one| one.unheld_on(at)),
            // What its processes hold is not known, so what they may hold counts as held.
            false => i128::from(device.free).min(i128::from(device.total) - sum(&|one| one.weight_on(at))),
        };
        let leaving = |one: &Placed| if one.stage == Stage::Leaving { one.weight_on(at) } else { 0 };
        Self { device, free, measured: free, coming: sum(&leaving), claimed: 0 }
    }

    fn expected(&self) -> i128 {
        self.free + self.coming - self.claimed
    }
}

impl<'a> Accounts<'a> {
    pub(super) fn of(picture: &'a Picture) -> Self {
        let account = |(at, device)| Account::of(at, device, &picture.instances);
        Self(picture.devices.iter().enumerate().map(account).collect())
    }

    /// The devices that have this much memory, free or not.
    pub(super) fn with_total(&self, bytes: u64) -> Vec<usize> {
        let is_large = |(_, account): &(usize, &Account)| account.device.total >= bytes;
        self.0.iter().enumerate().filter(is_large).map(|(at, _)| at).collect()
    }

    /// Whether an instance fits now, without what earlier requests wait for.
    pub(super) fn fits(&self, device: usize, bytes: u64) -> bool {
        self.free(device) >= i128::from(bytes) && self.expected(device) >= i128::from(bytes)
    }

    pub(super) fn free(&self, device: usize) -> i128 {
        self.0.get(device).map_or(0, |account| account.free)
    }

    /// What was free before this plan.
    pub(super) fn measured(&self, device: usize) -> i128 {
        self.0.get(device).map_or(0, |account| account.measured)
    }

    /// What there will be in the end, if nothing else makes room.
    pub(super) fn expected(&self, device: usize) -> i128 {
        self.0.get(device).map_or(0, Account::expected)
    }

    /// Whether what each instance holds of it is known.
    pub(super) fn tells_processes(&self, device: usize) -> bool {
        self.0.get(device).is_some_and(|account| account.device.tells_processes)
    }

    /// An instance was granted this much.
    pub(super) fn grant(&mut self, device: usize, bytes: u64) {
        self.change(device, |account| account.free -= i128::from(bytes));
    }

    /// A request waits for this much.
    pub(super) fn claim(&mut self, device: usize, bytes: u64) {
        self.change(device, |account| account.claimed += i128::from(bytes));
    }

    /// An instance that is going to end will give this much back.
    pub(super) fn expect(&mut self, device: usize, bytes: u64) {
        self.change(device, |account| account.coming += i128::from(bytes));
    }

    fn change(&mut self, device: usize, change: impl FnOnce(&mut Account<'a>)) {
        if let Some(account) = self.0.get_mut(device) {
            change(account);
        }
    }
}
