//! `.keras`: a zip archive of `metadata.json`, `config.json` and `model.weights.h5`, which Keras stores uncompressed.

use std::io::{BufReader, Read};

use super::{Config, params_of};
use crate::error::Error;
use crate::tensor::Params;
use crate::weights::Wanted;
use crate::weights::hdf5::Hdf5;
use crate::weights::source::Source;

/// The weights.
const WEIGHTS: &str = "model.weights.h5";

/// The network, as Keras describes it.
const CONFIG: &str = "config.json";

/// What Keras writes first, and what others may put first when they pack the archive again.
const ENTRIES: [&str; 3] = ["metadata.json", CONFIG, WEIGHTS];

/// The longest description; that of V3-Large takes 200 kB.
const MAX_CONFIG: u64 = 16 << 20;

/// How many times the archive's size compressed weights may take. Trained weights hardly compress.
const EXPANSION: u64 = 16;

/// Most bytes of weights that are unpacked; the largest of Keras's MobileNets have 25 MB.
const MAX_UNPACKED: u64 = 1 << 30;

/// A zip archive that starts with one of Keras's entries: the name stands behind thirty bytes of header.
pub(super) fn is(head: &[u8]) -> bool {
    let length = head.get(26..28).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let name = length.and_then(|length| head.get(30..30 + length)).unwrap_or_default();
    let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    head.starts_with(b"PK\x03\x04") && ENTRIES.iter().any(|entry| entry.as_bytes() == name)
}

pub(super) fn read(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    // As for PyTorch's archives: left to detect the start, the library may take a wrong one.
    let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
    let reader = BufReader::with_capacity(1 << 10, source.file()?);
    let zip = zip::ZipArchive::with_config(config, reader).map_err(|e| damaged(source, &e))?;
    let mut archive = Archive { source, zip };
    let config = archive.bytes(CONFIG, MAX_CONFIG)?;
    let config = Config::read(&config).map_err(|reason| source.error(reason))?;
    let file = archive.weights()?;
    params_of(source, &file, config, wanted)
}

fn damaged(source: &Source, error: &zip::result::ZipError) -> Error {
    source.error(format!("is a damaged or truncated zip archive: {error}"))
}

struct Archive<'a> {
    source: &'a Source,
    zip: zip::ZipArchive<BufReader<&'a std::fs::File>>,
}

impl<'a> Archive<'a> {
    /// The place of an entry, which may lie in a folder.
    fn index(&self, name: &str) -> Result<usize, Error> {
        let names = (0..self.zip.len()).map(|i| (i, self.zip.name_for_index(i).and_then(Result::ok)));
        let found = names.filter(|(_, full)| full.as_ref().is_some_and(|full| full.rsplit('/').next() == Some(name)));
        let found: Vec<usize> = found.map(|(i, _)| i).collect();
        match found[..] {
            [index] => Ok(index),
            [] => Err(self.source.error(format!("is a zip archive with a part of a Keras model, but without {name}"))),
            _ => Err(self.source.error(format!("is a zip archive with {} files {name}", found.len()))),
        }
    }

    /// The bytes of an entry, of at most `limit` bytes.
    fn bytes(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let index = self.index(name)?;
        let entry = self.zip.by_index(index).map_err(|e| damaged(self.source, &e))?;
        let size = entry.size();
        let too_large = || self.source.error(format!("its entry {name} has {size} bytes; the limit is {limit}"));
        let mut bytes = Vec::new();
        // The size is the archive's word; what comes out is counted.
        entry
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| self.source.error(format!("its entry {name}: {e}")))?;
        if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
    }

    /// The HDF5 file: where it lies, or unpacked.
    fn weights(&mut self) -> Result<Hdf5<'a>, Error> {
        let index = self.index(WEIGHTS)?;
        let entry = self.zip.by_index_raw(index).map_err(|e| damaged(self.source, &e))?;
        let (offset, size) = (entry.data_start(), entry.compressed_size());
        if entry.compression() == zip::CompressionMethod::Stored && !entry.encrypted() {
            let within = offset.filter(|offset| offset.checked_add(size).is_some_and(|end| end <= self.source.len()));
            let offset = within.ok_or_else(|| self.source.error(format!("its entry {WEIGHTS} leaves the file")))?;
            return Hdf5::in_file(self.source, offset, size);
        }
        drop(entry);
        let bytes = self.bytes(WEIGHTS, self.source.len().saturating_mul(EXPANSION).min(MAX_UNPACKED))?;
        Hdf5::in_memory(self.source, bytes)
    }
}
