//! Random numbers that depend on what they are for and not on who draws them: every photo of every epoch has a generator
//! of its own, so that the number of workers changes nothing.
//!
//! The generator is xoshiro256++ by Blackman and Vigna (arXiv 1805.01407, <https://prng.di.unimi.it/xoshiro256plusplus.c>),
//! its state filled by SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>), as its authors advise.

/// SplitMix64's step: the golden ratio times 2⁶⁴.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a generator is for: generators of different streams have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Stream {
    /// Fresh weights; the index is the parameter's.
    Weights = 1,
    /// The order of the photos; the index is the epoch.
    Order = 2,
    /// One photo's augmentation; the index is `epoch · photos + photo`.
    Augmentation = 3,
    /// What is drawn for a batch, such as mixup's share; the index is the step.
    Batch = 4,
    /// Dropout; the index is the step.
    Dropout = 5,
}

/// A generator.
///
/// ```
/// use mobilenet_train::random::{Random, Stream};
/// let mut first = Random::new(1, Stream::Augmentation, 7);
/// let mut again = Random::new(1, Stream::Augmentation, 7);
/// assert_eq!(first.next_u64(), again.next_u64());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random([u64; 4]);

impl Random {
    /// The generator of `(seed, stream, index)`.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Random {
        // Each word passes the whole mixer before the next one joins, so that neighbours in any of the three differ in
        // about half of the bits.
        let mut state =
            [seed, stream as u64, index].iter().fold(0, |key: u64, &word| mix((key ^ word).wrapping_add(GAMMA)));
        Random(std::array::from_fn(|_| split_mix(&mut state)))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in [0, 1), in steps of 2⁻²⁴.
    pub fn f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Uniform in [0, 1), in steps of 2⁻⁵³.
    pub fn f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.f32()
    }

    /// A whole number below `end`, each equally likely (Lemire, arXiv 1805.10941).
    ///
    /// # Panics
    /// Where `end` is zero.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "there is no number below 0");
        let end = end as u64;
        let reject = end.wrapping_neg() % end;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(end);
            if product as u64 >= reject {
                return (product >> 64) as usize;
            }
        }
    }

    /// True with `probability`.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.f32() < probability
    }

    /// Normal with mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.f64()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.f64()).cos()) as f32
    }

    /// Beta(α, α), the share of mixup (arXiv 1710.09412): two gammas, one divided by the sum.
    ///
    /// # Panics
    /// Where `alpha` is not positive.
    pub fn beta(&mut self, alpha: f32) -> f32 {
        assert!(alpha > 0.0, "a beta distribution needs a positive parameter, not {alpha}");
        let (a, b) = (self.log_gamma(alpha.into()), self.log_gamma(alpha.into()));
        (1.0 / (1.0 + (b - a).exp())) as f32
    }

    /// Logarithm of a Gamma(`shape`, 1) number (Marsaglia and Tsang 2000). Small shapes underflow anywhere else.
    fn log_gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = (1.0 - self.f64()).ln() / shape;
            return self.log_gamma(shape + 1.0) + boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = f64::from(self.normal());
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.f64()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln();
            }
        }
    }

    /// Puts `items` in an order of which each is equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// SplitMix64's next output.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GAMMA);
    mix(*state)
}

/// SplitMix64's output function: a bijection whose every output bit depends on every input bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_is_its_authors() {
        // splitmix64.c with x = 1234567.
        let mut state = 1_234_567;
        let first: Vec<_> = (0..3).map(|_| split_mix(&mut state)).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn xoshiro_is_its_authors() {
        // xoshiro256plusplus.c with s = {1, 2, 3, 4}; the same numbers stand in rand_xoshiro's tests.
        let mut random = Random([1, 2, 3, 4]);
        let first: Vec<_> = (0..4).map(|_| random.next_u64()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn neighbours_have_nothing_in_common() {
        let of = |seed, stream, index| Random::new(seed, stream, index).next_u64();
        let base = of(1, Stream::Order, 1);
        for other in [of(2, Stream::Order, 1), of(1, Stream::Batch, 1), of(1, Stream::Order, 2)] {
            let bits = (base ^ other).count_ones();
            assert!((16..=48).contains(&bits), "{bits} bits differ");
        }
        assert_eq!(base, of(1, Stream::Order, 1));
    }

    #[test]
    fn uniform_normal_and_beta_have_their_moments() {
        const N: usize = 200_000;
        let moments = |mut draw: Box<dyn FnMut() -> f32>| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for x in (0..N).map(|_| f64::from(draw())) {
                (sum, squares) = (sum + x, squares + x * x);
            }
            let mean = sum / N as f64;
            (mean, squares / N as f64 - mean * mean)
        };
        let mut r = Random::new(3, Stream::Weights, 0);
        let check = |(mean, variance): (f64, f64), (m, v): (f64, f64)| {
            assert!((mean - m).abs() < 0.01 && (variance / v - 1.0).abs() < 0.02, "{mean} {variance} against {m} {v}");
        };
        let mut s = r.clone();
        check(moments(Box::new(move || s.f32())), (0.5, 1.0 / 12.0));
        let mut s = r.clone();
        check(moments(Box::new(move || s.range(-1.0, 3.0))), (1.0, 16.0 / 12.0));
        let mut s = r.clone();
        check(moments(Box::new(move || s.normal())), (0.0, 1.0));
        // The variance of Beta(α, α) is 1 / (4 (2 α + 1)).
        for alpha in [0.01, 0.2, 1.0, 4.0f32] {
            let mut s = r.clone();
            check(moments(Box::new(move || s.beta(alpha))), (0.5, 0.25 / (2.0 * f64::from(alpha) + 1.0)));
        }
        assert!((0..1000).all(|_| r.below(3) < 3));
    }

    #[test]
    fn shuffling_is_fair_and_loses_nothing() {
        let mut counts = [[0; 4]; 4];
        for i in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            Random::new(5, Stream::Order, i).shuffle(&mut items);
            (0..4).for_each(|place| counts[place][items[place]] += 1);
        }
        assert!(counts.iter().flatten().all(|&n| (5700..6300).contains(&n)), "{counts:?}");
    }
}
