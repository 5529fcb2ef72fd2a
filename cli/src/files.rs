//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Refuses a path that [`write`] could not write to. For commands that work long before they write.
pub fn check(path: &Path) -> Result<(), Failure> {
    match target(path)? {
        Target::Stream => Ok(()),
        Target::File(target) => Temporary::beside(&target).map(drop).map_err(|e| failure(path, &e)),
    }
}

/// Replaces the file at `path`, or makes it. Devices and pipes are written to as they are.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = match target(path)? {
        Target::Stream => fs::write(path, bytes),
        Target::File(target) => Temporary::beside(&target).and_then(|t| t.become_file(&target, bytes)),
    };
    written.map_err(|e| failure(path, &e))
}

enum Target {
    /// Something to write into, such as `/dev/stdout`, which a rename would destroy.
    Stream,
    /// The file itself, where the path is a link.
    File(PathBuf),
}

fn target(path: &Path) -> Result<Target, Failure> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Failure::bad(format!("{}: a directory; give a file", path.display()))),
        Ok(found) if found.is_file() => fs::canonicalize(path).map(Target::File).map_err(|e| failure(path, &e)),
        Ok(_) => Ok(Target::Stream),
        Err(_) => Ok(Target::File(path.to_owned())),
    }
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists());
    match parent {
        Some(parent) => {
            Failure::bad(format!("{}: there is no directory {}; make it first", path.display(), parent.display()))
        }
        None => Failure::bad(format!("{}: {error}", path.display())),
    }
}

/// A file under a passing name, removed when dropped.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn beside(target: &Path) -> io::Result<Temporary> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let path = target.with_file_name(format!(".{}.{}.tmp", name.display(), std::process::id()));
        let file = File::create_new(&path)?;
        Ok(Temporary { path, file })
    }

    fn become_file(mut self, target: &Path, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        fs::rename(&self.path, target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_and_its_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(check(&link).is_ok() && write(&link, b"new").is_ok());
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_device_stays_a_device() {
        let null = Path::new("/dev/null");
        assert!(check(null).is_ok() && write(null, b"gone").is_ok());
        assert!(!fs::metadata(null).unwrap().is_file());
    }
}
