//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11).
//!
//! A counter-based generator is a pure function of (key, counter): nothing is stored, nothing has to
//! be replayed on resume, and the CPU, the GPU and the emulator draw the same bits. Every random
//! number of this crate comes from here, keyed by the run's seed and by *what* is drawn.

/// Ten rounds of Philox4x32 on `counter` under `key`.
pub fn philox4x32(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    const MULTIPLIER: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let ([mut k0, mut k1], mut c) = (key, counter);
    for _ in 0..10 {
        let (p0, p1) = (MULTIPLIER[0] * c[0] as u64, MULTIPLIER[1] * c[2] as u64);
        c = [
            (p1 >> 32) as u32 ^ c[1] ^ k0,
            p1 as u32,
            (p0 >> 32) as u32 ^ c[3] ^ k1,
            p0 as u32,
        ];
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    c
}

/// What a stream of random numbers is for. Different purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; `a` = a hash of the parameter's name.
    Init = 1,
    /// Order of the samples; `a` = epoch.
    Order = 2,
    /// Augmentation; `a` = epoch, `b` = sample.
    Augment = 3,
    /// Generated images; `a` = split, `b` = sample.
    Generate = 4,
    /// Spatial shuffles in training; `a` = step, `b` = layer.
    ShuffleTrain = 5,
    /// Spatial shuffles in a test; `a` = (epoch, pass, batch), `b` = layer.
    ShuffleTest = 6,
    /// Spatial shuffles drawn once for a whole run; `b` = layer.
    ShuffleFixed = 9,
    /// Dropout masks; `a` = step, `b` = layer.
    Dropout = 7,
    /// Tests, checks and benchmarks.
    Check = 8,
    /// Images of a set drawn again, for an interval of a figure.
    Bootstrap = 10,
}

/// The key of a stream: seed, purpose and two coordinates, folded into Philox's 64-bit key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u32; 2]);

impl Key {
    /// The key for `purpose` at coordinates (`a`, `b`) of the run with this `seed`.
    pub fn new(seed: u64, purpose: Purpose, a: u64, b: u32) -> Self {
        let seed_words = [seed as u32, (seed >> 32) as u32];
        let out = philox4x32(seed_words, [a as u32, (a >> 32) as u32, b, purpose as u32]);
        Key([out[0], out[1]])
    }

    /// Philox's key words, as a kernel takes them.
    pub fn words(self) -> [u32; 2] {
        self.0
    }

    /// Block `block` of lane `lane` (a channel, say): four random words.
    pub fn block(self, block: u32, lane: u32) -> [u32; 4] {
        philox4x32(self.0, [block, lane, 0, 0])
    }

    /// The `index`-th key derived from this one: for a sample of a batch, or another attempt.
    pub fn fold(self, index: u32) -> Key {
        let out = philox4x32(self.0, [index, 0, 0, u32::MAX]);
        Key([out[0], out[1]])
    }

    /// The 48-bit sort key of item `item` of lane `lane`: permutations are argsorts of these.
    pub fn sort_key(self, item: u32, lane: u32) -> u64 {
        let words = self.block(item / 2, lane);
        let at = 2 * (item as usize % 2);
        (words[at] as u64 | (words[at + 1] as u64) << 32) >> 16
    }

    /// Lane `lane` read from its beginning.
    pub fn stream(self, lane: u32) -> Stream {
        Stream {
            key: self,
            lane,
            block: 0,
            words: [0; 4],
            used: 4,
        }
    }
}

/// A sequential reader of one lane.
#[derive(Clone, Debug)]
pub struct Stream {
    key: Key,
    lane: u32,
    block: u32,
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = self.key.block(self.block, self.lane);
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// The next 64 random bits (low word first).
    pub fn next_u64(&mut self) -> u64 {
        let low = self.next_u32() as u64;
        low | (self.next_u32() as u64) << 32
    }

    /// A uniform integer in `0..n`, without bias (Lemire 2019). `n` must not be 0.
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = self.next_u32() as u64 * n as u64;
            if product as u32 >= n.wrapping_neg() % n {
                return (product >> 32) as u32;
            }
        }
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A uniform permutation of `0..n`: argsort of 48-bit keys, index as tie-break.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut keyed: Vec<(u64, u32)> =
            (0..n as u32).map(|i| (self.next_u64() >> 16, i)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, i)| i).collect()
    }
}

/// A 64-bit FNV-1a hash, for names that become coordinates of a [`Key`].
pub fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors that ship with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0, 0], [0, 0, 0, 0]),
            [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
        );
        let ones = u32::MAX;
        assert_eq!(
            philox4x32([ones; 2], [ones; 4]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox4x32(
                [0xa4093822, 0x299f31d0],
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]
            ),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn below_is_uniform_and_permutations_are_permutations() {
        let mut stream = Key::new(1, Purpose::Check, 0, 0).stream(0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[stream.below(6) as usize] += 1;
        }
        // chi-square, 5 degrees of freedom: 20.5 has probability 0.001.
        let chi2: f64 = counts.iter().map(|&c| (c as f64 - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 20.5, "{chi2}");
        let mut p = stream.permutation(100);
        p.sort_unstable();
        assert!(p.iter().enumerate().all(|(i, &v)| i as u32 == v));
    }
}
