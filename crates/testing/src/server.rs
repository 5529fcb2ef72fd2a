//! A file server on this machine that can be told to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A question to the server.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which question it is, from 0.
    pub number: usize,
    /// The path asked for.
    pub path: String,
    /// Its headers under small letters.
    pub headers: BTreeMap<String, String>,
}

/// The server's answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers beside the length.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes that are sent.
    pub body: Vec<u8>,
    /// The length that is claimed, without which the end of the connection is the end of the body.
    pub length: Option<usize>,
    /// Whether the connection stays open and silent after the body.
    pub stalls: bool,
}

impl Reply {
    /// An answer without bytes.
    pub fn status(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new(), length: Some(0), stalls: false }
    }

    /// A whole file.
    pub fn whole(bytes: &[u8]) -> Reply {
        Reply { body: bytes.to_vec(), length: Some(bytes.len()), ..Reply::status(200) }
    }

    /// The file, or the part of it that `request` asks for, as RFC 9110 has it.
    pub fn file(request: &Request, bytes: &[u8], tag: &str) -> Reply {
        let tag = format!("\"{tag}\"");
        let range =
            request.headers.get("range").filter(|_| request.headers.get("if-range").is_none_or(|is| *is == tag));
        let first = range.map(|range| range["bytes=".len()..].trim_end_matches('-').parse::<usize>().unwrap());
        let reply = match first {
            None => Reply::whole(bytes),
            Some(first) if first < bytes.len() => {
                let range = format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len());
                Reply { status: 206, ..Reply::whole(&bytes[first..]) }.with("Content-Range", range)
            }
            Some(_) => Reply::status(416).with("Content-Range", format!("bytes */{}", bytes.len())),
        };
        reply.with("ETag", tag)
    }

    /// It with a header.
    #[must_use]
    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((header, value.into()));
        self
    }

    /// It broken off after so many bytes of the body.
    #[must_use]
    pub fn cut(mut self, sent: usize) -> Reply {
        self.body.truncate(sent);
        self
    }
}

/// A server at an address of its own. It lives until the process ends.
pub struct Server {
    /// Its address, without a slash at the end.
    pub address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Begins to answer.
    ///
    /// # Panics
    /// Where this machine lends no port.
    pub fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (answer.clone(), log.clone());
                thread::spawn(move || serve(&stream, &*answer, &log));
            }
        });
        Server { address, asked }
    }

    /// All questions so far.
    ///
    /// # Panics
    /// Where an answer panicked.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

/// One question and its answer. Whoever asks may go away at any time.
fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Reply, log: &Mutex<Vec<Request>>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    let mut request = Request { number: 0, path, headers: headers.collect() };
    {
        let mut log = log.lock().unwrap();
        request.number = log.len();
        log.push(request.clone());
    }
    let Reply { status, headers, body, length, stalls } = answer(&request);
    let mut head = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        head += &format!("Content-Length: {length}\r\n");
    }
    let mut stream = stream;
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&body));
    if stalls {
        thread::sleep(Duration::from_secs(60));
    }
}
