//! HDF5, as Keras writes it, through the `hdf5-reader` crate under limits that follow from the file's size.
//!
//! The crate checks what it reads against the storage that it is given, follows no link out of the file unless told how,
//! and takes limits on what it decodes. Here the storage is a range of the open file, or bytes in memory, and what is
//! decoded, compressed chunks included, is bounded by [`EXPANSION`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use hdf5_reader::group::Group;
use hdf5_reader::{Attribute, ByteOrder, BytesStorage, Dataset, Datatype, Hdf5File, OpenOptions, RangeRequestStorage};

use super::source::Source;
use crate::error::Error;
use crate::tensor::{DType, Data, Tensor};

/// The signature that starts a file.
pub(super) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

/// How many times the file's size its tensors may take: compressed ones, and fill values that take no space. Trained
/// weights hardly compress.
const EXPANSION: u64 = 16;

/// The longest object header with its attributes; Keras splits attributes of more than 64 kB.
const MAX_HEADER: usize = 1 << 20;

/// The deepest nesting of groups.
const MAX_DEPTH: usize = 16;

/// The most groups and tensors; Keras's V3-Large has 900.
const MAX_OBJECTS: usize = 1 << 15;

/// An open HDF5 file.
pub(super) struct Hdf5<'a> {
    source: &'a Source,
    file: Hdf5File,
    /// Bytes that tensors still to come may take: a hostile file could name one many times.
    budget: Cell<u64>,
}

