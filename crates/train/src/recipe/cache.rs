//! How much memory decoded photos may take.

use serde::{Deserialize, Serialize};
use toml::Value;

/// What recipes call the choice of the program.
const AUTO: &str = "auto";
/// Most megabytes that a recipe may name: a petabyte.
const MOST: u32 = 1 << 30;

/// Memory for decoded photos, which later epochs need not decode. All give the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Cache {
    /// A quarter of the memory that is free when training begins.
    #[default]
    Auto,
    /// So many megabytes, of 2²⁰ bytes.
    Megabytes(u32),
}

impl TryFrom<Value> for Cache {
    type Error = String;

    fn try_from(value: Value) -> Result<Cache, String> {
        let megabytes =
            value.as_integer().and_then(|number| u32::try_from(number).ok()).filter(|&number| number <= MOST);
        match (value.as_str(), megabytes) {
            (Some(AUTO), _) => Ok(Cache::Auto),
            (_, Some(megabytes)) => Ok(Cache::Megabytes(megabytes)),
            _ => Err(format!("cache cannot be {value}; give {AUTO}, or a number of megabytes from 0 to {MOST}")),
        }
    }
}

impl From<Cache> for Value {
    fn from(cache: Cache) -> Value {
        match cache {
            Cache::Auto => Value::String(AUTO.to_owned()),
            Cache::Megabytes(megabytes) => Value::Integer(megabytes.into()),
        }
    }
}
