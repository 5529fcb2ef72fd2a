//! A file under positioned reads, every one of them checked against the file's size. The network inside the program counts as
//! a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::built_in;
use crate::error::Error;
use crate::graph::MAX_ELEMENTS;
use crate::tensor::{DType, Data};

/// Most bytes of a tensor, those of the largest that a graph takes. The file's size is no bound: a sparse file of
/// terabytes takes no space on a disk.
const MAX_TENSOR: u64 = MAX_ELEMENTS as u64 * 4;

/// An open weights file.
pub(super) struct Source {
    path: PathBuf,
    bytes: Bytes,
    len: u64,
}

/// Where a weights file's bytes are.
enum Bytes {
    OnDisk(File),
    InProgram(&'static [u8]),
}

/// Bytes of a tensor that are read at once: whole elements of any type.
const PIECE: usize = 64 << 10;

impl Source {
    /// Opens a regular file, or [the network inside the program](built_in). Anything else (a folder, a pipe that would block
    /// for ever) is refused before it is opened.
    pub(super) fn open(path: &Path) -> Result<Source, Error> {
        if let Some(bytes) = built_in::file(path)? {
            return Ok(Source { path: path.to_owned(), bytes: Bytes::InProgram(bytes), len: bytes.len() as u64 });
        }
        let kind = std::fs::metadata(path).map_err(Error::io(path))?;
        if kind.is_dir() {
            return Err(Error::format(path, "is a folder; give the weights file itself"));
        }
        if !kind.is_file() {
            return Err(Error::format(path, "is not a regular file"));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        Ok(Source { path: path.to_owned(), bytes: Bytes::OnDisk(file), len })
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file's size.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The file itself, for a library that seeks in it. Reads of this type do not depend on its position.
    ///
    /// # Errors
    /// The network inside the program, which is of a format that needs none.
    pub(super) fn file(&self) -> Result<&File, Error> {
        match &self.bytes {
            Bytes::OnDisk(file) => Ok(file),
            Bytes::InProgram(_) => Err(self.error("is no file on a disk")),
        }
    }

    /// An error about this file.
    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::format(&self.path, reason)
    }

    /// The `length` bytes at `offset`.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let length = self.check_range(offset, length)?;
        let mut file = match self.bytes {
            Bytes::OnDisk(ref file) => file,
            Bytes::InProgram(bytes) => return Ok(bytes[offset as usize..][..length].to_vec()),
        };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| self.no_memory(offset, length))?;
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(length as u64).read_to_end(&mut bytes));
        if read.map_err(Error::io(&self.path))? < length {
            return Err(self.error("the file became shorter while it was read"));
        }
        Ok(bytes)
    }

    /// Refuses bytes beyond the file's end; how many there are otherwise.
    fn check_range(&self, offset: u64, length: u64) -> Result<usize, Error> {
        let end = offset.checked_add(length).filter(|&end| end <= self.len);
        match (end, usize::try_from(length)) {
            (Some(_), Ok(length)) => Ok(length),
            _ => Err(self.error(format!("{length} bytes at {offset} lie beyond its end ({} bytes)", self.len))),
        }
    }

    fn no_memory(&self, offset: u64, length: usize) -> Error {
        self.error(format!("{length} bytes at {offset} need more memory than the system gives"))
    }

    /// Refuses a tensor of more bytes than any network needs.
    pub(super) fn check_size(&self, tensor: &str, bytes: u64) -> Result<(), Error> {
        if bytes > MAX_TENSOR {
            return Err(self.error(format!("tensor {tensor} has {bytes} bytes; {MAX_TENSOR} are allowed")));
        }
        Ok(())
    }

    /// The `length` bytes at `offset` as elements of type `dtype`.
    pub(super) fn elements(&self, dtype: DType, offset: u64, length: u64) -> Result<Data, Error> {
        let bytes = self.check_range(offset, length)?;
        let mut data = Data::with_capacity(dtype, bytes / dtype.size()).ok_or_else(|| self.no_memory(offset, bytes))?;
        // Piece by piece: a tensor's bytes beside its elements would be memory that the process keeps.
        for at in (0..length).step_by(PIECE) {
            data.extend_from_le_bytes(&self.read(offset + at, (length - at).min(PIECE as u64))?);
        }
        Ok(data)
    }
}
