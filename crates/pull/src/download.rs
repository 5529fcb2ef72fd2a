//! A file from a server: gone on with where it broke off, checked before it gets its name.

use std::io::{self, ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use crate::client::{Answer, Client, Lost, Range};
use crate::digest::{Digits, PIECE};
use crate::error::{Error, PUBLISHED};
use crate::part::{Note, Part};
use crate::pulling::{Options, Progress};

/// What an attempt must gain, in bytes, for the tries to be counted anew.
const GAIN: u64 = 1 << 20;

/// Told how far a download is.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// A file that is whole and checked, and has not got its name yet.
pub(crate) struct Fetched {
    pub part: Part,
    pub sha256: String,
    /// What the hash was compared with.
    pub published: Option<Digits>,
}

/// How an attempt ended.
enum Attempt {
    /// All bytes are there; the hash that they should have, where it is known.
    Done(Option<Digits>),
    /// Another attempt may go well.
    Again(String),
    /// What is there is of no use; another attempt begins at the first byte.
    Anew,
}

/// A download under way.
pub(crate) struct Download<'a> {
    pub client: &'a Client,
    pub options: &'a Options,
    pub address: &'a str,
    /// Where the file is to lie.
    pub target: &'a Path,
    /// What the file's name says of its hash.
    pub digits: Option<Digits>,
    /// Whether a server has answered yet.
    pub is_connected: bool,
}

