//! Photos inside a tar: read where they lie, or unpacked once if it is compressed.

use crate::error::Error;
use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
#[cfg(not(unix))]
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Most bytes of photos from a compressed archive that are kept in memory; more go to a temporary file.
const MAX_MEMORY: u64 = 512 << 20;

/// Most bytes that a compressed archive may unpack to for each of its own. JPEG barely shrinks, small files' padding to
/// 512 bytes does: CIFAR-10 unpacks to 5 times its size. Gzip reaches 1032.
const MAX_RATIO: u64 = 100;

/// Bytes that any archive may unpack to.
const MIN_LIMIT: u64 = 64 << 20;

/// The bytes of all photos.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    store: Store,
}

#[derive(Debug)]
enum Store {
    File(File),
    /// Opened for every read, as a process may not have as many files open as there may be shards.
    Path,
    Memory(Vec<u8>),
}

/// Where members lie: first byte and size.
pub(crate) type Members = HashMap<String, (u64, u64)>;

impl Archive {
    /// Opens an uncompressed tar and says how long it is.
    pub(crate) fn plain(path: &Path) -> Result<(Archive, u64), Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        Ok((Archive { path: path.to_owned(), store: Store::File(file) }, length))
    }

    /// An uncompressed tar whose members are known.
    pub(crate) fn by_path(path: &Path) -> Archive {
        Archive { path: path.to_owned(), store: Store::Path }
    }

    /// Opens an uncompressed tar and finds the wanted members.
    pub(crate) fn scan(path: &Path, wanted: &HashSet<&str>) -> Result<(Archive, Members), Error> {
        let (archive, _) = Archive::plain(path)?;
        let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
        let mut members = Members::new();
        let mut tar = tar::Archive::new(file);
        for entry in tar.entries_with_seek().map_err(Error::io(path))? {
            let entry = entry.map_err(Error::io(path))?;
            let name = member_name(&entry);
            if entry.header().entry_type().is_file() && wanted.contains(name.as_str()) {
                members.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
        Ok((archive, members))
    }

    /// Unpacks the wanted members of a gzipped tar.
    pub(crate) fn unpack(path: &Path, wanted: &HashSet<&str>) -> Result<(Archive, Members), Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let limit = file.metadata().map_err(Error::io(path))?.len().saturating_mul(MAX_RATIO).max(MIN_LIMIT);
        let mut left = limit;
        let unzipped = Bounded { inner: MultiGzDecoder::new(BufReader::new(file)), left: &mut left };
        let result = unpack_from(unzipped, wanted);
        let (store, members) = match result {
            Err(_) if left == 0 => return Err(Error::Bomb { archive: path.to_owned(), limit }),
            result => result.map_err(Error::io(path))?,
        };
        Ok((Archive { path: path.to_owned(), store }, members))
    }

    /// A member's bytes.
    pub(crate) fn bytes(&self, offset: u64, size: u64) -> Result<Cow<'_, [u8]>, Error> {
        match &self.store {
            // Members of a store in memory were put there by `unpack_from`.
            Store::Memory(bytes) => Ok(Cow::Borrowed(&bytes[offset as usize..(offset + size) as usize])),
            Store::File(file) => self.bytes_of(file, offset, size),
            Store::Path => self.bytes_of(&File::open(&self.path).map_err(Error::io(&self.path))?, offset, size),
        }
    }

    fn bytes_of(&self, file: &File, offset: u64, size: u64) -> Result<Cow<'static, [u8]>, Error> {
        let mut bytes = vec![0; size as usize];
        read_at(file, &mut bytes, offset).map_err(Error::io(&self.path))?;
        Ok(Cow::Owned(bytes))
    }
}

fn unpack_from(source: impl Read, wanted: &HashSet<&str>) -> io::Result<(Store, Members)> {
    let mut members = Members::new();
    let mut memory = Vec::new();
    // Where photos go once they do not fit.
    let mut overflow: Option<File> = None;
    let mut length = 0;
    let mut tar = tar::Archive::new(source);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = member_name(&entry);
        if !entry.header().entry_type().is_file() || !wanted.contains(name.as_str()) {
            continue;
        }
        let size = entry.size();
        if overflow.is_none() && size > MAX_MEMORY.saturating_sub(length) {
            let mut file = tempfile::tempfile()?;
            file.write_all(&std::mem::take(&mut memory))?;
            overflow = Some(file);
        }
        let copied = match &mut overflow {
            Some(file) => io::copy(&mut entry, file)?,
            None => io::copy(&mut entry, &mut memory)?,
        };
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        members.insert(name, (length, size));
        length += size;
    }
    Ok((overflow.map_or(Store::Memory(memory), Store::File), members))
}

/// A member's name as CSVs write it: without `./`.
fn member_name<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    name.strip_prefix("./").map(str::to_owned).unwrap_or(name)
}

/// A reader that refuses to go on once `left` bytes were read.
struct Bounded<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if *self.left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("too many bytes"));
        }
        let most = buffer.len().min(usize::try_from(*self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        *self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Elsewhere the position is shared, so reads take turns.
#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}
