//! One shard: where its photos lie and what they show.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde_json::Value;
use tar::{EntryType, PaxExtensions};

use crate::error::Error;
use crate::folder::is_photo;

/// Bytes that are read at a time between photos: a label's header and body, and the next header.
const AHEAD: usize = 2048;
/// Longest name of a member, in bytes: Linux's own limit.
const MAX_NAME: u64 = 4096;
/// Largest extended header, in bytes.
const MAX_EXTENDED: u64 = 1 << 16;
/// Largest number or name of a class, in bytes.
const MAX_TEXT: u64 = 1024;
/// Largest `.json`, in bytes.
const MAX_JSON: u64 = 1 << 20;

/// A shard's samples, in their order.
pub(super) struct Shard {
    pub samples: Vec<Sample>,
}

/// A photo.
pub(super) struct Sample {
    pub name: String,
    /// Its first byte in the shard, and its bytes.
    pub offset: u64,
    pub size: u64,
    pub said: Said,
}

/// What is said of a photo.
pub(super) struct Said {
    pub labels: Vec<Label>,
    /// Whether there may be any number of labels.
    pub are_many: bool,
}

/// A class as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Number(u32),
    Name(String),
}

/// Where a label may be found, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Number,
    Json,
    Name,
}

/// Reads a shard's headers and labels.
pub(super) fn scan(path: &Path) -> Result<Shard, Error> {
    let refuse = |reason: String| Error::Shard { path: path.to_owned(), reason };
    let file = File::open(path).map_err(Error::io(path))?;
    let metadata = file.metadata().map_err(Error::io(path))?;
    if !metadata.is_file() {
        return Err(refuse("is no file; shards are read at any place, which needs files".into()));
    }
    let length = metadata.len();
    let mut reader = BufReader::with_capacity(AHEAD, file);
    if io::BufRead::fill_buf(&mut reader).map_err(Error::io(path))?.starts_with(b"\x1f\x8b") {
        return Err(compressed(path));
    }
    let damaged = |error: io::Error| refuse(format!("is no tar, or is damaged ({error}); make or download it again"));
    let mut tar = tar::Archive::new(reader);
    let mut gathered = Gathered::new(path);
    // Of the member that follows.
    let mut long_name = None;
    // Raw, so that extended headers are read within limits.
    for entry in tar.entries_with_seek().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let own = || String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if offset.checked_add(size).is_none_or(|end| end > length) {
            let name = long_name.unwrap_or_else(own);
            return Err(refuse(format!(
                "member `{name}` reaches beyond the end of the file: it is cut short; make or download it again"
            )));
        }
        match entry.header().entry_type() {
            EntryType::GNULongName => {
                let bytes = read(&mut entry, size, MAX_NAME).map_err(refuse)?;
                let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
                long_name = Some(String::from_utf8_lossy(bytes).into_owned());
            }
            EntryType::XHeader => {
                let bytes = read(&mut entry, size, MAX_EXTENDED).map_err(refuse)?;
                long_name = extended(&bytes).map_err(refuse)?.or(long_name);
            }
            EntryType::Regular | EntryType::Continuous => {
                let name = long_name.take().unwrap_or_else(own);
                gathered.add(name, offset, size, &mut entry)?;
            }
            _ => long_name = None,
        }
    }
    gathered.finish()
}

/// What to say of shards that cannot be read at any place.
pub(super) fn compressed(path: &Path) -> Error {
    let reason = "compressed shards cannot be read in place, and photos hardly shrink; unpack them with gunzip".into();
    Error::Shard { path: path.to_owned(), reason }
}