impl<'a> Hdf5<'a> {
    /// Opens the `length` bytes of the file at `offset`.
    pub(super) fn in_file(source: &'a Source, offset: u64, length: u64) -> Result<Hdf5<'a>, Error> {
        let file = source.file()?.try_clone().map_err(|e| source.error(e.to_string()))?;
        let storage = RangeRequestStorage::new(length, move |at, length| read(&file, offset + at, length));
        Hdf5::open(source, |options| Hdf5File::from_storage_with_options(Arc::new(storage), options))
    }

    /// Opens an HDF5 file in memory that came out of `source`.
    pub(super) fn in_memory(source: &'a Source, bytes: Vec<u8>) -> Result<Hdf5<'a>, Error> {
        let storage = Arc::new(BytesStorage::new(bytes));
        Hdf5::open(source, |options| Hdf5File::from_storage_with_options(storage, options))
    }

    fn open(
        source: &'a Source,
        open: impl FnOnce(OpenOptions) -> Result<Hdf5File, hdf5_reader::error::Error>,
    ) -> Result<Hdf5<'a>, Error> {
        let budget = source.len().saturating_mul(EXPANSION);
        let limit = usize::try_from(budget).unwrap_or(usize::MAX);
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(limit)
            .with_max_read_bytes(limit)
            .with_max_object_header_bytes(MAX_HEADER);
        let file = open(options).map_err(|e| damaged(source, e))?;
        let (end, length) = (file.superblock().eof_address, file.storage().len());
        if end > length {
            return Err(source.error(format!("is an HDF5 file cut short: it should have {end} bytes and has {length}")));
        }
        Ok(Hdf5 { source, file, budget: Cell::new(budget) })
    }

    /// An error about this file from the reader.
    pub(super) fn damaged(&self, error: hdf5_reader::error::Error) -> Error {
        damaged(self.source, error)
    }

    /// The outermost group.
    pub(super) fn root(&self) -> Result<Group, Error> {
        self.file.root_group().map_err(|e| self.damaged(e))
    }

    /// The attributes of a group, by name.
    pub(super) fn attributes(&self, group: &Group) -> Result<Attributes, Error> {
        let attributes = group.attributes().map_err(|e| self.damaged(e))?;
        Ok(Attributes(attributes.into_iter().map(|a| (a.name.clone(), a)).collect()))
    }

    /// Every group that directly holds tensors, by path.
    pub(super) fn groups_of_tensors(&self) -> Result<Vec<GroupOfTensors>, Error> {
        let mut found = Vec::new();
        let mut open = vec![(Vec::new(), self.root()?)];
        let mut objects = 0;
        while let Some((path, group)) = open.pop() {
            let (groups, datasets) = group.members().map_err(|e| self.damaged(e))?;
            objects += groups.len() + datasets.len();
            if objects > MAX_OBJECTS || path.len() > MAX_DEPTH {
                return Err(self.source.error(format!(
                    "its groups lead to more than {MAX_OBJECTS} objects or nest deeper than {MAX_DEPTH}, perhaps in a circle"
                )));
            }
            for child in groups {
                open.push((path.iter().cloned().chain([child.name().to_owned()]).collect(), child));
            }
            if !datasets.is_empty() {
                found.push(GroupOfTensors { path, group, datasets });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Sizes of a tensor.
    pub(super) fn shape(&self, name: &str, dataset: &Dataset) -> Result<Vec<usize>, Error> {
        let sizes = dataset.shape().iter().map(|&n| usize::try_from(n).ok());
        sizes.collect::<Option<_>>().ok_or_else(|| self.source.error(format!("tensor {name} has an enormous size")))
    }

    /// Reads a tensor.
    pub(super) fn tensor(&self, name: &str, dataset: &Dataset) -> Result<Tensor, Error> {
        let shape = self.shape(name, dataset)?;
        let (dtype, order) = self.dtype(dataset).ok_or_else(|| {
            let reason = "16- and 32-bit floats and integers of 8, 32 and 64 bits are read";
            self.source.error(format!("tensor {name} has a type that is not read: {:?}; {reason}", dataset.dtype()))
        })?;
        let bytes = dataset.raw_byte_len().map_err(|e| self.damaged(e))? as u64;
        self.source.check_size(name, bytes)?;
        let left = self.budget.get().checked_sub(bytes).ok_or_else(|| {
            self.source.error(format!("with tensor {name} its tensors take over {EXPANSION} times the file"))
        })?;
        self.budget.set(left);
        let mut bytes = dataset.read_raw_bytes().map_err(|e| self.damaged(e))?;
        if order == ByteOrder::BigEndian {
            bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
        }
        let data = Data::from_le_bytes(dtype, &bytes);
        if shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis)) != Some(data.len()) {
            return Err(self.source.error(format!("tensor {name} of shape {shape:?} has {} elements", data.len())));
        }
        Ok(Tensor::new(shape, data))
    }

    /// The type of a tensor's elements. Keras 3 stores bfloat16 as two bytes without a type and says so in an attribute.
    fn dtype(&self, dataset: &Dataset) -> Option<(DType, ByteOrder)> {
        let dtype = match *dataset.dtype() {
            Datatype::FloatingPoint { size: 2, byte_order } => (DType::F16, byte_order),
            Datatype::FloatingPoint { size: 4, byte_order } => (DType::F32, byte_order),
            Datatype::FixedPoint { size: 1, signed: true, byte_order } => (DType::I8, byte_order),
            Datatype::FixedPoint { size: 1, signed: false, byte_order } => (DType::U8, byte_order),
            Datatype::FixedPoint { size: 4, signed: true, byte_order } => (DType::I32, byte_order),
            Datatype::FixedPoint { size: 8, signed: true, byte_order } => (DType::I64, byte_order),
            Datatype::Opaque { size: 2, .. } => {
                let says = dataset.attribute("dtype").ok()?.read_string().ok()?;
                (says == "bfloat16").then_some((DType::Bf16, ByteOrder::LittleEndian))?
            }
            _ => return None,
        };
        Some(dtype)
    }
}

fn damaged(source: &Source, error: hdf5_reader::error::Error) -> Error {
    source.error(format!("is a damaged or truncated HDF5 file: {error}"))
}

/// The `length` bytes of a file at `offset`, which the storage has checked to lie within it.
fn read(mut file: &File, offset: u64, length: usize) -> Result<Vec<u8>, hdf5_reader::error::Error> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|e| hdf5_reader::error::Error::ResourceLimit(e.to_string()))?;
    file.seek(SeekFrom::Start(offset))?;
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A group that directly holds tensors.
pub(super) struct GroupOfTensors {
    /// Names of the groups down to it, its own last.
    pub(super) path: Vec<String>,
    /// The group.
    pub(super) group: Group,
    /// Its tensors.
    pub(super) datasets: Vec<Dataset>,
}

/// A group's attributes.
pub(super) struct Attributes(BTreeMap<String, Attribute>);

impl Attributes {
    /// The text under `name`.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.read_string().ok()
    }

    /// The list of names under `name`; Keras splits a long one into `name0`, `name1` … (`HDF5_OBJECT_HEADER_LIMIT`).
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let strings = |attribute: &Attribute| match attribute.num_elements() {
            // Without a string Keras writes an empty array of floats.
            Ok(0) => Some(Vec::new()),
            _ => attribute.read_strings().ok(),
        };
        if let Some(whole) = self.0.get(name) {
            return strings(whole);
        }
        let parts = (0..).map_while(|i| self.0.get(&format!("{name}{i}")));
        let parts: Vec<_> = parts.map(strings).collect::<Option<_>>()?;
        (!parts.is_empty()).then(|| parts.concat())
    }
}
