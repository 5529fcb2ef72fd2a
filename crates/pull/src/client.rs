//! One question to a server, redirects followed by hand: the first server's headers tell what the last one's do not.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Timeout};

use crate::digest::Digits;
use crate::error::Error;
use crate::mirror::{self, Mirror};

/// Servers that may pass a question on.
const HOPS: usize = 10;

/// The variable that names a file of certificates to trust, as OpenSSL and curl have it.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(20);

/// Asks servers.
pub(crate) struct Client {
    agent: Agent,
    mirror: Option<Mirror>,
}

/// Which part of a file to ask for.
#[derive(Default)]
pub(crate) struct Range {
    /// The first byte wanted.
    pub offset: u64,
    /// Only if the file is still this one; everything otherwise.
    pub validator: Option<String>,
}

/// A server's answer.
pub(crate) struct Answer {
    pub status: u16,
    headers: HeaderMap,
    body: Body,
    /// What the first server said of the file, which another one sends.
    pub linked: Linked,
}

/// Hugging Face's word on a large file, in the answer that redirects to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Linked {
    /// `x-linked-etag`, where it is a SHA-256.
    pub sha256: Option<Digits>,
    /// `x-linked-size`.
    pub bytes: Option<u64>,
}

/// Why there is no answer.
pub(crate) enum Lost {
    /// Nothing was reached: no name service, no route, nobody listening.
    Offline(String),
    /// Something went wrong that may go well the next time.
    Passing(String),
    /// Something that will not.
    For(Error),
}

impl Client {
    /// A client that waits `stall` for the next byte. Proxies are the environment's (`HTTPS_PROXY`, `ALL_PROXY`,
    /// `NO_PROXY`).
    ///
    /// # Errors
    /// A mirror that is no address; certificates that cannot be read.
    pub fn new(mirror: Option<&str>, stall: Duration) -> Result<Client, Error> {
        let mirror = mirror.map(Mirror::new).transpose()?;
        let tls = TlsConfig::builder().root_certs(roots()?).build();
        let config = Agent::config_builder()
            .user_agent(concat!("mobilenet/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .timeout_resolve(Some(CONNECT.min(stall)))
            .timeout_connect(Some(CONNECT.min(stall)))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
            .timeout_per_write(Some(stall))
            .build();
        Ok(Client { agent: config.into(), mirror })
    }

    /// Where a question for `address` goes first: there, or to the mirror.
    pub fn asked(&self, address: &str) -> String {
        self.mirror.as_ref().map_or_else(|| address.to_owned(), |mirror| mirror.of(address))
    }

    /// Asks for what lies at `address`.
    pub fn get(&self, address: &str, range: &Range) -> Result<Answer, Lost> {
        let mut at = self.asked(address);
        let mut linked = Linked::default();
        for _ in 0..HOPS {
            let uri = mirror::check(&at, self.mirror.as_ref()).map_err(Lost::For)?;
            let response = self.ask(&uri, range)?;
            let headers = response.headers();
            linked.sha256 = linked.sha256.or_else(|| Digits::whole(text(headers, "x-linked-etag")?.trim_matches('"')));
            linked.bytes = linked.bytes.or_else(|| text(headers, "x-linked-size")?.parse().ok());
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                let (parts, body) = response.into_parts();
                return Ok(Answer { status, headers: parts.headers, body, linked });
            }
            let location = text(headers, "location").and_then(|location| mirror::redirected(&uri, location));
            at = location.ok_or_else(|| answer(&at, "the server redirects, and not to an address"))?;
        }
        Err(answer(address, &format!("passed on more than {HOPS} times")))
    }

    fn ask(&self, uri: &Uri, range: &Range) -> Result<Response<Body>, Lost> {
        // Compressed bytes would be neither the file's size nor its hash.
        let mut request = self.agent.get(uri).header("Accept-Encoding", "identity");
        if range.offset > 0 {
            request = request.header("Range", format!("bytes={}-", range.offset));
            if let Some(validator) = &range.validator {
                request = request.header("If-Range", validator);
            }
        }
        request.call().map_err(|error| match lost(uri, error) {
            Lost::Offline(reason) if self.mirror.is_some() => Lost::Offline(format!("{uri}: {reason}")),
            lost => lost,
        })
    }
}

impl Answer {
    /// The bytes that follow, where the server says how many.
    pub fn content_length(&self) -> Option<u64> {
        text(&self.headers, "content-length")?.parse().ok()
    }

    /// First byte and size of the whole file in the answer to a question for a part; the size of the whole where there
    /// is no such part.
    pub fn content_range(&self) -> Option<(Option<u64>, u64)> {
        let (range, total) = text(&self.headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        let total = total.parse().ok()?;
        match range {
            "*" => Some((None, total)),
            _ => Some((Some(range.split_once('-')?.0.parse().ok()?), total)),
        }
    }

    /// What tells this file from a later one at the same address: a strong entity tag, else the date of its change.
    pub fn validator(&self) -> Option<String> {
        let tag = text(&self.headers, "etag").filter(|tag| tag.starts_with('"'));
        tag.or_else(|| text(&self.headers, "last-modified")).map(str::to_owned)
    }

    /// The bytes that follow.
    pub fn body(&mut self) -> impl Read + '_ {
        // Sizes are checked by the caller, who knows what to say of them.
        self.body.with_config().limit(u64::MAX).reader()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn answer(address: &str, reason: &str) -> Lost {
    Lost::For(Error::Answer { address: address.into(), reason: reason.into() })
}

/// What a library's error means for whoever waits for a file.
fn lost(uri: &Uri, error: ureq::Error) -> Lost {
    let address = uri.to_string();
    match error {
        ureq::Error::HostNotFound => {
            Lost::Offline(format!("no address is known for {}", uri.host().unwrap_or_default()))
        }
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Lost::Offline("the server does not answer".into()),
        ureq::Error::ConnectionFailed | ureq::Error::InvalidProxyUrl => Lost::Offline(error.to_string()),
        ureq::Error::Timeout(_) => Lost::Passing("the server does not answer".into()),
        ureq::Error::Tls(reason) => Lost::For(Error::Tls { address, reason: reason.into() }),
        ureq::Error::Rustls(error) => Lost::For(Error::Tls { address, reason: error.to_string() }),
        ureq::Error::Io(error) => lost_by_io(address, error),
        // A server that is cut off in the middle of its headers.
        ureq::Error::Protocol(error) => Lost::Passing(error.to_string()),
        other => Lost::For(Error::Answer { address, reason: other.to_string() }),
    }
}

fn lost_by_io(address: String, error: io::Error) -> Lost {
    use io::ErrorKind as Kind;
    match error.kind() {
        // What rustls says of certificates.
        Kind::InvalidData => Lost::For(Error::Tls { address, reason: error.to_string() }),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof | Kind::TimedOut => {
            Lost::Passing(error.to_string())
        }
        _ => Lost::Offline(error.to_string()),
    }
}

/// Whose certificates are believed: Mozilla's list, which is part of the program, or those of the user's own file.
fn roots() -> Result<RootCerts, Error> {
    let Some(path) = std::env::var_os(CERTIFICATES).filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let path = Path::new(&path);
    let pem = std::fs::read(path).map_err(Error::read(path))?;
    let certificate = |item| if let Ok(PemItem::Certificate(certificate)) = item { Some(certificate) } else { None };
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem).filter_map(certificate).collect();
    if certificates.is_empty() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "holds no certificate (PEM)");
        return Err(Error::read(path)(source));
    }
    Ok(RootCerts::Specific(Arc::new(certificates)))
}
