//! Training that is killed, runs out of disk or meets another run: nothing that was written is lost, and going on gives
//! the bits of not stopping.
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Ended, Folder, PROGRAM, TINY};

const MODEL: &str = "model.safetensors";
const CHECKPOINT: &str = "checkpoint.safetensors";

/// A command that trains on `photos` into `run`, with a checkpoint after every step.
fn train(folder: &Folder, run: &str, flags: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("MOBILENET_ISA").current_dir(folder.path(""));
    let arguments = format!("train photos -o {run} --checkpoint-every 0 {TINY} {flags}");
    command.args(arguments.split_whitespace());
    command
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    fs::read(folder.path(name)).unwrap()
}

fn leftovers(folder: &Path) -> usize {
    let names = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".tmp")).count()
}

/// Numbers that look random, between 0 and 1.
fn random(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f64 / (1u64 << 24) as f64
}

#[test]
fn a_run_killed_twenty_times_ends_with_the_bits_of_one_that_was_not() {
    let folder = Folder::new();
    folder.photos("photos", 7);
    let flags = "--epochs 20 --set average=0.9";
    let begin = Instant::now();
    let whole = folder.end(train(&folder, "whole", flags), b"");
    assert_eq!(whole.code, 0, "{whole:?}");
    let span = begin.elapsed().as_secs_f64();

    let (mut seed, mut before_first, mut in_saving) = (11, 0, 0);
    let run = folder.path("killed");
    for kill in 0..20 {
        // Three of them before there can be a checkpoint, the others spread over an eighth of the whole run.
        let delay = if kill < 3 { 0.004 * f64::from(kill) } else { random(&mut seed) * span / 8.0 };
        let mut command = train(&folder, "killed", &format!("{flags} --resume"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_secs_f64(delay));
        child.kill().unwrap();
        child.wait().unwrap();
        before_first += usize::from(!run.join(CHECKPOINT).exists());
        in_saving += usize::from(leftovers(&run) > 0 || run.join("checkpoint.next.safetensors").exists());
    }
    println!("{before_first} kills before the first checkpoint, {in_saving} while files were written");
    assert!(before_first > 0, "no kill came before the first checkpoint");
    let last = folder.end(train(&folder, "killed", &format!("{flags} --resume")), b"");
    assert_eq!(last.code, 0, "{last:?}");
    assert!(read(&folder, "killed/model.safetensors") == read(&folder, "whole/model.safetensors"), "the bits differ");
    assert_eq!(leftovers(&run), 0, "what killed writers left is still there");
    // A loop that restarts what has ended does no harm.
    let again = folder.end(train(&folder, "killed", &format!("{flags} --resume")), b"");
    assert_eq!(again.code, 0, "{again:?}");
    assert!(read(&folder, "killed/model.safetensors") == read(&folder, "whole/model.safetensors"));
}

#[test]
fn a_kill_in_the_middle_of_saving_loses_at_most_the_steps_since_the_checkpoint() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    for (run, epochs) in [("whole", 4), ("half", 2)] {
        let ended = folder.end(train(&folder, run, &format!("--epochs {epochs} --schedule constant")), b"");
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let good = read(&folder, "half/checkpoint.safetensors");
    let before = read(&folder, "half/checkpoint.previous.safetensors");
    let half = &good[..good.len() / 2];
    // What is in the folder when it happens: while the file is written, while a whole one waits, between two renames,
    // and a disk that lost the end of the newest one.
    type Files<'a> = &'a [(&'a str, Option<&'a [u8]>)];
    let moments: [Files; 4] = [
        &[(".mobilenet-Xy12.tmp", Some(half))],
        &[("checkpoint.next.safetensors", Some(&good))],
        &[("checkpoint.next.safetensors", Some(&good)), ("checkpoint.safetensors", None)],
        &[(CHECKPOINT, Some(half)), ("model.safetensors", None)],
    ];
    for (i, moment) in moments.iter().enumerate() {
        let run = format!("run{i}");
        fs::create_dir(folder.path(&run)).unwrap();
        folder.write(&format!("{run}/{CHECKPOINT}"), &good);
        folder.write(&format!("{run}/checkpoint.previous.safetensors"), &before);
        folder.write(&format!("{run}/{MODEL}"), b"old");
        for (name, bytes) in *moment {
            match bytes {
                Some(bytes) => folder.write(&format!("{run}/{name}"), bytes),
                None => fs::remove_file(folder.path(&format!("{run}/{name}"))).unwrap(),
            }
        }
        let flags = "--epochs 4 --schedule constant --resume";
        let ended = folder.end(train(&folder, &run, flags), b"");
        assert_eq!(ended.code, 0, "{i}: {ended:?}");
        assert_eq!(ended.err.contains("; going on from "), i == 3, "{i}: {ended:?}");
        assert!(read(&folder, &format!("{run}/{MODEL}")) == read(&folder, "whole/model.safetensors"), "{i}");
        assert_eq!(leftovers(&folder.path(&run)), 0, "{i}");
    }
}

#[test]
fn a_full_disk_ends_the_run_and_keeps_the_checkpoint() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    for (run, epochs) in [("whole", 3), ("run", 1)] {
        let ended = folder.end(train(&folder, run, &format!("--epochs {epochs} --schedule constant")), b"");
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let kept = ["model.safetensors", CHECKPOINT, "checkpoint.previous.safetensors"];
    let before = kept.map(|name| read(&folder, &format!("run/{name}")));
    // No file may grow beyond 100 blocks of 512 bytes: a write past them fails as it does on a full disk.
    let go_on = format!(
        "trap '' XFSZ; ulimit -f 100; exec {PROGRAM} train photos -o run {TINY} --schedule constant --epochs 3 --resume"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &go_on]);
    let ended = folder.end(command, b"");
    assert_eq!(ended.code, 2, "{ended:?}");
    let text = "error: run/model.safetensors: cannot be written: File too large (os error 27)";
    assert_eq!(ended.err.lines().last(), Some(text));
    assert!(before == kept.map(|name| read(&folder, &format!("run/{name}"))), "what was written before is lost");
    assert_eq!(leftovers(&folder.path("run")), 0);
    let ended = folder.end(train(&folder, "run", "--schedule constant --epochs 3 --resume"), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(read(&folder, "run/model.safetensors") == read(&folder, "whole/model.safetensors"), "the bits differ");
}

#[test]
#[cfg(target_os = "linux")]
fn a_log_that_cannot_be_written_is_told_of_once_and_training_goes_on() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    fs::create_dir(folder.path("run")).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path("run/log.jsonl")).unwrap();
    let ended = folder.end(train(&folder, "run", "--epochs 2"), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    let text = "warning: run/log.jsonl: cannot be written: No space left on device (os error 28)";
    assert_eq!(ended.err.lines().filter(|line| *line == text).count(), 1, "{ended:?}");
    assert!(folder.path("run/model.safetensors").exists());
    // A line that the full disk cut short does not swallow the next one.
    fs::remove_file(folder.path("run/log.jsonl")).unwrap();
    folder.write("run/log.jsonl", "{\"event\":\"st");
    let ended = folder.end(train(&folder, "run", "--epochs 3 --resume"), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    let log = fs::read_to_string(folder.path("run/log.jsonl")).unwrap();
    assert!(log.lines().nth(1).unwrap().starts_with("{\"event\":\"start\""), "{log}");
}

/// Asserts that a run into `output` is refused before it trains, with this reason.
#[track_caller]
fn refused_at_once(ended: &Ended, output: &str, reason: &str) {
    let text = format!("error: {output}: no run can be kept here: {reason}; give another folder with -o\n");
    assert_eq!((ended.code, ended.err.as_str(), ended.out.as_str()), (2, text.as_str(), ""));
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_training() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    folder.write("file", b"");
    let ended = folder.end(train(&folder, "file/run", ""), b"");
    refused_at_once(&ended, "file/run", "Not a directory (os error 20)");
    let ended = folder.end(train(&folder, "file", ""), b"");
    refused_at_once(&ended, "file", "File exists (os error 17)");

    // Permissions do not bind root: there the program runs as nobody, from where nobody can read it.
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let permit = |name: &str, mode| fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    let is_root = fs::metadata(folder.path("file")).unwrap().uid() == 0;
    fs::copy(PROGRAM, folder.path("program")).unwrap();
    permit("", 0o755);
    fs::create_dir(folder.path("locked")).unwrap();
    permit("locked", 0o555);
    for output in ["locked", "locked/run"] {
        let mut command = Command::new(folder.path("program"));
        command.args(["train", "photos", "-o", output]);
        if is_root {
            command.uid(65534).gid(65534);
        }
        refused_at_once(&folder.end(command, b""), output, "Permission denied (os error 13)");
    }
}

#[test]
fn a_second_run_in_a_folder_is_refused_as_long_as_the_first_one_lives() {
    let folder = Folder::new();
    folder.photos("photos", 4);
    let mut command = train(&folder, "run", "--epochs 100000");
    let mut first = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !folder.path("run/recipe.toml").exists() {
        assert_eq!(first.try_wait().unwrap(), None, "the first run has ended");
        sleep(Duration::from_millis(5));
    }
    let text = "error: run: another run is at work in this folder; wait for its end, or give another folder with -o\n";
    for flags in ["", "--resume"] {
        let second = folder.end(train(&folder, "run", flags), b"");
        assert_eq!((second.code, second.err.as_str()), (2, text), "{flags}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let third = folder.end(train(&folder, "run", "--resume --epochs 1"), b"");
    assert_eq!(third.code, 0, "{third:?}");
}
