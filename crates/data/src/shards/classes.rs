//! How the labels in shards are numbered.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::find::class_list;
use super::scan::Label;
use crate::error::Error;

/// Largest list of class names, in bytes.
const MAX_LIST: u64 = 16 << 20;

/// The classes, and which label means which.
pub(super) struct Classes {
    path: PathBuf,
    names: Vec<String>,
    /// What numbers stand for, where a list beside the shards says so.
    listed: Option<Vec<String>>,
    by_name: HashMap<String, u32>,
    is_by_number: bool,
}

impl Classes {
    /// The classes of `labels`, which are all names or all numbers, or the `known` ones.
    pub(super) fn new<'a>(
        path: &Path,
        files: &[PathBuf],
        labels: impl Iterator<Item = &'a Label>,
        known: Option<&[String]>,
    ) -> Result<Classes, Error> {
        let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        for label in labels {
            match label {
                Label::Name(name) => _ = names.insert(name.as_str()),
                Label::Number(number) => _ = numbers.insert(*number),
            }
        }
        if let (Some(name), Some(number)) = (names.first(), numbers.first()) {
            let reason = format!("some labels are names (`{name}`), others numbers ({number}); use one of both");
            return Err(Error::Shard { path: path.to_owned(), reason });
        }
        let list = files.first().and_then(|file| class_list(file)).filter(|_| !numbers.is_empty());
        let listed = list.as_deref().map(read_list).transpose()?;
        if let (Some(listed), Some(list), Some(&last)) = (&listed, &list, numbers.last())
            && last as usize >= listed.len()
        {
            let reason = format!("names {} classes, and a photo has class {last}, counted from 0", listed.len());
            return Err(Error::Shard { path: list.clone(), reason });
        }
        let is_by_number = known.is_some() && !numbers.is_empty() && listed.is_none();
        let names = match (known, &listed) {
            (Some(known), _) => known.to_vec(),
            (None, Some(listed)) => listed.clone(),
            (None, None) if numbers.is_empty() => names.into_iter().map(str::to_owned).collect(),
            (None, None) => numbered(path, &numbers)?,
        };
        // The first of two of the same name.
        let by_name = names.iter().enumerate().rev().map(|(index, name)| (name.clone(), index as u32)).collect();
        Ok(Classes { path: path.to_owned(), names, listed, by_name, is_by_number })
    }

    /// The class that a label means.
    pub(super) fn index(&self, label: &Label) -> Result<u32, Error> {
        let unknown = |class: String| Error::UnknownClass { path: self.path.clone(), class, known: self.names.len() };
        let name = match (label, &self.listed) {
            (Label::Name(name), _) => name,
            (Label::Number(number), Some(listed)) => {
                let name = &listed[*number as usize];
                // A number is believed where the name agrees, as two classes may share one.
                if self.names.get(*number as usize) == Some(name) {
                    return Ok(*number);
                }
                name
            }
            (Label::Number(number), None) if (*number as usize) < self.names.len() => return Ok(*number),
            (Label::Number(number), None) => return Err(unknown(format!("class {number}"))),
        };
        self.by_name.get(name).copied().ok_or_else(|| unknown(name.clone()))
    }

    /// The names in order, and whether numbers alone told which of known classes are meant.
    pub(super) fn list(self) -> (Vec<String>, bool) {
        (self.names, self.is_by_number)
    }
}

/// Names for classes that are only numbered.
fn numbered(path: &Path, numbers: &BTreeSet<u32>) -> Result<Vec<String>, Error> {
    // The first gap comes before as many classes as there are photos, whatever the largest number.
    for (expected, &number) in numbers.iter().enumerate() {
        if number as usize != expected {
            return Err(Error::EmptyClass { path: path.to_owned(), class: format!("class {expected}") });
        }
    }
    Ok(numbers.iter().map(|number| format!("class {number}")).collect())
}

/// The names of a `classes.txt`, one a line, or a `classes.json`: a list of names, or an object of each name's number or
/// each number's name.
fn read_list(path: &Path) -> Result<Vec<String>, Error> {
    let mut text = String::new();
    let file = File::open(path).map_err(Error::io(path))?;
    file.take(MAX_LIST + 1).read_to_string(&mut text).map_err(Error::io(path))?;
    if text.len() as u64 > MAX_LIST {
        return Err(Error::TooMuch { path: path.to_owned(), what: "the list's bytes", limit: MAX_LIST });
    }
    let text = text.trim_start_matches('\u{feff}').trim_end();
    if path.extension().is_some_and(|ending| ending == "txt") {
        return Ok(text.lines().map(|line| line.trim().to_owned()).collect());
    }
    let refuse = |reason: String| Error::Shard { path: path.to_owned(), reason };
    let value = serde_json::from_str(text).map_err(|error| refuse(format!("is no JSON: {error}")))?;
    names(value).ok_or_else(|| refuse("names no classes; give a list of names: [\"cat\", \"dog\"]".to_owned()))
}

fn names(value: serde_json::Value) -> Option<Vec<String>> {
    use serde_json::Value;
    match value {
        Value::Array(names) => names.into_iter().map(|name| Some(name.as_str()?.to_owned())).collect(),
        Value::Object(pairs) => {
            let pair = |(key, value): (String, Value)| match value {
                Value::String(name) => Some((key.parse().ok()?, name)),
                value => Some((usize::try_from(value.as_u64()?).ok()?, key)),
            };
            let mut pairs: Vec<(usize, String)> = pairs.into_iter().map(pair).collect::<Option<_>>()?;
            pairs.sort_unstable();
            let is_whole = pairs.iter().enumerate().all(|(expected, (number, _))| *number == expected);
            is_whole.then(|| pairs.into_iter().map(|(_, name)| name).collect())
        }
        _ => None,
    }
}
