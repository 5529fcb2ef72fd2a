//! A file under positioned reads, every one of them checked against the file's size.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::tensor::{DType, Data};

/// An open weights file.
pub(super) struct Source {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Source {
    /// Opens a regular file. Anything else (a folder, a pipe that would block for ever) is refused before it is opened.
    pub(super) fn open(path: &Path) -> Result<Source, Error> {
        let kind = std::fs::metadata(path).map_err(Error::io(path))?;
        if kind.is_dir() {
            return Err(Error::format(path, "is a folder; give the weights file itself"));
        }
        if !kind.is_file() {
            return Err(Error::format(path, "is not a regular file"));
        }
        let file = File::open(path).map_err(Error::io(path))?;
        let len = file.metadata().map_err(Error::io(path))?.len();
        Ok(Source { path: path.to_owned(), file, len })
    }

    /// The file's size.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The file itself, for a library that seeks in it. Reads of this type do not depend on its position.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// An error about this file.
    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::format(&self.path, reason)
    }

    /// The `length` bytes at `offset`.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, Error> {
        let end = offset.checked_add(length).filter(|&end| end <= self.len);
        let (Some(_), Ok(length)) = (end, usize::try_from(length)) else {
            return Err(self.error(format!("{length} bytes at {offset} lie beyond its end ({} bytes)", self.len)));
        };
        let mut bytes = vec![0; length];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes)).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof => self.error("the file became shorter while it was read"),
            _ => Error::io(&self.path)(e),
        })?;
        Ok(bytes)
    }

    /// The `length` bytes at `offset` as elements of type `dtype`.
    pub(super) fn elements(&self, dtype: DType, offset: u64, length: u64) -> Result<Data, Error> {
        Ok(Data::from_le_bytes(dtype, &self.read(offset, length)?))
    }
}
