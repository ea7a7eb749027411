//! Random changes of inputs, for machines without libFuzzer.

/// Random numbers, the same for the same seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.number() % end as u64) as usize }
    }
}

/// Bytes that often cause errors.
const SPECIAL: &[u8] = &[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'}', b'[', b']', b'\\', b'$', b'0', b'-'];
/// The longest input that is made.
const LONGEST: usize = 64 << 10;

/// An input made from an input of `corpus`, or from nothing: a few bytes are changed, added, removed, or copied from another input.
pub fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| corpus.get(random.below(corpus.len())).cloned().unwrap_or_default();
    let mut input = match random.below(8) {
        0 => (0..random.below(2048)).map(|_| random.number() as u8).collect(),
        _ => pick(random),
    };
    for _ in 0..1 + random.below(6) {
        let at = random.below(input.len());
        let byte = SPECIAL.get(random.below(SPECIAL.len() * 3)).copied().unwrap_or(random.number() as u8);
        match random.below(7) {
            0 | 1 => {
                if let Some(there) = input.get_mut(at) {
                    *there ^= 1 << random.below(8);
                }
            }
            2 => {
                if let Some(there) = input.get_mut(at) {
                    *there = byte;
                }
            }
            3 => input.insert(at, byte),
            4 => {
                let end = (at + 1 + random.below(16)).min(input.len());
                input.drain(at.min(end)..end);
            }
            5 => input.truncate(at),
            _ => {
                let other = pick(random);
                let from = random.below(other.len());
                let piece = other.get(from..(from + random.below(64)).min(other.len())).unwrap_or_default();
                input.splice(at..at, piece.iter().copied());
            }
        }
    }
    input.truncate(LONGEST.max(corpus.iter().map(Vec::len).max().unwrap_or_default()));
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let corpus = [b"one".to_vec(), b"another".to_vec()];
        let inputs = |seed| {
            let mut random = Random(seed);
            (0..100).map(|_| mutated(&corpus, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(mutated(&[], &mut Random(3)).len() <= LONGEST);
    }
}
