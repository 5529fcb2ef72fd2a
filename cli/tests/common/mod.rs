//! What the tests of the command line share: a folder with weights, photos and tensors, and the program run in it.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mobilenet::arch::{self, Spec};
use mobilenet::net::weights;
use mobilenet::{Params, Tensor, init};
use mobilenet_testing::photos::{bmp, write_classes};
use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_mobilenet");

/// The longest that any call may take. Most take milliseconds, small trainings a second or so.
const PATIENCE: Duration = Duration::from_secs(60);

/// Flags of a training that takes a fraction of a second an epoch.
pub const TINY: &str = "--recipe default --width 0.25 --total-stride 8 --resolution 16 --set batch=8 --threads 1 --lr 0.05 --seed 3 \
                        --set augmentation.crop=padded --set augmentation.padding=2";

/// How a call of the program ended.
#[derive(Debug, PartialEq)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said of errors.
    pub err: String,
}

impl Ended {
    /// The printed JSON objects, one a line, of a call that did all it should.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A folder that the program runs in, so that its messages name files without their folder.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// All names in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Writes fresh weights under our own names, with all that a file can say of itself.
    pub fn weights(&self, name: &str, model: &str, spec: &Spec) {
        let params = fresh(model, spec);
        weights::save(self.path(name), &params).unwrap();
    }

    /// Writes one tensor.
    pub fn tensor(&self, name: &str, tensor: Tensor) {
        let params = Params { tensors: [("input".to_owned(), tensor)].into(), ..Params::default() };
        weights::save(self.path(name), &params).unwrap();
    }

    /// Runs the program with `arguments`, cut at spaces.
    #[track_caller]
    pub fn run(&self, arguments: &str) -> Ended {
        self.run_with(arguments, &[], b"")
    }

    /// Also with variables of the environment, and bytes on standard input.
    #[track_caller]
    pub fn run_with(&self, arguments: &str, variables: &[(&str, &str)], input: &[u8]) -> Ended {
        let mut command = Command::new(PROGRAM);
        command.env_remove("MOBILENET_ISA").envs(variables.iter().copied()).args(arguments.split_whitespace());
        self.end(command, input)
    }

    /// Makes a folder of small photos, `each` of three classes.
    pub fn photos(&self, name: &str, each: usize) {
        write_classes(&self.path(name), each);
    }

    /// Trains a tiny network; what it says on standard error.
    #[track_caller]
    pub fn train(&self, arguments: &str) -> String {
        let ended = self.run(&format!("train {TINY} {arguments}"));
        assert_eq!(ended.code, 0, "{arguments}: {ended:?}");
        ended.err
    }

    /// Runs the program with arguments that may hold spaces.
    #[track_caller]
    pub fn call(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(PROGRAM);
        command.env_remove("MOBILENET_ISA").args(arguments);
        self.end(command, b"")
    }

    /// Asserts that the program ends with code 2, prints nothing and says exactly this, after `error: `.
    #[track_caller]
    pub fn refused(&self, arguments: &str, text: &str) {
        let ended = self.run(arguments);
        assert_eq!(ended, Ended { code: 2, out: String::new(), err: format!("error: {text}\n") }, "{arguments}");
    }

    /// As [`Folder::refused`], where the command line's parser has the word.
    #[track_caller]
    pub fn refused_usage(&self, arguments: &str, text: &str) {
        self.refused(arguments, &format!("{text}\n\nFor more information, try '--help'."));
    }

    /// Runs a command in the folder until it ends; one that takes too long is an error of the test.
    #[track_caller]
    pub fn end(&self, mut command: Command, input: &[u8]) -> Ended {
        command.current_dir(self.0.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::scope(|s| {
            // It may end without reading all.
            s.spawn(move || _ = stdin.write_all(input));
            let (out, err) = (s.spawn(|| text(stdout)), s.spawn(|| text(stderr)));
            let start = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                if start.elapsed() > PATIENCE {
                    child.kill().unwrap();
                    panic!("{command:?} takes more than {PATIENCE:?}");
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            let code = status.code().unwrap_or_else(|| panic!("{command:?}: {status}"));
            Ended { code, out: out.join().unwrap(), err: err.join().unwrap() }
        })
    }
}

fn text(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Fresh weights and metadata that leave nothing to be guessed.
pub fn fresh(model: &str, spec: &Spec) -> Params {
    let graph = arch::find(model).unwrap().graph(spec).unwrap();
    let mut params = init::random(&graph, 1);
    for (key, value) in [
        ("family", model),
        ("padding", &spec.padding.to_string()),
        ("bn_epsilon", &spec.bn_epsilon.to_string()),
        ("resolution", "64"),
    ] {
        params.metadata.insert(key.into(), value.into());
    }
    params
}

/// The smallest network here: 4 classes.
pub fn small() -> Spec {
    Spec { width: 0.35, classes: 4, ..Spec::default() }
}

/// A photo with a colour of its own at every pixel, as a BMP file.
pub fn photo(width: usize, height: usize, seed: usize) -> Vec<u8> {
    bmp(width, height, |x, y| [x * 5 + seed, y * 3 + x * seed, (x * y) ^ seed].map(|v| v as u8))
}

/// Values between −1 and 1 that look like noise.
pub fn noise(shape: &[usize]) -> Tensor {
    let len = shape.iter().product();
    let value = |i: usize| (i.wrapping_mul(2_654_435_761) >> 8 & 0xffff) as f32 / 32768.0 - 1.0;
    Tensor::from_f32(shape, (0..len).map(value).collect())
}
