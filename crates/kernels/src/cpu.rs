//! What this processor offers: instruction set, cores, caches.

use std::error::Error;
use std::fmt;

pub use bf16::Bf16Unit;
pub use topology::{Caches, default_threads};

mod bf16;
mod topology;

/// The environment variable that forces a lower instruction set.
pub const ISA_VARIABLE: &str = "MOBILENET_ISA";

/// An instruction set that the kernels are written for, from lowest to highest.
///
/// Each holds everything of those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Vectorised by the compiler: any processor.
    Portable,
    /// AVX2, FMA and F16C: x86-64 since 2013.
    Avx2,
    /// AVX-512 F, BW, VL and DQ, with AVX2 and FMA: servers since 2017, Zen 4.
    Avx512,
}

impl Isa {
    /// All instruction sets, from lowest to highest.
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// The best that processor and operating system support.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            if avx2 && avx512 {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    }

    /// Those that this machine can run, from lowest to highest.
    pub fn available() -> impl Iterator<Item = Isa> {
        let best = Isa::detect();
        Isa::ALL.into_iter().filter(move |&isa| isa <= best)
    }

    /// The best supported, or a lower one that [`ISA_VARIABLE`] names.
    /// An empty variable is as good as none.
    ///
    /// # Errors
    /// If the variable holds another word, or one that this machine cannot run.
    pub fn from_env() -> Result<Isa, IsaError> {
        let word = std::env::var_os(ISA_VARIABLE).unwrap_or_default();
        Isa::choose(&word.to_string_lossy(), Isa::detect())
    }

    /// The instruction set of this name.
    fn named(word: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == word)
    }

    fn choose(word: &str, best: Isa) -> Result<Isa, IsaError> {
        if word.is_empty() {
            return Ok(best);
        }
        match Isa::named(word) {
            Some(isa) if isa <= best => Ok(isa),
            Some(wanted) => Err(IsaError::Unsupported { wanted, best }),
            None => Err(IsaError::Unknown { word: word.into() }),
        }
    }

    /// Its name in [`ISA_VARIABLE`] and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why [`ISA_VARIABLE`] cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsaError {
    /// The word names no instruction set.
    Unknown {
        /// The variable's value.
        word: String,
    },
    /// This machine cannot run it.
    Unsupported {
        /// The one asked for.
        wanted: Isa,
        /// The highest this machine runs.
        best: Isa,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = match self {
            IsaError::Unknown { word } => {
                write!(f, "{ISA_VARIABLE}={word} names no instruction set; valid")?;
                Isa::Avx512
            }
            IsaError::Unsupported { wanted, best } => {
                write!(f, "{ISA_VARIABLE}={wanted} needs more than this processor has; valid here")?;
                *best
            }
        };
        let mut separator = ": ";
        for isa in Isa::ALL.into_iter().filter(|&isa| isa <= best) {
            write!(f, "{separator}{isa}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Error for IsaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_sets_are_ordered_and_the_lowest_always_runs() {
        assert!(Isa::ALL.is_sorted());
        assert_eq!(Isa::available().next(), Some(Isa::Portable));
        assert_eq!(Isa::available().last(), Some(Isa::detect()));
    }

    #[test]
    fn a_lower_instruction_set_can_be_forced() {
        assert_eq!(Isa::choose("", Isa::Avx2), Ok(Isa::Avx2));
        assert_eq!(Isa::choose("avx2", Isa::Avx512), Ok(Isa::Avx2));
        assert_eq!(Isa::choose("avx512", Isa::Avx512), Ok(Isa::Avx512));
        assert_eq!(Isa::choose("portable", Isa::Portable), Ok(Isa::Portable));
    }

    #[test]
    fn a_higher_instruction_set_is_refused() {
        let error = Isa::choose("avx512", Isa::Avx2).expect_err("higher than the best");
        assert_eq!(
            error.to_string(),
            "MOBILENET_ISA=avx512 needs more than this processor has; \
             valid here: portable, avx2"
        );
    }

    #[test]
    fn an_unknown_word_is_refused() {
        for word in ["neon", "AVX2", " avx2", "\u{fffd}"] {
            let error = Isa::choose(word, Isa::Avx512).expect_err("unknown");
            assert_eq!(
                error.to_string(),
                format!(
                    "MOBILENET_ISA={word} names no instruction set; \
                     valid: portable, avx2, avx512"
                )
            );
        }
    }

    #[test]
    fn names_pad_in_tables() {
        assert_eq!(format!("{:>8}", Isa::Avx2), "    avx2");
    }
}
