//! Files that grow by whole pieces, however full the disk is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Event, Format};
use crate::error::Error;

/// A file of a run's log.
pub struct LogFile {
    path: PathBuf,
    file: File,
    format: Box<dyn Format>,
    /// Whether the user knows that it cannot be written.
    has_failed: bool,
}

impl LogFile {
    /// Opens a file of lines, and ends the one that a full disk may have cut short.
    pub fn of_lines(path: &Path, format: Box<dyn Format>) -> Result<LogFile, Error> {
        let file = open(path).and_then(end_line).map_err(mobilenet_net::Error::write(path))?;
        Ok(LogFile { path: path.to_owned(), file, format, has_failed: false })
    }

    /// Opens a file of records under a name that is new for every run.
    pub fn of_records(path: &Path, format: Box<dyn Format>) -> Result<LogFile, Error> {
        let file = open(path).map_err(mobilenet_net::Error::write(path))?;
        Ok(LogFile { path: path.to_owned(), file, format, has_failed: false })
    }

    /// Appends what the format says of an event. An error the first time that it fails.
    pub fn write(&mut self, event: &Event) -> Option<Error> {
        let bytes = self.format.event(event);
        if bytes.is_empty() {
            return None;
        }
        let failed = self.append(&bytes).err()?;
        let is_known = std::mem::replace(&mut self.has_failed, true);
        (!is_known).then(|| mobilenet_net::Error::write(&self.path)(failed).into())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let beginning = if before == 0 { self.format.beginning() } else { Vec::new() };
        // At once, so that a run that is killed leaves no half of a piece. Nor does a disk that is full for a while.
        self.file.write_all(&[&beginning, bytes].concat()).inspect_err(|_| _ = self.file.set_len(before))
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).read(true).append(true).open(path)
}

fn end_line(mut file: File) -> io::Result<File> {
    let found = file.metadata()?;
    if found.is_file() && found.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}
