//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::Error;

/// How passing names begin and end.
const PASSING: [&str; 2] = [".mobilenet-", ".tmp"];

/// Replaces the file at `path`, or makes it, with what `write` writes: first beside it under a passing name, then renamed
/// when it is on the disk, so that a crash leaves the old file or the new one and never half of one. A link's file is
/// replaced, not the link; a device or a pipe is written to as it is.
///
/// # Errors
/// [`Error::Write`] where the file cannot be written; what was there stays.
pub fn replace(path: impl AsRef<Path>, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Error> {
    let path = path.as_ref();
    let written = match target(path)? {
        Target::Stream => File::options().write(true).open(path).and_then(|mut stream| write(&mut stream)),
        Target::File(target) => temporary(folder(&target)).and_then(|mut file| {
            write(file.as_file_mut())?;
            file.as_file().sync_all()?;
            file.persist(&target)?;
            sync(folder(&target))
        }),
    };
    written.map_err(Error::write(path))
}

/// [Replaces](replace) the file at `path`, or makes it, with `bytes`.
///
/// # Errors
/// As [`replace`].
pub fn write(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), Error> {
    replace(path, |file| file.write_all(bytes))
}

/// Refuses a path that [`replace`] could not write to, for whoever works long before writing.
///
/// # Errors
/// As [`replace`].
pub fn check(path: impl AsRef<Path>) -> Result<(), Error> {
    let path = path.as_ref();
    match target(path)? {
        Target::Stream => Ok(()),
        Target::File(target) => temporary(folder(&target)).map(drop).map_err(Error::write(path)),
    }
}

/// Renames a file within a folder, and makes the new name last.
///
/// # Errors
/// The system's.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync(folder(to))
}

/// Removes what writers that were killed have left in `folder`. Only for whoever is alone in it: it takes the files of
/// writers at work, too.
///
/// # Errors
/// The system's.
pub fn remove_leftovers(folder: &Path) -> io::Result<()> {
    let [start, end] = PASSING;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(start) && name.ends_with(end)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

enum Target {
    /// Something to write into, such as `/dev/stdout`, which a rename would destroy.
    Stream,
    /// The file itself, where the path is a link.
    File(PathBuf),
}

fn target(path: &Path) -> Result<Target, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Error::format(path, "a directory; give a file")),
        Ok(found) if found.is_file() => fs::canonicalize(path).map(Target::File).map_err(Error::write(path)),
        Ok(_) => Ok(Target::Stream),
        // Where there is no file yet there is nothing to resolve.
        Err(_) if folder(path).exists() => Ok(Target::File(path.to_owned())),
        Err(_) => Err(Error::format(path, format!("there is no directory {}; make it first", folder(path).display()))),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An empty file in `folder` that disappears unless it is renamed. Made by the standard library, with the permissions of
/// any new file and the system's own errors: those of `tempfile` hold the passing name, which says nothing to the user.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let [start, end] = PASSING;
    tempfile::Builder::new().prefix(start).suffix(end).make_in(folder, |path| File::create_new(path))
}

/// Makes a new name last. Folders cannot be opened on Windows, where renaming lasts by itself.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        check(&link).unwrap();
        write(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(names(directory.path()), ["file", "link"]);
    }

    #[test]
    fn a_device_stays_a_device() {
        let null = Path::new("/dev/null");
        check(null).unwrap();
        write(null, b"gone").unwrap();
        assert!(!fs::metadata(null).unwrap().is_file());
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let full = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::Error::from_raw_os_error(28))
        };
        let error = replace(&path, full).unwrap_err().to_string();
        assert_eq!(error, format!("{}: cannot be written: No space left on device (os error 28)", path.display()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn leftovers_of_killed_writers_are_removed_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let left = temporary(directory.path()).unwrap().keep().unwrap().1;
        for name in ["model.safetensors", ".mobilenet-notes", "x.tmp"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        assert!(left.exists());
        remove_leftovers(directory.path()).unwrap();
        assert_eq!(names(directory.path()), [".mobilenet-notes", "model.safetensors", "x.tmp"]);
    }
}
