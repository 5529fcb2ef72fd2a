//! What photos paths on the command line mean: files, folders, patterns, standard input.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, glob_with};
use mobilenet::Image;
use mobilenet::data::folder::{PHOTOS, is_photo_file};
use mobilenet::run::image::MAX_FILE_BYTES;

use crate::failure::Failure;
use crate::print::PassedOver;

/// The photos that some paths mean.
#[derive(Default)]
pub struct Inputs {
    /// Their paths, in the paths' order, those of a folder or a pattern by name.
    pub photos: Vec<PathBuf>,
    /// Paths that mean none, and why.
    pub failed: Vec<(PathBuf, String)>,
    /// Files of folders that are no photos.
    pub passed_over: PassedOver,
}

impl Inputs {
    /// Looks them up. A path that exists is no pattern, whatever its characters.
    pub fn find(paths: &[PathBuf]) -> Inputs {
        let mut inputs = Inputs::default();
        for path in paths {
            let found = match path.to_str().filter(|text| text.contains(['*', '?', '['])) {
                Some(pattern) if path.symlink_metadata().is_err() => inputs.pattern(pattern),
                _ => inputs.path(path),
            };
            if let Err(reason) = found {
                inputs.failed.push((path.clone(), reason));
            }
        }
        inputs
    }

    /// The photos, where every path means some.
    ///
    /// # Errors
    /// The first path that means none.
    pub fn all(self) -> Result<Vec<PathBuf>, Failure> {
        self.passed_over.say();
        match self.failed.into_iter().next() {
            Some((path, reason)) => Err(Failure::bad(named(&path, &reason))),
            None => Ok(self.photos),
        }
    }

    fn path(&mut self, path: &Path) -> Result<(), String> {
        if !path.is_dir() {
            self.photos.push(path.to_owned());
            return Ok(());
        }
        let before = self.photos.len();
        let walked = walk(path, &mut |file| {
            if is_photo_file(file) { self.photos.push(file.to_owned()) } else { self.passed_over.add(file) }
        });
        self.photos[before..].sort();
        walked?;
        if self.photos.len() == before {
            return Err(format!("the folder holds no photo ({})", PHOTOS.join(", ")));
        }
        Ok(())
    }

    /// As a shell would: files and folders that match, by name. A pattern with `**` takes files alone, as it matches
    /// folders and what they hold.
    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        let options =
            MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..MatchOptions::new() };
        // By itself `**` matches folders alone.
        let pattern = &if pattern.ends_with("**") { format!("{pattern}/*") } else { pattern.to_owned() };
        let matches = glob_with(pattern, options).map_err(|e| format!("no such file, and no pattern: {e}"))?;
        let is_deep = pattern.contains("**");
        let mut found = false;
        for path in matches {
            let (path, looked) = match path {
                Ok(path) if is_deep && (path.is_dir() || is_behind_link(&path, pattern)) => continue,
                Ok(path) => (path.clone(), self.path(&path)),
                Err(e) => (e.path().to_owned(), Err(e.error().to_string())),
            };
            found = true;
            if let Err(reason) = looked {
                self.failed.push((path, reason));
            }
        }
        if found { Ok(()) } else { Err("no file matches this pattern".into()) }
    }
}

/// Whether a link to a folder lies between the part of a pattern that names folders and what matched: such links may lead
/// in circles.
fn is_behind_link(path: &Path, pattern: &str) -> bool {
    let fixed = Path::new(pattern)
        .components()
        .take_while(|part| !part.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte)));
    let fixed = fixed.count();
    path.ancestors().skip(1).take_while(|folder| folder.components().count() > fixed).any(Path::is_symlink)
}

/// Calls `file` with every file in a folder and its subfolders, hidden ones apart. What cannot be read is passed over, and
/// the first of it returned.
pub fn walk(folder: &Path, file: &mut impl FnMut(&Path)) -> Result<(), String> {
    let mut folders = vec![folder.to_owned()];
    let mut first = Ok(());
    while let Some(folder) = folders.pop() {
        let mut failed = |e| {
            if first.is_ok() {
                first = Err(format!("{}: {e}", folder.display()));
            }
        };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) => {
                failed(e);
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    failed(e);
                    continue;
                }
            };
            if is_hidden(&entry.path()) {
                continue;
            }
            // Links to folders are not followed: they may lead in circles.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else {
                file(&entry.path());
            }
        }
    }
    first
}

/// Whether a name is one that systems and programs keep to themselves, as for files that they are still writing.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// A file's photo, or standard input's for `-`.
pub fn read(path: &Path) -> Result<Image, String> {
    if path != Path::new("-") {
        return Image::open(path).map_err(|e| e.to_string());
    }
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES + 1;
    std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Image::decode(&bytes, "-").map_err(|e| e.to_string())
}

/// Refuses an output that would replace a file that is read.
pub fn expect_other<'a>(output: &Path, read: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    expect_others([output.to_owned()], read)
}

/// The same of several outputs: what is read is looked at once.
pub fn expect_others<'a>(
    outputs: impl IntoIterator<Item = PathBuf>,
    read: impl IntoIterator<Item = &'a Path>,
) -> Result<(), Failure> {
    let there = outputs.into_iter().filter_map(|output| Some((output.canonicalize().ok()?, output)));
    let there: HashMap<PathBuf, PathBuf> = there.collect();
    if there.is_empty() {
        return Ok(());
    }
    let mut replaced = read.into_iter().filter_map(|path| there.get(&path.canonicalize().ok()?));
    match replaced.next() {
        Some(output) => {
            let output = output.display();
            Err(Failure::bad(format!("{output}: the output would replace what is read; give another name")))
        }
        None => Ok(()),
    }
}

/// Whether two paths lead to one file that exists.
pub fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A reason that names its path: a folder's may begin with the subfolder that it is about.
pub fn named(path: &Path, reason: &str) -> String {
    let path = path.display().to_string();
    if reason.starts_with(&path) { reason.to_owned() } else { format!("{path}: {reason}") }
}

/// A file's name without its folders.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
