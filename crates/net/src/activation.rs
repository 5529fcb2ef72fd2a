//! Non-linearities, and their names in tables and flags.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Non-linearities of the three papers and their descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x · relu6(x + 3) / 6 (V3 §5.2).
    HSwish,
    /// relu6(x + 3) / 6 (V3 §5.2).
    HardSigmoid,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// x · sigmoid(x).
    Swish,
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 6] = [
        Activation::Relu,
        Activation::Relu6,
        Activation::HSwish,
        Activation::HardSigmoid,
        Activation::Sigmoid,
        Activation::Swish,
    ];

    /// Its name in tables and flags.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::HSwish => "h-swish",
            Activation::HardSigmoid => "hard-sigmoid",
            Activation::Sigmoid => "sigmoid",
            Activation::Swish => "swish",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Activation, Error> {
        Activation::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| {
            let known = Activation::ALL.map(Activation::name).join(", ");
            Error::Config(format!("there is no activation {name:?}; there are {known}"))
        })
    }
}
