//! `classify --watch`: photos are classified as they arrive, once, until Ctrl-C.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Folder, PROGRAM, photo, small};
use serde_json::Value;

/// The longest that a photo may take to be noticed and classified, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a file that nobody closes has to be quiet.
const LONG: Duration = Duration::from_millis(3500);

fn folder() -> Folder {
    let folder = Folder::new();
    folder.weights("w.safetensors", "mobilenet_v3_small", &small());
    fs::create_dir(folder.path("in")).unwrap();
    folder
}

/// A run that watches folder `in`.
struct Watching {
    child: Child,
    lines: Receiver<Value>,
}

impl Watching {
    /// Begins, and waits until it does.
    fn begin(folder: &Folder, flags: &str) -> Watching {
        let mut command = Command::new(PROGRAM);
        command.args(format!("classify in --weights w.safetensors --json {flags}").split_whitespace());
        command.current_dir(folder.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.as_mut().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "watching in; Ctrl-C ends it\n");
        let lines = listen(child.stdout.take().unwrap());
        Watching { child, lines }
    }

    /// The next photo's path.
    #[track_caller]
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(PATIENCE).expect("a photo is classified");
        assert!(line.get("top").is_some(), "{line}");
        line["path"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn is_silent(&self) {
        assert_eq!(self.lines.recv_timeout(LONG).ok(), None);
    }

    /// Its exit code after Ctrl-C, and what it said.
    fn end(mut self) -> (i32, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.wait()
    }

    fn wait(&mut self) -> (i32, String) {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code().unwrap(), said)
    }
}

fn listen(out: ChildStdout) -> Receiver<Value> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            _ = sender.send(serde_json::from_str(&line.unwrap()).unwrap());
        }
    });
    lines
}

#[test]
fn photos_are_classified_as_they_arrive_and_only_once() {
    let folder = folder();
    folder.write("in/old.bmp", photo(40, 30, 1));
    let watching = Watching::begin(&folder, "--watch");
    assert_eq!(watching.next(), "in/old.bmp");
    // Written in two parts with a rest between.
    let bytes = photo(60, 50, 2);
    let mut file = fs::File::create(folder.path("in/slow.bmp")).unwrap();
    file.write_all(&bytes[..100]).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    file.write_all(&bytes[100..]).unwrap();
    drop(file);
    assert_eq!(watching.next(), "in/slow.bmp");
    // Under another name until it is whole.
    folder.write("in/moved.bmp.part", &bytes);
    fs::rename(folder.path("in/moved.bmp.part"), folder.path("in/moved.bmp")).unwrap();
    assert_eq!(watching.next(), "in/moved.bmp");
    // In a new folder, and linked.
    fs::create_dir(folder.path("in/day")).unwrap();
    folder.write("in/day/new.bmp", &bytes);
    assert_eq!(watching.next(), "in/day/new.bmp");
    fs::hard_link(folder.path("in/old.bmp"), folder.path("in/linked.bmp")).unwrap();
    assert_eq!(watching.next(), "in/linked.bmp");
    // What is removed, is no photo or stays as it is gives nothing.
    fs::remove_file(folder.path("in/slow.bmp")).unwrap();
    folder.write("in/notes.txt", "no photo");
    fs::create_dir(folder.path("in/.cache")).unwrap();
    folder.write("in/.cache/thumbnail.bmp", &bytes);
    let file = fs::File::options().append(true).open(folder.path("in/old.bmp")).unwrap();
    drop(file);
    watching.is_silent();
    assert_eq!(watching.end(), (0, String::new()));
}

#[test]
fn only_new_photos_are_taken_where_asked_and_failures_are_said_at_once() {
    let folder = folder();
    folder.write("in/old.bmp", photo(40, 30, 1));
    let watching = Watching::begin(&folder, "--watch=new --draw sheet.png");
    folder.write("in/bad.jpg", "no photo");
    let failed = watching.lines.recv_timeout(PATIENCE).unwrap();
    assert_eq!(failed["path"], "in/bad.jpg");
    folder.write("in/new.bmp", photo(40, 30, 2));
    assert_eq!(watching.next(), "in/new.bmp");
    let (code, said) = watching.end();
    let error = "error: in/bad.jpg: this is a text file; photos are read from JPEG, PNG, WebP, BMP and GIF";
    assert_eq!((code, said), (1, format!("{error}\ndrawn: sheet.png\n")));
    assert!(folder.path("sheet.png").exists());
}

#[test]
fn folders_are_listed_where_the_system_does_not_tell() {
    let folder = folder();
    let watching = Watching::begin(&folder, "--watch --poll");
    folder.write("in/new.bmp", photo(40, 30, 1));
    assert_eq!(watching.next(), "in/new.bmp");
    watching.is_silent();
    assert_eq!(watching.end(), (0, String::new()));
}

#[test]
fn a_folder_that_goes_away_ends_it() {
    let folder = folder();
    let mut watching = Watching::begin(&folder, "--watch");
    fs::remove_dir(folder.path("in")).unwrap();
    assert_eq!(watching.wait(), (2, "error: in: the folder is gone\n".into()));
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let folder = folder();
    folder.write("a.bmp", photo(40, 30, 1));
    for path in ["a.bmp", "none", "-"] {
        folder.refused(
            &format!("classify {path} --weights w.safetensors --watch"),
            &format!("{path}: no folder; --watch waits for photos in folders"),
        );
    }
    let ended = folder.run("classify in --poll");
    assert_eq!((ended.code, ended.err.contains("--watch")), (2, true));
}

#[test]
fn ctrl_c_ends_many_photos_in_good_order() {
    let folder = folder();
    for number in 0..3000 {
        folder.write(&format!("in/{number:04}.bmp"), photo(300, 200, number));
    }
    let mut command = Command::new(PROGRAM);
    command.args("classify in --weights w.safetensors --json --threads 1".split_whitespace());
    command.current_dir(folder.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = listen(child.stdout.take().unwrap());
    for _ in 0..3 {
        assert!(lines.recv_timeout(PATIENCE).unwrap().get("top").is_some());
    }
    let (code, _) = Watching { child, lines }.end();
    assert_eq!(code, 130);
}
