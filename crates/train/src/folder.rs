//! A run's folder: one run at a time, and known to be writable before anything is computed.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use mobilenet_net::file;

use crate::error::Error;
use crate::trainer::MODEL;

/// What is locked. The file stays: the system lets go of the lock when the run ends, however it ends.
const LOCK: &str = ".lock";

/// A run's folder, held against other runs as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    lock: Option<File>,
}

impl RunFolder {
    /// Holds the folder if it is there already, so that nobody changes what is read from it.
    ///
    /// # Errors
    /// [`Error::Busy`] where another run holds it, [`Error::Folder`] where nothing can be written to it.
    pub fn open(path: &Path) -> Result<RunFolder, Error> {
        let mut folder = RunFolder { path: path.to_owned(), lock: None };
        if path.is_dir() {
            folder.hold()?;
        }
        Ok(folder)
    }

    /// Makes the folder, where it is not there yet, and holds it.
    ///
    /// # Errors
    /// As [`RunFolder::open`].
    pub fn create(&mut self) -> Result<(), Error> {
        if self.lock.is_some() {
            return Ok(());
        }
        fs::create_dir_all(&self.path).map_err(Error::folder(&self.path))?;
        self.hold()
    }

    fn hold(&mut self) -> Result<(), Error> {
        let lock = File::options().create(true).truncate(false).write(true).open(self.path.join(LOCK));
        let lock = lock.map_err(Error::folder(&self.path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { folder: self.path.clone() }),
            // Some network file systems know no locks; a run there must do without.
            Err(TryLockError::Error(_)) => {}
        }
        file::check(self.path.join(MODEL))?;
        file::remove_leftovers(&self.path).map_err(Error::folder(&self.path))?;
        self.lock = Some(lock);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_let_go_when_the_holder_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/new folder");
        let mut first = RunFolder::open(&path).unwrap();
        assert!(!path.exists());
        first.create().unwrap();
        let busy = RunFolder::open(&path).unwrap_err().to_string();
        assert_eq!(
            busy,
            format!(
                "{}: another run is at work in this folder; wait for its end, or give another folder with -o",
                path.display()
            )
        );
        drop(first);
        fs::write(path.join(".mobilenet-killed.tmp"), "half").unwrap();
        RunFolder::open(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "leftovers stay");
    }
}
