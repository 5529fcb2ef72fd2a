//! PyTorch's `.pth`: a zip archive of stored (never compressed) entries. `data.pkl` describes the state dict, and each
//! storage lies in an entry of its own.

use std::collections::HashMap;
use std::io::BufReader;

use super::pickle::Pickle;
use super::source::Source;
use super::state_dict::{self, Place};
use super::{Format, Wanted};
use crate::error::Error;
use crate::tensor::Params;

/// See the module.
pub(super) const FORMAT: Format = Format { name: "PyTorch (.pth)", is, read };

/// The longest `data.pkl`; that of a MobileNet takes 50 kB.
const MAX_PICKLE: u64 = 16 << 20;

fn is(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") || head.starts_with(&[0x80])
}

fn read(source: &Source, wanted: Wanted) -> Result<Params, Error> {
    if source.read(0, 1)? == [0x80] {
        return Err(source.error("is a bare pickle; PyTorch's files are zip archives. Save it with torch.save"));
    }
    let archive = Archive::open(source)?;
    archive.check_byte_order()?;
    let pickle = archive.read("data.pkl", MAX_PICKLE)?;
    let pickle = Pickle::run(&pickle).map_err(|refused| source.error(refused.to_string()))?;
    state_dict::read(source, &pickle, wanted, |key| archive.entry(&format!("data/{key}")))
}

/// The entries of the zip archive, by their names within its one folder.
struct Archive<'a> {
    source: &'a Source,
    entries: HashMap<String, Place>,
}

impl<'a> Archive<'a> {
    fn open(source: &'a Source) -> Result<Archive<'a>, Error> {
        let damaged = |e: zip::result::ZipError| source.error(format!("is a damaged or truncated zip archive: {e}"));
        // torch.save starts its archives at byte 0. zip@9.8.1, left to detect the start, ignores the 76 bytes of zip64
        // records that torch writes, and takes the second entry for the first where an entry's header has that size:
        // where the archive's folder has a name of 21 letters.
        let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
        let reader = BufReader::with_capacity(1 << 10, source.file()?);
        let mut zip = zip::ZipArchive::with_config(config, reader).map_err(damaged)?;
        let names = (0..zip.len()).filter_map(|i| Some(zip.name_for_index(i)?.ok()?.into_owned()));
        let names: Vec<String> = names.collect();
        let Some(folder) = names.iter().find_map(|name| name.strip_suffix("data.pkl")) else {
            return Err(source.error("is a zip archive without data.pkl, so it was not written by torch.save"));
        };
        if names.iter().any(|name| name.strip_prefix(folder) == Some("constants.pkl")) {
            return Err(source.error("is a TorchScript program; save its state_dict() instead"));
        }
        let mut entries = HashMap::new();
        for i in 0..zip.len() {
            let file = zip.by_index_raw(i).map_err(damaged)?;
            let name = file.name().map_err(damaged)?.into_owned();
            let Some(short) = name.strip_prefix(folder) else { continue };
            if file.compression() != zip::CompressionMethod::Stored || file.encrypted() {
                return Err(
                    source.error(format!("its entry {name} is compressed or encrypted; torch.save does neither"))
                );
            }
            let offset = file.data_start().ok_or_else(|| source.error(format!("its entry {name} has no place")))?;
            let size = file.size();
            if size != file.compressed_size() || offset.checked_add(size).is_none_or(|end| end > source.len()) {
                return Err(source.error(format!("its entry {name} of {size} bytes does not fit into the file")));
            }
            entries.insert(short.to_owned(), Place { offset, size });
        }
        Ok(Archive { source, entries })
    }

    fn entry(&self, name: &str) -> Result<Place, Error> {
        self.entries.get(name).copied().ok_or_else(|| self.source.error(format!("its archive has no entry {name}")))
    }

    /// The bytes of an entry, of at most `limit` bytes.
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let entry = self.entry(name)?;
        if entry.size > limit {
            let reason = format!("its entry {name} has {} bytes; the limit is {limit}", entry.size);
            return Err(self.source.error(reason));
        }
        self.source.read(entry.offset, entry.size)
    }

    /// Archives without the entry are older than it, and little-endian.
    fn check_byte_order(&self) -> Result<(), Error> {
        if self.entries.contains_key("byteorder") && self.read("byteorder", 16)? != b"little" {
            return Err(self.source.error("was written on a big-endian machine; only little-endian files are read"));
        }
        Ok(())
    }
}
