//! Random numbers that depend on where they are used, not on when or by whom.
//!
//! A generator is made anew for every photo, batch and epoch from `(seed, stream, index)`, so that results are the same
//! for any number of workers and need no state in a checkpoint. xoshiro256++ (Blackman and Vigna, 2018), its state
//! filled by SplitMix64, as its authors advise.

/// xoshiro256++.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

/// One step of SplitMix64: advances `state` and returns a well-mixed value.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The generator of one place: `stream` says what for (and in which epoch), `index` for which photo or batch.
    ///
    /// Streams whose lowest byte is 1, 2 or 3 belong to the loader: order, photos and batches of epoch `stream >> 8`.
    pub fn new(seed: u64, stream: u64, index: u64) -> Random {
        let mut mixed = seed;
        for part in [stream, index] {
            mixed = split_mix(&mut mixed) ^ part;
        }
        Random { state: std::array::from_fn(|_| split_mix(&mut mixed)) }
    }

    /// The generator that [`state`](Self::state) was taken from.
    ///
    /// All zeros, of which nothing but zeros would follow, are taken for the generator of `(0, 0, 0)`.
    pub fn from_state(state: [u64; 4]) -> Random {
        if state == [0; 4] { Random::new(0, 0, 0) } else { Random { state } }
    }

    /// All there is to know about the numbers to come.
    pub fn state(&self) -> [u64; 4] {
        self.state
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in [0, 1), a multiple of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit_f64()
    }

    /// Uniform in 0..n, without bias (Lemire 2019).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a number below 0");
        let n = n as u64;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            // 2⁶⁴ mod n of the low halves would favour some results.
            if product as u64 >= n.wrapping_neg() % n {
                return (product >> 64) as usize;
            }
        }
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// From the normal distribution of mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        self.normal_f64() as f32
    }

    fn normal_f64(&mut self) -> f64 {
        // 1 − [0, 1) is never 0.
        let radius = (-2.0 * (1.0 - self.unit_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit_f64()).cos()
    }

    /// Brings `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// From Beta(a, a); 1 if `a` is not above 0.
    pub fn beta(&mut self, a: f64) -> f32 {
        if a.is_nan() || a <= 0.0 {
            return 1.0;
        }
        let (x, y) = (self.log_gamma_variate(a), self.log_gamma_variate(a));
        // x / (x + y), from logarithms: both underflow to 0 when a is small.
        (1.0 / (1.0 + (y - x).exp())) as f32
    }

    /// Logarithm of a value from Gamma(a, 1) (Marsaglia and Tsang 2000).
    fn log_gamma_variate(&mut self, a: f64) -> f64 {
        if a < 1.0 {
            let boost = (1.0 - self.unit_f64()).ln() / a;
            return self.log_gamma_variate(a + 1.0) + boost;
        }
        let d = a - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal_f64();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit_f64()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_published_generator() {
        // xoshiro256++ from state 1, 2, 3, 4: the test vector of rand_xoshiro 0.6.
        let mut random = Random::from_state([1, 2, 3, 4]);
        let first: Vec<u64> = (0..4).map(|_| random.next_u64()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn every_part_of_the_place_counts() {
        let first = |seed, stream, index| Random::new(seed, stream, index).next_u64();
        let all = [first(1, 2, 3), first(2, 1, 3), first(1, 3, 2), first(3, 2, 1), first(1, 2, 4), first(0, 0, 0)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Random::new(7, 0, 0);
        let mut moments = |draw: &mut dyn FnMut(&mut Random) -> f64| {
            let values: Vec<f64> = (0..40_000).map(|_| draw(&mut random)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64)
        };
        let mut check = |draw: &mut dyn FnMut(&mut Random) -> f64, mean: f64, variance: f64| {
            let found = moments(draw);
            assert!((found.0 - mean).abs() < 0.02 && (found.1 - variance).abs() < 0.03, "{found:?} {mean} {variance}");
        };
        check(&mut |r| f64::from(r.unit()), 0.5, 1.0 / 12.0);
        check(&mut |r| f64::from(r.normal()), 0.0, 1.0);
        check(&mut |r| r.below(3) as f64, 1.0, 2.0 / 3.0);
        for a in [0.2, 1.0, 4.0] {
            check(&mut |r| f64::from(r.beta(a)), 0.5, 0.25 / (2.0 * a + 1.0));
        }
    }

    #[test]
    fn beta_stays_within_0_and_1_at_any_parameter() {
        let mut random = Random::new(0, 0, 0);
        for a in [0.0, -1.0, f64::NAN] {
            assert_eq!(random.beta(a), 1.0);
        }
        for a in [1e-6, 1e-3, 1e3, 1e6] {
            assert!((0..100).all(|_| (0.0..=1.0).contains(&random.beta(a))));
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Random::new(1, 1, 1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
