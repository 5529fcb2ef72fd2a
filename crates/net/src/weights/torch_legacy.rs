//! PyTorch's format before 1.6, which `torch.save(…, _use_new_zipfile_serialization=False)` still writes
//! (torch@2.9 serialization.py, `_legacy_save`): five pickles (a magic number, the protocol, the writer's system, the state
//! dict, the storages' keys), then each storage, its elements behind their number, in the order of the keys.

use std::collections::HashMap;

use super::pickle::{Pickle, Storage, Value};
use super::source::Source;
use super::state_dict::{self, Place};
use super::{Format, Wanted};
use crate::error::Error;
use crate::tensor::Params;

/// See the module.
pub(super) const FORMAT: Format = Format { name: "PyTorch (.pth)", is, read };

/// The pickled magic number, an integer of ten bytes, without its last instruction.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The only protocol that there was.
const PROTOCOL: i64 = 1001;

/// The most bytes of all pickles together; those of a MobileNet take 50 kB.
const MAX_PICKLES: u64 = 16 << 20;

fn is(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

fn read(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    let bytes = source.read(0, source.len().min(MAX_PICKLES))?;
    // The stop instruction ends the magic number.
    let mut rest = bytes.get(MAGIC.len() + 1..).unwrap_or_default();
    let mut next = || {
        let (pickle, behind) = Pickle::run_first(rest).map_err(|refused| source.error(refused.to_string()))?;
        rest = behind;
        Ok::<_, Error>(pickle)
    };
    let [protocol, system, state, keys] = [next()?, next()?, next()?, next()?];
    match protocol[protocol.root()] {
        Value::Int(PROTOCOL) => {}
        _ => return Err(source.error(format!("has PyTorch's old format in another protocol than {PROTOCOL}"))),
    }
    let is_little =
        system.entries(system.root()).find(|(key, _)| *key == "little_endian").map(|(_, value)| &system[value]);
    if is_little != Some(&Value::Bool(true)) {
        return Err(source.error("was written on a big-endian machine; only little-endian files are read"));
    }
    let start = (bytes.len() - rest.len()) as u64;
    let places = places(source, start, &state, &keys)?;
    state_dict::read(source, &state, wanted, |key| {
        places.get(key).copied().ok_or_else(|| source.error(format!("it has no storage {key}")))
    })
}

/// Where the storages lie, by key.
fn places(source: &Source, start: u64, state: &Pickle, keys: &Pickle) -> Result<HashMap<String, Place>, Error> {
    let mut types: HashMap<&str, &Storage> = HashMap::new();
    for (key, storage) in state.storages() {
        if types.insert(key, storage).is_some_and(|other| other != storage) {
            return Err(source.error(format!("it gives storage {key} two types")));
        }
    }
    let Value::List(order) = &keys[keys.root()] else {
        return Err(source.error("it does not list its storages"));
    };
    let mut places = HashMap::new();
    let mut at = start;
    for &key in order {
        let Value::Text(key) = &keys[key] else { return Err(source.error("it lists a storage whose key is no text")) };
        let storage = types.get(key.as_str());
        let storage = storage.ok_or_else(|| source.error(format!("it lists storage {key}, which nothing uses")))?;
        let elements = source.read(at, 8)?.try_into().map(u64::from_le_bytes).expect("eight bytes were read");
        let offset = at + 8;
        let fits = |size: &u64| *size <= source.len() - offset;
        let size = elements.checked_mul(storage.size).filter(fits).ok_or_else(|| {
            source.error(format!(
                "storage {key} of {elements} elements does not fit into the file: it is cut short or damaged"
            ))
        })?;
        places.insert(key.clone(), Place { offset, size });
        at = offset + size;
    }
    Ok(places)
}