/// A small member's bytes.
fn read(entry: &mut impl Read, size: u64, limit: u64) -> Result<Vec<u8>, String> {
    if size > limit {
        return Err(format!("a header or label has {size} bytes, more than the {limit} that are read"));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    entry.read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

/// The name that an extended header gives the member that follows.
fn extended(bytes: &[u8]) -> Result<Option<String>, String> {
    let mut name = None;
    for extension in PaxExtensions::new(bytes) {
        let extension = extension.map_err(|error| format!("has a damaged extended header ({error})"))?;
        match extension.key_bytes() {
            b"path" => name = Some(String::from_utf8_lossy(extension.value_bytes()).into_owned()),
            b"size" => {
                return Err("has a member whose size is beyond the format's own, 8 GB; photos are smaller".into());
            }
            _ => {}
        }
    }
    Ok(name)
}

/// Members so far.
struct Gathered<'a> {
    path: &'a Path,
    samples: Vec<Sample>,
    /// What the last members' names have in common.
    key: String,
    /// Name, first byte and bytes.
    photo: Option<(String, u64, u64)>,
    said: Option<(Place, Said)>,
}

impl<'a> Gathered<'a> {
    fn new(path: &'a Path) -> Gathered<'a> {
        Gathered { path, samples: Vec::new(), key: String::new(), photo: None, said: None }
    }

    fn add(&mut self, name: String, offset: u64, size: u64, body: &mut impl Read) -> Result<(), Error> {
        let name = name.strip_prefix("./").map(str::to_owned).unwrap_or(name);
        let Some((key, ending)) = split(&name) else { return Ok(()) };
        if key != self.key {
            self.end()?;
            self.key = key.to_owned();
        }
        let place = match ending.to_ascii_lowercase().as_str() {
            "cls" => Place::Number,
            "json" => Place::Json,
            "txt" => Place::Name,
            ending if is_photo(ending) && self.photo.is_none() => {
                self.photo = Some((name, offset, size));
                return Ok(());
            }
            _ => return Ok(()),
        };
        if self.said.as_ref().is_some_and(|(better, _)| *better <= place) {
            return Ok(());
        }
        let refuse = |reason| Error::Shard { path: self.path.to_owned(), reason: format!("member `{name}`: {reason}") };
        let limit = if place == Place::Json { MAX_JSON } else { MAX_TEXT };
        let bytes = read(body, size, limit).map_err(refuse)?;
        let text = str::from_utf8(&bytes).map_err(|_| refuse("is not UTF-8".to_owned()))?;
        if let Some(said) = said(place, text.trim()).map_err(refuse)? {
            self.said = Some((place, said));
        }
        Ok(())
    }

    /// Ends a sample.
    fn end(&mut self) -> Result<(), Error> {
        match (self.photo.take(), self.said.take()) {
            (Some((name, offset, size)), Some((_, said))) => {
                self.samples.push(Sample { name, offset, size, said });
                Ok(())
            }
            (Some((name, ..)), None) => Err(Error::Unlabelled { shard: self.path.to_owned(), name }),
            (None, _) => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Shard, Error> {
        self.end()?;
        Ok(Shard { samples: self.samples })
    }
}

/// A member's name up to the first dot behind its folders, and what follows; `None` of hidden files and those without.
fn split(name: &str) -> Option<(&str, &str)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    (dot > base).then(|| (&name[..dot], &name[dot + 1..]))
}

/// What a member says; nothing where JSON speaks of something else.
fn said(place: Place, text: &str) -> Result<Option<Said>, String> {
    let one = |label| Some(Said { labels: vec![label], are_many: false });
    match place {
        Place::Number => match text.parse() {
            Ok(number) => Ok(one(Label::Number(number))),
            Err(_) => Err(format!("`{text}` is no number from 0; names belong into `.txt`")),
        },
        Place::Name if text.is_empty() || text.contains('\n') => Err("a class's name in one line is needed".into()),
        Place::Name => Ok(one(Label::Name(text.to_owned()))),
        Place::Json => {
            let value: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
            let Some(found) = ["label", "labels", "class"].iter().find_map(|key| value.get(key)) else {
                return Ok(None);
            };
            let label = |value: &Value| match value {
                Value::String(name) => Ok(Label::Name(name.clone())),
                Value::Number(number) => {
                    let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
                    number.map(Label::Number).ok_or_else(|| format!("label {value} is no number from 0"))
                }
                _ => Err(format!("label {value} is neither a number nor a name")),
            };
            match found {
                Value::Array(labels) => {
                    let labels = labels.iter().map(label).collect::<Result<_, _>>()?;
                    Ok(Some(Said { labels, are_many: true }))
                }
                value => Ok(one(label(value)?)),
            }
        }
    }
}
