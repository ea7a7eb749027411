//! Random numbers. Without `permissions.random` they are the same in every run and in every instance: good enough for hash tables and
//! tests, but not secret.

use bivium_interface::PluginError;
use wasmtime_wasi::p2::bindings::random::insecure::Host as _;
use wasmtime_wasi::p2::bindings::random::insecure_seed::Host as _;
use wasmtime_wasi::p2::bindings::random::random::Host as _;
use wasmtime_wasi::random::WasiRandomCtx;

/// The most bytes at once: they take milliseconds, during which the thread runs nothing else.
const MAX_BYTES: u64 = 8 << 20;

/// The random numbers of one instance.
pub(crate) enum Random {
    /// The machine's random numbers, set up at the first use.
    Real(Option<Box<WasiRandomCtx>>),
    Fixed(Sequence),
}

impl Random {
    pub(crate) fn new(granted: bool) -> Self {
        if granted { Self::Real(None) } else { Self::Fixed(Sequence::default()) }
    }

    pub(crate) fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        check(len)?;
        match self {
            Self::Real(real) => real.get_or_insert_default().get_random_bytes(len),
            Self::Fixed(fixed) => fixed.bytes(len),
        }
    }

    pub(crate) fn number(&mut self) -> wasmtime::Result<u64> {
        match self {
            Self::Real(real) => real.get_or_insert_default().get_random_u64(),
            Self::Fixed(fixed) => Ok(fixed.next()),
        }
    }

    pub(crate) fn insecure_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        check(len)?;
        match self {
            Self::Real(real) => real.get_or_insert_default().get_insecure_random_bytes(len),
            Self::Fixed(fixed) => fixed.bytes(len),
        }
    }

    pub(crate) fn insecure_number(&mut self) -> wasmtime::Result<u64> {
        match self {
            Self::Real(real) => real.get_or_insert_default().get_insecure_random_u64(),
            Self::Fixed(fixed) => Ok(fixed.next()),
        }
    }

    pub(crate) fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        match self {
            Self::Real(real) => real.get_or_insert_default().insecure_seed(),
            Self::Fixed(_) => {
                let mut fixed = Sequence::default();
                Ok((fixed.next(), fixed.next()))
            }
        }
    }
}

/// Pseudo-random numbers: SplitMix64, whose sequence does not change with the version of a library.
pub(crate) struct Sequence(u64);

impl Default for Sequence {
    fn default() -> Self {
        Self(0x6269_7669_756d) // "bivium"
    }
}

impl Sequence {
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

/// Refuses a request for too many bytes. WASI has no error for it, so the guest traps with this one.
fn check(len: u64) -> wasmtime::Result<()> {
    if len <= MAX_BYTES {
        return Ok(());
    }
    let message = format!("the component asked for {len} random bytes at once, over the limit of {MAX_BYTES}");
    Err(PluginError::resource_exhausted(message).with_help("ask for fewer at once").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64_and_lengths_are_exact() {
        // Reference values of the algorithm's authors for the seed 1234567.
        let mut random = Sequence(1_234_567);
        let values: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(values, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        for len in [0, 1, 8, 13] {
            assert_eq!(Sequence::default().bytes(len).unwrap().len() as u64, len);
        }
        for len in [MAX_BYTES + 1, u64::MAX] {
            assert!(check(len).is_err());
        }
    }
}
