//! What can go wrong between a name and a file.

use std::io;
use std::path::{Path, PathBuf};

/// Whose digits a published file should have.
pub(crate) const PUBLISHED: &str = "the published one";

/// An error of this crate. Its text says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that nothing published has.
    #[error("{name} is no published weights file known here{}; `mobilenet pull --list` shows all, and \
             hf:OWNER/NAME names any other at huggingface.co", suggestion(.similar))]
    UnknownName {
        /// The name.
        name: String,
        /// Names that are spelt like it.
        similar: Vec<String>,
    },
    /// A name of a form that none has.
    #[error("{name}: {reason}; give hf:OWNER/NAME, with @REVISION and :FILE behind it where wanted")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A mirror that is no address.
    #[error("MOBILENET_PULL_BASE={0}: give an address that begins with https:// or http://")]
    Mirror(String),
    /// An address that is not asked.
    #[error("{address}: {reason}; weights are fetched from https addresses only")]
    Address {
        /// The address.
        address: String,
        /// Why not.
        reason: &'static str,
    },
    /// There is no cache folder.
    #[error("this system names no folder for caches; set MOBILENET_CACHE to one")]
    NoCache,
    /// The server cannot be reached.
    #[error("{address}: no connection ({reason}). To fetch it by hand, open that address elsewhere and put the file at \
             {}", path.display())]
    Offline {
        /// What was to be fetched.
        address: String,
        /// Where it should lie.
        path: PathBuf,
        /// Why there is no connection.
        reason: String,
    },
    /// The server is not who it claims to be, or a proxy stands between.
    #[error(
        "{address}: no secure connection: {reason}. Where a proxy of your own stands between, SSL_CERT_FILE names \
             a file with its certificates (PEM)"
    )]
    Tls {
        /// What was to be fetched.
        address: String,
        /// The library's word.
        reason: String,
    },
    /// The server has no such file.
    #[error("{address}: the server has no such file (HTTP {status})")]
    NotFound {
        /// The address.
        address: String,
        /// The server's answer.
        status: u16,
    },
    /// The server will not give the file.
    #[error("{address}: the server answers HTTP {status}{}", if matches!(.status, 401 | 403) {
        ": it wants a login, which this command does not do; fetch the file by hand" } else { "" })]
    Status {
        /// The address.
        address: String,
        /// The server's answer.
        status: u16,
    },
    /// An answer that is against the rules of HTTP.
    #[error("{address}: {reason}")]
    Answer {
        /// The address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection was lost in the middle, more than once.
    #[error("{address}: {reason}{}", remainder(*.kept))]
    Interrupted {
        /// The address.
        address: String,
        /// What happened last.
        reason: String,
        /// Bytes that were fetched and are kept.
        kept: u64,
    },
    /// More bytes than are allowed.
    #[error("{address}: {}, and {} are allowed; --allow-large allows more", match .bytes {
        Some(bytes) => format!("{bytes} bytes"), None => "more bytes than that".into() }, .limit)]
    TooLarge {
        /// The address.
        address: String,
        /// Its size, where the server states it.
        bytes: Option<u64>,
        /// How many are allowed.
        limit: u64,
    },
    /// A file of another size than its publisher states.
    #[error("{address}: the server sends {found} bytes, and the file has {expected}; nothing was kept")]
    Size {
        /// The address.
        address: String,
        /// The published size.
        expected: u64,
        /// The size found.
        found: u64,
    },
    /// A file that is not the published one.
    #[error("{what}: its SHA-256 is {found}, and {of} {} {expected}: it is damaged or was replaced; {remedy}",
            if .expected.len() < 64 { "begins with" } else { "is" })]
    Hash {
        /// The address, or the file.
        what: String,
        /// Whose digits it should have.
        of: &'static str,
        /// What is published, or was fetched: all digits, or the first.
        expected: String,
        /// What the bytes have.
        found: String,
        /// What happened to it, or what to do.
        remedy: &'static str,
    },
    /// A file that is in the way.
    #[error("{}: exists already; remove it or give another name with -o", .0.display())]
    Exists(PathBuf),
    /// Another process fetches the same file.
    #[error("{}: another process is fetching this file; wait for it", .0.display())]
    Busy(PathBuf),
    /// A file that is not in the cache.
    #[error("{name} is not on this machine yet: run `mobilenet pull {name}` first")]
    Missing {
        /// Its name.
        name: String,
    },
    /// The progress callback asked for an end.
    #[error("{}: stopped; the same command goes on", .0.display())]
    Stopped(PathBuf),
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file or folder that cannot be written.
    #[error("{}: cannot be written: {source}; {}", path.display(), remedy(.source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file of the project's own.
    #[error(transparent)]
    Net(#[from] mobilenet_net::Error),
}

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Write { path: path.to_owned(), source }
    }
}

fn suggestion(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

fn remainder(bytes: u64) -> String {
    match bytes {
        0 => "; run the same command again".into(),
        bytes => format!("; {bytes} bytes are kept: the same command goes on from there"),
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room there, or name another folder with MOBILENET_CACHE or a file with -o; what was fetched is kept"
        }
        _ => "MOBILENET_CACHE names another folder, and -o another file",
    }
}