impl Download<'_> {
    /// Fetches the file.
    pub fn run(mut self, watch: Watch) -> Result<Fetched, Error> {
        let mut part = Part::open(self.target)?;
        match self.attempts(&mut part, watch) {
            Ok(published) => self.checked(part, published),
            Err(error) => {
                // Nothing to go on with.
                if part.len() == 0 {
                    part.discard()?;
                }
                Err(error)
            }
        }
    }

    /// Asks until all bytes are there; the hash that they should have, where it is known.
    fn attempts(&mut self, part: &mut Part, watch: Watch) -> Result<Option<Digits>, Error> {
        // An earlier run was allowed more: what it fetched is kept for the next that is.
        let total = part.note().and_then(|note| note.total);
        if total.unwrap_or(part.len()) > self.options.limit {
            return Err(self.too_large(total));
        }
        let (mut tries, mut anew) = (0, false);
        loop {
            let before = part.len();
            let reason = match self.attempt(part, watch)? {
                Attempt::Done(published) => return Ok(published),
                Attempt::Anew if anew => "the server's answers contradict each other".to_owned(),
                Attempt::Anew => {
                    part.clear()?;
                    anew = true;
                    continue;
                }
                Attempt::Again(reason) => reason,
            };
            if part.len().saturating_sub(before) >= GAIN {
                tries = 0;
            }
            if tries == self.options.retries {
                return Err(Error::Interrupted { address: self.address.into(), reason, kept: part.len() });
            }
            let pause = self.options.backoff * (1 << tries.min(6));
            tries += 1;
            if watch(Progress::Waiting { reason: &reason, pause }).is_break() {
                return Err(Error::Stopped(self.target.to_owned()));
            }
            thread::sleep(pause);
        }
    }

    /// Asks once, and takes what comes.
    fn attempt(&mut self, part: &mut Part, watch: Watch) -> Result<Attempt, Error> {
        let range = self.rest(part);
        let mut answer = match self.client.get(self.address, &range) {
            Ok(answer) => answer,
            Err(Lost::Passing(reason)) => return Ok(Attempt::Again(reason)),
            // Who was connected a moment ago may be so again.
            Err(Lost::Offline(reason)) if self.is_connected => return Ok(Attempt::Again(reason)),
            Err(Lost::Offline(reason)) => {
                let (address, path) = (self.address.to_owned(), self.target.to_owned());
                return Err(Error::Offline { address, path, reason });
            }
            Err(Lost::For(error)) => return Err(error),
        };
        self.is_connected = true;
        let note = match answer.status {
            200 => {
                let note = self.note(&answer)?;
                part.begin(note.clone())?;
                note
            }
            206 if range.offset > 0 => match part.note() {
                Some(note) if continues(&answer, note, range.offset) => note.clone(),
                _ => return Ok(Attempt::Anew),
            },
            // Nothing lies behind the last byte: all of it is there.
            416 => match part.note() {
                Some(note) if answer.content_range() == Some((None, part.len())) => {
                    return Ok(Attempt::Done(self.published(note)));
                }
                _ => return Ok(Attempt::Anew),
            },
            status @ (408 | 425 | 429 | 500..=599) => {
                return Ok(Attempt::Again(format!("the server answers HTTP {status}")));
            }
            status @ (404 | 410) => return Err(Error::NotFound { address: self.client.asked(self.address), status }),
            status => return Err(Error::Status { address: self.client.asked(self.address), status }),
        };
        self.take(&mut answer, &note, part, watch)
    }

    /// What to ask for: what is missing, where it is certain that it belongs to what is there.
    fn rest(&self, part: &Part) -> Range {
        match part.note() {
            Some(note) if note.address == self.address && (note.validator.is_some() || note.sha256.is_some()) => {
                Range { offset: part.len(), validator: note.validator.clone() }
            }
            _ => Range::default(),
        }
    }

    /// What a whole answer is, unless it is too large, or not as large as its publisher says.
    fn note(&self, answer: &Answer) -> Result<Note, Error> {
        let (sent, linked) = (answer.content_length(), answer.linked.bytes);
        if let (Some(found), Some(expected)) = (sent, linked)
            && found != expected
        {
            return Err(Error::Size { address: self.address.into(), expected, found });
        }
        let total = sent.or(linked);
        if total.is_some_and(|bytes| bytes > self.options.limit) {
            return Err(self.too_large(total));
        }
        let sha256 = answer.linked.sha256.as_ref().map(|digits| digits.as_str().to_owned());
        Ok(Note { address: self.address.into(), total, validator: answer.validator(), sha256 })
    }

    fn too_large(&self, bytes: Option<u64>) -> Error {
        Error::TooLarge { address: self.address.into(), bytes, limit: self.options.limit }
    }

    /// Reads the answer's bytes to their end.
    fn take(&self, answer: &mut Answer, note: &Note, part: &mut Part, watch: Watch) -> Result<Attempt, Error> {
        let mut body = answer.body();
        let mut piece = vec![0; PIECE];
        loop {
            if watch(Progress::Bytes { done: part.len(), total: note.total }).is_break() {
                return Err(Error::Stopped(self.target.to_owned()));
            }
            let read = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Attempt::Again(self.broken(&error))),
            };
            let len = part.len() + read as u64;
            if let Some(expected) = note.total.filter(|&total| len > total) {
                part.clear()?;
                return Err(Error::Size { address: self.address.into(), expected, found: len });
            }
            if len > self.options.limit {
                part.clear()?;
                return Err(self.too_large(None));
            }
            part.append(&piece[..read])?;
        }
        match note.total {
            Some(total) if part.len() < total => {
                Ok(Attempt::Again(format!("the connection ended after {} of {total} bytes", part.len())))
            }
            _ => Ok(Attempt::Done(self.published(note))),
        }
    }

    fn broken(&self, error: &io::Error) -> String {
        let library = error.get_ref().and_then(|error| error.downcast_ref::<ureq::Error>());
        if error.kind() == ErrorKind::TimedOut || matches!(library, Some(ureq::Error::Timeout(_))) {
            return format!("no byte came for {} s", self.options.stall.as_secs_f64());
        }
        format!("the connection broke ({error})")
    }

    /// The hash that the file should have: the server's, else what its name says.
    fn published(&self, note: &Note) -> Option<Digits> {
        note.sha256.as_deref().and_then(Digits::whole).or_else(|| self.digits.clone())
    }

    /// Refuses a file that is not the published one.
    fn checked(&self, part: Part, published: Option<Digits>) -> Result<Fetched, Error> {
        let sha256 = part.sha256();
        // The name's digits hold even where the server says something else.
        for expected in published.iter().chain(&self.digits) {
            if !expected.fit(&sha256) {
                part.discard()?;
                return Err(Error::Hash {
                    of: PUBLISHED,
                    what: self.address.into(),
                    expected: expected.as_str().into(),
                    found: sha256,
                    remedy: "nothing was kept",
                });
            }
        }
        Ok(Fetched { part, sha256, published })
    }
}

/// Whether the answer to a question for a part goes on from `offset`, in the same file.
fn continues(answer: &Answer, note: &Note, offset: u64) -> bool {
    let is_there = |(first, total): (Option<u64>, u64)| first == Some(offset) && note.total.is_none_or(|t| t == total);
    let is_same = |ours: Option<&str>, theirs: Option<&str>| ours.zip(theirs).is_none_or(|(a, b)| a == b);
    answer.content_range().is_some_and(is_there)
        && is_same(note.validator.as_deref(), answer.validator().as_deref())
        && is_same(note.sha256.as_deref(), answer.linked.sha256.as_ref().map(Digits::as_str))
}
