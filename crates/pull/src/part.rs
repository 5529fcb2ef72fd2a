//! A file that is not whole yet: its bytes, their hash, and a note of what they are bytes of.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use mobilenet_net::file;

use crate::digest;
use crate::error::Error;

/// Most bytes of a note that are read.
const MAX_NOTE: u64 = 64 << 10;

/// What the bytes of a part are bytes of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Where they come from.
    pub address: String,
    /// The whole file's size, where the server said it.
    pub total: Option<u64>,
    /// What tells the file from a later one.
    pub validator: Option<String>,
    /// The whole file's SHA-256, where the server said it.
    pub sha256: Option<String>,
}

/// `FILE.part` and `FILE.part.json`, held by one process at a time.
pub(crate) struct Part {
    target: PathBuf,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    len: u64,
    note: Option<Note>,
}

impl Part {
    /// The part of the file that is to lie at `target`, with what an earlier run left of it.
    ///
    /// # Errors
    /// [`Error::Busy`] where another process has it; a folder that cannot be written.
    pub fn open(target: &Path) -> Result<Part, Error> {
        let path = beside(target, ".part");
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(Error::write(folder))?;
        }
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = opened.map_err(Error::write(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(target.to_owned())),
            Err(TryLockError::Error(error)) => return Err(Error::write(&path)(error)),
        }
        // Whoever held it a moment ago may have finished, and this may be the finished file under its old name.
        if target.exists() {
            remove(&path)?;
            return Err(Error::Exists(target.to_owned()));
        }
        let note = read_note(&beside(target, ".part.json"));
        let mut part = Part { target: target.to_owned(), path, file, hasher: Sha256::new(), len: 0, note };
        part.take_over()?;
        Ok(part)
    }

    /// Hashes what is there already, or drops it where nobody knows what it is.
    fn take_over(&mut self) -> Result<(), Error> {
        let there = self.file.metadata().map_err(Error::read(&self.path))?.len();
        let is_possible = self.note.as_ref().is_some_and(|note| note.total.is_none_or(|total| there <= total));
        if !is_possible {
            return self.clear();
        }
        self.len = digest::add(&mut self.hasher, &self.file).map_err(Error::read(&self.path))?;
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// What its bytes are bytes of, where it has any.
    pub fn note(&self) -> Option<&Note> {
        self.note.as_ref().filter(|_| self.len > 0)
    }

    /// Drops all bytes.
    pub fn clear(&mut self) -> Result<(), Error> {
        (self.hasher, self.len, self.note) = (Sha256::new(), 0, None);
        let cleared = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map(drop).map_err(Error::write(&self.path))
    }

    /// Drops all bytes, and notes what the next ones will be bytes of.
    pub fn begin(&mut self, note: Note) -> Result<(), Error> {
        self.clear()?;
        let json = serde_json::to_vec(&note).expect("words and numbers are JSON");
        file::write(beside(&self.target, ".part.json"), &json)?;
        self.note = Some(note);
        Ok(())
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        if written.is_err() {
            // Some of the bytes may be there: what is not hashed must not be kept.
            let _ = self.file.set_len(self.len);
        }
        written.map_err(Error::write(&self.target))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// The hash of its bytes.
    pub fn sha256(&self) -> String {
        digest::hexadecimal(self.hasher.clone())
    }

    /// Puts it on the disk and into its place.
    pub fn finish(self) -> Result<(), Error> {
        let done = self.file.sync_all().and_then(|()| file::rename(&self.path, &self.target));
        done.map_err(Error::write(&self.target))?;
        remove(&beside(&self.target, ".part.json"))
    }

    /// Removes it: its bytes are not what they should be.
    pub fn discard(self) -> Result<(), Error> {
        remove(&self.path)?;
        remove(&beside(&self.target, ".part.json"))
    }
}

fn read_note(path: &Path) -> Option<Note> {
    let kind = fs::metadata(path).ok()?;
    // What cannot be read is as good as none: the bytes are fetched anew.
    let text = (kind.is_file() && kind.len() <= MAX_NOTE).then(|| fs::read(path).ok())??;
    serde_json::from_slice(&text).ok()
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path)(error)),
        _ => Ok(()),
    }
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(total: u64) -> Note {
        Note { address: "https://x/y".into(), total: Some(total), validator: Some("\"1\"".into()), sha256: None }
    }

    fn left(target: &Path, bytes: &[u8], total: u64) {
        fs::write(beside(target, ".part"), bytes).unwrap();
        fs::write(beside(target, ".part.json"), serde_json::to_vec(&note(total)).unwrap()).unwrap();
    }

    #[test]
    fn what_an_earlier_run_left_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("w");
        left(&target, b"ab", 3);
        let mut part = Part::open(&target).unwrap();
        assert_eq!((part.len(), part.note()), (2, Some(&note(3))));
        part.append(b"c").unwrap();
        assert!(part.sha256().starts_with("ba7816bf"));
        part.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn bytes_that_nobody_knows_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("w");
        for prepare in [
            |target: &Path| fs::write(beside(target, ".part"), "ab").unwrap(),
            |target: &Path| left(target, b"abcd", 3),
            |target: &Path| {
                left(target, b"ab", 3);
                fs::write(beside(target, ".part.json"), "no note").unwrap();
            },
        ] {
            prepare(&target);
            let part = Part::open(&target).unwrap();
            assert_eq!((part.len(), part.note()), (0, None));
            part.discard().unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn only_one_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("w");
        let first = Part::open(&target).unwrap();
        assert!(matches!(Part::open(&target), Err(Error::Busy(_))));
        drop(first);
        assert!(Part::open(&target).is_ok());
    }

    #[test]
    fn a_finished_file_is_never_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("w");
        fs::write(&target, "whole").unwrap();
        assert!(matches!(Part::open(&target), Err(Error::Exists(_))));
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
