//! The commands that need no weights, from their arguments to what they print.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mobilenet");

/// Runs it on the instruction set that it finds itself.
fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).env_remove("MOBILENET_ISA").output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

/// The first line of what it says against bad input; nothing else may be printed.
fn refusal(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap().lines().next().unwrap().into()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn summary_counts_what_the_papers_count() {
    for (arguments, parameters, multiply_adds) in [
        (&["mobilenet_v1"][..], 4_231_976u64, 568.7),
        (&["mobilenet_v1", "--width", "0.25", "--resolution", "128"], 470_072, 13.6),
        (&["mobilenet_v2"], 3_504_872, 300.8),
        (&["mobilenet_v2", "--width", "1.4"], 6_108_776, 582.2),
        (&["mobilenet_v3_large", "--width", "0.75", "--width-rule", "torchvision"], 3_377_576, 140.0),
        (&["mobilenet_v3_small"], 2_542_856, 56.5),
    ] {
        let summary = json(&[&["summary", "--json"], arguments].concat());
        assert_eq!(summary["parameters"], parameters, "{arguments:?}");
        let counted = summary["multiply_adds"].as_u64().unwrap() as f64 / 1e6;
        assert!((counted - multiply_adds).abs() < 0.051, "{arguments:?}: {counted}");
    }
}

#[test]
fn summary_json_has_the_promised_keys_and_table_2() {
    let summary = json(&["summary", "mobilenet_v1", "--json"]);
    assert_eq!(keys(&summary), ["layers", "multiply_adds", "parameters", "share"]);
    let layers = summary["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 28);
    assert_eq!(layers[1]["as_convolution"]["multiply_adds"], 9 * 32 * 64 * 112 * 112);
    for (kind, multiply_adds, parameters) in [
        ("pointwise", 94.86, 74.59),
        ("depthwise", 3.06, 1.06),
        ("convolution", 1.91, 0.02),
        ("fully_connected", 0.18, 24.33),
    ] {
        let share = &summary["share"][kind];
        assert_eq!((share["multiply_adds"].as_f64().unwrap() * 100.0).round() / 100.0, multiply_adds, "{kind}");
        assert_eq!((share["parameters"].as_f64().unwrap() * 100.0).round() / 100.0, parameters, "{kind}");
    }
}

#[test]
fn summary_table_shows_costs_and_what_a_full_convolution_costs() {
    let text = stdout(&["summary", "mobilenet_v1"]);
    for line in [
        "mobilenet_v1, width 1, 224×224 pixels, 1,000 classes",
        "block1.depthwise   112²×32  dw3x3           112²×32         352   3.61     231.21   0.127",
        "classifier         1²×1024  fc              1²×1000   1,025,000   1.02",
        "other convolutions         1.91 %   0.02 %",
        "4,231,976 parameters, 568,740,352 multiply-adds (568.74 M)",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    let odd = stdout(&["summary", "mobilenet_v3_large", "--resolution", "225x193"]);
    assert!(odd.contains("225×193×3"), "{odd}");
    assert!(text.lines().chain(odd.lines()).all(|l| l.chars().count() <= 104));
}

#[test]
fn summary_toml_is_a_network_of_ones_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    std::fs::write(&path, stdout(&["summary", "mobilenet_v3_small", "--toml"])).unwrap();
    let mine = json(&["summary", path.to_str().unwrap(), "--json"]);
    assert_eq!(mine, json(&["summary", "mobilenet_v3_small", "--json"]));
}

#[test]
fn models_are_found_by_part_or_wildcard() {
    let names = |arguments: &[&str]| -> Vec<String> {
        let found = json(&[&["models", "--json"], arguments].concat());
        found.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(&[]).len(), 6);
    assert_eq!(names(&["*small"]), ["mobilenet_v3_small"]);
    assert_eq!(names(&["small"]), ["mobilenet_v3_small", "mobilenet_v3_small_minimal"]);
    assert_eq!(names(&["mobilenet_v?"]), ["mobilenet_v1", "mobilenet_v2"]);
    let v2 = json(&["models", "v2", "--json"]);
    assert_eq!(keys(&v2[0]), ["multiply_adds", "name", "paper", "parameters"]);
    assert_eq!((&v2[0]["parameters"], &v2[0]["multiply_adds"]), (&3_504_872.into(), &300_774_272.into()));
    let lines = stdout(&["models", "v1"]);
    assert_eq!(
        lines.lines().last().unwrap(),
        "mobilenet_v1   4,231,976      568.74 M  MobileNets (Howard et al., 2017), table 1"
    );
}

/// Arguments of a profile that takes little time even without optimisation.
const QUICK: [&str; 8] =
    ["profile", "mobilenet_v3_small", "--width", "0.35", "--resolution", "48x32", "--seconds", "0"];

#[test]
fn profile_json_adds_up() {
    let profile = json(&[&QUICK[..], &["--json", "--batch", "2", "--threads", "1"]].concat());
    assert_eq!(
        keys(&profile),
        [
            "arena_bytes",
            "batch",
            "instruction_set",
            "kernels",
            "memory_gbytes_per_second",
            "model",
            "peak_gflops",
            "resolution",
            "run_microseconds",
            "steps",
            "steps_microseconds",
            "threads",
            "time_near_memory",
            "time_near_peak"
        ]
    );
    assert_eq!((&profile["batch"], &profile["threads"]), (&2.into(), &1.into()));
    let sum = |list: &str, key: &str| -> f64 {
        profile[list].as_array().unwrap().iter().map(|l| l[key].as_f64().unwrap()).sum()
    };
    for list in ["steps", "kernels"] {
        assert!((sum(list, "share") - 100.0).abs() < 1e-6, "{list}");
        assert!((sum(list, "microseconds") / profile["steps_microseconds"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    }
    let mut counted = QUICK.to_vec();
    counted.truncate(6);
    counted[0] = "summary";
    counted.push("--json");
    assert_eq!(sum("steps", "multiply_adds"), 2.0 * json(&counted)["multiply_adds"].as_f64().unwrap());
    assert_eq!(profile["steps"][0]["name"], "stem.conv");
    assert_eq!(profile["steps"][0]["kernel"], "dense");
}

#[test]
fn a_training_steps_profile_names_its_kernels_there_and_back() {
    let profile = json(&[&QUICK[..], &["--json", "--train", "--memory", "low", "--batch", "2"]].concat());
    let kernels: Vec<&str> =
        profile["kernels"].as_array().unwrap().iter().map(|k| k["kernel"].as_str().unwrap()).collect();
    for kernel in ["pointwise", "pointwise gradients", "depthwise gradients", "dense weight gradient", "loss", "update"]
    {
        assert!(kernels.contains(&kernel), "{kernel} is not among {kernels:?}");
    }
    let text = stdout(&[&QUICK[..], &["--train"]].concat());
    assert!(text.contains("in others at 60 % of the memory's rate or more"), "{text}");
}

#[test]
fn profile_draws_a_picture_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("p.svg");
    std::fs::write(&path, "old").unwrap();
    let text = stdout(&[&QUICK[..], &["--svg", path.to_str().unwrap()]].concat());
    assert!(text.starts_with("mobilenet_v3_small, 48×32 pixels, batch 1, "), "{text}");
    let [.., run, memory] = &text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert!(run.starts_with("whole run ") && memory.starts_with("activations take "), "{text}");
    let picture = std::fs::read_to_string(&path).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(picture.contains(">mobilenet_v3_small, 48×32 pixels, batch 1, "));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn completions_know_commands_and_flags() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&["completions", shell]);
        for word in ["summary", "models", "bench", "profile", "completions", "resolution", "width-rule"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bad_input_is_refused_with_what_to_do() {
    let known = "mobilenet_v1, mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small, mobilenet_v3_large_minimal, \
                 mobilenet_v3_small_minimal";
    let cases: &[(&[&str], &str)] = &[
        (
            &["summary", "mobilnet_v2"],
            &format!(
                "there is no network \"mobilnet_v2\"; did you mean mobilenet_v2? give one of {known}, or a file ending \
                 in .toml"
            ),
        ),
        (
            &["profile", "resnet"],
            &format!("there is no network \"resnet\"; give one of {known}, or a file ending in .toml"),
        ),
        (&["summary", "none.toml"], "none.toml: No such file or directory (os error 2)"),
        (
            &["summary", "mobilenet_v1", "--resolution", "0"],
            "invalid value '0' for '--resolution <SIZE>': give one number from 1 to 32768, or HEIGHTxWIDTH",
        ),
        (
            &["summary", "mobilenet_v1", "--resolution", "224x"],
            "invalid value '224x' for '--resolution <SIZE>': give one number from 1 to 32768, or HEIGHTxWIDTH",
        ),
        (
            &["summary", "mobilenet_v1", "--resolution", "32768"],
            "1×32768×32768 pixels do not fit the network: at input, its output is larger than 2^30 elements",
        ),
        (&["summary", "mobilenet_v1", "--width", "-1"], "width is -1; give a number above 0, at most 16"),
        (&["summary", "mobilenet_v1", "--width", "nan"], "width is NaN; give a number above 0, at most 16"),
        (
            &["summary", "mobilenet_v1", "--classes", "1000001"],
            "1000001 classes; give at most 1000000, 0 for a network without a classifier",
        ),
        (&["summary", "mobilenet_v1", "--output-stride", "5"], "output stride is 5; give 32, 16 or 8"),
        (
            &["summary", "mobilenet_v1", "--width-rule", "slim"],
            "invalid value 'slim' for '--width-rule <RULE>': there is no width rule \"slim\"; there are tensorflow, \
             timm, torchvision, keras",
        ),
        (
            &["summary", "mobilenet_v1", "--padding", "valid"],
            "invalid value 'valid' for '--padding <PADDING>': valid is no padding; give symmetric or same",
        ),
        (
            &["summary", "mobilenet_v3_small", "--activation", "relu"],
            "mobilenet_v3_small uses h-swish and relu; only a network with a single activation can change it, others by \
             a table",
        ),
        (&["summary", "mobilenet_v1", "--toml", "--json"], "the argument '--toml' cannot be used with '--json'"),
        (
            &["summary", "mobilenet_v1", "--toml", "--width", "0.5"],
            "--toml prints the table itself, which flags of the network do not change",
        ),
        (&["models", "v9*"], &format!("no network is called \"v9*\"; there are {known}")),
        (
            &["profile", "mobilenet_v1", "--seconds", "-1"],
            "invalid value '-1' for '--seconds <SECONDS>': give a number from 0 to 3600",
        ),
        (
            &["profile", "mobilenet_v1", "--seconds", "NaN"],
            "invalid value 'NaN' for '--seconds <SECONDS>': give a number from 0 to 3600",
        ),
        (
            &["profile", "mobilenet_v1", "--seconds", "1e300"],
            "invalid value '1e300' for '--seconds <SECONDS>': give a number from 0 to 3600",
        ),
        (&["profile", "mobilenet_v1", "--batch", "0"], "invalid value '0' for '--batch <N>': 0 is not in 1..=4096"),
        (
            &["profile", "mobilenet_v1", "--batch", "4097"],
            "invalid value '4097' for '--batch <N>': 4097 is not in 1..=4096",
        ),
        (
            &["profile", "mobilenet_v1", "--batch", "4096"],
            "4096×224×224 pixels do not fit the network: at stem.conv, its output is larger than 2^30 elements",
        ),
        (&["profile", "mobilenet_v1", "--threads", "0"], "invalid value '0' for '--threads <N>': 0 is not in 1..=64"),
        (
            &["profile", "mobilenet_v1", "--svg", "/no/where/p.svg"],
            "/no/where/p.svg: there is no directory /no/where; make it first",
        ),
        (&["profile", "mobilenet_v1", "--svg", "/"], "/: a directory; give a file"),
        (&["completions", "tcsh"], "invalid value 'tcsh' for '<SHELL>'"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(refusal(arguments), format!("error: {expected}"), "{arguments:?}");
    }
}

#[test]
fn an_instruction_set_that_does_not_exist_is_refused() {
    let output = Command::new(PROGRAM).args(QUICK).env("MOBILENET_ISA", "neon").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "error: MOBILENET_ISA=neon names no instruction set; valid: portable, avx2, avx512\n");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for arguments in [&["summary", "mobilenet_v2"][..], &["models"], &["completions", "zsh"], &["summary", "--help"]] {
        let mut child =
            Command::new(PROGRAM).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut complaints = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        assert_eq!((child.wait().unwrap().code(), complaints.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

/// As a reader would: in a shell, one after the other, in a directory and a home of their own.
#[cfg(unix)]
#[test]
fn every_example_in_the_help_runs() {
    let directory = tempfile::tempdir().unwrap();
    for folder in [".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"] {
        std::fs::create_dir_all(directory.path().join(folder)).unwrap();
    }
    let programs = Path::new(PROGRAM).parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    for command in ["summary", "models", "profile", "completions"] {
        let help = stdout(&[command, "--help"]);
        let (_, examples) = help.split_once("Examples:\n").expect(command);
        assert!(examples.lines().count() >= 2, "{command}");
        for example in examples.lines().map(str::trim) {
            assert!(
                example.starts_with(&format!("mobilenet {command} ")) || example == "mobilenet models",
                "{example}"
            );
            let mut shell = Command::new("sh");
            shell.args(["-c", example]).env("PATH", &path).env("HOME", directory.path());
            let output = shell.current_dir(directory.path()).output().unwrap();
            assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
