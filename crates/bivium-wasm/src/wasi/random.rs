//! Random numbers. Without `permissions.random` they are the same in every run and in every instance: good for hash
//! tables and for tests, and no secret to anybody.

use bivium_interface::PluginError;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::state::HostState;

/// The most that a guest gets at once: that takes milliseconds, during which the thread serves nobody else.
pub(super) const MAX_BYTES: u64 = 8 << 20;

/// Numbers that only look random: SplitMix64, whose sequence no update of a library changes.
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(0x6269_7669_756d) // "bivium"
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let len = usize::try_from(len)?;
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let some = self.next().to_le_bytes();
            bytes.extend(some.into_iter().take(len - bytes.len()));
        }
        Ok(bytes)
    }
}

/// Refuses more than a guest gets at once. WASI has no error for it: the guest traps with this one.
fn check(len: u64) -> wasmtime::Result<()> {
    if len <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("the component asked for {len} random bytes at once, over the limit of {MAX_BYTES}");
    Err(PluginError::resource_exhausted(message).with_help("ask for fewer at once").into())
}

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    random::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    insecure::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    insecure_seed::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl random::Host for HostState {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        check(len)?;
        if self.rights.random { self.ctx().ctx.random().get_random_bytes(len) } else { self.random.bytes(len) }
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        if self.rights.random { self.ctx().ctx.random().get_random_u64() } else { Ok(self.random.next()) }
    }
}

impl insecure::Host for HostState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        check(len)?;
        if self.rights.random { self.ctx().ctx.random().get_insecure_random_bytes(len) } else { self.random.bytes(len) }
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        if self.rights.random { self.ctx().ctx.random().get_insecure_random_u64() } else { Ok(self.random.next()) }
    }
}

impl insecure_seed::Host for HostState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        if self.rights.random {
            return self.ctx().ctx.random().insecure_seed();
        }
        let mut fixed = Random::default();
        Ok((fixed.next(), fixed.next()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_splitmix64_and_lengths_are_exact() {
        // Reference values of the algorithm's authors for the seed 1234567.
        let mut random = Random(1_234_567);
        let values: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(values, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        for len in [0, 1, 8, 13] {
            assert_eq!(Random::default().bytes(len).unwrap().len() as u64, len);
        }
        for len in [MAX_BYTES + 1, u64::MAX] {
            assert!(check(len).is_err());
        }
    }
}
